"""Text is cut into the pieces that the model's authors cut it into."""

from __future__ import annotations

import pytest

from channels_app.jobs.recall.wordpieces import WORD_CHARACTERS, WordPieces, words

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "##s", "ca", "##fe", "!", "日"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("Grüße naïve É", ["gruße", "naive", "e"]),
        ("it's $5", ["it", "'", "s", "$", "5"]),
        ("日本x", ["日", "本", "x"]),
        ("a\tb\nc\u00a0d", ["a", "b", "c", "d"]),
        ("a\u200db\x00c\x07", ["abc"]),
        ("“so” – said", ["“", "so", "”", "–", "said"]),
        ("", []),
        ("  ", []),
    ],
)
def test_words_are_small_without_accents_and_apart_from_marks(
    text: str, expected: list[str]
) -> None:
    assert list(words(text)) == expected


def test_the_longest_piece_comes_first() -> None:
    pieces = WordPieces(VOCABULARY)
    assert pieces.numbers("Cats! café 日", 99) == [4, 5, 8, 6, 7, 9]


def test_what_cannot_be_cut_is_unknown_as_a_whole() -> None:
    pieces = WordPieces(VOCABULARY)
    assert pieces.numbers("catx", 99) == [1]
    assert pieces.numbers("s" * (WORD_CHARACTERS + 1), 99) == [1]


def test_no_more_pieces_than_asked_for() -> None:
    assert len(WordPieces(VOCABULARY).numbers("cats " * 1000, 7)) == 7


def test_a_vocabulary_without_special_pieces_is_refused() -> None:
    with pytest.raises(KeyError):
        WordPieces(["cat"])
