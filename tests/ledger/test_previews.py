"""Previews."""

from __future__ import annotations

import pytest

from accounts.models import User
from ledger import previews
from ledger.models import LedgerPreview
from tests.support.ledger import book

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Hello  there,\n\nyou", "Hello there, you"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("nul\0here", "nul here"),
    ],
)
def test_shorten(text: str, short: str) -> None:
    assert previews.shorten(text) == short


def test_for_user_shows_a_preview_to_its_owner_alone(
    alice: User, charlie: User, admin_user: User
) -> None:
    attempt = book(alice, preview="What is \ud800 the plan?")
    assert previews.for_user(alice, [attempt]) == {attempt: "What is ? the plan?"}
    assert previews.for_user(charlie, [attempt]) == {}
    assert previews.for_user(admin_user, [attempt]) == {}


def test_for_user_leaves_out_what_no_key_opens(alice: User) -> None:
    attempt = book(alice, preview="Hello")
    LedgerPreview.objects.update(text_encrypted="damaged")
    assert previews.for_user(alice, [attempt]) == {}


def test_delete_for_user_removes_only_theirs(alice: User, bob: User) -> None:
    mine, other = book(alice, preview="Hello"), book(bob, preview="Hi")
    assert previews.delete_for_user(alice.pk) == 1
    assert previews.for_user(alice, [mine]) == {}
    assert previews.for_user(bob, [other]) == {other: "Hi"}
