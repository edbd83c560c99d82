"""The files of a persona: names, limits, saving with history, restoring.

Every change of a text becomes one numbered revision that says who, when and why;
nothing here ever overwrites a revision. Which files enter a prompt is decided by
``personas.context``. Callers hand in a persona or file that they got through
``get_persona_for_user``.
"""

from __future__ import annotations

import re
import unicodedata

from django.db import transaction
from django.http import Http404

from accounts.models import User
from personas.errors import EditConflict, FileRefused
from personas.models import FileRevision, Persona, PersonaFile

IDENTITY, SOUL, USER = "IDENTITY.md", "SOUL.md", "USER.md"
MEMORY_FILES = ("MEMORY_SHORT.md", "MEMORY_MID.md", "MEMORY_LONG.md")
TASKS = "TASKS.json"
STANDARD_FILES = (IDENTITY, SOUL, USER, *MEMORY_FILES, TASKS)
"""Files that every persona may have; they can be emptied but not deleted."""
PRIVATE_BY_DEFAULT = frozenset({USER, *MEMORY_FILES})

MAX_NAME_LENGTH = 64
MAX_FILE_BYTES = 64 * 1024
MAX_FILES = 40
_NAME = re.compile(r"\A\w(?:[\w .-]*\w)?\.(?:md|txt|json)\Z")


def clean_name(name: str) -> str:
    """Return a file name in its one normal form.

    Names are later written to disks and archives, so everything that means something
    to a file system is refused: separators, leading dots, ``..``, control characters.

    Raises:
        FileRefused: The name is not allowed.
    """
    name = unicodedata.normalize("NFC", name.strip())
    if len(name) > MAX_NAME_LENGTH:
        raise FileRefused(f"A file name has at most {MAX_NAME_LENGTH} characters.")
    if not _NAME.match(name) or ".." in name:
        raise FileRefused(
            "Use letters, digits, spaces, “-”, “_” and “.” for a file name, "
            "and end it with .md, .txt or .json."
        )
    return name


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise FileRefused(f"{name} contains a zero character, which is not text.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise FileRefused(f"{name} contains something that is not text.") from None
    if size > MAX_FILE_BYTES:
        raise FileRefused(
            f"{name} has {size // 1024 + 1:,} KB; a file has at most "
            f"{MAX_FILE_BYTES // 1024} KB."
        )


def _check_room(persona: Persona, name: str) -> None:
    """Refuse a new file when there are too many or one whose name looks the same."""
    names = set(persona.files.values_list("name", flat=True))
    for other in names.union(STANDARD_FILES) - {name}:
        if other.casefold() == name.casefold():
            raise FileRefused(f"This name is too close to {other}, which is taken.")
    if len(names) >= MAX_FILES:
        raise FileRefused(f"A persona has at most {MAX_FILES} files.")


def files_of(persona: Persona) -> dict[str, PersonaFile]:
    """Return a persona's files by name: the standard ones first, then by alphabet.

    A standard file that was never written is there too, empty and not yet saved.
    """
    files = {name: new_file(persona, name) for name in STANDARD_FILES}
    for file in persona.files.order_by("name"):
        files[file.name] = file
    return files


def new_file(persona: Persona, name: str) -> PersonaFile:
    """Return an unsaved empty file with the privacy that its name implies."""
    return PersonaFile(persona=persona, name=name, private=name in PRIVATE_BY_DEFAULT)


def get_file(persona: Persona, name: str) -> PersonaFile:
    """Return one file; a standard file may be empty and unsaved, others raise 404."""
    file = persona.files.filter(name=name).first()
    if file is None and name not in STANDARD_FILES:
        raise Http404("There is no such file.")
    return file or new_file(persona, name)


def save_file(
    persona: Persona,
    name: str,
    text: str,
    *,
    author: User | None,
    reason: str = "",
    expected_revision: int | None = None,
) -> PersonaFile:
    """Save a text as the file's newest revision; an unchanged text makes none.

    Args:
        name: An existing file, a standard one or a new one.
        author: Who wrote it; ``None`` when Cortex itself did.
        reason: Why, in a few words, for the history; cut at 200 characters.
        expected_revision: The revision the editor started from (0 = no file yet);
            ``None`` saves whatever happened in between.

    Raises:
        FileRefused: Name, size or number of files.
        EditConflict: The file is no longer at ``expected_revision`` and its text
            differs from the one given.
    """
    name = clean_name(name)
    _check_text(name, text)
    with transaction.atomic():
        # The persona's row is the lock: it also covers files that do not exist yet.
        Persona.objects.select_for_update(no_key=True).get(pk=persona.pk)
        file = persona.files.filter(name=name).first()
        if file is None:
            _check_room(persona, name)
            file = new_file(persona, name)
        if file.text == text and (file.pk or name in STANDARD_FILES):
            return file
        if expected_revision is not None and file.revision != expected_revision:
            raise EditConflict(file)
        file.text = text
        file.revision += 1
        file.save()
        FileRevision.objects.create(
            file=file,
            number=file.revision,
            text=text,
            author=author,
            reason=reason[:200],
        )
    return file


def add_file(persona: Persona, name: str, *, author: User | None) -> PersonaFile:
    """Make a new empty free file; raises ``FileRefused`` when it exists."""
    name = clean_name(name)
    if name in STANDARD_FILES or persona.files.filter(name=name).exists():
        raise FileRefused(f"There is already a file named {name}.")
    return save_file(
        persona, name, "", author=author, reason="New file", expected_revision=0
    )


def restore_revision(
    file: PersonaFile, number: int, *, author: User | None
) -> PersonaFile:
    """Make an earlier text the newest revision; raises ``Http404`` when unknown."""
    revision = get_revision(file, number)
    return save_file(
        file.persona,
        file.name,
        revision.text,
        author=author,
        reason=f"Restored version {number}",
    )


def get_revision(file: PersonaFile, number: int) -> FileRevision:
    """Return one revision of a file; raises ``Http404`` when there is none."""
    revision = None
    if file.pk:
        revision = file.revisions.filter(number=number).first()
    if revision is None:
        raise Http404("There is no such version.")
    return revision


def set_private(file: PersonaFile, private: bool) -> None:
    """Say whether the file enters prompts only when the owner alone is present."""
    if file.private != private or not file.pk:
        file.private = private
        file.save()


def delete_file(file: PersonaFile) -> None:
    """Remove a free file with its history; raises ``FileRefused`` for standard ones."""
    if file.name in STANDARD_FILES:
        raise FileRefused(f"{file.name} belongs to every persona; empty it instead.")
    file.delete()
