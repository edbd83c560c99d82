"""What one step of a distillation asks, and what is stored of its answer.

``prepare_…`` read before the call; ``store_answer`` looks again, under the lock of the
persona's row, at everything the answer was drawn from. Synchronous; belongs into
``routing.db_pool``.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Final

from django.db import transaction
from django.utils import timezone

from personas.memory import drafts, tiers
from personas.memory.answers import Parsed, parse
from personas.memory.drafts import Made
from personas.memory.files import LONG, MID, SHORT, memory_of, settings_of
from personas.memory.instructions import Material
from personas.memory.likeness import words_of
from personas.memory.lines import Entry, entries_of
from personas.memory.runs import NewRun, changes_of, store
from personas.memory.sources import batch, still_usable
from personas.memory.tiers import Tier
from personas.memory.verdicts import LeftAlone, Nothing, Present, judge
from personas.models import MemoryRun, Persona, PersonaFile
from routing.events import Completion

GIVEN_UP: Final = (
    "{messages} read three times without a usable answer of the model, and will not be "
    "read again."
)
MOVED_AS_THEY_ARE: Final = (
    "Moved word for word, because the model's answers were of no use three times."
)
InFile = tuple[PersonaFile, Entry]
Step, State = MemoryRun.Step, MemoryRun.State


@dataclass(frozen=True, slots=True)
class Job:
    """One call: for whom, and about what."""

    persona: Persona
    step: str
    material: Material
    tier: Tier | None = None
    """``None`` = new messages into the short memory."""
    by_hand: bool = False


def _persona(persona_id: int) -> Persona | None:
    return Persona.objects.select_related("owner").filter(pk=persona_id).first()


def prepare_short(persona_id: int, by_hand: bool) -> Job | MemoryRun | None:
    """Return the next batch of messages; a run = there is no room for them."""
    persona = _persona(persona_id)
    said = batch(persona) if persona is not None else ()
    if persona is None or not said:
        return None
    files = memory_of(persona)
    if not _has_room(persona, files[SHORT]):
        return _store_once(persona, NewRun(Step.SHORT, explanation=drafts.full(SHORT)))
    known = _waiting(persona, files)
    known += [*_last_first(files[MID]), *_last_first(files[LONG])]
    entries = entries_of(files[SHORT].text)
    if not files[SHORT].private:  # what it is not shown it cannot tell
        entries = [entry for entry in entries if not entry.private]
        known = [(file, entry) for file, entry in known if not _hidden(file, entry)]
    material = Material(
        entries=tuple(entries),
        said=said,
        known=tuple(entry.text for _, entry in known),
    )
    return Job(persona, Step.SHORT, material, by_hand=by_hand)


def _has_room(persona: Persona, file: PersonaFile) -> bool:
    """Say whether a call for the short memory may bring something that fits."""
    if tiers.filled(file) < tiers.NEARLY_FULL:
        return True
    return bool(tiers.going_up(persona, tiers.UP[0], file, timezone.now()))


def _hidden(file: PersonaFile, entry: Entry) -> bool:
    return file.private or entry.private


def prepare_up(
    persona_id: int, tier: Tier, *, by_hand: bool, only_full: bool = False
) -> Job | None:
    """Return the lines that move up; with ``only_full`` only where there is no room."""
    persona = _persona(persona_id)
    if persona is None:
        return None
    files = memory_of(persona)
    if only_full and tiers.filled(files[tier.lower]) < tiers.NEARLY_FULL:
        return None
    up = tiers.going_up(persona, tier, files[tier.lower], timezone.now())
    if not up:
        return None
    entries = tuple(entries_of(files[tier.upper].text))
    material = Material(entries=entries, lower=up, names=tier.names)
    return Job(persona, tier.step, material, tier, by_hand)


def _waiting(persona: Persona, files: dict[str, PersonaFile]) -> list[InFile]:
    """Return what waits for a review and would stand in the memory."""
    runs = persona.memory_runs.filter(state=State.WAITING).order_by("-created_at")
    return [
        (files[one.file], entry)
        for run in runs
        for one in changes_of(run)
        for entry in reversed(entries_of("\n".join(one.add)))
    ]


def _last_first(file: PersonaFile) -> list[InFile]:
    return [(file, entry) for entry in reversed(entries_of(file.text))]


def _new_run(job: Job, completion: Completion, messages: int = 0) -> NewRun:
    result = completion.result
    usage = result.usage
    return NewRun(
        step=job.step,
        messages=messages,
        model=result.model,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cost_nano_usd=result.cost_nano_usd,
    )


def store_failure(job: Job, completion: Completion, why: str) -> MemoryRun | None:
    """Store that a call failed, unless that is known already."""
    if _persona(job.persona.pk) is None:
        return None
    new = replace(_new_run(job, completion), explanation=why, failed=True)
    return _store_once(job.persona, new)


def _store_once(persona: Persona, new: NewRun) -> MemoryRun:
    """Store a run without changes, unless the newest one says the same already."""
    newest = persona.memory_runs.order_by("-created_at", "-id").first()
    if newest is not None and (newest.step, newest.explanation) == (
        new.step,
        new.explanation[:300],
    ):
        return newest
    return store(persona, new, read=())


def store_answer(job: Job, shown: Material, completion: Completion) -> MemoryRun | None:
    """Store what of an answer counts, after another look at what it was drawn from."""
    parsed = parse(_whole_lines(completion))  # takes time, so before anything is locked
    with transaction.atomic():
        locked = Persona.objects.select_for_update(no_key=True)
        persona = locked.filter(pk=job.persona.pk).first()
        if persona is None or not (job.by_hand or settings_of(persona).enabled):
            return None
        ids = [one.id for one in shown.said]
        alive = still_usable(persona, ids, lock=True)
        if ids and not alive:
            return None
        read = [id for id in ids if id in alive]
        made = _made(job, shown, parsed, alive, memory_of(persona))
        in_vain: list[uuid.UUID] = []
        if made.why and not made.changes:  # after some tries it is not tried again
            over = set[uuid.UUID]()
            if made.useless and job.tier is None:
                over = tiers.given_up(persona, read, timezone.now())
                in_vain = [id for id in read if id not in over]
            if over:
                made = Made(why=GIVEN_UP.format(messages=_messages(len(over))))
            read = [id for id in read if id in over]
        new = replace(
            _new_run(job, completion, messages=len(alive)),
            changes=made.changes,
            notes=made.notes,
            appended=made.appended,
            explanation=made.why,
            in_vain=in_vain,
        )
        return store(persona, new, read=read)


def _made(
    job: Job,
    shown: Material,
    parsed: Parsed,
    alive: set[uuid.UUID],
    files: dict[str, PersonaFile],
) -> Made:
    """Return what the answer does to the files as they are now."""
    upper, lower = (job.tier.upper, job.tier.lower) if job.tier else (SHORT, "")
    there = entries_of(files[upper].text)
    below = entries_of(files[lower].text) if lower else []
    present = Present(
        frozenset(alive),
        frozenset(entry.raw for entry in there),
        frozenset(entry.raw for entry in below),
        _hidden_words(files, upper),
    )
    text = files[upper].text
    up = [entry for entry in shown.lower if entry.raw in present.lower]
    verdict = judge(parsed, shown, present)
    made = drafts.make(verdict, upper, text, lower_file=lower, up=up)
    in_vain = isinstance(verdict, LeftAlone) and lower
    if in_vain and tiers.tries_in_vain(job.persona, job.step) + 1 >= tiers.TRIES:
        made = drafts.make(Nothing(), upper, text, lower_file=lower, up=up)
        return replace(made, appended=True, why=made.why or MOVED_AS_THEY_ARE)
    return made


def _hidden_words(
    files: dict[str, PersonaFile], written: str
) -> tuple[frozenset[str], ...]:
    """Return the words of each private line that an open file must not tell.

    Whether the model was shown it, or knows of it from an answer of the persona.
    """
    if files[written].private:
        return ()
    lines = (
        words_of(entry.text)
        for file in files.values()
        for entry in entries_of(file.text)
        if _hidden(file, entry)
    )
    return tuple(filter(None, lines))


def _messages(count: int) -> str:
    return "1 message was" if count == 1 else f"{count} messages were"


def _whole_lines(completion: Completion) -> str:
    """Return the answer without a line that was cut off at the limit."""
    if completion.result.error is None:
        return completion.text
    return completion.text.rpartition("\n")[0]
