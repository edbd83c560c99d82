"""What a person types into the search, read: words, "phrases" and filters.

Pure. ``persona: from: before: after: in:`` are filters, values with blanks stand in
quotation marks; everything else, also ``other:things``, is words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from personas.errors import PersonaError
from personas.search.words import Term, term_of

FILTERS: Final = ("persona", "from", "before", "after", "in")
MAX_QUERY: Final = 400
"""Characters that are read."""
MAX_TERMS: Final = 12
YEARS: Final = range(1900, 2200)
_EXAMPLES: Final = {
    "persona": "persona:inara",
    "from": "from:me",
    "before": "before:2026-05-31",
    "after": "after:2026-01-01",
    "in": 'in:"summer holidays"',
}
_PIECE = re.compile(
    rf'(?<!\S)(?P<filter>{"|".join(FILTERS)}):(?P<value>"[^"]*"?|\S*)'
    r'|"(?P<phrase>[^"]*)"'
    r'|(?P<word>[^\s"]+)',
    re.IGNORECASE,
)
_PLAIN = str.maketrans("“”„«»\0", '""""" ')
_MINUS = re.compile(r"-[^\W\d_]")


class BadFilter(PersonaError):
    """A filter that cannot be understood; ``str()`` says what to write."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search, understood. Dates are days where the person lives."""

    words: tuple[Term, ...] = ()
    phrases: tuple[Term, ...] = ()
    persona: str = ""
    by: str = ""
    before: date | None = None
    """Said before this day."""
    after: date | None = None
    """Said on this day or later."""
    where: str = ""

    @property
    def terms(self) -> tuple[Term, ...]:
        """All that must occur."""
        return self.words + self.phrases

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look for."""
        return self == SearchQuery()


def parse(text: str) -> SearchQuery:
    """Read a search; words may go on, phrases are exact.

    Raises:
        BadFilter: A filter without a value, twice, or with a date that is none; days
            between which there is none; a word that is to be left out.
    """
    words: list[Term] = []
    phrases: list[Term] = []
    values: dict[str, str] = {}
    for piece in _PIECE.finditer(text.translate(_PLAIN)[:MAX_QUERY]):
        if name := piece["filter"]:
            _take(values, name.lower(), piece["value"].strip('" '))
        elif piece["phrase"] is not None:
            phrases += _terms(piece["phrase"], prefix=False)
        else:
            _check_no_minus(piece["word"])
            words += _terms(piece["word"], prefix=True)
    before, after = _day("before", values), _day("after", values)
    if before and after and after >= before:
        raise BadFilter(f"No day is before {before} and yet {after} or later.")
    return SearchQuery(
        words=tuple(dict.fromkeys(words))[:MAX_TERMS],
        phrases=tuple(dict.fromkeys(phrases))[:MAX_TERMS],
        persona=values.get("persona", ""),
        by=values.get("from", ""),
        before=before,
        after=after,
        where=values.get("in", ""),
    )


def _check_no_minus(word: str) -> None:
    """Refuse what elsewhere leaves a word out; else it would look for that word."""
    if _MINUS.match(word):
        raise BadFilter(
            f"No word can be left out: for “{word}” write “{word[1:]}”, or put it in "
            "quotation marks."
        )


def _terms(text: str, *, prefix: bool) -> list[Term]:
    term = term_of(text, prefix=prefix)
    return [term] if term else []


def _take(values: dict[str, str], name: str, value: str) -> None:
    if not value:
        raise BadFilter(f"Write something behind “{name}:”, such as {_EXAMPLES[name]}.")
    if name in values:
        raise BadFilter(f"“{name}:” may stand only once.")
    values[name] = value


def _day(name: str, values: dict[str, str]) -> date | None:
    if name not in values:
        return None
    try:
        day = date.fromisoformat(values[name])
    except ValueError:
        day = date.min
    if day.year not in YEARS:  # others cannot be told in every time zone
        raise BadFilter(
            f"“{name}:{values[name]}” is no date: write it as {_EXAMPLES[name]}."
        )
    return day
