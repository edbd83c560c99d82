"""Codes that link an account on the other side to the owner of a channel.

A stranger who writes gets a code. It does nothing by itself: only the owner, signed in
and on the page of their channel, can enter it, and then its sender counts as them.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.models import User
from channels_app.bots.channel_rules import clean_identity_id
from channels_app.bots.channel_settings import link_identity
from channels_app.bots.incoming import Incoming
from channels_app.bots.rooms import set_room
from channels_app.models import Channel, ChannelRoom, LinkedIdentity, PairingCode

ALPHABET = "ACDEFGHJKLMNPQRTUVWXY34679"
"""Without letters and digits that look alike: B and 8, I and 1, O and 0, S and 5, Z
and 2."""
LENGTH = 8
VALID = timedelta(hours=1)
MAX_OPEN = 3
"""Open codes of a channel: more would help somebody who guesses."""
MAX_WRONG = 10
"""Wrong codes that may be entered at a channel in an hour."""
_WRONG_WITHIN_S = 3600
UNKNOWN = "This code is not valid. Codes hold for one hour and work once."
TOO_MANY = "Too many wrong codes were entered. Try again in an hour."


def make_code(channel: Channel, incoming: Incoming) -> str | None:
    """Return a new code for the sender of a message, in two groups of four.

    ``None`` while the sender has one already, so many are open that no more are
    given, or nobody may be linked by such an id, as that of a guest; nothing should be
    said then.
    """
    if not _can_be_linked(channel, incoming.sender_id):
        return None
    open_codes = PairingCode.objects.filter(
        channel=channel, used_at=None, expires_at__gt=timezone.now()
    )
    senders = list(open_codes.values_list("sender_id", flat=True)[:MAX_OPEN])
    if len(senders) >= MAX_OPEN or incoming.sender_id in senders:
        return None
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    PairingCode.objects.create(
        channel=channel,
        code_hash=_hash(channel, code),
        sender_id=incoming.sender_id,
        sender_name=" ".join(incoming.sender_name.split())[:200],
        room_id=incoming.room_id,
        expires_at=timezone.now() + VALID,
    )
    half = LENGTH // 2
    return f"{code[:half]}-{code[half:]}"


def _can_be_linked(channel: Channel, sender_id: str) -> bool:
    """Say whether the owner could link this very id by hand."""
    try:
        return clean_identity_id(channel.kind, sender_id) == sender_id
    except ValidationError:
        return False


def enter_code(
    user: User, channel: Channel, text: str, allow_room: bool, alone: bool
) -> LinkedIdentity:
    """Link whoever was given a code to the channel's owner, who enters it.

    Args:
        user: Who is signed in.
        channel: Their channel.
        text: The code, in any case, with or without blanks and hyphens.
        allow_room: Also allow the room in which the code was given.
        alone: Only the owner reads in that room.

    Raises:
        Http404: The channel is not theirs.
        ValidationError: One sentence; the code is wrong, old or used, or too many
            wrong ones were entered.
    """
    if channel.owner_id != user.pk:
        raise Http404("There is no such channel.")
    # Counted before it is looked at, so that many at once do not get more tries.
    if _count_try(channel, 1) > MAX_WRONG:
        raise ValidationError(TOO_MANY)
    code = "".join(text.upper().replace("-", " ").split())
    with transaction.atomic():
        found = _use(channel, code)
        identity = link_identity(
            channel, found.sender_id, actor=user, name=found.sender_name
        )
        if allow_room:
            set_room(user, channel, found.room_id, ChannelRoom.State.ALLOWED, alone)
    _count_try(channel, -1)
    return identity


def _count_try(channel: Channel, step: int) -> int:
    """Count a code that is entered at a channel; return how many were this hour."""
    key = f"pairing-tries-{channel.pk}"
    cache.add(key, 0, _WRONG_WITHIN_S)
    try:
        return cache.incr(key, step)
    except ValueError:  # the hour ended at this very moment
        return 0


def _use(channel: Channel, code: str) -> PairingCode:
    """Use a code up; raises ``ValidationError``."""
    now = timezone.now()
    valid = PairingCode.objects.filter(
        channel=channel,
        code_hash=_hash(channel, code),
        used_at=None,
        expires_at__gt=now,
    )
    found = valid.first()
    # The second of two who enter it at once changes nothing.
    if found is None or not valid.filter(pk=found.pk).update(used_at=now):
        raise ValidationError(UNKNOWN)
    return found


def _hash(channel: Channel, code: str) -> str:
    return salted_hmac(
        "channels_app.pairing", f"{channel.pk} {code}", algorithm="sha256"
    ).hexdigest()
