"""Texts that end an answer where they first appear; they are no part of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class StopWords:
    """Lets text through until one of the texts appears in it.

    The end of what came is held back while it may be the beginning of one.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._held = ""
        self.hit = False
        """One of them appeared; nothing is let through any more."""

    def feed(self, text: str) -> str:
        """Return what may be shown by now."""
        if self.hit or not self._words:
            return "" if self.hit else text
        text = self._held + text
        places = [place for word in self._words if (place := text.find(word)) >= 0]
        if places:
            self.hit, self._held = True, ""
            return text[: min(places)]
        keep = max(_overlap(text, word) for word in self._words)
        shown = len(text) - keep
        self._held = text[shown:]
        return text[:shown]

    def end(self) -> str:
        """Return what was held back, once the answer has ended."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, word: str) -> int:
    """Return how many last characters of a text are the first ones of a word."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
