"""The seam between two models that write one answer."""

from __future__ import annotations

import pytest

from routing.backends.base import ContextTooLong, Prompt, PromptMessage
from routing.continuation import (
    CUT_MARK,
    LONGEST_OVERLAP,
    REQUEST,
    Seam,
    continued,
)

PROMPT = Prompt("Be kind.", (PromptMessage("user", "Tell me a story."),))


def join(shown: str, new: str, size: int = 1) -> str:
    """Return what is shown in the end when ``new`` arrives in pieces."""
    seam = Seam(shown)
    pieces = [new[i : i + size] for i in range(0, len(new), size)]
    return shown + "".join(seam.take(piece) for piece in pieces) + seam.end()


@pytest.mark.parametrize(
    ("shown", "new", "whole"),
    [
        ("Once upon a", " time", "Once upon a time"),
        ("Once upon a", "upon a time", "Once upon a time"),
        ("Once upon a ", "upon a time", "Once upon a time"),
        ("Once upon a", "\n\nOnce upon a time", "Once upon a time"),
        ("This is the sta", "the statement", "This is the statement"),
        ("This is the sta", "tement", "This is the statement"),
        ("It ends with a cat", "a dog", "It ends with a cata dog"),
        ("the the", " the end", "the the end"),
        ("a b c", "x", "a b cx"),
        ("All of it.", "All of it.", "All of it."),
        ("Grüße, 世界", "世界!", "Grüße, 世界世界!"),
        ("Grüße an alle 世界", "alle 世界!", "Grüße an alle 世界!"),
        ("code:\n```\nx = 1\n", "```\nx = 1\ny = 2", "code:\n```\nx = 1\ny = 2"),
        ("ends", "", "ends"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_repetition_is_left_out_and_nothing_else(
    shown: str, new: str, whole: str, size: int
) -> None:
    assert join(shown, new, size) == whole


def test_text_that_repeats_nothing_is_shown_at_once() -> None:
    seam = Seam("The quick brown fox")
    assert seam.take(" jumps") == " jumps"
    assert seam.take("The quick brown fox") == "The quick brown fox"
    assert seam.end() == ""


def test_what_is_held_back_is_bounded() -> None:
    words = " ".join(f"word{number}" for number in range(500))
    seam, shown = Seam(words), ""
    for start in range(0, len(words), 10):
        shown += seam.take(words[start : start + 10])
    assert len(words) - len(shown) <= LONGEST_OVERLAP
    spaces = Seam("text")
    assert spaces.take(" " * 1000) == " " * 1000


def test_prompt_asks_to_go_on_after_the_text() -> None:
    rooms: list[int] = []

    def build(room: int) -> Prompt:
        rooms.append(room)
        return PROMPT

    prompt = continued(build, 1000, "Once upon a")
    assert prompt.messages == (
        *PROMPT.messages,
        PromptMessage("assistant", "Once upon a"),
        PromptMessage("user", REQUEST),
    )
    assert 850 < rooms[0] < 1000


def test_only_the_end_of_a_very_long_text_is_sent() -> None:
    prompt = continued(lambda room: PROMPT, 1000, "ä" * 10_000 + "end")
    text = prompt.messages[-2].text
    assert text.startswith(CUT_MARK + "ä")
    assert text.endswith("ä" + "end")
    assert len(text.encode()) <= 2000 + len(CUT_MARK.encode())


def test_model_without_room_is_passed_over() -> None:
    with pytest.raises(ContextTooLong):
        continued(lambda room: PROMPT, 40, "some text")
