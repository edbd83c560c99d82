"""What the template of a message says about cost and versions."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.template.loader import render_to_string

from accounts.models import User
from channels_app.templatetags.chat_messages import (
    cost_text,
    is_fallback,
    origin_of,
    sibling_place,
    text_parts,
    tier_name,
)
from personas.models import Message
from routing.models import RouteDecision


@pytest.mark.parametrize(
    ("nano", "estimated", "text"),
    [
        (None, False, "cost unknown"),
        (None, True, "cost unknown"),
        (0, False, "free"),
        (0, True, "free"),
        (125_000, False, "$0.000125"),
        (125_000, True, "$0.000125 (estimated)"),
        (3_105_000, False, "$0.00311"),
        (2_500_000_000, False, "$2.50"),
    ],
)
def test_cost_is_told_in_words(nano: int | None, estimated: bool, text: str) -> None:
    assert cost_text(Message(cost_nano_usd=nano, estimated=estimated)) == text


def test_a_failure_without_text_has_no_price() -> None:
    failed = Message(state="failed", cost_nano_usd=0)
    assert cost_text(failed) == ""
    failed.text = "It began"
    assert cost_text(failed) == "free"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("labels", "marked"), [(["a", "a"], False), (["a", "a", "b"], True)]
)
def test_a_second_try_of_the_same_model_is_no_fallback(
    alice: User, labels: list[str], marked: bool
) -> None:
    message = Message(owner=alice, role="assistant", text="Hello", attempts=len(labels))
    RouteDecision.objects.create(
        owner=alice,
        turn_id=message.pk,
        role="chat",
        tier=1,
        decided_by="explicit",
        attempts=[{"label": label} for label in labels],
    )
    assert is_fallback(message) is marked


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("attempts", "text", "marked"),
    [(0, "", False), (1, "Hello", False), (2, "Hello", True), (2, "", False)],
)
def test_an_answer_of_another_model_than_the_first_is_marked(
    alice: User, attempts: int, text: str, marked: bool
) -> None:
    message = Message(
        role="assistant", state="complete", attempts=attempts, text=text, owner=alice
    )
    assert is_fallback(message) is marked
    html = render_to_string("chat/message.html", {"message": message})
    found = re.search(r'<span class="fallback[^>]*>', html)
    assert found is not None
    assert (" hidden" not in found[0]) is marked


def test_a_message_knows_its_neighbours() -> None:
    first, second, third = uuid4(), uuid4(), uuid4()

    def place(of: UUID) -> tuple[int, int, UUID | None, UUID | None]:
        message = Message(id=of)
        message.sibling_ids = (first, second, third)
        found = sibling_place(message)
        assert found is not None
        return found.number, found.count, found.previous, found.next

    assert place(first) == (1, 3, None, second)
    assert place(second) == (2, 3, first, third)
    assert place(third) == (3, 3, second, None)


def test_a_message_alone_has_no_place() -> None:
    message = Message()
    message.sibling_ids = (message.pk,)
    assert sibling_place(message) is None
    assert sibling_place(None) is None


def test_a_text_is_cut_where_another_model_went_on() -> None:
    message = Message(text="Grüße 👋🏽 an alle", seams=[{"at": 8, "model": "b<i>"}])
    assert [(part.text, part.model) for part in text_parts(message)] == [
        ("Grüße 👋🏽", ""),
        (" an alle", "b<i>"),
    ]
    message.role = "assistant"
    html = render_to_string("chat/message.html", {"message": message})
    assert (
        'data-source>Grüße 👋🏽<span class="seam" role="separator" '
        'aria-label="Continued by b&lt;i&gt;" data-model="b&lt;i&gt;">'
        "continued by b&lt;i&gt;</span> an alle</div>"
    ) in html


def test_seams_beyond_the_text_stand_at_its_end() -> None:
    seams = [{"at": 90, "model": "c"}, {"at": 2, "model": "b"}]
    parts = text_parts(Message(text="abcd", seams=seams))
    assert [(part.text, part.model) for part in parts] == [
        ("ab", ""),
        ("cd", "b"),
        ("", "c"),
    ]
    assert text_parts(None) == []


def test_tiers_have_names() -> None:
    names = [tier_name(tier) for tier in (1, 2, 3, None, 0)]
    assert names == ["Quick", "Balanced", "Deep", "", ""]


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("budget_exceeded", {"/money/budgets/#ask"}),
        ("no_model", {"/settings/models/"}),
        ("private_only", {"/settings/models/"}),
        ("upstream_timeout", set()),
        ("", set()),
    ],
)
def test_a_failure_leads_to_its_remedy(code: str, shown: set[str]) -> None:
    message = Message(role="assistant", error_code=code, error_message="It failed.")
    html = render_to_string("chat/message.html", {"message": message})
    links = re.findall(
        r'<a [^>]*href="([^"]+)"[^>]*data-for-error="[^"]+"([^>]*)>', html
    )
    assert len(links) == 2
    assert {href for href, rest in links if "hidden" not in rest} == shown


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"channel": "nextcloud_talk"}, "You, by Nextcloud Talk"),
        ({"channel": "google_chat", "author_name": "Al"}, "Al (you), by Google Chat"),
        ({"channel": "api"}, "You, by API"),
        ({"author_name": "Al"}, "Al (you)"),
        (
            {"channel": "nextcloud_talk", "author_name": "B<i>", "from_guest": True},
            "B&lt;i&gt; (guest), by Nextcloud Talk",
        ),
        (
            {"channel": "nextcloud_talk", "from_guest": True},
            "A guest, by Nextcloud Talk",
        ),
    ],
)
def test_a_message_says_who_wrote_it_and_by_which_door(
    fields: dict[str, Any], words: str
) -> None:
    message = Message(role="user", text="Hi", **fields)
    html = render_to_string("chat/message.html", {"message": message})
    assert f'aria-label="{words or "You"}"' in html
    assert (f'<p class="origin">{words}</p>' in html) == bool(words)
    # What somebody else wrote is not the owner's to rewrite.
    assert ('data-action="edit"' in html) == ("from_guest" not in fields)


def test_the_page_itself_is_no_door_worth_telling() -> None:
    assert origin_of(None).is_plain
    answer = Message(role="assistant", channel="nextcloud_talk")
    html = render_to_string("chat/message.html", {"message": answer})
    assert '<span class="door">Nextcloud Talk</span>' in html
    answer.channel = "web"
    html = render_to_string("chat/message.html", {"message": answer})
    assert 'class="door"' not in html
