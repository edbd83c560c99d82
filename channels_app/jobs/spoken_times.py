"""“Every morning at seven tell me …” as a cron expression and what is to be asked.

Pure, and English only, like the pages. ``read`` takes any text that says when; whether
an ordinary message is such a wish is judged more strictly by ``asks_for_a_brief``: it
must be a request, and the time must stand at its beginning, behind its verb, or at its
end. Whatever is
read is only proposed, never set up without a yes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_NUMBERS: Final = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
_WEEKDAYS: Final = {
    "sunday": 0,
    "monday": 1,
    "tuesday": 2,
    "wednesday": 3,
    "thursday": 4,
    "friday": 5,
    "saturday": 6,
}
_PARTS: Final = {
    "morning": (7, False),
    "noon": (12, True),
    "lunchtime": (12, True),
    "afternoon": (15, True),
    "evening": (18, True),
    "night": (21, True),
}
"""Parts of a day: the hour where none is said, and whether “7” means 19:00 there."""
_USUAL_HOUR: Final = 8
_NOON: Final = 12
MAX_CHARS: Final = 4_000
"""In a longer message the time is a detail, not a wish."""

_ONE_TO_TWELVE = "|".join(_NUMBERS)
_HALF_DAY = r"(?:a\.?m\b\.?|p\.?m\b\.?)"
_PART = "|".join(_PARTS)
_CLOCK = rf"""
(?:at\s+|around\s+)?(?:
  (?P<name>noon|midday|midnight)
  | (?P<past>half\s+past|quarter\s+past|quarter\s+to)\s+
    (?P<past_hour>{_ONE_TO_TWELVE}|\d{{1,2}})
  | (?P<hour>\d{{1,2}})(?:[:.](?P<minute>\d{{2}}))?
    \s*(?P<half>{_HALF_DAY}|o['’]?clock|h\b)?
  | (?P<word>{_ONE_TO_TWELVE})\b
    (?:\s+(?P<word_minute>fifteen|thirty|forty[\s-]five)\b)?
    \s*(?P<word_half>{_HALF_DAY}|o['’]?clock)?
)(?:\s+(?:in\s+the|at)\s+(?P<part_said>{_PART}))?
"""
_DAY = "|".join(_WEEKDAYS)
_EVERY = r"(?:every|each)"
_DAYS = rf"""
(?:
  (?P<weekdays>{_EVERY}\s+(?:weekday|work(?:ing)?\s?day)|on\s+weekdays)
  | (?P<weekend>{_EVERY}\s+weekend|(?:on|at)\s+(?:the\s+)?weekends?)
  | (?:{_EVERY}\s+month\s+on|monthly\s+on)\s+the\s+(?P<date>\d{{1,2}})(?:st|nd|rd|th)?
  | on\s+the\s+(?P<date_of>\d{{1,2}})(?:st|nd|rd|th)?\s+of\s+{_EVERY}\s+month
  | (?P<first>(?:on\s+the|{_EVERY})\s+first\s+of\s+(?:the|{_EVERY})\s+month)
  | (?:{_EVERY}\s+(?:week\s+on\s+)?|weekly\s+on\s+|on\s+(?=(?:{_DAY})s\b))
      (?P<days>(?:{_DAY})s?(?:\s*(?:,|and|&|,\s*and)\s*(?:{_EVERY}\s+|on\s+)?(?:{_DAY})s?)*)
      (?:\s+(?P<day_part>{_PART}))?
  | (?P<daily>{_EVERY}\s+(?:single\s+)?day|daily)
  | {_EVERY}\s+(?P<part>{_PART})
)
"""
_SPANS = rf"""
{_EVERY}\s+(?:
  (?P<some_minutes>\d{{1,2}}|{_ONE_TO_TWELVE}|thirty|fifteen|twenty)\s+minutes
  | (?P<some_hours>\d{{1,2}}|{_ONE_TO_TWELVE})\s+hours
  | (?P<half_hour>half\s+(?:an\s+)?hour)
  | (?P<one_hour>hour)
  | (?P<one_minute>minute)
) | (?P<hourly>hourly)
"""
_FLAGS: Final = re.IGNORECASE | re.VERBOSE
_WHEN: Final = (
    re.compile(rf"(?:{_DAYS})(?:\s*,?\s+(?:{_CLOCK}))?(?![\w:.]*\d)", _FLAGS),
    re.compile(rf"(?:{_CLOCK})\s*,?\s+(?:{_DAYS})", _FLAGS),
    re.compile(_SPANS, _FLAGS),
)
_POLITE: Final = re.compile(
    r"""(?:(?:hey|hi|hello|please|from\s+now\s+on|starting\s+(?:today|tomorrow)
    |(?:can|could|would|will)\s+you(?:\s+please)?
    |i(?:\s+want|\s+would\s+like|['’]d\s+like)\s+you\s+to|i\s+want\s+you
    |\w{1,32}(?=,)) \s*,?\s*)*""",
    _FLAGS,
)
_JOINT: Final = re.compile(r"[\s,:;.–—-]*(?:please\b|to\b)?[\s,:;–—-]*", _FLAGS)
_REQUEST: Final = re.compile(
    r"""(?:please\s+)?(?:send|tell|give|write|remind|summari[sz]e|check|list|show|ask|wish
    |greet|read|report|suggest|recommend|plan|prepare|make|create|draft|explain|teach
    |quiz|translate|pick|choose|find|look|review|recap|brief|motivate|encourage|help
    |say|post|message|ping|propose|describe|compile|compare|collect|wake|update|keep
    |search|test|name|invent|compose)\b""",
    _FLAGS,
)
_MORE_TIME: Final = re.compile(
    rf"""(?:\d|and\b|or\b|until\b|except\b|starting\b
    |for\s+(?:the\s+next|a|{_ONE_TO_TWELVE}|\d)
    |(?:{_ONE_TO_TWELVE}|fifteen|twenty|thirty|forty|fifty)\b
    |(?:utc|gmt|[cmep][es]?t)\b|[a-z]+/[a-z_]+|(?:in\s+)?(?:\w+\s+){{1,2}}time\b)""",
    _FLAGS,
)
"""What follows says more about when than is understood here."""
_WHOM: Final = re.compile(
    r"""(?:please\s+)?(?:remind|tell|send|give|write|show|ask|wish|read|teach|quiz|greet
    |list|check|make|name|say)(?:\s+(?:me|us))?(?:\s+please)?\s*,?\s*""",
    _FLAGS,
)
"""The beginning of a request, behind which the time may stand as well."""
_CLAUSE: Final = re.compile(
    r"\b(?:who|which|that|when|whenever|because|if|why|how|where|while|whether|about)\b"
    r"|\?",
    re.IGNORECASE,
)
_MINUTES_IN_WORDS: Final = {"fifteen": 15, "twenty": 20, "thirty": 30, "forty": 45}


@dataclass(frozen=True, slots=True)
class Wish:
    """When something is wanted, and what."""

    cron: str
    prompt: str
    """What is to be asked each time."""
    assumed: bool = False
    """The hour was not said."""


def read(text: str) -> Wish | None:
    """Return what a text asks for; ``None`` where it does not say when, or not what.

    The time must stand at the beginning, after a few polite words, right behind
    “remind me” and the like, or at the end.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        return None
    polite = _POLITE.match(text)
    start = polite.end() if polite else 0
    for begin in dict.fromkeys((0, start)):
        found = _longest(each.match(text, begin) for each in _WHEN)
        if found is not None:
            return _wish(found, text[found.end() :])
    whom = _WHOM.match(text, start)
    if whom is not None:
        found = _longest(each.match(text, whom.end()) for each in _WHEN)
        if found is not None and text[found.end() :].strip(" .!?\n"):
            return _wish(found, text[found.end() :], after=whom[0].strip(" ,"))
    at_the_end = (
        found
        for each in _WHEN
        for found in each.finditer(text, start)
        if not text[found.end() :].strip(" .!?\n")
    )
    found = _longest(at_the_end)
    return _wish(found, text[start : found.start()]) if found else None


def _longest(found: Iterable[re.Match[str] | None]) -> re.Match[str] | None:
    """Return the match that says most, as “at 7 every morning” against the last two."""
    matches = [each for each in found if each is not None]
    return max(matches, key=lambda each: len(each[0]), default=None)


def asks_for_a_brief(text: str) -> bool:
    """Say whether an ordinary message asks for something again and again."""
    wish = read(text)
    if wish is None or _REQUEST.match(wish.prompt) is None:
        return False
    begins = text.strip()[:12].casefold() in wish.prompt.casefold()
    # At the end of a longer sentence the time may belong to something in it.
    return not (begins and _CLAUSE.search(wish.prompt))


def _wish(found: re.Match[str], rest: str, *, after: str = "") -> Wish | None:
    """Return the wish; ``after`` is what stands before a time in the middle."""
    said = {name: value for name, value in found.groupdict().items() if value}
    cron, assumed = _cron(said)
    joint = _JOINT.match(rest) if not after else None
    prompt = rest[joint.end() if joint else 0 :].strip().rstrip(",;:–—- ").strip()
    if cron is None or not prompt or _MORE_TIME.match(prompt):
        return None
    prompt = f"{after} {prompt.lstrip(' ,:;')}" if after else prompt
    return Wish(cron, prompt[0].upper() + prompt[1:], assumed)


def _cron(said: dict[str, str]) -> tuple[str | None, bool]:
    """Return the expression, and whether its hour had to be assumed."""
    span = _span(said)
    if span is not None:
        return span or None, False
    days = _days(said)
    part = (said.get("part") or said.get("day_part") or "").lower()
    clock = _clock(said, said.get("part_said", part).lower())
    if days is None or (clock is None and _says_a_time(said)):
        return None, False
    if clock is not None:
        return f"{clock[1]} {clock[0]} {days}", False
    hour = _PARTS[part][0] if part else _USUAL_HOUR
    return f"0 {hour} {days}", True


def _span(said: dict[str, str]) -> str | None:
    """Return the expression of “every two hours”; empty where there is none for it."""
    if "one_hour" in said or "hourly" in said:
        return "0 * * * *"
    if "one_minute" in said:
        return "* * * * *"
    if "half_hour" in said:
        return "*/30 * * * *"
    for name, of, form in (
        ("some_minutes", 60, "*/{} * * * *"),
        ("some_hours", 24, "0 */{} * * *"),
    ):
        if name in said:
            number = _number(said[name])
            return form.format(number) if number and of % number == 0 else ""
    return None


def _number(word: str) -> int:
    word = word.lower()
    return _NUMBERS.get(word) or _MINUTES_IN_WORDS.get(word) or int(word)


def _days(said: dict[str, str]) -> str | None:
    """Return the last three fields of the expression; ``None`` = no such day."""
    if "weekdays" in said:
        return "* * 1-5"
    if "first" in said:
        return "1 * *"
    if "weekend" in said:
        return "* * 6,0"
    if date := said.get("date") or said.get("date_of"):
        return f"{int(date)} * *" if 1 <= int(date) <= 31 else None
    if "days" in said:
        names = re.findall(_DAY, said["days"].lower())
        numbers = sorted({_WEEKDAYS[name] or 7 for name in names})
        return f"* * {','.join(str(number % 7) for number in numbers)}"
    return "* * *"


_TIMES: Final = ("name", "past", "hour", "word")


def _says_a_time(said: dict[str, str]) -> bool:
    return any(name in said for name in _TIMES)


def _clock(said: dict[str, str], part: str) -> tuple[int, int] | None:
    """Return hour and minute; ``None`` where none are said, or there are no such."""
    readers: dict[str, Callable[[], tuple[int, int]]] = {
        "name": lambda: (0 if said["name"].lower() == "midnight" else _NOON, 0),
        "past": lambda: _past(said),
        "hour": lambda: (int(said["hour"]), int(said.get("minute", "0"))),
        "word": lambda: (
            _NUMBERS[said["word"].lower()],
            _minutes(said.get("word_minute", "")),
        ),
    }
    for name in _TIMES:
        if name in said:
            hour, minute = readers[name]()
            half = (said.get("half") or said.get("word_half") or "").lower()[:1]
            hour = _of_the_day(hour, half, part, fixed=name == "name")
            return (hour, minute) if 0 <= hour < 24 and minute < 60 else None
    return None


def _minutes(words: str) -> int:
    """Return the minutes of “seven thirty”."""
    return _MINUTES_IN_WORDS.get(re.split(r"[\s-]", words.lower())[0], 0)


def _past(said: dict[str, str]) -> tuple[int, int]:
    hour, how = _number(said["past_hour"]), said["past"].lower()
    if how.startswith("half"):
        return hour, 30
    return (hour, 15) if how.endswith("past") else ((hour - 1) % 24, 45)


def _of_the_day(hour: int, half: str, part: str, *, fixed: bool) -> int:
    """Return the hour of 24; “7 pm”, “7 in the evening” and “seven” differ."""
    if fixed:
        return hour
    if half in {"a", "p"}:
        if not 1 <= hour <= _NOON:
            return -1
        return hour % _NOON + (_NOON if half == "p" else 0)
    if part and hour < _NOON and _PARTS[part][1]:
        # Two at night is early in the morning.
        return hour if part == "night" and hour < 6 else hour + _NOON
    return hour
