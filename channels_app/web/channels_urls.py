"""Addresses below ``/settings/channels/``.

Each kind has addresses of its own, so that they can be read and linked to; rows are
named by their own ids, which belong to one channel anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import URLPattern, path

from channels_app.models import Channel
from channels_app.web import channel_check, channel_rooms, channels

_OF_A_KIND = (
    ("", channels.channel, "channel"),
    ("secret/new/", channels.renew_secret, "channel_secret_new"),
    ("secret/drop/", channels.drop_secret, "channel_secret_drop"),
    ("delete/", channels.delete_channel, "channel_delete"),
    ("test/", channel_check.test_channel, "channel_test"),
    ("rooms/add/", channel_rooms.add_room, "channel_room_add"),
    ("identities/add/", channel_rooms.link, "channel_link"),
    ("pair/", channel_rooms.pair, "channel_pair"),
)


def _paths() -> Iterator[URLPattern]:
    for kind in Channel.Kind:
        slug = kind.value.replace("_", "-")
        for end, view, name in _OF_A_KIND:
            yield path(f"{slug}/{end}", view, {"kind": kind.value}, name=name)


urlpatterns = [
    path("", channels.channels, name="channels"),
    path("everybody/", channels.everybody, name="channels_everybody"),
    path("rooms/<int:room_id>/", channel_rooms.change_room, name="channel_room"),
    path(
        "identities/<int:identity_id>/unlink/",
        channel_rooms.unlink,
        name="channel_unlink",
    ),
    path(
        "replies/<uuid:reply_id>/retry/",
        channel_check.retry_reply,
        name="channel_retry",
    ),
    *_paths(),
]
