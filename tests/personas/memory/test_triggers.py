"""When a persona distils: each trigger, pauses after failures, and why it is off."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from accounts.models import User
from personas.memory import triggers
from personas.memory.triggers import Waiting, due, is_due, last_moment, pause_after
from personas.models import MemorySettings, Persona
from routing.models import RoleSlot
from tests.personas.memory.said import add_distiller, say

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ago(**delta: float) -> datetime:
    return NOW - timedelta(**delta)


def waiting(messages: int = 1, oldest: float = 1, newest: float = 1) -> Waiting:
    """Return what waits, with ages in hours."""
    return Waiting(messages, ago(hours=oldest), ago(hours=newest))


@pytest.mark.parametrize(
    ("settings", "what", "expected"),
    [
        ({}, None, False),
        ({}, waiting(), True),
        ({}, waiting(newest=0.4), False),
        ({"idle_minutes": 120}, waiting(), False),
        ({"idle_minutes": None}, waiting(), False),
        ({"idle_minutes": None}, waiting(40, newest=0), True),
        ({"idle_minutes": None}, waiting(39, newest=0), False),
        ({"idle_minutes": None, "after_messages": None}, waiting(900), False),
        ({"idle_minutes": None}, waiting(oldest=10), True),
        ({"idle_minutes": None, "tried_at": ago(hours=8)}, waiting(oldest=10), False),
        ({"idle_minutes": None, "tried_at": ago(hours=30)}, waiting(oldest=10), True),
        ({"idle_minutes": None, "daily_at": None}, waiting(oldest=99), False),
        ({"enabled": False}, waiting(100, 99, 99), False),
        ({"enabled": False, "asked_at": NOW}, None, True),
        ({"failures": 1, "tried_at": ago(minutes=14)}, waiting(), False),
        ({"failures": 1, "tried_at": ago(minutes=16)}, waiting(), True),
        ({"failures": 3, "tried_at": ago(minutes=59)}, waiting(), False),
        ({"failures": 99, "tried_at": ago(hours=23)}, waiting(), False),
        ({"failures": 99, "tried_at": ago(hours=25)}, waiting(), True),
        ({"failures": 9, "tried_at": NOW, "asked_at": NOW}, waiting(), True),
    ],
)
def test_triggers(
    settings: dict[str, Any], what: Waiting | None, expected: bool
) -> None:
    assert is_due(MemorySettings(**settings), what, NOW, UTC) is expected


def test_pauses_grow_up_to_a_day() -> None:
    pauses = [pause_after(failures).total_seconds() / 60 for failures in range(9)]
    assert pauses == [0, 15, 30, 60, 120, 240, 480, 960, 1440]
    assert pause_after(30_000) == timedelta(days=1)


@pytest.mark.parametrize(
    "now",
    ["2026-11-20 01:00", "2026-11-20 18:30", "2026-04-04 17:30", "2026-09-27 00:00"],
)
def test_the_hour_is_that_of_the_owner(now: str) -> None:
    """Also in the nights in which summer time begins and ends."""
    zone = ZoneInfo("Pacific/Auckland")
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    last = last_moment(moment, time(3), zone)
    assert last.astimezone(zone).time() == time(3)
    assert timedelta(0) <= moment - last < timedelta(hours=25)


# --- with a database ------------------------------------------------------------------


@pytest.fixture
def scripted(settings: Any, db: None) -> None:
    """Make the scripted back end callable."""
    settings.MODEL_BACKENDS = {
        **settings.MODEL_BACKENDS,
        "scripted": "routing.backends.scripted.Scripted",
    }


@pytest.mark.usefixtures("scripted")
def test_who_is_due(
    persona: Persona, bob: User, django_assert_max_num_queries: Any
) -> None:
    now = datetime.now(UTC)
    say(persona, "I like boats.")
    assert due(now) == []
    add_distiller()
    assert due(now) == [persona.pk]
    theirs = Persona.objects.create(owner=bob, name="theirs")
    say(theirs, "I like boats, too.", ago=timedelta(hours=5))
    quiet = Persona.objects.create(owner=bob, name="quiet")
    say(quiet, "Just now.", ago=timedelta(minutes=1))
    assert due(now) == [theirs.pk, persona.pk]
    triggers.ask(quiet)
    asked_at = triggers.last_asked()
    assert asked_at is not None
    assert set(due(now)) == {theirs.pk, persona.pk, quiet.pk}
    with django_assert_max_num_queries(7):  # two for each person's registry
        due(now)
    bob.is_active = False
    bob.save()
    assert due(now) == [persona.pk]


@pytest.mark.usefixtures("scripted")
def test_nothing_is_distilled_before_its_person_has_come(
    alice: User, persona: Persona
) -> None:
    add_distiller()
    triggers.ask(persona)
    assert due(NOW) == [persona.pk]
    alice.set_unusable_password()
    alice.save()
    assert due(NOW) == []


@pytest.mark.usefixtures("scripted")
def test_why_it_is_off(alice: User, persona: Persona, settings: Any) -> None:
    assert "no model is set up for the role" in triggers.why_off(alice)
    RoleSlot.objects.create(role="distill", position=5, plain_id="builtin")
    assert "too small" in triggers.why_off(alice)
    settings.CORTEX_MEMORY_BUILTIN = True
    assert triggers.why_off(alice) == ""
    settings.CORTEX_MEMORY_BUILTIN = False
    add_distiller(is_local=False)
    assert triggers.why_off(alice) == ""
    assert "in the house" in triggers.why_off(alice, private=True)
    say(persona, "I like boats.")
    assert due(datetime.now(UTC)) == [persona.pk]
    persona.private = True
    persona.save()
    assert due(datetime.now(UTC)) == []


@pytest.mark.usefixtures("scripted")
def test_nothing_is_counted_where_no_model_is(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting reads every message that waits; so it comes last, for few."""
    counted: list[Persona] = []

    def count(personas: list[Persona]) -> dict[int, Waiting]:
        counted.extend(personas)
        return {}

    monkeypatch.setattr(triggers, "_waiting", count)
    say(persona, "I like boats.")
    assert due(datetime.now(UTC)) == [] and not counted
    add_distiller()
    row = MemorySettings.objects.create(persona=persona, enabled=False)
    assert due(datetime.now(UTC)) == [] and not counted
    row.enabled, row.failures, row.tried_at = True, 3, datetime.now(UTC)
    row.save()
    assert due(datetime.now(UTC)) == [] and not counted
    row.delete()
    due(datetime.now(UTC))
    assert counted == [persona]


@pytest.mark.usefixtures("scripted")
def test_a_wish_does_not_hold_for_weeks(persona: Persona) -> None:
    now = datetime.now(UTC)
    MemorySettings.objects.create(persona=persona, enabled=False)
    triggers.ask(persona)
    soon, late = now + timedelta(minutes=59), now + timedelta(minutes=61)
    assert due(soon) == [] and triggers.last_asked() is not None  # no model
    assert due(late) == [] and triggers.last_asked() is None
    add_distiller()
    assert due(late) == []
    triggers.ask(persona)
    assert due(soon) == [persona.pk]
