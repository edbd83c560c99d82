"""Transactions of a start do not wait for the disk, and leave no trace of that."""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.transactions import quick_transaction
from personas.models import Persona


def level() -> object:
    name = "synchronous" if connection.vendor == "sqlite" else "synchronous_commit"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{'PRAGMA' if connection.vendor == 'sqlite' else 'SHOW'} {name}"
        )
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_it_commits_lightly_and_restores_the_level(persona: Persona) -> None:
    sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute(
            "PRAGMA synchronous=FULL" if sqlite else "SET synchronous_commit TO on"
        )
    before = level()
    with quick_transaction():
        assert level() != before
        Persona.objects.update(display_name="New")
    assert level() == before
    assert Persona.objects.get().display_name == "New"


@pytest.mark.django_db(transaction=True)
def test_an_error_rolls_back_and_restores_the_level(persona: Persona) -> None:
    before = level()
    with pytest.raises(ZeroDivisionError), quick_transaction():
        Persona.objects.update(display_name="New")
        raise ZeroDivisionError
    assert level() == before
    assert Persona.objects.get().display_name == "Inara"


def test_inside_another_transaction_it_is_a_part_of_it(persona: Persona) -> None:
    before = level()
    with quick_transaction():
        assert level() == before
