"""Tells reasoning between ``<think>`` tags from the answer that follows it.

Servers that do not part the two themselves send the tags of models such as DeepSeek R1
and Qwen 3 as plain text.
"""

from __future__ import annotations


class ThinkingSplitter:
    """Tells ``<think>…</think>`` at the beginning of an answer from the answer.

    Tags may be cut anywhere between two pieces. Later tags belong to the text: an
    answer may well be about them. White space between thinking and text is dropped.
    """

    __slots__ = ("_held", "_state", "_thought")

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"  # then thinking (and start again), at last text
        self._thought = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the thinking and the text that are certain now."""
        if self._state == "text":
            return "", text
        self._held += text
        thinking: list[str] = []
        while self._step(thinking):
            pass
        if self._state == "text":
            text, self._held = self._held, ""
            return "".join(thinking), text
        return "".join(thinking), ""

    def finish(self) -> tuple[str, str]:
        """Return what was held back when the answer ends."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held.strip() and held)

    def _step(self, thinking: list[str]) -> bool:
        """Take one tag or stretch off what is held; say whether to go on."""
        if self._state == "thinking":
            before, tag, after = self._held.partition("</think>")
            if not tag:
                sure = len(before) - _overlap(before, "</think>")
                thinking.append(before[:sure])
                self._held = before[sure:]
                return False
            thinking.append(before)
            self._held, self._state, self._thought = after, "start", True
            return True
        begun = self._held.lstrip()
        if self._thought:
            self._held = begun
        if begun.startswith("<think>"):
            self._held, self._state = begun[len("<think>") :], "thinking"
            return True
        if not "<think>".startswith(begun):
            self._state = "text"
        return False


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` may begin ``tag``."""
    for size in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0
