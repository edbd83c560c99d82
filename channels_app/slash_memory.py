"""``/remember``, ``/forget`` and ``/memory``, and the same in plain words.

What is remembered is never told where others read: there the owner may only add to it,
and hears nothing but that it was done.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from uuid import UUID

from django.conf import settings
from django.http import Http404
from django.urls import reverse

from channels_app.slash_types import Choice, Place, Result
from channels_app.spoken_memory import FORGET as FORGET
from channels_app.spoken_memory import MEMORY as MEMORY
from channels_app.spoken_memory import REMEMBER as REMEMBER
from channels_app.spoken_memory import meaning
from personas.conversations import branch
from personas.errors import PersonaError
from personas.memory import runs, wishes
from personas.memory.lines import fold
from personas.memory.matching import statements_of
from personas.models import MemoryRun, Message

UNDO: Final = "undo"
LOOKED_AT: Final = 40
"""So many messages back the last own one is looked for."""
MOST_CHOICES: Final = 6
MOST_LISTED: Final = 10
"""Lines of which one is to be chosen."""
MOST_LINES: Final = 40
NO_MESSAGE: Final = "There is no message of yours here yet that could be meant."
NOTHING_LIKE_IT: Final = "Nothing in my memory says that, and nothing new will."
NO_WISH: Final = "There is nothing of yours to take back."
FOUND_NOTHING: Final = (
    "Your last wish, to forget something, took nothing out of the memory, so there is "
    "nothing to take back."
)
NOT_LOOKED_UP: Final = "Taken back: the messages that say it are looked up again."
_THAT: Final = re.compile(r"(?:that|dass)\s+(?=\S)", re.IGNORECASE)


def spoken(text: str) -> str:
    """Return the command that plain words may mean; empty for a message."""
    found = meaning(text)
    return found[0] if found else ""


def say(place: Place, text: str) -> Result | None:
    """Take plain words for what they mean; ``None`` = they are a message here."""
    found = meaning(text)
    if found is None or place.guest:
        return None
    name, what = found
    refused = _refusal(place) if name == REMEMBER else ""
    if not place.alone and (refused or name != REMEMBER):
        return None
    if not what and not refused and name != MEMORY and _last_own(place) is None:
        return None
    result = {REMEMBER: remember, FORGET: forget, MEMORY: memory}[name](place, what)
    as_message = Choice(text, "Send it as a message", literal=True)
    return replace(result, choices=(*result.choices, as_message))


def remember(place: Place, argument: str) -> Result:
    """Store a text, or without one the person's last message here."""
    if refusal := _refusal(place):
        return Result(refusal)
    argument = argument[match.end() :] if (match := _THAT.match(argument)) else argument
    source = None if argument else _last_own(place)
    if not argument and source is None:
        return Result(NO_MESSAGE)
    try:
        done = wishes.remember(
            place.persona,
            argument or (source.text if source else ""),
            author=place.user,
            source=source,
        )
    except PersonaError as refusal:
        return Result(str(refusal))
    if not place.alone:
        # Whether it was known already is for the owner's ears.
        return Result(
            f"Remembered: “{argument}”" if argument else "What you said is remembered."
        )
    known = " I knew that, and keep it for good." if done.already else ""
    full = " My short memory is fuller than it should be." if done.over_budget else ""
    return _with_undo(
        f"Remembered: “{done.text}”{known}{full}",
        done.run,
        place,
        shown_anew=source.pk if source else None,
    )


def forget(place: Place, argument: str) -> Result:
    """Forget what a text says, or without one what the last message here led to."""
    source = None if argument else _last_own(place)
    if not argument and source is None:
        return Result(NO_MESSAGE)
    try:
        done = wishes.forget(
            place.persona,
            argument or (source.text if source else ""),
            author=place.user,
            source=source,
        )
    except PersonaError as refusal:
        return Result(str(refusal))
    if done.ambiguous:
        return _which(argument, [raw for _, raw in done.ambiguous])
    if not done.lines:
        return _with_undo(NOTHING_LIKE_IT, done.run, place, shown_anew=None)
    gone = "".join(f"\n- {_words(raw)}" for raw in _once(done.lines))
    return _with_undo(
        f"Forgotten:\n{gone}", done.run, place, shown_anew=source.pk if source else None
    )


