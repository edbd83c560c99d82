"""``/brief``, and the same in plain words: a brief is proposed, and set up by a yes."""

from __future__ import annotations

import re
from typing import Final

from django.core.exceptions import ValidationError
from django.http import Http404

from accounts.models import User
from channels_app.jobs import cron, proposals, schedules
from channels_app.jobs.proposals import Spot
from channels_app.jobs.spoken_times import asks_for_a_brief, read
from channels_app.slash_types import Choice, Place, Result

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


def spoken(text: str) -> bool:
    """Say, by the words alone, whether a message may be about a brief."""
    return bool(_YES.fullmatch(text) or _NO.fullmatch(text)) or asks_for_a_brief(text)


def say(place: Place, text: str) -> Result | None:
    """Take plain words for what they may mean; ``None`` = they are a message.

    They mean nothing where others read. A yes or no counts only while nothing else was
    said since: those are also the words with which people answer a persona.
    """
    if place.guest or not place.alone:
        return None
    if asks_for_a_brief(text):
        return _propose(place, text, spoken=text)
    spot = _spot(place)
    if not proposals.is_last_word(spot):
        return None
    return _answer(spot, yes=_YES.fullmatch(text) is not None)


def command(place: Place, argument: str) -> Result:
    """Do what ``/brief`` says with its argument."""
    if not argument:
        return Result(_list(place.user))
    if _YES.fullmatch(argument):
        return _answer(_spot(place), yes=True)
    if _NO.fullmatch(argument):
        return _answer(_spot(place), yes=False)
    return _propose(place, argument)


def _spot(place: Place) -> Spot:
    return Spot(place.user, place.persona, place.conversation, place.room)


def _propose(place: Place, text: str, *, spoken: str = "") -> Result:
    """Propose a brief; what was said in plain words can be sent as a message too."""
    wish = read(text)
    if wish is None:
        return Result(f"That does not say when, or not what. {HOW}")
    try:
        proposal = proposals.propose(_spot(place), wish)
    except ValidationError as error:
        return Result(proposals.objections(error))
    choices = [Choice("/brief yes", "Yes, set it up"), Choice("/brief no", "No")]
    if spoken:
        choices.append(Choice(spoken, "Only answer it now", literal=True))
    question = proposals.question(proposal, assumed=wish.assumed)
    return Result(question, choices=tuple(choices))


def _answer(spot: Spot, *, yes: bool) -> Result:
    proposal = proposals.waiting_at(spot)
    if proposal is None:
        return Result(NOTHING_WAITS)
    if not yes:
        proposals.drop(proposal)
        return Result(DROPPED)
    try:
        return Result(proposals.agreement(proposals.confirm(proposal)))
    except Http404:
        return Result(NOTHING_WAITS)  # dropped elsewhere at this moment
    except ValidationError as error:
        return Result(proposals.objections(error))


def _list(user: User) -> str:
    lines = [
        f"- “{each.name}”: {cron.in_words(each.cron, each.time_zone)}"
        + ("" if each.enabled else ", switched off")
        for each in schedules.schedules_visible_to(user)
    ]
    if not lines:
        return f"You have no briefs. {HOW}"
    return "\n".join(["Your briefs:", "", *lines, "", HOW])
