from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from personas.models import Persona


def test_cast_signs_in(
    client_for: Callable[[User], Client], alice: User, admin_user: User
) -> None:
    assert client_for(alice).session["_auth_user_id"] == str(alice.pk)
    assert admin_user.is_admin and not alice.is_admin


def test_persona_is_alices(persona: Persona, alice: User, charlie: User) -> None:
    assert persona.owner == alice != charlie


@pytest.mark.django_db(transaction=True)
def test_tables_are_emptied_between_tests(alice: User) -> None:
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_tables_are_emptied_between_tests_again(alice: User) -> None:
    assert User.objects.count() == 1
