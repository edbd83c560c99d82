"""Texts that end an answer."""

from __future__ import annotations

import pytest

from channels_app.api.stop_words import StopWords


def shown(words: list[str], pieces: list[str]) -> tuple[str, bool]:
    stop = StopWords(words)
    text = "".join(map(stop.feed, pieces)) + stop.end()
    return text, stop.hit


@pytest.mark.parametrize(
    ("words", "text", "left"),
    [
        (["END"], "a b END c", "a b "),
        (["\n\n"], "one\n\ntwo", "one"),
        (["c", "b"], "abc", "a"),
        (["aab"], "aaab", "a"),
        (["x"], "abc", None),
        (["abcd"], "abc", None),
        ([], "abc", None),
    ],
)
def test_however_the_text_is_cut(words: list[str], text: str, left: str | None) -> None:
    expected = (text, False) if left is None else (left, True)
    for size in range(1, len(text) + 1):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert shown(words, pieces) == expected


def test_only_what_may_become_a_stop_is_held_back() -> None:
    stop = StopWords(["STOP"])
    assert [stop.feed(text) for text in ("a S", "T", "x", "b")] == [
        "a ",
        "",
        "STx",
        "b",
    ]


def test_nothing_follows_a_stop() -> None:
    stop = StopWords(["."])
    assert stop.feed("One. Two.") == "One"
    assert (stop.feed("Three."), stop.end()) == ("", "")
