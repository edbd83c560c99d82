"""Turns the Markdown of models into the markup of Google Chat, and cuts it to size.

Chat knows ``*bold*``, ``_italic_``, ``~struck~``, code with backticks, quotes, plain
lists and ``<address|words>``; it has no headings, tables, pictures or languages of
code. Code stays as it is. What would mention people or hide an address behind other
words without having been a Markdown link is made harmless.

Source: developers.google.com/workspace/chat/format-messages and
/workspace/chat/api/reference/rest/v1/spaces.messages (32,000 bytes a message).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from channels_app.nextcloud_talk.splitting import split as split_markdown

MAX_BYTES: Final = 32_000
HIDDEN: Final = "\u200b"
"""A space without width; breaks what Chat would take for a mention or a link."""

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[^`]*")
_HEADING: Final = re.compile(r" {0,3}#{1,6}\s+(.*?)(?:\s+#+)?\s*")
_RULE: Final = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*")
_BULLET: Final = re.compile(r"(\s*)[*+-]\s+(?:\[([ xX])\]\s+)?(.*)")
_TABLE_RULE: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_SPECIAL: Final = re.compile(r"<(?=users/|[a-z][a-z0-9+.-]*:[^<>]*\|)", re.I)
_BARE: Final = re.compile(r"<((?:https?://|mailto:)[^<>\s|]+)>", re.I)
_CODE: Final = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_LINK: Final = re.compile(
    r"!?\[((?:[^\[\]\\]|\\.|\[[^\[\]]{0,200}\]){0,400})\]"
    r"\(\s*<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?"
    r"(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)"
)
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
# Bounded, so that marks which nothing closes cost no quadratic time.
_EMPHASIS: Final = (
    (
        re.compile(r"(?<![*\w])\*\*\*(?=\S)(.{1,400}?)(?<=\S)\*\*\*(?!\*)", re.S),
        "\2_\\1_\2",
    ),
    (re.compile(r"\*\*(?=\S)(.{1,400}?)(?<=\S)\*\*(?!\*)", re.S), "\2\\1\2"),
    (re.compile(r"(?<![_\w])__(?=\S)(.{1,400}?)(?<=\S)__(?![_\w])", re.S), "\2\\1\2"),
    (re.compile(r"(?<![*\w])\*(?=[^\s*])(.{1,400}?)(?<=[^\s*])\*(?![*\w])"), "_\\1_"),
    (re.compile(r"~~(?=\S)(.{1,400}?)(?<=\S)~~", re.S), "~\\1~"),
)
_BOLD: Final = "\2"
"""Stands for Chat's ``*`` until all of Markdown's stars have been read."""
_KEPT: Final = re.compile("\3(\\d+)\3")
_PRIVATE: Final = re.compile("[\2\3]")
_WEB: Final = re.compile(r"(?:https?://|mailto:)[^\s|<>]+", re.I)


def to_chat(markdown: str) -> str:
    """Return a Markdown text as Google Chat shows it."""
    lines = _PRIVATE.sub("", markdown).strip("\n").split("\n")
    return "\n".join(_blocks(lines)).strip("\n")


def plain(words: str) -> str:
    """Return a name on one line, without what Chat would take for marks."""
    return " ".join(re.sub(r"[*_~`<>|]", " ", words).split())


def split(markdown: str, max_bytes: int = MAX_BYTES) -> list[str]:
    """Cut Markdown into parts that fit a message each once they are Chat's markup.

    Parts end between paragraphs where possible; code is closed and opened again.
    """
    waiting = [(markdown, max_bytes)]
    fitting: list[str] = []
    while waiting:
        text, limit = waiting.pop()
        if not text.strip():
            continue
        size = len(to_chat(text).encode())
        if size <= max_bytes:
            fitting.append(text)
            continue
        limit = max(100, min(limit, len(text) * max_bytes * 9 // (size * 10)))
        waiting += [(part, limit) for part in reversed(split_markdown(text, limit))]
    return fitting


# --- blocks ---------------------------------------------------------------------------


def _blocks(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a text: code as it is, tables as code, the rest inline."""
    prose: list[str] = []
    at = 0
    while at < len(lines):
        if fence := _FENCE.fullmatch(lines[at]):
            yield from _prose(prose)
            end = _end_of_code(lines, at, fence[1])
            yield from ["```", *map(_harmless, lines[at + 1 : end]), "```"]
            prose, at = [], end + 1
        elif end := _end_of_table(lines, at):
            yield from _prose(prose)
            yield from ["```", *_table(lines[at:end]), "```"]
            prose, at = [], end
        else:
            prose.append(lines[at])
            at += 1
    yield from _prose(prose)


