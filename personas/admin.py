"""Personas in the administration: that they exist and whose they are, no texts.

Files, conversations and messages are not registered at all.
"""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from personas.models import Persona


@admin.register(Persona)
class PersonaAdmin(ReadOnlyAdmin):
    """A list to look at; personas are changed by their owners alone."""

    list_display = ["name", "owner", "created_at"]
    list_display_links = None
    list_select_related = ["owner"]
    search_fields = ["name", "owner__username"]
    fields = ["name", "owner", "created_at"]
