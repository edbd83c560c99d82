"""Reads what the distilling model answered, whatever form it chose. Pure.

Lenient with the form – prose around the lines, code fences, numbered lists, JSON. What
of it may be stored is for ``personas.memory.verdicts`` to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from personas.memory.lines import clean_text, fold

MOST_CHARACTERS: Final = 40_000
"""What is read of an answer."""
MOST_LINES: Final = 40

MOST_OF_A_LINE: Final = 1_000
"""What is read of a line; one that may be stored is much shorter."""
MOST_OF_NUMBERS: Final = 200

_BETWEEN: Final = re.compile(r"[\s,;/&+]+")
_NUMBER: Final = re.compile(r"([mes]?)([0-9]{0,3})")
_TAIL: Final = " \t\xa0.,;\"'*"
_BULLET: Final = re.compile(r"\A(?:[\"']?[-*•–+]\s+|[\"']?\d{1,2}[.)]\s+)")
_THINKS: Final = re.compile(r"<think(?:ing)?>")
_THOUGHT: Final = re.compile(r"</think(?:ing)?>")
_FENCE: Final = re.compile(r"^```.*$", re.MULTILINE)
_DATE: Final = re.compile(r"\A\d{4}-\d{2}-\d{2}[:,]?\s+(?=\S)")
_DROP: Final = frozenset({"drop", "dropped", "remove", "removed", "delete", "forget"})
_NOTHING: Final = frozenset({"none", "nothing"})
_COMMENT: Final = re.compile(r"<\s*!\s*--.*?--\s*>")
_COMMENT_ENDS: Final = re.compile(r"<\s*!\s*--|--\s*>")
"""Marks, also as ``clean_text`` leaves them: no answer may bring any."""
_KEYS: Final = ("text", "line", "fact", "entry", "memory", "sentence")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an answer; ``numbers`` such as ``("m", 3)``; no text = dropped."""

    text: str
    numbers: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer taken apart."""

    lines: tuple[Line, ...] = ()
    unsourced: int = 0
    """Items of a list that name no number at all."""
    says_nothing: bool = False
    """It says that nothing is to be written, in the one word for it."""


def parse(answer: str) -> Parsed:
    """Take an answer apart, whatever form the model chose."""
    answer = _without_thinking(answer[:MOST_CHARACTERS])
    answer = _FENCE.sub("", answer).strip()
    found: list[Line] = []
    unsourced = 0
    for piece in _pieces(answer):
        text = _without_comments(piece[:MOST_OF_A_LINE])
        if line := _line(text):
            found.append(line)
        elif _BULLET.match(text) and not _says_nothing(text):
            unsourced += 1
    lines = tuple(dict.fromkeys(found))[:MOST_LINES]
    nothing = not lines and not unsourced and _says_nothing(answer)
    return Parsed(lines, unsourced, nothing)


def _without_thinking(answer: str) -> str:
    """Return an answer without what is between two marks of thinking."""
    spoken, at = [], 0
    while begins := _THINKS.search(answer, at):
        ends = _THOUGHT.search(answer, begins.end())
        if ends is None:
            break
        spoken.append(answer[at : begins.start()])
        at = ends.end()
    return "".join([*spoken, answer[at:]])


def _without_comments(text: str) -> str:
    """Return a line without comments, and without what could begin or end one."""
    while (shorter := _COMMENT.sub(" ", text)) != text:
        text = shorter
    while (shorter := _COMMENT_ENDS.sub(" ", text)) != text:
        text = shorter
    return text.strip()


def _pieces(answer: str) -> Iterator[str]:
    """Return the lines of an answer; those inside JSON are strings of it."""
    start = min((at for at in map(answer.find, "[{") if at >= 0), default=-1)
    if start >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(answer[start:])
        except (ValueError, RecursionError):
            pass
        else:
            if pieces := list(_strings(value)):
                yield from pieces
                return
    yield from (line.strip() for line in answer.splitlines() if line.strip())


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Return the lines in a value of JSON: strings, objects with text and source."""
    if isinstance(value, str):
        yield from (line.strip() for line in value.splitlines() if line.strip())
    elif isinstance(value, list) and depth < 4:
        for each in value:
            yield from _strings(each, depth + 1)
    elif isinstance(value, dict) and depth < 4:
        text = next((value[key] for key in _KEYS if key in value), None)
        if isinstance(text, str):
            rest = [each for each in value.values() if each is not text]
            numbers = re.findall(r"[mes]\d{1,3}", json.dumps(rest), re.IGNORECASE)
            one = " ".join(text.split())
            yield f"- {one} [{', '.join(numbers)}]" if numbers else f"- {one}"
        else:
            for each in value.values():
                yield from _strings(each, depth + 1)


def _line(text: str) -> Line | None:
    """Return a line with its numbers; ``None`` = it names none."""
    text = _BULLET.sub("", text).strip()
    said, numbers = _behind(text)
    if not numbers:
        said, numbers = _before(text)
    if not numbers:
        return None
    said = _cleaned(said)
    if fold(said) in _DROP:
        said = ""
    elif not said:
        return None
    return Line(said, numbers)


def _behind(text: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Return what is before the last brackets, and the numbers in them.

    Square ones alone: what looks like numbers in the words of others is shown to the
    model in round ones (``instructions.harmless``), and may come back as it was shown.
    """
    bare = text.rstrip(_TAIL)
    start = bare.rfind("[")
    if start < 0 or not bare.endswith("]") or len(bare) - start > MOST_OF_NUMBERS:
        return text, ()
    return bare[:start], _numbers(bare[start + 1 : -1])


def _before(text: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Return what is behind brackets at the beginning, and the numbers in them."""
    end = text.find("]", 0, MOST_OF_NUMBERS)
    if end < 0 or not text.startswith("["):
        return text, ()
    return text[end + 1 :].lstrip().lstrip(":–-"), _numbers(text[1:end])


def _numbers(inside: str) -> tuple[tuple[str, int], ...]:
    """Return the numbers in brackets; none where anything else stands there."""
    found: list[tuple[str, int]] = []
    letter = ""
    for token in _BETWEEN.split(inside.lower()):
        if token in ("", "and"):
            continue
        number = _NUMBER.fullmatch(token)
        letter = (number[1] or letter) if number else ""
        if number is None or not letter:
            return ()
        if number[2]:
            found.append((letter, int(number[2])))
    return tuple(dict.fromkeys(found))


def _cleaned(text: str) -> str:
    text = clean_text(text).strip("\"'“”* ").rstrip(":")
    return _DATE.sub("", text).strip()


def _says_nothing(text: str) -> bool:
    """Say whether a whole text is the word for nothing, however it is dressed.

    Anything longer, or empty brackets, may as well be an answer that went wrong.
    """
    return len(text) < MOST_OF_NUMBERS and fold(text) in _NOTHING
