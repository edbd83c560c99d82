"""Changes of memory files by lines: applied, taken back, and cut down.

A change names whole lines, never a whole text, so that it does what it says to a file
that went on meanwhile, and leaves alone what it does not name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accounts.models import User
from personas.errors import EntryGone, FileRefused
from personas.files import MEMORY_FILES, save_file
from personas.memory.lines import (
    BULLET,
    Entry,
    changed,
    checked_line,
    entries_of,
    lines_of,
    marked_private,
    put_back,
    replaced,
)
from personas.models import FileRevision, Persona, PersonaFile
from personas.privacy import PIN


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one memory file: raw lines that go, raw lines that come."""

    file: str
    remove: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    revision: int = 0
    """Which revision of the file it made; 0 = none yet."""

    def __bool__(self) -> bool:
        return bool(self.remove or self.add)


def as_json(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return changes as a run stores them."""
    return [
        {
            "file": change.file,
            "remove": list(change.remove),
            "add": list(change.add),
            **({"revision": change.revision} if change.revision else {}),
        }
        for change in changes
    ]


def from_json(stored: Iterable[dict[str, Any]]) -> list[Change]:
    """Return the changes that a run stored."""
    return [
        Change(
            one["file"], tuple(one["remove"]), tuple(one["add"]), one.get("revision", 0)
        )
        for one in stored
    ]


def checked(changes: Iterable[Change]) -> list[Change]:
    """Return changes that may be applied, at most one for each file.

    Raises:
        FileRefused: Not a memory file, or a line to add is no entry.
    """
    by_file = {name: Change(name) for name in MEMORY_FILES}
    for change in changes:
        if change.file not in by_file:
            raise FileRefused(f"{change.file} is not a file of the memory.")
        for line in change.add:
            _check_entry(line)
        before = by_file[change.file]
        by_file[change.file] = replace(
            before,
            remove=tuple(dict.fromkeys((*before.remove, *change.remove))),
            add=tuple(dict.fromkeys((*before.add, *change.add))),
        )
    return [change for change in by_file.values() if change]


def _check_entry(line: str) -> None:
    try:
        checked_line(line)
    except ValueError:
        line = ""
    if not line.startswith(BULLET):
        raise FileRefused(f"Each line of the memory begins with “{BULLET}”.")


def new_text(text: str, change: Change) -> str:
    """Return a file's text after a change.

    Where an entry only gets other marks, it stays in its place.
    """
    remove, add = list(change.remove), list(change.add)
    for old, new in _same_entries(remove, add):
        text = replaced(text, old, new)
        remove.remove(old)
        if new in lines_of(text):
            add.remove(new)
    return changed(text, remove=remove, add=add)


def _same_entries(remove: Sequence[str], add: Sequence[str]) -> list[tuple[str, str]]:
    """Return the lines that say the same with other marks, each at most once."""
    added = {_said(entry): entry.raw for entry in entries_of("\n".join(add))}
    pairs = []
    for entry in entries_of("\n".join(remove)):
        if new := added.pop(_said(entry), None):
            pairs.append((entry.raw, new))
    return pairs


def _said(entry: Entry) -> tuple[object, str]:
    return entry.said_on, entry.text


def apply(
    persona: Persona,
    files: dict[str, PersonaFile],
    changes: Iterable[Change],
    *,
    author: User | None,
    reason: str,
) -> list[Change]:
    """Save the changes; return what they really did, which is what undoing takes back.

    Args:
        files: The three files, locked (``files.locked_memory``); a failure must end the
            transaction around it, for it may come after the first file.

    Raises:
        FileRefused: A file would grow beyond its limit.
    """
    done = []
    for change in changes:
        before = files[change.file].text
        after = new_text(before, change)
        if after == before:
            continue
        saved = save_file(persona, change.file, after, author=author, reason=reason)
        there, left = set(lines_of(before)), set(lines_of(after))
        done.append(
            Change(
                change.file,
                tuple(line for line in change.remove if line in there - left),
                tuple(line for line in change.add if line in left - there),
                saved.revision,
            )
        )
    return done


def taken_back(persona: Persona, text: str, change: Change) -> str:
    """Return a file's text without what a change did to it.

    Lines that went come back to where they stood; lines that came go, unless somebody
    changed them since.
    """
    inverse = Change(change.file, change.add, change.remove)
    pairs = dict(_same_entries(change.add, change.remove))
    for old, new in pairs.items():
        text = replaced(text, old, new)
    text = changed(text, remove=[raw for raw in inverse.remove if raw not in pairs])
    known = set(pairs.values())
    return put_back(
        text,
        [raw for raw in change.remove if raw not in known or raw not in lines_of(text)],
        before=_text_before(persona, change),
    )


def take_out(
    persona: Persona, files: dict[str, PersonaFile], line: str, *, author: User | None
) -> None:
    """Remove an entry from the memory, in whichever file it stands by now.

    Other marks than those of the line do not matter.

    Args:
        files: The three files, locked.

    Raises:
        EntryGone: It stands in none.
    """
    wanted = {_said(entry) for entry in entries_of(line)}
    found = [
        (name, entry.raw)
        for name, file in files.items()
        for entry in entries_of(file.text)
        if _said(entry) in wanted
    ]
    if not found:
        raise EntryGone("the memory")
    for name in dict.fromkeys(name for name, _ in found):
        rest = changed(
            files[name].text, remove=[raw for at, raw in found if at == name]
        )
        reason = "Undone: one line that was remembered"
        save_file(persona, name, rest, author=author, reason=reason)


def _text_before(persona: Persona, change: Change) -> str:
    """Return the file's text before a change was applied; empty when not known."""
    revision = FileRevision.objects.filter(
        file__persona=persona, file__name=change.file, number=change.revision - 1
    )
    return revision.values_list("text", flat=True).first() or ""


def without_lines(changes: Iterable[Change], unwanted: Collection[str]) -> list[Change]:
    """Return changes that do not add some lines.

    Where one of them goes nothing is removed either, in any of the files: what goes may
    only go because the unwanted line would say it.
    """
    changes = list(changes)
    if not any(line in unwanted for change in changes for line in change.add):
        return changes
    cut = (
        Change(change.file, (), tuple(raw for raw in change.add if raw not in unwanted))
        for change in changes
    )
    return [change for change in cut if change]


def without_pinned(changes: Iterable[Change]) -> list[Change]:
    """Return changes that remove no pinned line."""
    kept = (
        replace(
            change, remove=tuple(raw for raw in change.remove if not PIN.search(raw))
        )
        for change in changes
    )
    return [change for change in kept if change]


def kept_hidden(
    changes: Iterable[Change], files: dict[str, PersonaFile]
) -> list[Change]:
    """Return changes that bring no line of a private file into an open one.

    What is distilled into a tier comes from the one before it: where that file is
    private and this one is not, the new lines are marked private themselves.
    """
    names = list(MEMORY_FILES)
    return [
        replace(change, add=tuple(map(marked_private, change.add)))
        if not files[change.file].private
        and any(files[name].private for name in names[: names.index(change.file)])
        else change
        for change in changes
    ]
