"""Long answers in several messages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_app.bots.splitting import FENCE, split

WORDS = "Lorem ipsum dolor sit amet. "
PIECES = st.one_of(
    st.text(alphabet="abc ä🙂.!\n", max_size=120),
    st.sampled_from(["```python", "```", "~~~", "  ```js", "\n\n", "\n", "- one\n"]),
)


def open_fence(message: str) -> str:
    """Return the marker of the code block that a message leaves open."""
    opened = ""
    for line in message.split("\n"):
        if opened:
            marker = line.strip()
            if len(marker) >= len(opened) and set(marker) == {opened[0]}:
                opened = ""
        elif match := FENCE.fullmatch(line):
            opened = match[2]
    return opened


def test_a_short_answer_stays_as_it_is() -> None:
    text = "One.\n\n\nTwo.\n```\ncode\n```"
    assert split(text) == [text]


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_nothing_is_no_message(text: str) -> None:
    assert split(text) == []


def test_paragraphs_stay_whole() -> None:
    paragraphs = [f"{number} " + "x" * 1500 for number in range(5)]
    assert split("\n\n".join(paragraphs)) == [
        f"{paragraphs[0]}\n\n{paragraphs[1]}",
        f"{paragraphs[2]}\n\n{paragraphs[3]}",
        paragraphs[4],
    ]


def test_a_code_block_that_fits_is_not_cut() -> None:
    code = "```python\n" + "print()\n" * 200 + "```"
    assert split("x" * 3000 + "\n" + code + "\nAfter.") == [
        "x" * 3000,
        code + "\nAfter.",
    ]


def test_a_code_block_in_two_keeps_its_language() -> None:
    lines = [f"line_{number} = {number}" for number in range(400)]
    parts = split("Look:\n\n```python\n" + "\n".join(lines) + "\n```\n\nDone.")
    assert len(parts) > 2
    assert parts[0] == "Look:"
    found: list[str] = []
    for part in parts[1:]:
        assert len(part) <= 4000
        assert part.startswith("```python\n")
        body, _, rest = part.removeprefix("```python\n").partition("\n```")
        found += body.split("\n")
    assert found == lines
    assert rest == "\n\nDone."


def test_an_indented_block_keeps_its_indent() -> None:
    code = "\n".join(["  - x"] * 900)
    parts = split(f"  ~~~yaml\n{code}\n  ~~~")
    assert all(part.startswith("  ~~~yaml\n") for part in parts)
    assert all(part.endswith("\n  ~~~") for part in parts)


def test_backticks_inside_a_longer_fence_do_not_end_it() -> None:
    text = "````md\n```\n" + "word\n" * 1200 + "```\n````"
    parts = split(text)
    assert [part.split("\n", 1)[0] for part in parts] == ["````md"] * len(parts)
    assert all(part.endswith("\n````") for part in parts)


def test_a_block_that_breaks_off_is_closed_only_where_it_was_cut() -> None:
    parts = split("```\n" + "word\n" * 1000)
    assert parts[0].endswith("\n```")
    assert not parts[-1].endswith("```")


def test_a_long_paragraph_ends_with_a_sentence() -> None:
    parts = split(WORDS * 400)
    assert len(parts) == 3
    assert all(part.rstrip().endswith(".") for part in parts)
    assert " ".join(part.strip() for part in parts) == (WORDS * 400).strip()


def test_without_spaces_it_is_cut_but_no_character_is_parted() -> None:
    family = "👨‍👩‍👧‍👦"
    parts = split("a" * 3997 + family * 10)
    assert "".join(parts) == "a" * 3997 + family * 10
    assert not parts[1].startswith("\u200d")
    assert parts[1].count(family) == 10


@given(st.lists(PIECES, max_size=40).map("\n".join))
def test_nothing_is_lost_and_every_message_stands_alone(text: str) -> None:
    parts = split(text, 80)
    assert all(part.strip() and len(part) <= 80 for part in parts)
    assert not any(open_fence(part) for part in parts[:-1])

    def letters(text: str) -> str:
        return re.sub(r"[\s`~]|python|js", "", text)

    assert letters("".join(parts)) == letters(text)
