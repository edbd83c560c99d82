"""What the memory pages show of runs, and how an edited proposal is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from django.db.models import QuerySet
from django.utils import timezone

from ledger.money import write_amount
from personas.diffs import DiffLine, diff
from personas.errors import FileRefused
from personas.memory import runs
from personas.memory.changes import Change
from personas.memory.files import MAX_ENTRY_CHARS, TOO_LONG, check_date, memory_of
from personas.memory.lines import Entry, entries_of, entry_line, fold
from personas.memory.retold import is_retold
from personas.memory_pages.shown import TITLES, shown_line, shown_text, words_of
from personas.models import MemoryRun, Persona, PersonaFile

LIKE_ENOUGH = 0.5
"""From so much likeness on, an edited line is the proposed one in other words."""
MOST_WAITING = 10
"""So many waiting runs the page shows at once; deciding brings up the next."""
MOST_LINES = 100
"""So many edited lines are accepted at once."""
TOO_MANY = f"These are more than {MOST_LINES} lines; accept fewer of them."
_OUTCOMES = {
    MemoryRun.State.WAITING: "it waits for you",
    MemoryRun.State.APPLIED: "it is in the memory",
    MemoryRun.State.REJECTED: "it was rejected",
    MemoryRun.State.UNDONE: "it was taken back",
    MemoryRun.State.EMPTY: "there was nothing worth keeping",
    MemoryRun.State.LEFT: "the memory was left alone",
    MemoryRun.State.FAILED: "it failed",
}
DISTILLED = (MemoryRun.Step.SHORT, MemoryRun.Step.MID, MemoryRun.Step.LONG)


@dataclass(frozen=True, slots=True)
class Part:
    """What a run changes in one file."""

    file: str
    title: str
    changes: list[DiffLine]
    added: str
    """The lines it adds as they can be edited, one in each line."""
    rows: int
    """How tall the box for them is."""


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One run with what it changes or changed."""

    run: MemoryRun
    parts: list[Part]
    cost: str
    """In words; empty where no model was asked."""

    @property
    def state(self) -> str:
        """How it stands, in a word or two; a wish to forget is not “in the memory”."""
        run = self.run
        if run.state == MemoryRun.State.APPLIED and run.step == MemoryRun.Step.FORGET:
            return "done"
        return MemoryRun.State(run.state).label.lower()

    @property
    def outcome(self) -> str:
        """How it stands, as a part of a sentence behind a semicolon."""
        return _OUTCOMES[MemoryRun.State(self.run.state)]

    @property
    def wished(self) -> str:
        """What the person asked to remember or to forget: the first line and a count.

        Empty for what was distilled, and where no line was changed.
        """
        changes = runs.changes_of(self.run)
        if self.run.step == MemoryRun.Step.REMEMBER:
            raws = [raw for change in changes for raw in change.add]
        elif self.run.step == MemoryRun.Step.FORGET:
            raws = [raw for change in changes for raw in change.remove]
        else:
            return ""
        said = list(dict.fromkeys(shown_line(raw) for raw in raws))
        more = f" and {len(said) - 1} more" if len(said) > 1 else ""
        return f"“{said[0]}”{more}" if said else ""

    @property
    def is_open(self) -> bool:
        """Whether it can be accepted or rejected."""
        return self.run.state in runs.OPEN_STATES and bool(self.run.changes)

    @property
    def can_be_undone(self) -> bool:
        """Whether there is something to take back."""
        return self.run.state == MemoryRun.State.APPLIED and (
            bool(self.run.changes)
            or (self.run.step == MemoryRun.Step.FORGET and self.run.messages > 0)
        )


def runs_of(persona: Persona) -> QuerySet[MemoryRun]:
    """Return all runs of a persona that its owner sees, newest first."""
    return runs.runs_visible_to(persona.owner).filter(persona=persona)


def waiting_of(persona: Persona) -> tuple[list[ShownRun], int]:
    """Return what waits for the person, and how many more runs wait than are shown.

    Oldest first: that is how it was meant.
    """
    waiting = runs_of(persona).filter(state=MemoryRun.State.WAITING)
    files = memory_of(persona)
    shown = []
    for run in waiting.order_by("created_at", "id")[:MOST_WAITING]:
        run.persona = persona
        shown.append(shown_run(run, files=files))
    return shown, max(waiting.count() - len(shown), 0) if shown else 0


def last_run_of(persona: Persona) -> ShownRun | None:
    """Return the latest distillation, whatever came of it."""
    run = runs_of(persona).filter(step__in=DISTILLED).first()
    return ShownRun(run, [], cost_of(run)) if run else None


def shown_run(
    run: MemoryRun,
    typed: Mapping[str, str] | None = None,
    *,
    files: Mapping[str, PersonaFile] | None = None,
) -> ShownRun:
    """Return a run with its changes: what it would do now, or what it did.

    Args:
        typed: What somebody made of the added lines, by file.
        files: The memory as it is, where it was read already.
    """
    if run.state in runs.OPEN_STATES:
        compared = {
            file: diff(shown_text(before), shown_text(after))
            for file, before, after in runs.preview(run, files)
        }
    else:
        compared = {each.file: _as_made(each) for each in runs.changes_of(run)}
    parts = [
        _part(each, compared.get(each.file, []), (typed or {}).get(each.file))
        for each in runs.changes_of(run)
    ]
    return ShownRun(run, parts, cost_of(run))


