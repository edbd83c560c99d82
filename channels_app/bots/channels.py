"""Channels as their owners see them, and their secrets.

Secrets are write-only: pages show whether one is set. A channel without its secret
does not exist for the outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404

from accounts import secrets
from accounts.models import User
from channels_app.bots.adapters import ChannelInfo
from channels_app.models import Channel, ChannelRoom, LinkedIdentity, OutboundReply
from personas.prepared import Prepared
from routing.addresses import origin_of
from routing.errors import BadAddress

PURPOSE = "channel"
PATHS = {
    Channel.Kind.NEXTCLOUD_TALK: "/webhook/nextcloud/",
    Channel.Kind.GOOGLE_CHAT: "/channels/google-chat/",
}


def channels_visible_to(user: User) -> QuerySet[Channel]:
    """Return the person's own channels with persona and owner."""
    return Channel.objects.filter(owner=user).select_related("persona", "owner")


def get_channel_for_user(user: User, kind: str) -> Channel:
    """Return the person's channel of a kind; raises ``Http404``."""
    channel = channels_visible_to(user).filter(kind=kind).first()
    if channel is None:
        raise Http404("There is no such channel.")
    return channel


def get_room_for_user(user: User, room_id: int) -> ChannelRoom:
    """Return a room of one of the person's channels; raises ``Http404``."""
    rooms = ChannelRoom.objects.select_related("channel")
    return get_object_or_404(rooms, pk=room_id, channel__owner=user)


def get_identity_for_user(user: User, identity_id: int) -> LinkedIdentity:
    """Return a link of one of the person's channels; raises ``Http404``."""
    identities = LinkedIdentity.objects.select_related("channel")
    return get_object_or_404(identities, pk=identity_id, channel__owner=user)


def get_reply_for_user(user: User, reply_id: UUID) -> OutboundReply:
    """Return a reply of one of the person's channels; raises ``Http404``.

    Its text is not loaded.
    """
    replies = OutboundReply.objects.select_related("channel").defer("text")
    return get_object_or_404(replies, pk=reply_id, channel__owner=user)


def find_channel(kind: str, username: str) -> Channel | None:
    """Return the channel behind a webhook's address, if it exists for the outside."""
    channel = _OUTSIDE.first(kind, username)
    return channel if channel is not None and is_set_up(channel) else None


def _of_address(kind: str, username: str) -> QuerySet[Channel]:
    return Channel.objects.filter(
        kind=kind,
        enabled=True,
        persona__isnull=False,
        owner__username=username,
        owner__is_active=True,
    ).select_related("persona", "owner")


_OUTSIDE = Prepared(
    _of_address,
    [
        (Channel._meta.get_field("kind"), "(a kind)"),
        (User._meta.get_field("username"), "(a name)"),
    ],
)
"""Looked up for every event, before anything is known of who sent it."""


def is_set_up(channel: Channel) -> bool:
    """Say whether everything is there that lets the outside prove who it is."""
    if channel.kind == Channel.Kind.GOOGLE_CHAT:
        return bool(channel.settings.get("audience"))
    return bool(channel.secrets.get("secret"))


def can_post(channel: Channel) -> bool:
    """Say whether messages can be sent to the other side, beside its own requests."""
    return (
        channel.kind != Channel.Kind.GOOGLE_CHAT or "service_account" in channel.secrets
    )


def public_address(channel: Channel) -> str:
    """Return the address that the other side must call."""
    path = PATHS[Channel.Kind(channel.kind)] + quote(channel.owner.username)
    return settings.CORTEX_PUBLIC_URL.rstrip("/") + path


def secret(channel: Channel, name: str) -> str:
    """Return a secret in the clear, ``""`` where none is set.

    Raises:
        Undecryptable: It was encrypted with a key that this installation has not.
    """
    stored = channel.secrets.get(name)
    return secrets.decrypt(PURPOSE, stored) if stored else ""


def set_secrets(channel: Channel, values: Mapping[str, str]) -> None:
    """Put secrets into an unsaved channel; an empty text removes one."""
    kept = dict(channel.secrets)
    for name, value in values.items():
        kept.pop(name, None)
        if value:
            kept[name] = secrets.encrypt(PURPOSE, value)
    channel.secrets = kept


def info_of(channel: Channel) -> ChannelInfo:
    """Return what an adapter is given; needs owner and persona."""
    return ChannelInfo(
        id=channel.pk,
        owner_id=channel.owner_id,
        owner_name=channel.owner.username,
        persona_name=channel.persona.display_name if channel.persona else "",
        settings=dict(channel.settings),
        secrets={name: secret(channel, name) for name in channel.secrets},
        trusted_origins=trusted_origins_for(channel.owner, channel.settings.get("url")),
        address=public_address(channel),
    )


def trusted_origins_for(owner: User, url: str | None) -> frozenset[str]:
    """Return the origins that may be called for a person although they are private.

    Those of ``CORTEX_ALLOWED_ORIGINS``, and what an administrator typed themselves.
    """
    listed = set(settings.CORTEX_ALLOWED_ORIGINS)
    if url and owner.is_admin:
        listed.add(url)
    origins = set()
    for each in listed:
        try:
            origins.add(origin_of(each))
        except BadAddress:
            continue
    return frozenset(origins)
