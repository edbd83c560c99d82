"""Differences between two texts."""

from __future__ import annotations

from personas.diffs import MAX_LINES, diff


def shown(before: str, after: str) -> list[str]:
    marks = {"same": " ", "added": "+", "removed": "-", "gap": "@"}
    return [marks[line.kind] + line.text for line in diff(before, after)]


def test_equal_texts_have_no_difference() -> None:
    assert shown("a\nb", "a\nb") == []


def test_changes_stand_between_a_few_unchanged_lines() -> None:
    before = "\n".join("abcdefghijklmnop")
    after = before.replace("h", "H").replace("p", "p\nq")
    assert shown(before, after) == [
        *["@", " e", " f", " g", "-h", "+H", " i", " j", " k"],
        *["@", " n", " o", " p", "+q"],
    ]


def test_a_change_at_the_beginning_has_no_gap_before_it() -> None:
    assert shown("a\nb", "x\nb") == ["-a", "+x", " b"]


def test_from_and_to_empty() -> None:
    assert shown("", "a\nb") == ["+a", "+b"]
    assert shown("a", "") == ["-a"]


def test_changed_line_ends_at_the_end_are_seen() -> None:
    assert shown("a", "a\n") == [" a", "+"]


def test_very_long_texts_are_shown_whole_instead_of_compared() -> None:
    before = "x\n" * MAX_LINES
    lines = diff(before, before + "y")
    assert len(lines) == 2 * (MAX_LINES + 1)
    assert {line.kind for line in lines} == {"added", "removed"}
