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

_NUMBERS: Final = r"[mes]\s?\d{1,3}(?:(?:\s*[,;/&+]\s*|\s+and\s+|\s+)[mes]?\s?\d{1,3})*"
_BEHIND: Final = re.compile(
    rf"\A(?P<text>.*?)\s*[\[(](?P<numbers>{_NUMBERS})[\])][\s.,;\"'*]*\Z", re.IGNORECASE
)
_BEFORE: Final = re.compile(
    rf"\A[\[(](?P<numbers>{_NUMBERS})[\])]\s*[:–-]?\s*(?P<text>.+)\Z", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"([mes]?)\s?(\d{1,3})", re.IGNORECASE)
_BULLET: Final = re.compile(r"\A(?:[\"']?[-*•–+]\s+|[\"']?\d{1,2}[.)]\s+)")
_THINKING: Final = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_FENCE: Final = re.compile(r"^```.*$", re.MULTILINE)
_DATE: Final = re.compile(r"\A\d{4}-\d{2}-\d{2}[:,]?\s+(?=\S)")
_DROP: Final = frozenset({"drop", "dropped", "remove", "removed", "delete", "forget"})
_NOTHING: Final = re.compile(
    r"\b(?:none|nothing|no (?:new )?(?:lines|facts|changes?))\b", re.IGNORECASE
)
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
    """It says that nothing is to be written."""


def parse(answer: str) -> Parsed:
    """Take an answer apart, whatever form the model chose."""
    answer = _THINKING.sub("", answer[:MOST_CHARACTERS])
    answer = _FENCE.sub("", answer).strip()
    found: list[Line] = []
    unsourced = 0
    for text in _pieces(answer):
        if line := _line(text):
            found.append(line)
        elif _BULLET.match(text) and not _says_nothing(text):
            unsourced += 1
    lines = tuple(dict.fromkeys(found))[:MOST_LINES]
    nothing = not lines and not unsourced and (not answer or _says_nothing(answer))
    return Parsed(lines, unsourced, nothing)


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
    found = _BEHIND.match(text) or _BEFORE.match(text)
    if found is None:
        return None
    numbers, letter = [], "m"
    for given, digits in _NUMBER.findall(found["numbers"]):
        letter = given.lower() or letter
        numbers.append((letter, int(digits)))
    said = _cleaned(found["text"])
    if fold(said) in _DROP:
        said = ""
    elif not said:
        return None
    return Line(said, tuple(dict.fromkeys(numbers)))


def _cleaned(text: str) -> str:
    text = clean_text(text).strip("\"'“”* ").rstrip(":")
    return _DATE.sub("", text).strip()


def _says_nothing(text: str) -> bool:
    return text in {"[]", "{}"} or (len(text) < 200 and bool(_NOTHING.search(text)))
