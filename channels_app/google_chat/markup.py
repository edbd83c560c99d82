"""Turns the Markdown of models into the markup of Google Chat, and cuts it to size.

Chat knows ``*bold*``, ``_italic_``, ``~struck~``, code with backticks, quotes, plain
lists and ``<address|words>``; it has no headings, tables, pictures or languages of
code. Code stays as it is. What would mention people or hide an address is made harmless
last of all, when nothing but the links made here is still put aside. Everything takes a
time that grows with the text as its length does: models can be made to write anything.

Source: developers.google.com/workspace/chat/format-messages and
/workspace/chat/api/reference/rest/v1/spaces.messages (32,000 bytes a message).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from channels_app.bots.splitting import FENCE
from channels_app.bots.splitting import split as split_markdown

MAX_BYTES: Final = 32_000
HIDDEN: Final = "\u200b"
"""A space without width; breaks what Chat would take for a mention or a link."""
WIDEST_COLUMN: Final = 40
"""Characters that a column of a table is filled up to."""

_HEADING: Final = re.compile(r" {0,3}#{1,6}\s+(.*)")
_RULE: Final = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*")
_BULLET: Final = re.compile(r"(\s*)[*+-]\s+(?:\[([ xX])\]\s+)?(.*)")
_TABLE_RULE: Final = re.compile(r":?-+:?")
_SPECIAL: Final = re.compile("<(?=users/|[a-z][a-z0-9+.-]*:[^<>]*[|\4])", re.I)
_BARE: Final = re.compile(r"<((?:https?://|mailto:)[^<>\s|]+)>", re.I)
_BACKTICKS: Final = re.compile("`+")
_LINK: Final = re.compile(
    r"!?\[((?:[^\[\]\\]|\\.|\[[^\[\]]{0,200}\]){0,400})\]"
    r"\(\s{0,8}<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?"
    r"(?:\s{1,8}(?:\"[^\"]{0,400}\"|'[^']{0,400}'))?\s{0,8}\)"
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
_OWN_LINK: Final = re.compile("\4(\\d+)\4")
_PRIVATE: Final = re.compile("[\2\3\4]")
_WEB: Final = re.compile(r"(?:https?://|mailto:)[^\s|<>]+", re.I)
_ADDRESS_LIKE: Final = re.compile(r".*://.*|(?:[\w-]+\.)+[^\W\d_]{2,}(?:[/:?#].*)?")
"""Words that a reader takes for the address behind them."""


def to_chat(markdown: str) -> str:
    """Return a Markdown text as Google Chat shows it."""
    lines = _PRIVATE.sub("", markdown).strip("\n").split("\n")
    links: list[str] = []
    text = _SPECIAL.sub("<" + HIDDEN, "\n".join(_blocks(lines, links)).strip("\n"))
    return _OWN_LINK.sub(lambda found: links[int(found[1])], text)


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


def _blocks(lines: list[str], links: list[str]) -> Iterator[str]:
    """Yield the lines of a text: code as it is, tables as code, the rest inline.

    ``links`` takes up the links, whose places in the text are numbers between ``\\4``.
    """
    prose: list[str] = []
    at = 0
    while at < len(lines):
        if fence := FENCE.fullmatch(lines[at]):
            yield from _prose(prose, links)
            end = _end_of_code(lines, at, fence[2])
            yield from ["```", *lines[at + 1 : end], "```"]
            prose, at = [], end + 1
        elif end := _end_of_table(lines, at):
            yield from _prose(prose, links)
            yield from ["```", *_table(lines[at:end]), "```"]
            prose, at = [], end
        else:
            prose.append(lines[at])
            at += 1
    yield from _prose(prose, links)


def _end_of_code(lines: list[str], start: int, opened: str) -> int:
    """Return the line that closes a block of code, or the end of the text."""
    for at in range(start + 1, len(lines)):
        marker = lines[at].strip()
        if len(marker) >= len(opened) and set(marker) == {opened[0]}:
            return at
    return len(lines)


def _prose(lines: list[str], links: list[str]) -> Iterator[str]:
    if lines:
        yield _inline("\n".join(_line(line) for line in lines), links)


def _line(line: str) -> str:
    """Return a line without the marks of blocks that Chat has not."""
    if _RULE.fullmatch(line):
        return "———"
    if heading := _HEADING.fullmatch(line):
        words = _without_closing(heading[1]).replace("**", "").replace("__", "")
        return f"**{words}**" if words else ""
    if bullet := _BULLET.fullmatch(line):
        ticked = {None: "", " ": "☐ "}.get(bullet[2], "☑ ")
        return f"{bullet[1]}- {ticked}{bullet[3]}"
    return line.rstrip()


def _without_closing(words: str) -> str:
    """Return a heading without the ``#`` that may end it."""
    words = words.rstrip()
    opened = words.rstrip("#")
    return opened.rstrip() if opened[-1:].isspace() or not opened else words