def memory(place: Place, argument: str) -> Result:
    """List what is known about the person, or only what has a word in it.

    ``undo`` takes the last wish back, or the one whose id follows.
    """
    first, _, rest = argument.partition(" ")
    if first.lower() == UNDO:
        return _undo(place, rest.strip())
    word = fold(argument)
    parts, count = [], 0
    for file, entries in wishes.known(place.persona):
        said = [each.text for each in entries if word in fold(each.text)]
        shown = said[: max(0, MOST_LINES - count)]
        count += len(said)
        if shown:
            parts.append("\n".join([f"**{file}**", "", *(f"- {one}" for one in shown)]))
    if not parts:
        about = f" about “{argument}”" if argument else " about you yet"
        return Result(f"I know nothing{about}.")
    more = count - MOST_LINES
    parts.append((f"And {more} more. " if more > 0 else "") + _page(place))
    return Result("\n\n".join(parts))


def _undo(place: Place, id: str) -> Result:
    try:
        run = _wish(place, id)
        if run is None:
            return Result(NO_WISH)
        if run.state != MemoryRun.State.APPLIED:
            return Result("That was taken back already.")
        if not run.changes and not run.messages:
            return Result(FOUND_NOTHING)
        told = _taken_back(run)
        runs.undo(run, place.user)
    except PersonaError as refusal:
        return Result(str(refusal))
    note = run.notes.first()
    return Result(told, shown_anew=note.message_id if note else None)


def _taken_back(run: MemoryRun) -> str:
    """Return what undoing a wish does, in the words of its lines."""
    changes = runs.changes_of(run)
    gone = [raw for change in changes for raw in change.remove]
    if run.step == MemoryRun.Step.FORGET:
        if not gone:
            return NOT_LOOKED_UP
        lines = "".join(f"\n- {_words(raw)}" for raw in dict.fromkeys(gone))
        return f"Taken back: I remember this again.\n{lines}"
    said = " ".join(_words(raw) for change in changes for raw in change.add)
    if gone:  # it was known before, and only pinned
        return f"Taken back: “{said}” is as it was before."
    return f"Taken back: I do not keep “{said}”."


def _wish(place: Place, id: str) -> MemoryRun | None:
    """Return the last wish with this persona, or the one that has this id."""
    mine = runs.runs_visible_to(place.user).filter(
        persona=place.persona, step__in=(MemoryRun.Step.REMEMBER, MemoryRun.Step.FORGET)
    )
    if not id:
        return mine.order_by("-created_at").first()
    try:
        return mine.filter(pk=runs.get_run_for_user(place.user, id).pk).first()
    except Http404:
        return None


def _which(argument: str, raws: list[str]) -> Result:
    """Ask which of several lines is meant; each is a command with its very words."""
    texts = list(dict.fromkeys(_words(raw) for raw in raws))
    lines = "".join(f"\n- {text}" for text in texts[:MOST_LISTED])
    if len(texts) > MOST_LISTED:
        lines += f"\n\nAnd {len(texts) - MOST_LISTED} more."
    choices = [Choice(f"/forget {text}", text[:80]) for text in texts[:MOST_CHOICES]]
    choices.append(Choice(f"/forget everything about {argument}", "All of these"))
    return Result(
        f"Several lines could be meant, so nothing was forgotten:\n{lines}\n\n"
        "Say `/forget` with the words of one, or `/forget everything about …`.",
        choices=tuple(choices),
    )


def _with_undo(
    text: str, run: MemoryRun | None, place: Place, *, shown_anew: UUID | None
) -> Result:
    if run is None:  # nothing was changed
        return Result(text, shown_anew=shown_anew)
    if place.channel not in {"web", ""}:
        text += "\n\n`/memory undo` takes it back."
    undo = Choice(f"/memory undo {run.pk}", "Undo")
    return Result(text, choices=(undo,), shown_anew=shown_anew)


def _refusal(place: Place) -> str:
    """Say why nothing that is said here may be remembered; empty where it may."""
    chat = place.conversation
    if place.temporary or (chat is not None and chat.temporary):
        return wishes.TEMPORARY
    if chat is not None and chat.memory_paused:
        return wishes.PAUSED
    if chat is not None and chat.private and not place.persona.private:
        return wishes.PRIVATE_CHAT
    return ""


def _last_own(place: Place) -> Message | None:
    """Return the person's last message of the branch that is shown."""
    if place.conversation is None:
        return None
    for message in reversed(branch(place.conversation, limit=LOOKED_AT)):
        is_own = message.role == Message.Role.USER and not message.from_guest
        if is_own and message.deleted_at is None and message.text.strip():
            message.conversation = place.conversation
            return message
    return None


def _once(lines: tuple[tuple[str, str], ...]) -> list[str]:
    return list(dict.fromkeys(raw for _, raw in lines))


def _words(raw: str) -> str:
    """Return what a line says, without bullet, date and marks."""
    return " ".join(each.text for each in statements_of(raw)) or raw


def _page(place: Place) -> str:
    address = settings.CORTEX_PUBLIC_URL.rstrip("/")
    path = reverse("persona_memory", args=[place.persona.name])
    return f"It can be changed at {address}{path}"
