"""The page on which people say what the router may do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from routing.models import Host, Model, RoleSlot, RoutingPreferences
from routing.preferences import Preferences, preferences_of

SignIn = Callable[..., Client]
PATH = "/settings/routing/"
pytestmark = pytest.mark.django_db


def checked(html: str) -> set[str]:
    """Return the names of the switches that are on."""
    boxes = re.findall(r"<input[^>]*checkbox[^>]*>", html)
    return {re.findall(r'name="(\w+)"', box)[0] for box in boxes if " checked" in box}


def test_without_a_row_the_page_shows_the_defaults(
    alice: User, client_for: SignIn
) -> None:
    html = client_for(alice).get(PATH).content.decode()
    assert checked(html) == {"use_rules", "use_classifier"}
    assert not RoutingPreferences.objects.exists()


def test_switches_are_saved_for_their_person_alone(
    alice: User, bob: User, client_for: SignIn
) -> None:
    client = client_for(alice)
    form = {"use_rules": "on", "finish_with_another_model": "on"}

    assert client.post(PATH, form).status_code == 302

    assert preferences_of(alice) == Preferences(
        use_classifier=False, finish_with_another_model=True
    )
    assert preferences_of(bob) == Preferences()
    assert checked(client.get(PATH).content.decode()) == set(form)
    client.post(PATH, {"fallback_after_refusal": "on"})
    assert RoutingPreferences.objects.count() == 1
    assert preferences_of(alice) == Preferences(
        use_rules=False, use_classifier=False, fallback_after_refusal=True
    )


def test_the_installation_switches_off_without_forgetting(
    alice: User, client_for: SignIn, settings: Any
) -> None:
    settings.CORTEX_ROUTE_RULES = False
    client = client_for(alice)
    html = client.get(PATH).content.decode()
    assert "switched off for this installation" in html

    client.post(PATH, {"use_classifier": "on"})

    assert not preferences_of(alice).use_rules
    settings.CORTEX_ROUTE_RULES = True
    assert preferences_of(alice) == Preferences()


def test_the_page_says_when_nobody_classifies(alice: User, client_for: SignIn) -> None:
    client = client_for(alice)
    sentence = "No model is chosen for the role “classify”"
    assert sentence in client.get(PATH).content.decode()
    host = Host.objects.create(name="h", type="local_openai", base_url="http://b/v1")
    model = Model.objects.create(host=host, label="m", name="m")
    RoleSlot.objects.create(role="classify", position=0, model=model)
    assert sentence not in client.get(PATH).content.decode()


def test_strangers_sign_in_first(client: Client) -> None:
    assert "/account/login/" in client.get(PATH)["Location"]
