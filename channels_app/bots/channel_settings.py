"""Setting up channels: each change of one, in the audit log and without its secrets.

The values have been checked by ``channel_rules``. A channel's secrets are only ever
replaced, never read here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404
from yarl import URL

from accounts import audit
from accounts.models import User
from channels_app.bots.channels import set_secrets
from channels_app.models import Channel, ChannelRoom, LinkedIdentity
from personas.models import Persona

SECRET_BYTES = 32
"""Give 64 characters; Nextcloud takes 40 to 128.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bot-management/
"""


@dataclass(frozen=True, slots=True)
class ChannelTerms:
    """What a person chose for a channel."""

    persona: Persona
    enabled: bool
    thread: str
    strangers: str
    guest_daily_messages: int
    settings: Mapping[str, Any]
    """What only this kind has; other keys of the channel stay."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Those that change; an empty text removes one."""


def new_secret() -> str:
    """Return a fresh secret of 64 characters."""
    return secrets.token_hex(SECRET_BYTES)


def add_channel(user: User, kind: str, terms: ChannelTerms) -> Channel:
    """Set up a person's channel of a kind.

    Raises:
        ValidationError: There is one already.
    """
    channel = Channel(owner=user, kind=Channel.Kind(kind))
    _apply(channel, terms)
    try:
        with transaction.atomic():
            channel.save(force_insert=True)
            _record("channel.created", channel, user, persona=terms.persona.name)
            _record_secrets(channel, user, terms.secrets)
    except IntegrityError:
        raise ValidationError("This channel is set up already.") from None
    return channel


def change_channel(channel: Channel, terms: ChannelTerms, *, actor: User) -> Channel:
    """Change a channel to ``terms``; raises ``Http404`` if it is gone meanwhile.

    On another server the same ids belong to other accounts and rooms, so that its links
    are taken back and its rooms wait to be allowed again.
    """
    with transaction.atomic():
        row = _locked(channel)
        before = _plain(row)
        _apply(row, terms)
        after = _plain(row)
        row.save()
        changed = sorted(name for name in after if after[name] != before.get(name))
        if changed:
            _record("channel.changed", row, actor, fields=changed)
        _record_secrets(row, actor, terms.secrets)
        if is_other_server(before.get("url"), after.get("url")):
            _trust_nobody(row, actor)
    return row


def is_other_server(before: str | None, after: str | None) -> bool:
    """Say whether two addresses may be of different servers; ``None`` is none yet.

    A change from ``http`` to ``https`` at the usual ports stays on the server.
    """
    if not before or not after:
        return False
    return _place(before) != _place(after)


def _place(address: str) -> tuple[str | None, int | None, str]:
    url = URL(address)
    port = None if url.is_default_port() else url.explicit_port
    return url.host, port, url.path.rstrip("/")


def _trust_nobody(channel: Channel, actor: User) -> None:
    """Take back all links, and who is answered in which room."""
    for identity in channel.identities.select_related("channel"):
        unlink_identity(identity, actor=actor)
    channel.pairing_codes.all().delete()
    rooms = channel.rooms.exclude(state=ChannelRoom.State.WAITING, alone=False)
    for room in rooms:
        _record(
            "channel.room_changed",
            channel,
            actor,
            room=room.external_id,
            state=ChannelRoom.State.WAITING.value,
            alone=False,
        )
    channel.rooms.update(
        state=ChannelRoom.State.WAITING,
        alone=False,
        conversation=None,
        begins_new=False,
        told_at=None,
    )


def renew_secret(channel: Channel, *, actor: User) -> str:
    """Give a channel a new secret and return it; this is the only time it is readable.

    The one before stays valid until ``drop_previous``. Where one is kept already, that
    one stays: it is what the other side uses until the new one has been entered there.
    """
    fresh = new_secret()
    with transaction.atomic():
        row = _locked(channel)
        old = row.secrets.get("secret")
        kept = dict(row.secrets)
        if old:
            kept.setdefault("previous", old)
        row.secrets = kept
        set_secrets(row, {"secret": fresh})
        row.save(update_fields=["secrets"])
        _record_secrets(row, actor, {"secret": fresh})
    return fresh


def drop_previous(channel: Channel, *, actor: User) -> bool:
    """Stop accepting the secret before the present one; ``False`` if there is none."""
    with transaction.atomic():
        row = _locked(channel)
        if "previous" not in row.secrets:
            return False
        set_secrets(row, {"previous": ""})
        row.save(update_fields=["secrets"])
        _record_secrets(row, actor, {"previous": ""})
    return True


def delete_channel(channel: Channel, *, actor: User) -> None:
    """Delete a channel with its rooms, links and deliveries; conversations stay."""
    with transaction.atomic():
        _record("channel.deleted", channel, actor)
        channel.delete()


def link_identity(
    channel: Channel, external_id: str, *, actor: User, name: str = ""
) -> LinkedIdentity:
    """Say that an account on the other side is the channel's owner."""
    with transaction.atomic():
        identity, is_new = LinkedIdentity.objects.get_or_create(
            channel=channel, external_id=external_id, defaults={"name": name[:200]}
        )
        if is_new:
            _record("channel.linked", channel, actor, identity=external_id)
    return identity


def unlink_identity(identity: LinkedIdentity, *, actor: User) -> None:
    """Take a link back: whoever it is, is a stranger from now on."""
    with transaction.atomic():
        _record(
            "channel.unlinked", identity.channel, actor, identity=identity.external_id
        )
        identity.delete()


def _locked(channel: Channel) -> Channel:
    row = Channel.objects.select_for_update().filter(pk=channel.pk).first()
    if row is None:
        raise Http404("The channel was deleted meanwhile.")
    return row


def _apply(channel: Channel, terms: ChannelTerms) -> None:
    channel.persona = terms.persona
    channel.enabled = terms.enabled
    channel.thread = terms.thread
    channel.strangers = terms.strangers
    channel.guest_daily_messages = terms.guest_daily_messages
    channel.settings = {**channel.settings, **terms.settings}
    set_secrets(channel, terms.secrets)


def _plain(channel: Channel) -> dict[str, Any]:
    """Return what may be compared and named; no secrets."""
    return {
        "persona": channel.persona_id,
        "enabled": channel.enabled,
        "thread": channel.thread,
        "strangers": channel.strangers,
        "guest_daily_messages": channel.guest_daily_messages,
        **channel.settings,
    }


def _record_secrets(channel: Channel, actor: User, changed: Mapping[str, str]) -> None:
    for name, value in changed.items():
        verb = "secret_changed" if value else "secret_removed"
        _record(f"channel.{verb}", channel, actor, secret=name)


def _record(event: str, channel: Channel, actor: User, **detail: object) -> None:
    audit.record(event, actor=actor, subject=channel.get_kind_display(), **detail)