# --- tables ---------------------------------------------------------------------------


def _end_of_table(lines: list[str], start: int) -> int:
    """Return the line after the table that begins here, 0 where none does."""
    if "|" not in lines[start] or start + 1 >= len(lines):
        return 0
    rule = lines[start + 1]
    if "|" not in rule or not all(map(_TABLE_RULE.fullmatch, _cells(rule))):
        return 0
    end = start + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return end


def _table(lines: list[str]) -> Iterator[str]:
    """Yield a table in columns of equal width; what is wider than a column stands out.

    One long cell must not fill every other row with spaces.
    """
    rows = [_cells(line) for at, line in enumerate(lines) if at != 1]
    widths = [0] * max(map(len, rows))
    for row in rows:
        for column, cell in enumerate(row):
            widths[column] = min(WIDEST_COLUMN, max(widths[column], len(cell)))
    for at, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join(cells).rstrip()
        if at == 0:
            yield "  ".join("-" * width for width in widths)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    cells = re.split(r"(?<!\\)\|", inner)
    return [re.sub(r"[*`]|\\(?=\|)", "", cell).strip() for cell in cells]


# --- inside a line --------------------------------------------------------------------


def _inline(text: str, links: list[str]) -> str:
    """Return prose with Chat's marks; code and escapes are put aside meanwhile."""
    aside: list[str] = []

    def keep(done: str) -> str:
        aside.append(done)
        return f"\3{len(aside) - 1}\3"

    text = "".join(keep(part) if is_code else part for part, is_code in _spans(text))
    text = _BARE.sub(lambda found: keep(found[1]), text)
    text = _LINK.sub(lambda found: _link(found[1], found[2], aside, links), text)
    text = _ESCAPED.sub(lambda found: keep(found[1]), text)
    return _restored(_emphasis(text), aside)


def _spans(text: str) -> Iterator[tuple[str, bool]]:
    """Yield a text piece by piece, and whether each is code with its backticks.

    Code ends at the next run of exactly as many backticks as have opened it.
    """
    runs = [found.span() for found in _BACKTICKS.finditer(text)]
    closes: list[int | None] = []
    later: dict[int, int] = {}
    for number in range(len(runs) - 1, -1, -1):
        start, end = runs[number]
        closes.append(later.get(end - start))
        later[end - start] = number
    closes.reverse()
    at = number = 0
    while number < len(runs):
        close = closes[number]
        if close is not None:
            start, end = runs[number][0], runs[close][1]
            yield text[at:start], False
            yield text[start:end], True
            at, number = end, close
        number += 1
    yield text[at:], False


def _emphasis(text: str) -> str:
    for mark, replacement in _EMPHASIS:
        text = mark.sub(replacement, text)
    return text.replace(_BOLD, "*")


def _link(words: str, address: str, aside: list[str], links: list[str]) -> str:
    """Return a link in Chat's form; one that it cannot hold shows its address.

    So does one whose words look like another address than the one behind them.
    """
    words = " ".join(_plain(_restored(words, aside)).split())
    address = _restored(address, aside)
    if not _WEB.fullmatch(address):
        return _literal(f"{words} ({address})" if words else address, aside)
    if not words or words == address:
        return _literal(address, aside)
    if re.search(r"[<>|]", words) or _pretends(words, address):
        return _literal(f"{words} ({address})", aside)
    links.append(f"<{address}|{words}>")
    return f"\4{len(links) - 1}\4"


def _literal(text: str, aside: list[str]) -> str:
    aside.append(text)
    return f"\3{len(aside) - 1}\3"


def _pretends(words: str, address: str) -> bool:
    """Say whether a link's words name an address that it does not lead to."""
    if not _ADDRESS_LIKE.fullmatch(words):
        return False
    said, true = (
        re.sub(r"^[a-z][a-z0-9+.-]*:(?://)?", "", each.lower())
        for each in (words, address)
    )
    said = said.rstrip("/")
    return not (true == said or true.startswith((said + "/", said + "?", said + "#")))


def _plain(words: str) -> str:
    """Return the words of a link without marks, which Chat would show."""
    return _ESCAPED.sub(r"\1", re.sub(r"[*`]|~~|__", "", words))


def _restored(text: str, aside: list[str]) -> str:
    while _KEPT.search(text):
        text = _KEPT.sub(lambda found: aside[int(found[1])], text)
    return text
