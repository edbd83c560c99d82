"""Takes old homes over: people, their personas, their models, their channels.

Each persona is stored whole or not at all, and so are each person's models and
channels. What cannot be taken is told by its path and does not stop the rest. A second
run finds everything in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from django.db import DatabaseError, transaction

from accounts import invites, newcomers, people
from accounts.models import User
from channels_app.homes.person_files import read_files, take_channels, take_registry
from channels_app.homes.report import Report
from channels_app.homes.secret_files import CHANNELS_FILE, LIMITS
from personas.home.disk import Folder, Refused, Unreadable, open_root, opened
from personas.home.naming import check_person_name
from personas.home.persona_folder import OldPersona, read_persona
from personas.home.persona_rows import store_persona
from personas.home.session_spool import SessionSpool

HOME: Final = "home"
PERSONAS: Final = "persona"
NO_MEANING: Final = "has no meaning here and stays where it is."


@dataclass(frozen=True, slots=True)
class Wishes:
    """What whoever runs the command asked for."""

    overwrite: bool = False
    trial: bool = False


@dataclass(slots=True)
class _Reading:
    """A persona's folder after it was read, and what was left of it by then."""

    where: str
    report: Report = field(default_factory=Report)
    old: OldPersona | None = None
    spool: SessionSpool | None = None


def take_home(path: Path, user: str, *, dry_run: bool, overwrite: bool) -> Report:
    """Take over the folder ``home``, the one it stands in, or one person's folder.

    Args:
        user: Only this person's; needed where the folder is one person's.
        dry_run: Take everything but the sessions, which are only read, and undo it
            again: the report is the same.
        overwrite: Files that differ become a new version.

    Raises:
        Unreadable: There is no such folder, or it is no home.
    """
    report = Report()
    wishes = Wishes(overwrite, trial=dry_run)
    with ExitStack() as stack:
        root = stack.enter_context(opened(open_root(path)))
        try:
            home = root
            if _is_home_inside(root):
                home = stack.enter_context(opened(root.folder(HOME)))
            _take_people(home, user, path, wishes, report)
        except Refused as error:
            raise Unreadable(f"“{path}” {error}") from None
    return report


@contextmanager
def _trial() -> Iterator[None]:
    """Undo everything at the end of the block."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _is_home_inside(root: Folder) -> bool:
    if not root.is_folder(HOME) or _is_persons(root):
        return False
    with opened(root.folder(HOME)) as inside:
        return not _is_persons(inside)


def _is_persons(folder: Folder) -> bool:
    """Say whether a folder is one person's; they may be named “persona” themselves."""
    if any(folder.is_there(name) for name in LIMITS):
        return True
    if not folder.is_folder(PERSONAS):
        return False
    with opened(folder.folder(PERSONAS)) as inside:
        return not inside.is_folder(PERSONAS)


def _take_people(
    home: Folder, user: str, path: Path, wishes: Wishes, report: Report
) -> None:
    """Take everybody, or the one who was named.

    Raises:
        Unreadable: It is not said whose folder it is, or there is nobody's.
    """
    if user and home.is_there(user):
        _take_named(home, user, wishes, report)
    elif user and _is_persons(home):
        check_person_name(user)
        _take_person(home, user, wishes, report)
    elif user:
        raise Unreadable(f"“{path}” has no folder of “{user}”.")
    elif _is_persons(home):
        raise Unreadable(f"“{path}” is one person's folder: name them with --user.")
    else:
        names = home.names()
        if not names:
            raise Unreadable(f"“{path}” is empty.")
        for name in names:
            _take_named(home, name, wishes, report)


def _take_named(home: Folder, name: str, wishes: Wishes, report: Report) -> None:
    try:
        check_person_name(name)
        with opened(home.folder(name)) as folder:
            _take_person(folder, name, wishes, report)
    except Refused as error:
        report.left(name, str(error))


def _take_person(folder: Folder, name: str, wishes: Wishes, report: Report) -> None:
    """Take all of one person; raises ``Refused`` where there is nothing of anybody."""
    if not _is_persons(folder) and not folder.is_there(PERSONAS):
        raise Refused(f"has no folder “{PERSONAS}” and is no person's.")
    texts = read_files(folder, name, report)
    if not wishes.trial:
        _store_person(folder, name, _read_personas(folder, name), texts, wishes, report)
        return
    # Everything is undone at once, so everything is read before others have to wait.
    readings = list(_read_personas(folder, name, trial=True))
    with _trial():
        _store_person(folder, name, readings, texts, wishes, report)


def _store_person(
    folder: Folder,
    name: str,
    readings: Iterable[_Reading],
    texts: dict[str, str],
    wishes: Wishes,
    report: Report,
) -> None:
    user = _person(name, report)
    for entry in folder.names():
        if entry == PERSONAS:
            for reading in readings:
                _store_persona(reading, user, wishes, report)
        elif entry not in LIMITS:
            report.left(f"{name}/{entry}", NO_MEANING)
    with _all_or_nothing(f"{name}/(models)", report) as part:
        take_registry(user, texts, part)
    if CHANNELS_FILE in texts:
        with _all_or_nothing(f"{name}/{CHANNELS_FILE}", report) as part:
            take_channels(user, texts[CHANNELS_FILE], folder, part)


def _person(name: str, report: Report) -> User:
    """Return the person, who is made without a password if there is none yet."""
    user = people.find_person(name)
    if user is None:
        user = newcomers.create_without_password(name)
        report.taken(name, "is a person now, without a password.")
    else:
        report.kept(name, "is a person here.")
    invited = invites.open_invites().filter(username=name).exists()
    if not invited and newcomers.waiting().filter(pk=user.pk).exists():
        report.hints.append(f"manage.py users invite {name} ADDRESS")
    return user


def _read_personas(
    folder: Folder, name: str, *, trial: bool = False
) -> Iterator[_Reading]:
    """Yield one persona's folder after the other; its spool is open until the next."""
    above = _Reading(f"{name}/{PERSONAS}")
    if not folder.is_there(PERSONAS):
        return
    try:
        with opened(folder.folder(PERSONAS)) as personas:
            for persona in personas.names():
                where = f"{above.where}/{persona}"
                with nullcontext() if trial else SessionSpool() as spool:
                    yield _read(personas, persona, _Reading(where, spool=spool))
    except Refused as error:
        above.report.left(above.where, str(error))
        yield above


def _read(personas: Folder, name: str, reading: _Reading) -> _Reading:
    try:
        check_person_name(name)
        with opened(personas.folder(name)) as folder:
            reading.old = read_persona(
                folder, name, reading.where, reading.report, reading.spool
            )
    except Refused as error:
        reading.report.left(reading.where, str(error))
    return reading


def _store_persona(
    reading: _Reading, user: User, wishes: Wishes, report: Report
) -> None:
    report.lines.extend(reading.report.lines)
    if reading.old is None:
        return
    where = reading.where
    try:
        with _all_or_nothing(where, report) as part:
            stored = store_persona(
                user,
                reading.old,
                where,
                overwrite=wishes.overwrite,
                spool=reading.spool,
            )
            part.lines.extend(stored.lines)
    except Refused as error:
        report.left(where, str(error))


@contextmanager
def _all_or_nothing(where: str, report: Report) -> Iterator[Report]:
    """Store in one transaction, and tell what was done once it is.

    Where the database refuses, nothing of this part is stored and the rest goes on.
    """
    part = Report()
    try:
        with transaction.atomic():
            yield part
    except DatabaseError:
        report.left(where, "could not be stored, and nothing of it was taken.")
    else:
        report.lines.extend(part.lines)
