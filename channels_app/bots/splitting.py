"""Cuts an answer into messages, between paragraphs and around code where possible.

Every message stands alone: a code block that is cut in two is closed in the first
message and opened again, with its language, in the next. Nothing but white space at
the cuts is lost.

Source: https://spec.commonmark.org/0.31.2/#fenced-code-blocks
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 4_000
"""Characters of one message; Talk takes 32,000, which nobody reads on a phone."""
FENCE: Final = re.compile(r"([ \t]*)(`{3,}|~{3,})([^\n`]{0,80})")
JOINERS: Final = "\u200d\ufe0e\ufe0f"
"""Joiner and variants of emoji, which belong to the character before them."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A paragraph or a code block; ``gap`` is the white space in front of it."""

    text: str
    gap: str
    opening: str = ""
    """The line that opens a code block, empty for a paragraph."""
    closing: str = ""


def split(text: str, limit: int = LIMIT) -> list[str]:
    """Return the messages of an answer, none of them empty or above ``limit``.

    Args:
        text: Markdown.
        limit: Most characters of one message.
    """
    messages: list[str] = []
    current = ""
    for block in _blocks(text):
        joined = current + block.gap + block.text if current else block.text
        if len(joined) <= limit:
            current = joined
            continue
        if current:
            messages.append(current)
        *whole, current = _pieces(block, limit)
        messages += whole
    messages.append(current)
    return [message for message in messages if message.strip()]


def _blocks(text: str) -> Iterator[_Block]:
    """Yield paragraphs and code blocks in order."""
    lines: list[str] = []
    gap: list[str] = []
    fence: re.Match[str] | None = None
    for line in text.strip("\n").split("\n"):
        opens = None if fence else FENCE.fullmatch(line)
        if fence:
            lines.append(line)
            if _closes(fence, line):
                yield _block(lines, gap, fence)
                lines, gap, fence = [], [], None
        elif opens or not line.strip():
            if lines:
                yield _block(lines, gap, None)
                lines, gap = [], []
            if opens:
                lines, fence = [line], opens
            else:
                gap.append(line)
        else:
            lines.append(line)
    if lines:
        yield _block(lines, gap, fence)


def _closes(fence: re.Match[str], line: str) -> bool:
    marker = line.strip()
    opened = fence[2]
    return len(marker) >= len(opened) and marker == opened[0] * len(marker)


def _block(lines: list[str], gap: list[str], fence: re.Match[str] | None) -> _Block:
    text, space = "\n".join(lines), "\n".join(["", *gap, ""])
    if fence is None:
        return _Block(text, space)
    return _Block(text, space, fence[0], fence[1] + fence[2])


def _pieces(block: _Block, limit: int) -> list[str]:
    """Cut a block that may be longer than a message."""
    if len(block.text) <= limit:
        return [block.text]
    room = limit - len(block.opening) - len(block.closing) - 2
    if not block.opening or room < limit // 2:
        return _cut(block.text, limit)
    body = block.text.removeprefix(block.opening + "\n")
    ended = body.endswith("\n" + block.closing)
    body = body.removesuffix("\n" + block.closing)
    pieces = [
        f"{block.opening}\n{piece}\n{block.closing}" for piece in _lines(body, room)
    ]
    if not ended:  # the answer broke off inside the block
        pieces[-1] = pieces[-1].removesuffix("\n" + block.closing)
    return pieces


def _lines(code: str, limit: int) -> list[str]:
    """Cut code between its lines; a line that is too long is cut inside."""
    pieces: list[str] = []
    current: str | None = None
    for line in code.split("\n"):
        for part in _slices(line, limit):
            joined = part if current is None else f"{current}\n{part}"
            if len(joined) > limit and current is not None:
                pieces.append(current)
                joined = part
            current = joined
    return [*pieces, current or ""]


def _slices(line: str, limit: int) -> Iterator[str]:
    while len(line) > limit:
        at = _safe(line, limit)
        yield line[:at]
        line = line[at:]
    yield line


def _cut(text: str, limit: int) -> list[str]:
    """Cut a paragraph after a line, else after a sentence, a word or a character."""
    pieces = []
    while len(text) > limit:
        at = _best(text, limit)
        pieces.append(text[:at].rstrip())
        text = text[at:].lstrip("\n").removeprefix(" ")
    return [*pieces, text]


def _best(text: str, limit: int) -> int:
    """Return where to cut; not so early that a message would be nearly empty."""
    earliest = limit // 2
    line = text.rfind("\n", earliest, limit + 1)
    if line > 0:
        return line
    head = text[:limit]
    ends = [match.end() for match in re.finditer(r"[.!?…。](?=\s)", head)]
    if ends and ends[-1] >= earliest:
        return ends[-1]
    word = text.rfind(" ", earliest, limit + 1)
    return word if word > 0 else _safe(text, limit)


def _safe(text: str, at: int) -> int:
    """Return a place at or before ``at`` that does not part a character's marks."""
    for place in range(at, max(at - 16, 1), -1):
        if not (_belongs(text[place]) or text[place - 1] == JOINERS[0]):
            return place
    return at


def _belongs(character: str) -> bool:
    return character in JOINERS or unicodedata.combining(character) != 0