def _end_of_code(lines: list[str], start: int, opened: str) -> int:
    """Return the line that closes a block of code, or the end of the text."""
    for at in range(start + 1, len(lines)):
        marker = lines[at].strip()
        if len(marker) >= len(opened) and set(marker) == {opened[0]}:
            return at
    return len(lines)


def _prose(lines: list[str]) -> Iterator[str]:
    if lines:
        yield _inline("\n".join(_line(line) for line in lines))


def _line(line: str) -> str:
    """Return a line without the marks of blocks that Chat has not."""
    if _RULE.fullmatch(line):
        return "———"
    if heading := _HEADING.fullmatch(line):
        words = heading[1].replace("**", "").replace("__", "")
        return f"**{words}**" if words else ""
    if bullet := _BULLET.fullmatch(line):
        ticked = {None: "", " ": "☐ "}.get(bullet[2], "☑ ")
        return f"{bullet[1]}- {ticked}{bullet[3]}"
    return line.rstrip()


# --- tables ---------------------------------------------------------------------------


def _end_of_table(lines: list[str], start: int) -> int:
    """Return the line after the table that begins here, 0 where none does."""
    if "|" not in lines[start] or start + 1 >= len(lines):
        return 0
    rule = lines[start + 1]
    if "-" not in rule or "|" not in rule or not _TABLE_RULE.fullmatch(rule):
        return 0
    end = start + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return end


def _table(lines: list[str]) -> Iterator[str]:
    """Yield a table in columns of equal width."""
    rows = [_cells(line) for at, line in enumerate(lines) if at != 1]
    widths = [
        max(len(row[column]) if column < len(row) else 0 for row in rows)
        for column in range(max(map(len, rows)))
    ]
    for at, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield _harmless("  ".join(cells).rstrip())
        if at == 0:
            yield "  ".join("-" * width for width in widths)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    cells = re.split(r"(?<!\\)\|", inner)
    return [re.sub(r"[*`]|\\(?=\|)", "", cell).strip() for cell in cells]


# --- inside a line --------------------------------------------------------------------


def _inline(text: str) -> str:
    """Return prose with Chat's marks; code and links are put aside meanwhile."""
    aside: list[str] = []

    def keep(done: str) -> str:
        aside.append(done)
        return f"\3{len(aside) - 1}\3"

    text = _CODE.sub(lambda found: keep(_harmless(found[0])), text)
    text = _BARE.sub(lambda found: keep(found[1]), text)
    text = _LINK.sub(lambda found: keep(_link(found[1], found[2], aside)), text)
    text = _ESCAPED.sub(lambda found: keep(found[1]), text)
    text = _emphasis(_harmless(text))
    return _restored(text, aside)


def _emphasis(text: str) -> str:
    for mark, replacement in _EMPHASIS:
        text = mark.sub(replacement, text)
    return text.replace(_BOLD, "*")


def _link(words: str, address: str, aside: list[str]) -> str:
    """Return a link in Chat's form; one that it cannot hold shows its address."""
    words = " ".join(_plain(_restored(words, aside)).split())
    if not _WEB.fullmatch(address):
        return _harmless(f"{words} ({address})" if words else address)
    if not words or words == address:
        return address
    if re.search(r"[<>|]", words):
        return f"{_harmless(words)} ({address})"
    return f"<{address}|{words}>"


def _plain(words: str) -> str:
    """Return the words of a link without marks, which Chat would show."""
    return _ESCAPED.sub(r"\1", re.sub(r"[*`]|~~|__", "", words))


def _restored(text: str, aside: list[str]) -> str:
    while _KEPT.search(text):
        text = _KEPT.sub(lambda found: aside[int(found[1])], text)
    return text


def _harmless(text: str) -> str:
    """Break what would mention somebody or be a link in disguise."""
    return _SPECIAL.sub("<" + HIDDEN, text)
