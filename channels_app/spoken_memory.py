"""Which plain words ask to remember, to forget or to tell what is remembered. Pure.

A wish is one short sentence about oneself and nothing else: what follows it would be
lost, and so would the answer to it. Whatever might be more is a message. English and
German are understood; commands work in any language.
"""

from __future__ import annotations

import re
from typing import Final

REMEMBER: Final = "remember"
FORGET: Final = "forget"
MEMORY: Final = "memory"
MAX_CHARS: Final = 500
"""Nothing longer is a wish; it bounds what looking at a message costs, too."""

# --- English ----------------------------------------------------------------------

_PLEASE: Final = r"(?:please,? )?"
_KEEP: Final = r"(?:remember|keep in mind|(?:don['’]t|do not|never) forget)"
_OF_ONESELF: Final = r"(?:I|my|we|our|mine)(?:['’](?:m|ve|d|ll|re))?\b"
_STATED: Final = (
    r"(?:(?:I|we)(?:['’](?:m|ve|re)\b| (?:am|are|have|do not|don['’]t|like|love|hate"
    r"|live|work|play|prefer|never|always)\b)|(?:my|our) (?:\S+ ){1,4}(?:is|are|has"
    r"|have|lives?|works?|likes?|loves?|hates?|plays?)\b)"
)
"""How a sentence begins that says something, also without “that” before it."""

# --- German -----------------------------------------------------------------------

_BITTE: Final = r"(?:bitte,? )?"
_BITTE_IN: Final = r"(?:,? bitte)?"
_MERKE: Final = (
    rf"(?:merke? dir{_BITTE_IN}|vergiss{_BITTE_IN} nicht|denke? daran"
    rf"|behalte?{_BITTE_IN} (?:im (?:kopf|gedächtnis)|in erinnerung))"
)
_ICH: Final = (
    r"(?:ich|wir|mir|mich|mein(?:e[mnrs]?)?|unser(?:e[mnrs]?)?|unsre[mnrs]?)\b"
)

_PATTERNS: Final = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (REMEMBER, rf"{_PLEASE}{_KEEP} (?:this|that)"),
        (REMEMBER, rf"{_PLEASE}keep (?:this|that) in mind"),
        (REMEMBER, rf"{_PLEASE}{_KEEP}(?:,? please)?,? that (?P<what>{_OF_ONESELF}.+)"),
        (REMEMBER, rf"{_PLEASE}{_KEEP}(?:,? please)?,? (?P<what>{_STATED}.+)"),
        (FORGET, rf"{_PLEASE}forget this(?: message)?"),
        (FORGET, rf"{_PLEASE}forget what I(?:['’]ve)? just (?:said|wrote)"),
        (FORGET, rf"{_PLEASE}forget(?:,? please)?,? that (?P<what>{_OF_ONESELF}.+)"),
        (
            MEMORY,
            rf"{_PLEASE}(?:tell me )?what (?:do you (?:know|remember)|have you "
            r"remembered|did you remember) about me",
        ),
        (
            REMEMBER,
            rf"{_BITTE}(?:merke? dir{_BITTE_IN} (?:das|dies)|vergiss das{_BITTE_IN} "
            rf"nicht|behalte? das{_BITTE_IN} (?:im (?:kopf|gedächtnis)|in erinnerung))",
        ),
        (REMEMBER, rf"{_BITTE}{_MERKE}{_BITTE_IN},? dass (?P<what>{_ICH}.+)"),
        (REMEMBER, rf"{_BITTE}merke? dir{_BITTE_IN}[:,]? (?P<what>{_ICH}.+)"),
        (FORGET, rf"{_BITTE}vergiss{_BITTE_IN} (?:das|diese nachricht)"),
        (
            FORGET,
            rf"{_BITTE}vergiss{_BITTE_IN},? was ich (?:dir )?(?:gerade|eben|soeben) "
            r"(?:gesagt|geschrieben) habe",
        ),
        (FORGET, rf"{_BITTE}vergiss{_BITTE_IN},? dass (?P<what>{_ICH}.+)"),
        (
            MEMORY,
            rf"{_BITTE}(?:sag mir,? )?was (?:wei(?:ß|ss)t du (?:alles |noch )?über mich"
            r"|hast du dir (?:alles )?über mich gemerkt)",
        ),
    )
)

# --- what makes it more than a wish -----------------------------------------------

_MORE: Final = re.compile(
    r"[?\n,:;()!]|\s[-–—]\s|\b(?:and|so|when|whenever|while|if|but|because|then|until"
    r"|unless|instead|und|also|wenn|falls|aber|weil|denn|sondern|sobald)\b",
    re.IGNORECASE,
)
"""Further clauses, or orders for the answer."""
_SENTENCE_END: Final = re.compile(r"\.\s")
_NO_END: Final = re.compile(
    r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Nr|Hr|Fr)\.\s|\b\d{1,2}\.\s(?=(?:jan|feb|mär|mar|apr"
    r"|mai|may|jun|jul|aug|sep|okt|oct|nov|dez|dec)[a-z]*\b)",
    re.IGNORECASE,
)
"""The full stop of an abbreviation, or of a day before its month."""
_TO_YOU: Final = re.compile(
    r"\b(?:you|your|yours|yourself|answers?|reply|replies|response|output|translation"
    r"|du|dir|dich|dein(?:e[mnrs]?)?|antwort(?:en)?|übersetzung)\b",
    re.IGNORECASE,
)
"""About the one who answers or the work at hand, not about oneself."""
_TALK: Final = re.compile(
    r"(?:I|we)(?:['’](?:ve|d))? (?:(?:have|had|ever|just|already|once|only) )*(?:asked|"
    r"said|told|wrote|mentioned|brought|discussed|talked|spoke|was asking)\b"
    r"|(?:my|our) (?:(?:very )?(?:last|first|previous|earlier|latest|other) )+"
    r"(?:questions?|messages?|requests?|sentences?|words?|prompts?|texts?|chats?)\b"
    r"|(?:ich|wir)\b.*\b(?:gesagt|gefragt|geschrieben|erwähnt|besprochen|geredet"
    r"|gesprochen)\b"
    r"|meine? (?:letzten?|ersten?|vorigen?|vorherigen?) (?:frage|nachricht|bitte)n?\b",
    re.IGNORECASE,
)
"""About the conversation itself."""
_PLEASE_LAST: Final = re.compile(r",? (?:please|bitte)\Z", re.IGNORECASE)


def meaning(text: str) -> tuple[str, str] | None:
    """Return which wish a text is, and about what; ``None`` for a message.

    Questions to the persona (“do you remember when …?”) and idioms (“forget it”) are
    messages, and so is whatever says more than the wish.

    Returns:
        ``REMEMBER``, ``FORGET`` or ``MEMORY``, and the words to remember or forget as
        they were written; empty where the last message is meant.
    """
    if len(text) > MAX_CHARS:
        return None
    said = text.strip()
    asks = said.endswith("?")
    said = said.rstrip(".!? " if asks else ".! ")
    said = _PLEASE_LAST.sub("", said)
    for name, pattern in _PATTERNS:
        match = None if asks and name != MEMORY else pattern.fullmatch(said)
        if match is None:
            continue
        what = match.groupdict().get("what") or ""
        if not _says_more(what):
            return name, what
    return None


def _says_more(what: str) -> bool:
    if _SENTENCE_END.search(_NO_END.sub(" ", what)) or _TALK.match(what):
        return True
    return bool(_MORE.search(what) or _TO_YOU.search(what))
