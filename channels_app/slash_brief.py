"""``/brief``, and the same in plain words: a brief is proposed, and set up by a yes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django.core.exceptions import ValidationError

from channels_app.jobs import cron, proposals, schedules
from channels_app.jobs.proposals import Spot
from channels_app.jobs.spoken_times import asks_for_a_brief, read

NAME: Final = "brief"
NOTHING_WAITS: Final = "Nothing waits for your answer here."
DROPPED: Final = "All right, nothing was set up."
HOW: Final = (
    "Say when and what, for example `/brief every morning at seven tell me three "
    "things worth knowing today`. Days, weekdays, dates and hours can be named; all "
    "else is on the page Jobs, Briefs."
)
_YES: Final = re.compile(
    r"(?:yes|yeah|yep|ok|okay|sure|do (?:it|that|so)|confirm)"
    r"(?:,? (?:please|do(?: it| that| so)?|thanks|thank you|set it up))?[.!]*",
    re.IGNORECASE,
)
_NO: Final = re.compile(
    r"(?:no|nope|cancel|don['’]t|do not|never mind|forget it)"
    r"(?:,? (?:thanks|thank you|don['’]t))?[.!]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the person is told."""

    text: str
    asked: str = ""
    """What would be asked each time, where a yes or no is waited for."""


def spoken(text: str) -> bool:
    """Say, by the words alone, whether a message may be about a brief."""
    return bool(_YES.fullmatch(text) or _NO.fullmatch(text)) or asks_for_a_brief(text)


def say(spot: Spot, text: str) -> Told | None:
    """Take plain words for what they may mean; ``None`` = they mean no brief."""
    if asks_for_a_brief(text):
        return _propose(spot, text)
    if proposals.waiting_at(spot) is None:
        return None
    return _answer(spot, yes=_YES.fullmatch(text) is not None)


def command(spot: Spot, argument: str) -> Told:
    """Do what ``/brief`` says with its argument."""
    if not argument:
        return Told(_list(spot))
    if _YES.fullmatch(argument):
        return _answer(spot, yes=True)
    if _NO.fullmatch(argument):
        return _answer(spot, yes=False)
    return _propose(spot, argument)


def _propose(spot: Spot, text: str) -> Told:
    wish = read(text)
    if wish is None:
        return Told(f"That does not say when, or not what. {HOW}")
    try:
        proposal = proposals.propose(spot, wish)
    except ValidationError as error:
        return Told(proposals.objections(error))
    return Told(proposals.question(proposal, assumed=wish.assumed), asked=wish.prompt)


def _answer(spot: Spot, *, yes: bool) -> Told:
    proposal = proposals.waiting_at(spot)
    if proposal is None:
        return Told(NOTHING_WAITS)
    if not yes:
        proposals.drop(proposal)
        return Told(DROPPED)
    try:
        return Told(proposals.agreement(proposals.confirm(proposal)))
    except ValidationError as error:
        return Told(proposals.objections(error))


def _list(spot: Spot) -> str:
    lines = [
        f"- “{each.name}”: {cron.in_words(each.cron, each.time_zone)}"
        + ("" if each.enabled else ", switched off")
        for each in schedules.schedules_visible_to(spot.user)
    ]
    if not lines:
        return f"You have no briefs. {HOW}"
    return "\n".join(["Your briefs:", "", *lines, "", HOW])
