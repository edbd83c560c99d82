"""What the doctor says about search."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from channels_app.care import checks_search
from channels_app.care.findings import Finding
from personas.models import Persona
from personas.search.index import repair, text_index
from tests.personas.search.said import say

pytestmark = pytest.mark.django_db


def found() -> Finding:
    """Return the only finding."""
    (finding,) = checks_search.search()
    return finding


def test_all_is_well() -> None:
    """An index that is whole and has nothing to do is fine."""
    assert found().status == "ok"


def test_messages_that_wait(persona: Persona) -> None:
    """A message that nobody takes is told."""
    say(persona, "new")
    assert found().status == "ok"
    say(persona, "left", at=timezone.now() - timedelta(hours=1))
    assert (found().status, "2 messages" in found().sentence) == ("warn", True)


def test_parts_that_are_missing() -> None:
    """Each part is named, and the repair brings it back."""
    text_index().remove(connection)
    gone = text_index().missing(connection)
    assert found().status == "fail"
    assert all(name in found().sentence for name in gone) and gone
    assert repair() == gone
    assert repair() == []
    assert found().status == "ok"


def test_without_similar_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL without its extension finds exact words only."""
    monkeypatch.setattr(
        type(text_index()), "knows_similar", lambda self, connection: False
    )
    assert found().status == "warn" and "pg_trgm" in found().sentence