def _as_made(change: Change) -> list[DiffLine]:
    removed = [DiffLine("removed", shown_line(line)) for line in change.remove]
    return removed + [DiffLine("added", shown_line(line)) for line in change.add]


def _part(change: Change, changes: list[DiffLine], typed: str | None) -> Part:
    added = [words_of(entry) for entry in _entries(change.add)]
    return Part(
        file=change.file,
        title=TITLES.get(change.file, change.file),
        changes=changes,
        added="\n".join(added) if typed is None else typed,
        rows=min(max(len(added) + 1, 3), 14),
    )


def cost_of(run: MemoryRun) -> str:
    """Return what a run cost, in words; empty where no model was asked."""
    if not run.model:
        return ""
    if run.cost_nano_usd is None:
        return "cost unknown"
    return write_amount(run.cost_nano_usd) if run.cost_nano_usd else "free"


# --- an edited proposal ---------------------------------------------------------


def edited(run: MemoryRun, typed: Mapping[str, str]) -> list[Change]:
    """Return a run's changes with the added lines as somebody edited them.

    A line that was only put in other words keeps its date, its marks and the messages
    it came from; one that is new has none and is said today. Where a proposed line was
    taken out, only what the others still tell goes from the files: the rest was to go
    because the line that was taken out would have told it.

    Args:
        typed: By the name of the file, its added lines as text, one a line; files that
            are missing stay as proposed.

    Raises:
        FileRefused: More lines, or longer ones, than can be accepted, or a new one
            with an impossible date.
    """
    changes, taken_out = [], list[Entry]()
    for each in runs.changes_of(run):
        lines, missing = _edited_lines(each.add, typed.get(each.file))
        changes.append(replace(each, add=lines))
        taken_out += missing
    if not taken_out:
        return changes
    kept = [entry for each in changes for entry in _entries(each.add)]
    return [
        replace(
            each,
            remove=tuple(
                entry.raw
                for entry in _entries(each.remove)
                if is_retold(entry, kept, taken_out)
            ),
        )
        for each in changes
    ]


def _edited_lines(
    proposed: Sequence[str], typed: str | None
) -> tuple[tuple[str, ...], list[Entry]]:
    """Return the lines to add, and those that were proposed and taken out."""
    if typed is None:
        return tuple(proposed), []
    wanted = [entry for line in typed.splitlines() for entry in _typed_line(line)]
    if len(wanted) > MOST_LINES:
        raise FileRefused(TOO_MANY)
    if any(len(entry.text) > MAX_ENTRY_CHARS for entry in wanted):
        raise FileRefused(TOO_LONG)
    unchanged = {words_of(entry) for entry in wanted}
    left = _entries(proposed)
    proposed_words = {words_of(entry) for entry in left}
    lines = []
    for entry in wanted:
        if words_of(entry) not in proposed_words:
            check_date(entry.text)
        origin = _origin_of(entry, left, unchanged)
        if origin:
            left.remove(origin)
        lines.append(_line(entry, origin))
    return tuple(lines), left


def _typed_line(line: str) -> list[Entry]:
    """Read one line of the box; a line with nothing in it is none."""
    words = line.strip().removeprefix("- ").strip()
    return [entry for entry in entries_of(f"- {words}") if entry.text]


def _origin_of(wanted: Entry, left: list[Entry], unchanged: set[str]) -> Entry | None:
    """Return the proposed line that this one was, if it was one of them."""
    words = words_of(wanted)
    for each in left:
        if words_of(each) == words:
            return each
    free = [each for each in left if words_of(each) not in unchanged]
    likeness = [(_likeness(wanted, each), -index) for index, each in enumerate(free)]
    best, index = max(likeness, default=(0.0, 0))
    return free[-index] if best >= LIKE_ENOUGH else None


def _likeness(one: Entry, other: Entry) -> float:
    compared = SequenceMatcher(None, fold(one.text), fold(other.text))
    # Upper bounds first: most pairs have nothing to do with each other.
    if min(compared.real_quick_ratio(), compared.quick_ratio()) < LIKE_ENOUGH:
        return 0.0
    return compared.ratio()


def _line(wanted: Entry, origin: Entry | None) -> str:
    if origin is None:
        said_on = wanted.said_on or timezone.localdate()
        return entry_line(wanted.text, said_on=said_on, private=wanted.private)
    if words_of(wanted) == words_of(origin):
        return origin.raw
    return entry_line(
        wanted.text,
        said_on=wanted.said_on or origin.said_on,
        sources=origin.sources,
        pinned=origin.pinned,
        private=origin.private or wanted.private,
    )


def _entries(lines: Sequence[str]) -> list[Entry]:
    return [entry for line in lines for entry in entries_of(line)]
