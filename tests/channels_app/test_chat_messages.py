"""What the template of a message says about cost and versions."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from channels_app.templatetags.chat_messages import cost_text, sibling_place
from personas.models import Message


@pytest.mark.parametrize(
    ("nano", "estimated", "text"),
    [
        (None, False, "cost unknown"),
        (None, True, "cost unknown"),
        (0, False, "free"),
        (0, True, "free"),
        (125_000, False, "$0.000125"),
        (125_000, True, "$0.000125 (estimated)"),
    ],
)
def test_cost_is_told_in_words(nano: int | None, estimated: bool, text: str) -> None:
    assert cost_text(Message(cost_nano_usd=nano, estimated=estimated)) == text


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
