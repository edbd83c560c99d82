"""Free rules: what a message needs, judged by length, code, attachments and words.

Two pure steps. ``features_of`` looks at a text once and keeps numbers and marks, no
words of it; ``judge`` turns them into a tier or says that it cannot tell. Together they
take less than a millisecond, because of a long text only its beginning and end are
searched for words. Words are German and English.

A *kind* is a class of requests by which ``manage.py router report`` counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from routing.rule_words import (
    ANALYSIS,
    ASKING,
    CODE,
    GREETINGS,
    HARD_CODE,
    MILD_ANALYSIS,
    OPENERS,
    PHRASES,
    REWORDING,
    WRITING,
)

HEAD_CHARACTERS: Final = 4_000
TAIL_CHARACTERS: Final = 1_000
"""How much of a long text is searched for words; a question often stands at its end."""
SHORT_CHARACTERS: Final = 160
LONG_CHARACTERS: Final = 8_000
KINDS: Final = (
    "greeting",
    "short question",
    "code",
    "analysis",
    "writing",
    "rewording",
    "attachments",
    "long text",
    "other",
)
"""Every class that ``kind_of`` can give."""

_WORD = re.compile(r"\w+")
_CODE_LINE = re.compile(
    r"^[ \t]*+(?:def |class |import |from \w+ import|function\b|const |let |var |"
    r"public |private |#include|SELECT\b|INSERT\b|CREATE\b|Traceback|\$ \w|</?\w+>|"
    r"[{}][ \t]*$|\w+\(.*\)[ \t]*[;{][ \t]*$|return\b)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of a message without its words."""

    characters: int = 0
    words: int = 0
    """Of the part that was searched."""
    lines: int = 0
    questions: int = 0
    attachments: int = 0
    fenced: bool = False
    """It has a block of code."""
    code_lines: int = 0
    code_words: int = 0
    hard_code_words: int = 0
    analysis_words: int = 0
    strong_analysis_words: int = 0
    writing_words: int = 0
    rewording_words: int = 0
    greets: bool = False
    """It is nothing but a greeting, thanks or a short assent."""
    asks: bool = False
    """It begins as a question or ends as one."""

    def as_json(self) -> dict[str, Any]:
        """Return the features that say something, to be stored."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a message needs, and how sure that is (0 to 1)."""

    tier: int
    confidence: float
    reason: str
    kind: str


def features_of(text: str, attachments: int = 0) -> Features:
    """Return the features of the message that is to be answered."""
    sample = text
    if len(text) > HEAD_CHARACTERS + TAIL_CHARACTERS:
        sample = f"{text[:HEAD_CHARACTERS]}\n{text[-TAIL_CHARACTERS:]}"
    lower = sample.lower()
    listed = _WORD.findall(lower)
    words = set(listed)
    first = listed[0] if listed else ""
    phrases = sum(phrase in lower for phrase in PHRASES)
    analysis = words & ANALYSIS
    return Features(
        characters=len(text),
        words=len(listed),
        lines=text.count("\n") + 1 if text else 0,
        questions=sample.count("?"),
        attachments=attachments,
        fenced="```" in text,
        code_lines=len(_CODE_LINE.findall(sample)),
        code_words=len(words & CODE),
        hard_code_words=len(words & HARD_CODE),
        analysis_words=len(analysis) + phrases,
        strong_analysis_words=len(analysis - MILD_ANALYSIS) + phrases,
        writing_words=len(words & WRITING),
        rewording_words=len(words & REWORDING),
        greets=len(listed) <= 8 and first in OPENERS and words <= GREETINGS,
        asks=first in ASKING or text.rstrip().endswith("?"),
    )


def kind_of(features: Features) -> str:
    """Return the class of a request; ``other`` where no rule knows it."""
    for kind, applies in (
        ("attachments", features.attachments > 0),
        ("greeting", features.greets),
        ("code", _is_code(features)),
        ("rewording", features.rewording_words > 0 and not _is_deep(features)),
        ("analysis", _is_deep(features)),
        ("writing", features.writing_words > 0),
        ("long text", features.characters > LONG_CHARACTERS),
        ("analysis", features.analysis_words > 0),
        (
            "short question",
            features.asks and 0 < features.characters <= SHORT_CHARACTERS,
        ),
    ):
        if applies:
            return kind
    return "other"


def judge(features: Features) -> Judgement | None:
    """Return what the message needs; ``None`` = the rules cannot tell."""
    kind = kind_of(features)
    tier, confidence, reason = _VERDICTS[kind](features)
    return Judgement(tier, confidence, reason, kind) if tier else None


def _is_code(features: Features) -> bool:
    return (
        features.fenced
        or features.code_lines >= 3
        or (features.code_lines >= 1 and features.code_words >= 1)
        or features.code_words >= 2
    )


def _is_deep(features: Features) -> bool:
    strong = features.strong_analysis_words
    return strong >= 2 or (strong == 1 and features.characters > SHORT_CHARACTERS)


_Verdict = tuple[int, float, str]
"""Tier (0 = undecided), confidence, reason."""


def _code(features: Features) -> _Verdict:
    if features.hard_code_words >= 2 or features.characters > LONG_CHARACTERS:
        return 3, 0.8, "difficult code"
    return 2, 0.85, "code"


def _analysis(features: Features) -> _Verdict:
    if features.strong_analysis_words >= 2:
        return 3, 0.85, "analysis"
    if _is_deep(features):
        return 3, 0.75, "analysis"
    return 2, 0.65, "an explanation"


def _rewording(features: Features) -> _Verdict:
    if features.characters > LONG_CHARACTERS // 4:
        return 2, 0.75, "rewording of a longer text"
    return 1, 0.8, "rewording of a short text"


def _short_question(features: Features) -> _Verdict:
    if features.code_words:
        return 0, 0.0, ""
    return 1, 0.8, "short question"


def _attachments(features: Features) -> _Verdict:
    if _is_deep(features):
        return 3, 0.75, "analysis of attachments"
    return 2, 0.7, "attachments"


_VERDICTS: Final[dict[str, Callable[[Features], _Verdict]]] = {
    "greeting": lambda _: (1, 0.95, "greeting"),
    "short question": _short_question,
    "code": _code,
    "analysis": _analysis,
    "writing": lambda _: (2, 0.75, "writing"),
    "rewording": _rewording,
    "attachments": _attachments,
    "long text": lambda _: (2, 0.7, "long text"),
    "other": lambda _: (0, 0.0, ""),
}
