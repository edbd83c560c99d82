"""When a persona remembers by itself: the form, and the button that begins at once."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from personas.memory import triggers
from personas.memory.files import settings_of
from personas.models import MemorySettings, Persona

PAGE = "/personas/inara/memory/"
ADDRESS = f"{PAGE}settings/"


@pytest.fixture
def client(alice: User, persona: Persona, client_for: Callable[..., Client]) -> Client:
    return client_for(alice)


def save(client: Client, **fields: str) -> Any:
    values = {
        "enabled": "on",
        "idle_minutes": "30",
        "after_messages": "40",
        "daily_at": "03:00",
        "review_days": "0",
    }
    return client.post(ADDRESS, values | fields)


def test_settings_are_saved_and_leave_the_rest_of_the_row(
    client: Client, persona: Persona
) -> None:
    asked = timezone.now()
    MemorySettings.objects.create(persona=persona, asked_at=asked, failures=3)
    answer = save(client, idle_minutes="", daily_at="06:30", review_days="")
    assert answer["Location"] == PAGE
    settings = settings_of(persona)
    assert (settings.idle_minutes, settings.after_messages) == (None, 40)
    assert settings.daily_at == datetime.time(6, 30)
    assert settings.review_days is None
    assert (settings.asked_at, settings.failures) == (asked, 3)
    page = client.get(ADDRESS).content.decode()
    assert '<option value="" selected>Only when I accept it</option>' in page
    assert 'value="06:30"' in page
    assert 'id="memory-settings" open' in page


def test_days_that_the_form_does_not_offer_stay(
    client: Client, persona: Persona
) -> None:
    MemorySettings.objects.create(persona=persona, review_days=5)
    assert "After 5 days</option>" in client.get(PAGE).content.decode()
    save(client, review_days="5")
    assert settings_of(persona).review_days == 5


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"idle_minutes": "0"}, "greater than or equal to 1"),
        ({"after_messages": "many"}, "Enter a whole number."),
        ({"daily_at": "25:00"}, "Enter a valid time."),
        ({"review_days": "-1"}, "Select a valid choice."),
        (
            {"idle_minutes": "", "after_messages": "", "daily_at": ""},
            "Say when: fill in at least one",
        ),
    ],
)
def test_wrong_settings_are_told_and_nothing_typed_is_lost(
    client: Client, persona: Persona, fields: dict[str, str], sentence: str
) -> None:
    answer = save(client, **{"after_messages": "77", **fields})
    page = answer.content.decode()
    assert answer.status_code == 400
    assert sentence in page
    assert not MemorySettings.objects.exists()
    for value in fields.values():
        assert not value or f'value="{value}"' in page or value == "-1"
    assert 'value="77"' in page or "after_messages" in fields


def test_it_can_be_off_without_any_moment(
    client: Client, persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "why_off", lambda user, private: "")
    nothing = {"enabled": "", "idle_minutes": "", "after_messages": "", "daily_at": ""}
    assert save(client, **nothing).status_code == 302
    assert not settings_of(persona).enabled
    assert "is switched off" in client.get(PAGE).content.decode()


def test_it_begins_at_once_only_where_a_model_does_it(
    client: Client, persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = client.get(PAGE).content.decode()
    assert "Nothing is remembered by itself" in page
    assert "Distil now" not in page
    assert f'href="{reverse("chain", args=["own", "distill"])}"' in page
    page = client.post(f"{PAGE}now/", follow=True).content.decode()
    assert "Nothing is remembered by itself" in page
    assert settings_of(persona).asked_at is None

    monkeypatch.setattr(triggers, "why_off", lambda user, private: "")
    assert "Distil now" in client.get(PAGE).content.decode()
    client.post(f"{PAGE}now/")
    assert settings_of(persona).asked_at is not None
    page = client.get(PAGE).content.decode()
    assert "Begins soon" in page and "Distil now" not in page


def test_settings_and_button_are_for_the_owner(
    client: Client, bob: User, client_for: Callable[..., Client]
) -> None:
    his = client_for(bob)
    assert save(his).status_code == 404
    assert his.post(f"{PAGE}now/").status_code == 404
    assert client.get(f"{PAGE}now/").status_code == 405
    assert not MemorySettings.objects.exists()
