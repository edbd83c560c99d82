"""What administrators see of other people's personas."""

from __future__ import annotations

from collections.abc import Callable

from django.apps import apps
from django.contrib import admin
from django.test import Client

from accounts.models import User
from personas.models import Persona


def test_only_personas_are_registered() -> None:
    own = set(apps.get_app_config("personas").get_models())
    assert own & set(admin.site._registry) == {Persona}


def test_the_list_shows_names_and_owners_and_leads_nowhere(
    admin_user: User, persona: Persona, client_for: Callable[..., Client]
) -> None:
    client = client_for(admin_user)
    page = client.get("/admin/personas/persona/").content.decode()
    assert "inara" in page and "alice" in page and persona.display_name not in page
    assert f"/admin/personas/persona/{persona.pk}/" not in page
    detail = client.get(f"/admin/personas/persona/{persona.pk}/change/")
    assert b"SOUL.md" not in detail.content
    for address in ("add/", f"{persona.pk}/delete/"):
        response = client.get(f"/admin/personas/persona/{address}")
        assert response.status_code == 403
