"""Codes that link a stranger to the owner of a channel."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import Http404
from django.utils import timezone

from accounts.models import AuditEvent, User
from channels_app.bots import pairing
from channels_app.bots.incoming import Incoming
from channels_app.bots.pairing import enter_code, make_code
from channels_app.models import Channel, ChannelRoom, LinkedIdentity, PairingCode
from personas.models import Persona
from tests.support.bots import GUEST, make_channel


@pytest.fixture
def pairing_channel(persona: Persona) -> Channel:
    """Alice's channel, linked to nobody."""
    return make_channel(persona, linked="")


def stranger(number: int = 0) -> Incoming:
    return Incoming(
        external_id="m",
        kind="message",
        room_id="room9",
        sender_id=f"{GUEST}{number}",
        sender_name=" Greta\nG ",
    )


def code_for(channel: Channel, number: int = 0) -> str:
    code = make_code(channel, stranger(number))
    assert code is not None
    return code


def test_a_code_links_whoever_got_it(alice: User, pairing_channel: Channel) -> None:
    code = code_for(pairing_channel)
    assert re.fullmatch(r"[ACDEFGHJKLMNPQRTUVWXY34679]{4}-[A-Z0-9]{4}", code)
    assert not LinkedIdentity.objects.exists()
    typed = f" {code.lower().replace('-', ' ')} "
    identity = enter_code(alice, pairing_channel, typed, True, True)
    assert (identity.external_id, identity.name) == (f"{GUEST}0", "Greta G")
    room = ChannelRoom.objects.get()
    assert (room.external_id, room.state, room.alone) == ("room9", "allowed", True)
    assert AuditEvent.objects.filter(event="channel.linked").count() == 1
    with pytest.raises(ValidationError):
        enter_code(alice, pairing_channel, code, True, True)


def test_a_code_is_kept_as_a_hash_alone(pairing_channel: Channel) -> None:
    code = code_for(pairing_channel).replace("-", "")
    row = PairingCode.objects.values().get()
    assert not any(code in str(value) for value in row.values())


def test_the_room_is_allowed_only_where_that_was_chosen(
    alice: User, pairing_channel: Channel
) -> None:
    enter_code(alice, pairing_channel, code_for(pairing_channel), False, False)
    assert not ChannelRoom.objects.exists()


def test_only_the_owner_can_enter_a_code(
    bob: User, admin_user: User, pairing_channel: Channel
) -> None:
    code = code_for(pairing_channel)
    for other in (bob, admin_user):
        with pytest.raises(Http404):
            enter_code(other, pairing_channel, code, True, True)
    assert not LinkedIdentity.objects.exists()


def test_a_code_holds_for_its_channel_and_an_hour(
    alice: User, bob: User, pairing_channel: Channel, persona: Persona
) -> None:
    other = make_channel(persona, kind=Channel.Kind.GOOGLE_CHAT, linked="")
    code = code_for(pairing_channel)
    with pytest.raises(ValidationError):
        enter_code(alice, other, code, True, True)
    PairingCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ValidationError):
        enter_code(alice, pairing_channel, code, True, True)
    assert not LinkedIdentity.objects.exists()


def test_three_codes_are_open_and_one_for_each_sender(
    pairing_channel: Channel,
) -> None:
    assert make_code(pairing_channel, stranger(1))
    assert make_code(pairing_channel, stranger(1)) is None
    assert make_code(pairing_channel, stranger(2))
    assert make_code(pairing_channel, stranger(3))
    assert make_code(pairing_channel, stranger(4)) is None
    PairingCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert make_code(pairing_channel, stranger(4))


@pytest.mark.parametrize(
    ("kind", "sender"),
    [
        (Channel.Kind.NEXTCLOUD_TALK, "guests/0f3a"),
        (Channel.Kind.NEXTCLOUD_TALK, "emails/0f3a"),
        (Channel.Kind.NEXTCLOUD_TALK, "greta"),
        (Channel.Kind.GOOGLE_CHAT, "users/app"),
    ],
)
def test_who_could_not_be_linked_by_hand_gets_no_code(
    persona: Persona, kind: str, sender: str
) -> None:
    channel = make_channel(persona, kind=kind, linked="")
    assert make_code(channel, replace(stranger(), sender_id=sender)) is None
    assert not PairingCode.objects.exists()


def test_ten_wrong_codes_are_enough_for_an_hour(
    alice: User, pairing_channel: Channel
) -> None:
    code = code_for(pairing_channel)
    for _ in range(pairing.MAX_WRONG):
        with pytest.raises(ValidationError, match="not valid"):
            enter_code(alice, pairing_channel, "AAAA-AAAA", True, True)
    with pytest.raises(ValidationError, match="Too many"):
        enter_code(alice, pairing_channel, code, True, True)


def test_right_codes_do_not_count_as_wrong(
    alice: User, pairing_channel: Channel
) -> None:
    for number in range(pairing.MAX_WRONG + 2):
        code = code_for(pairing_channel, number)
        enter_code(alice, pairing_channel, code, False, False)
    assert LinkedIdentity.objects.count() == pairing.MAX_WRONG + 2


@pytest.mark.django_db(transaction=True)
def test_a_code_entered_twice_at_once_counts_once(
    alice: User, pairing_channel: Channel
) -> None:
    code, outcomes = code_for(pairing_channel), []

    def enter() -> None:
        try:
            enter_code(alice, pairing_channel, code, False, False)
            outcomes.append("linked")
        except ValidationError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["linked", "refused"]
