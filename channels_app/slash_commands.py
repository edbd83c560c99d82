"""Commands such as ``/new``, which are typed like messages and work at every door.

``parse`` says whether a text is one; ``run`` does what the database must do and
returns what is left for the door: the words to show, and where to go from there. A
command is never stored and never reaches a model. Who may give which is decided here
too, by the ``Place``, which a door fills from what it has verified, never from a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from uuid import UUID

from channels_app import slash_brief, slash_memory
from channels_app.slash_cost import cost_report
from channels_app.slash_model import choose_model
from channels_app.slash_types import Choice as Choice
from channels_app.slash_types import Command as Command
from channels_app.slash_types import Place as Place
from channels_app.slash_types import Result as Result
from channels_app.turn_rows import ask_to_stop
from personas.conversations import running_answers
from personas.models import Persona
from personas.personas import personas_visible_to

UNKNOWN = "unknown"
HELP = "help"
"""The one command that guests may give."""
MEMORY_COMMANDS = {slash_memory.REMEMBER, slash_memory.FORGET, slash_memory.MEMORY}
"""They take longer than others, and lock what they change themselves."""
_WORD = re.compile(r"/([a-z][a-z_-]{0,31})(?=\s|\Z)", re.IGNORECASE)
_MAX_QUOTED_CHARS = 60


@dataclass(frozen=True, slots=True)
class Known:
    """One command that there is."""

    run: Callable[[Place, str], Result]
    help: str
    argument: str = ""
    """What may follow the name, as help writes it; empty = nothing does."""
    where_others_read: bool = False
    """Also answered in rooms where others read along."""


def parse(text: str) -> Command | None:
    """Return the command that a text is; ``None`` for a message.

    Only the first word counts, in any case. A text that begins with ``//``, or with a
    word that is no command and does not stand alone, is a message like any other.
    Plain words that ask for a brief, answer whether to set one up, or are about what
    is remembered are tentative.
    """
    text = text.strip()
    found = _WORD.match(text)
    if found is None:
        spoken = slash_brief.NAME if slash_brief.spoken(text) else ""
        spoken = spoken or slash_memory.spoken(text)
        return Command(spoken, text, tentative=True) if spoken else None
    name, rest = found[1].lower(), text[found.end() :].strip()
    if name in COMMANDS:
        return Command(name, rest)
    return None if rest else Command(UNKNOWN, found[1])


def run(command: Command, place: Place) -> Result | None:
    """Do what a command says, as far as the database is concerned; synchronous.

    Never fails for what was typed: what cannot be done is said in ``Result.text``.
    ``None``: it was tentative, and is a message like any other here.
    """
    if command.tentative:
        is_brief = command.name == slash_brief.NAME
        say = slash_brief.say if is_brief else slash_memory.say
        return say(place, command.argument)
    if command.name == UNKNOWN:
        return Result(_unknown(command.argument, place))
    known = COMMANDS[command.name]
    if place.guest and command.name != HELP:
        return Result("Commands are for the owner of this persona alone.")
    if not (place.alone or known.where_others_read):
        return Result(
            f"Others read here, so “/{command.name}” is not answered. "
            "Use it on the web page, or where only you read."
        )
    if command.argument and not known.argument and command.name != HELP:
        return Result(
            f"Nothing was done: “/{command.name}” stands alone. "
            "Send what follows it as a message of its own."
        )
    return known.run(place, command.argument)


def commands_for(place: Place) -> dict[str, Known]:
    """Return the commands that may be given at a place, in the order of help."""
    if place.guest:
        return {HELP: COMMANDS[HELP]}
    return {
        name: known
        for name, known in COMMANDS.items()
        if place.alone or known.where_others_read
    }


def _unknown(word: str, place: Place) -> str:
    near = get_close_matches(word.lower(), commands_for(place), n=2)
    meant = " or ".join(f"`/{name}`" for name in near)
    return (
        f"There is no command “/{word}”."
        + (f" Did you mean {meant}?" if meant else "")
        + " `/help` lists all; a message that begins with `//` is sent as it is."
    )


# --- the commands -------------------------------------------------------------


def _new(place: Place, argument: str) -> Result:
    name = place.persona.display_name
    return Result(
        f"Your next message begins a new conversation with {name}.", new_thread=True
    )


def _model(place: Place, argument: str) -> Result:
    chosen = choose_model(
        place.user,
        place.persona,
        place.conversation,
        argument,
        keeps_route=place.channel == "web",
    )
    return Result(chosen.text, conversation=chosen.made, route=chosen.route)


def _persona(place: Place, argument: str) -> Result:
    mine = list(personas_visible_to(place.user))
    if not argument:
        return Result(_persona_list(mine, place.persona))
    wanted = argument.casefold()
    for chosen in sorted(mine, key=lambda each: each.name != wanted):
        if wanted in {chosen.name, chosen.display_name.casefold()}:
            return _switch(place, chosen)
    names = [each.name for each in mine]
    shown = {each.display_name.casefold(): each.name for each in mine}
    near = [
        shown.get(each, each)
        for each in get_close_matches(wanted, [*names, *shown], n=3, cutoff=0.65)
    ]
    meant = " or ".join(f"`{name}`" for name in dict.fromkeys(near))
    return Result(
        f"You have no persona “{argument[:_MAX_QUOTED_CHARS]}”."
        + (f" Did you mean {meant}?" if meant else " `/persona` lists yours.")
    )


def _switch(place: Place, chosen: Persona) -> Result:
    if chosen.pk == place.persona.pk:
        return Result(f"You are talking to {chosen.display_name} already.")
    return Result(
        f"From now on {chosen.display_name} answers, in a new conversation.",
        new_thread=True,
        persona=chosen.name,
    )


def _persona_list(mine: list[Persona], current: Persona) -> str:
    lines = [
        f"- `{each.name}` – {each.display_name}"
        + (" (answers here)" if each.pk == current.pk else "")
        for each in mine
    ]
    return "\n".join(["Your personas; choose one with `/persona name`:", "", *lines])


def _stop(place: Place, argument: str) -> Result:
    running: list[UUID] = []
    if place.conversation is not None:
        running = running_answers(
            place.user, persona=place.persona, conversation=place.conversation
        )
    if not running:
        return Result("Nothing is being answered here.")
    ask_to_stop(running)  # whichever process writes them
    return Result("Stopped; what was written so far stays.", stop=tuple(running))


def _cost(place: Place, argument: str) -> Result:
    return Result(cost_report(place.user, place.conversation))


def _help(place: Place, argument: str) -> Result:
    lines = [
        f"- `/{name}{f' {known.argument}' if known.argument else ''}` – {known.help}"
        for name, known in commands_for(place).items()
    ]
    name = place.persona.display_name
    if place.guest:
        intro = f"This is {name}, a persona that answers when it is named."
    else:
        intro = f"You are talking to {name}. Commands:"
    if not (place.alone or place.guest):
        lines.append("- Others read here; the other commands work where only you do.")
    return Result("\n".join([intro, "", *lines]))


COMMANDS: dict[str, Known] = {
    "new": Known(_new, "Begin a new conversation.", where_others_read=True),
    "model": Known(
        _model, "Say who answers in this conversation, or list them.", "[name]"
    ),
    "persona": Known(_persona, "Talk to another persona, or list them.", "[name]"),
    "stop": Known(
        _stop, "Stop the answer that is being written.", where_others_read=True
    ),
    "cost": Known(_cost, "What this conversation, today and this month cost."),
    slash_brief.NAME: Known(
        slash_brief.command,
        "Have something asked again and again, such as “every morning at seven tell "
        "me the news”, or list what is.",
        "[when and what]",
    ),
    slash_memory.REMEMBER: Known(
        slash_memory.remember,
        "Remember a text, or without one your last message here.",
        "[text]",
        where_others_read=True,
    ),
    slash_memory.FORGET: Known(
        slash_memory.forget,
        "Forget what a text says, or without one what came of your last message.",
        "[text]",
    ),
    slash_memory.MEMORY: Known(
        slash_memory.memory,
        "What is remembered about you, or only what has a word; `/memory undo` takes "
        "your last wish back.",
        "[word]",
    ),
    HELP: Known(_help, "List the commands.", where_others_read=True),
}
"""Every command by its name, in the order in which help lists them."""
