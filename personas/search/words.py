"""Words as search compares them: folded, split, and shortened to what they begin with.

Both databases index and compare nothing but ``fold(text)``: small letters and digits
without accents, with single blanks between words. Writing systems that set no blanks
between words are split into single characters, so that a word of theirs is a phrase.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_WORD: Final = 64
"""Characters of a word that count; more of them is a key or an address."""
MAX_TERM: Final = 16
"""Words of a phrase that count; each Chinese character is one."""
MAX_TEXT: Final = 200_000
"""Characters of a text that are folded."""
MAX_BYTES: Final = 400_000
"""Of a folded text that are indexed. PostgreSQL takes 1 MB for the different words of a
text together with their places, which comes to 8 bytes for 4 of Chinese at most.

Source: PostgreSQL documentation, "Limitations" of text search.
"""
_WITHOUT_BLANKS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3040-\u30ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese characters
    "\U00020000-\U0003ffff"
)
_SINGLE = re.compile(f"([{_WITHOUT_BLANKS}])")
_TOKEN = re.compile(f"[{_WITHOUT_BLANKS}]|[^\\W_{_WITHOUT_BLANKS}]+")
_NOT_WORDS = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Return the words of a text as they are indexed, with single blanks between."""
    plain = text[:MAX_TEXT]
    if not plain.isascii():
        plain = _without_accents(plain)
    words = _NOT_WORDS.sub(" ", plain.lower()).split()
    folded = " ".join(word[:MAX_WORD] for word in words)
    if len(folded) * 4 <= MAX_BYTES:
        return folded
    return folded.encode()[:MAX_BYTES].decode(errors="ignore").rstrip()


def _without_accents(text: str) -> str:
    """Take accents off, write ß as ss, and set the single characters apart."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(c for c in apart if unicodedata.category(c) != "Mn")
    return _SINGLE.sub(r" \1 ", unicodedata.normalize("NFC", bare))


@dataclass(frozen=True, slots=True)
class Term:
    """Words that must follow each other; the last may go on when ``prefix``."""

    words: tuple[str, ...]
    prefix: bool = False


def term_of(text: str, *, prefix: bool = False) -> Term | None:
    """Return a word or phrase as a term; ``None`` when it has nothing to look for.

    A prefix counts from the third letter on: one or two letters begin too many words.
    """
    words = tuple(fold(text).split()[:MAX_TERM])
    if not words:
        return None
    last = words[-1]
    return Term(words, prefix and (len(last) > 2 and not _SINGLE.match(last)))


@dataclass(frozen=True, slots=True)
class Token:
    """A word as it stands in a text: where, and folded."""

    start: int
    end: int
    folded: str


def tokens(text: str) -> Iterator[Token]:
    """Yield the words of a text with their places in it."""
    for match in _TOKEN.finditer(text):
        word = match[0]
        folded = word.lower()[:MAX_WORD] if word.isascii() else _folded(word)
        yield Token(match.start(), match.end(), folded)


_folded = lru_cache(maxsize=8192)(fold)
"""For single characters above all, of which a long text repeats few."""


def places(words: list[str], term: Term) -> Iterator[int]:
    """Yield where in a list of folded words a term begins."""
    first, count = term.words[0], len(term.words)
    for at, word in enumerate(words):
        if count == 1:
            if word == first or (term.prefix and word.startswith(first)):
                yield at
        elif word == first and _goes_on(words[at : at + count], term):
            yield at


def _goes_on(words: list[str], term: Term) -> bool:
    *before, last = term.words
    if len(words) < len(term.words) or words[:-1] != before:
        return False
    return words[-1] == last or (term.prefix and words[-1].startswith(last))
