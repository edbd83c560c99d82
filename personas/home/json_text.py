"""JSON with the places of its parts, so that the rest of a text can stay as it is.

Python's own decoder reads each value; only the list of messages and the objects on the
way to a secret are walked here.

Source: RFC 8259 (JSON); Python documentation, ``json.JSONDecoder.raw_decode``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from personas.home.disk import Refused

MOST_LEVELS: Final = 64
"""Objects and lists inside one another; more is no file of a person."""
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_BRACKETS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.S)
"""Texts, also one that never ends, and brackets outside of them."""
_DECODER: Final = json.JSONDecoder()


def text_of(raw: bytes) -> str:
    """Return bytes as text; raises ``Refused`` unless they are UTF-8 without zeros."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Refused("is not UTF-8 text.") from None
    if "\0" in text:
        raise Refused("contains a zero character, which is not text.")
    return text


def check_levels(text: str) -> None:
    """Refuse a text whose brackets go too deep, before anything parses it."""
    level = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "[{":
            level += 1
            if level > MOST_LEVELS:
                raise Refused(f"is nested more than {MOST_LEVELS} levels deep.")
        elif found[0] in "]}":
            level -= 1


def parsed(text: str) -> Any:
    """Return the value of a whole JSON text; raises ``Refused``."""
    check_levels(text)
    value, end = value_at(text, skipped(text, 1 if text.startswith("\ufeff") else 0))
    if skipped(text, end) != len(text):
        _not_json(text, end)
    return value


def line_at(text: str, place: int) -> int:
    """Return the number of the line at a place, from 1."""
    return text.count("\n", 0, place) + 1


class Lines:
    """Numbers of lines at places that are asked for in their order.

    Counts on from the last place, because counting from the beginning each time would
    take minutes for a long list.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._place, self._line = 0, 1

    def at(self, place: int) -> int:
        """Return the number of the line at a place, from 1."""
        self._line += self._text.count("\n", self._place, place)
        self._place = place
        return self._line


def skipped(text: str, place: int) -> int:
    """Return the next place that is no blank."""
    found = _BLANK.match(text, place)
    return found.end() if found else place


def value_at(text: str, place: int) -> tuple[Any, int]:
    """Return the value that begins at a place and where it ends; may refuse."""
    try:
        return _DECODER.raw_decode(text, place)
    except json.JSONDecodeError as error:
        _not_json(text, error.pos)
    except (ValueError, RecursionError):
        _not_json(text, place)


def items_at(text: str, place: int) -> Iterator[tuple[Any, int, int]]:
    """Yield value, beginning and end of each item of the list at a place.

    The last one yielded is ``(None, end, end)``, where the closing bracket stands.
    """
    place = skipped(text, place + 1)
    if text[place : place + 1] == "]":
        yield None, place, place
        return
    while True:
        value, end = value_at(text, place)
        yield value, place, end
        place = skipped(text, end)
        if text[place : place + 1] == "]":
            yield None, place, place
            return
        place = _after(text, place, ",")


def fields_at(text: str, place: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, beginning and end of the value of each field of an object.

    The last one yielded is ``("", end, end)``, where the closing bracket stands.
    """
    place = skipped(text, place + 1)
    if text[place : place + 1] == "}":
        yield "", place, place
        return
    while True:
        name, end = value_at(text, place)
        if not isinstance(name, str):
            _not_json(text, place)
        place = _after(text, skipped(text, end), ":")
        _, end = value_at(text, place)
        yield name, place, end
        place = skipped(text, end)
        if text[place : place + 1] == "}":
            yield "", place, place
            return
        place = _after(text, place, ",")


def _after(text: str, place: int, mark: str) -> int:
    if text[place : place + 1] != mark:
        _not_json(text, place)
    return skipped(text, place + 1)


def _not_json(text: str, place: int) -> NoReturn:
    raise Refused(f"is not JSON: line {line_at(text, place)} cannot be read.")
