"""What a wish in plain words means."""

from __future__ import annotations

import pytest

from personas.memory.lines import entries_of
from personas.memory.matching import statements_of, unrelated, wish_of


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ("my cello lessons", "Has a cello lesson on Mondays"),
        ("that I have a cello lesson on mondays", "Has a CELLO lesson on Mondays."),
        ("I am allergic to nuts", "Allergic to nuts"),
        ("meine Nussallergie", "Hat eine Nussallergie."),
        ("anas birthday", "Ana's birthday is on 4 May"),
        ("café", "Meets Ana at the Cafe"),
        ("7", "Room 7"),
        ("大提琴", "每周一有大提琴课"),
        ("please forget everything about Ana", "Her sister is Ana"),
    ],
)
def test_all_significant_words_must_occur(wish: str, text: str) -> None:
    assert wish_of(wish).means(text)


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ("my cello lesson", "Has a piano lesson"),
        ("cell", "Plays the cello"),
        ("an", "Ana plays"),
        ("car", "Has a scar"),
        ("list", "Has to listen"),
        ("钢琴", "每周一有大提琴课"),
        ("", "anything"),
        ("about what I said", "about what I said"),
    ],
)
def test_what_lacks_a_word_is_not_meant(wish: str, text: str) -> None:
    assert not wish_of(wish).means(text)


def test_a_wish_of_nothing_but_small_words_is_none() -> None:
    assert not wish_of("please forget that about me, x!") and wish_of("tea")


@pytest.mark.parametrize(
    ("text", "everything"),
    [
        ("everything about Ana", True),
        ("Alles über Ana", True),
        ("Ana and everything", False),
    ],
)
def test_everything_is_asked_for_in_words(text: str, everything: bool) -> None:
    assert wish_of(text).everything is everything


def test_a_file_says_all_but_its_headings() -> None:
    text = "# Tea\n- a\n* b\n  - c\n3. d\n\nplain\n<!-- private -->\n> e\n---\n"
    found = statements_of(text)
    assert [one.text for one in found] == ["a", "b", "c", "d", "plain", "> e"]
    assert [one.private for one in found] == [False] * 5 + [True]
    assert [one.raw for one in found][1:3] == ["* b", "  - c"]


@pytest.mark.parametrize(
    ("lines", "several"),
    [
        ("- 2026-01-01 Plays the cello\n- plays the CELLO!", False),
        ("- Has a cello lesson on Mondays\n- Cello lesson Mondays", False),
        (
            "- a cello <!-- from /m/00000000-0000-0000-0000-000000000001 -->\n"
            "- Monday <!-- from /m/00000000-0000-0000-0000-000000000001 -->",
            False,
        ),
        ("- Has a cello lesson on Mondays\n- Bought a cello in 2019", True),
        ("- one", False),
        ("", False),
    ],
)
def test_several_lines_may_say_one_thing(lines: str, several: bool) -> None:
    assert unrelated(entries_of(lines)) is several


def test_very_many_lines_are_never_one_thing() -> None:
    same = [f"- cello lesson number {number}" for number in range(60)]
    assert not unrelated(entries_of("\n".join(same[:50])))
    assert unrelated(entries_of("\n".join(same)))


def test_a_line_between_joins_the_two_beside_it() -> None:
    lines = "- red car\n- blue boat\n- red car blue boat"
    assert not unrelated(entries_of(lines))
    assert unrelated(entries_of(lines)[:2])
