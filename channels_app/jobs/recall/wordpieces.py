"""Text cut into the pieces that the sentence model knows, as its authors do it.

Small letters, no accents, words apart from punctuation; then each word from its
beginning into the longest pieces of the vocabulary. Pure; the vocabulary is a list of
lines.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2018);
the vocabulary is that of its model "uncased".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

WORD_CHARACTERS: Final = 100
"""A longer word counts as one unknown piece."""
_UNKNOWN: Final = "[UNK]"
_IDEOGRAPHS: Final = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""Each of these characters is a word of its own."""


class WordPieces:
    """One vocabulary, whose lines are numbered from 0."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Take the vocabulary; raises ``KeyError`` where a special piece is missing."""
        self._numbers = {line.rstrip("\n"): place for place, line in enumerate(lines)}
        self._unknown = self._numbers[_UNKNOWN]
        self.begin, self.end = self._numbers["[CLS]"], self._numbers["[SEP]"]

    def numbers(self, text: str, limit: int) -> list[int]:
        """Return the numbers of up to ``limit`` pieces, without begin and end."""
        found: list[int] = []
        # No piece is longer than a word, and none shorter than a character.
        for word in words(text[: limit * WORD_CHARACTERS]):
            found += self._pieces(word)
            if len(found) >= limit:
                break
        return found[:limit]

    def _pieces(self, word: str) -> list[int]:
        if len(word) > WORD_CHARACTERS:
            return [self._unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else f"##{word[start:end]}"
                number = self._numbers.get(piece)
                if number is not None:
                    break
            else:
                return [self._unknown]
            found.append(number)
            start = end
        return found


def words(text: str) -> Iterator[str]:
    """Yield words and marks of punctuation in small letters without accents."""
    word = ""
    for character in unicodedata.normalize("NFD", _apart(text).lower()):
        if unicodedata.category(character) == "Mn":
            continue
        if character.isspace():
            if word:
                yield word
            word = ""
        elif _is_mark(character):
            if word:
                yield word
            yield character
            word = ""
        else:
            word += character
    if word:
        yield word


def _apart(text: str) -> str:
    """Return the text without control characters, ideographs between blanks."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    code = ord(character)
    if code in (0, 0xFFFD) or unicodedata.category(character) in ("Cc", "Cf"):
        return ""
    if any(low <= code <= high for low, high in _IDEOGRAPHS):
        return f" {character} "
    return character


def _is_mark(character: str) -> bool:
    """Say whether it is punctuation; all of ASCII that is no letter or digit is."""
    if character.isascii():
        return not character.isalnum()
    return unicodedata.category(character).startswith("P")
