"""``manage.py backup``: one file with everything that an installation is.

Works while Cortex runs and writes. The order matters: first the database is copied,
then ``ledger.jsonl``, which by then knows every row of the copy and is cut after its
head. Files of ``media/`` are never changed once written, so links to them are enough
to have them as they were. Nothing of the texts or secrets is shown.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts import keyfile
from channels_app.care import archive, contents, dumps
from channels_app.care.contents import Contents
from channels_app.care.errors import BackupFailed
from channels_app.care.version import cortex_version
from ledger import journal
from ledger.records import timestamp

_STAGING = ".backup-"
_PART = ".part"
WITHOUT_KEY = (
    "without it, stored secrets and the ledger's previews cannot be read after a "
    "restore on another machine."
)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was written."""

    path: Path
    size: int
    manifest: archive.Manifest
    key: str
    """A sentence on whether the key is inside, and what that means."""
    notes: tuple[str, ...] = ()
    """Sentences on what is not as it should be."""


def folder() -> Path:
    """Return where backups that Cortex writes by itself stand."""
    return Path(settings.DATA_DIR) / "backups"


def write(
    target: Path, *, with_key: bool = False, overwrite: bool = False
) -> BackupReport:
    """Write a backup to ``target``, which appears only once it is whole.

    Raises:
        BackupFailed: It exists already, another backup is being written, or something
            cannot be read or written; no unfinished file is left behind.
    """
    target = target.absolute()
    _refuse_existing(target, overwrite)
    part = target.with_name(f".{target.name}.{os.getpid()}{_PART}")
    try:
        with _alone(part), _staging() as staging:
            found = _copy_database(staging)
            notes = _copy_journal(staging, found)
            files = [
                (archive.DATABASE[connection.vendor], staging / "database"),
                (archive.JOURNAL, staging / archive.JOURNAL),
                *_key_members(with_key),
                *_media_members(staging),
            ]
            manifest = archive.write(part, _manifest(found), files)
            _refuse_existing(target, overwrite)
            part.replace(target)
    except OSError as error:
        raise BackupFailed(
            f"The backup {target} could not be written: {error.strerror or error}."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    size = target.stat().st_size
    return BackupReport(target, size, manifest, _key_sentence(with_key), tuple(notes))


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise BackupFailed(f"{target} is a folder; name a file.")
    if not target.parent.is_dir():
        raise BackupFailed(f"There is no folder {target.parent}.")
    if target.exists() and not overwrite:
        raise BackupFailed(f"{target} exists already; --force replaces it.")


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Write one backup at a time.

    The lock's file names the part that is being written, wherever that is: the next
    one removes what a crash has left, for it holds every conversation.
    """
    path = Path(settings.DATA_DIR) / "backup.lock"
    with open(path, "a+", encoding="utf-8", errors="surrogateescape") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupFailed("Another backup is being written just now.") from None
        file.seek(0)
        left = file.read()
        if left.endswith(_PART):
            Path(left).unlink(missing_ok=True)
        file.truncate(0)
        file.write(str(part))
        file.flush()
        yield


@contextlib.contextmanager
def _staging() -> Iterator[Path]:
    """Make a folder for the copies; remove it, and what a crash left of others."""
    folder().mkdir(mode=0o700, exist_ok=True)
    for left in folder().glob(f"{_STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)
    name = tempfile.mkdtemp(prefix=_STAGING, dir=folder())
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def _manifest(found: Contents) -> archive.Manifest:
    return archive.make_manifest(
        connection.vendor,
        found,
        version=cortex_version(),
        created_at=timestamp(timezone.now()),
    )


# --- the members ----------------------------------------------------------------------


def _copy_database(staging: Path) -> Contents:
    target = staging / "database"
    if connection.vendor == "sqlite":
        dumps.copy_sqlite(str(connection.settings_dict["NAME"]), target)
        if not contents.is_sound(target):
            raise BackupFailed(
                "The database is damaged, so no backup of it was written; restore an "
                "earlier one."
            )
        return contents.of_sqlite(target)
    program = dumps.find_program("pg_dump")
    if program is None:
        raise BackupFailed(
            "pg_dump was not found; install PostgreSQL's client programs (on Debian "
            "and Ubuntu: apt install postgresql-client)."
        )
    with contents.postgresql_snapshot() as (snapshot, found):
        dumps.dump_postgresql(program, connection, target, snapshot)
    return found


def _copy_journal(staging: Path, found: Contents) -> list[str]:
    """Copy ``ledger.jsonl`` up to the head of the copied database.

    One that is damaged is copied whole: it may be the only trace of something.
    """
    try:
        journal.fill_gaps()
    except ValueError as fault:
        shutil.copyfile(journal.path(), staging / archive.JOURNAL)
        return [f"{fault} It is inside as it is; run 'manage.py ledger verify'."]
    target = staging / archive.JOURNAL
    if journal.path().exists():
        shutil.copyfile(journal.path(), target)
    else:
        target.touch()
    end = _end_of_head(target, found.ledger_head)
    if end is None and found.ledger_rows:
        return [
            "ledger.jsonl does not know the ledger's last row; run "
            "'manage.py ledger verify'."
        ]
    os.truncate(target, end or 0)
    return []


def _end_of_head(path: Path, head: str) -> int | None:
    """Return where the last line about the row ``head`` ends; ``None`` without one."""
    mark, position, end = f'"hash":"{head}"'.encode(), 0, None
    with open(path, "rb") as file:
        for line in file:
            position += len(line)
            if mark in line and line.endswith(b"\n"):
                end = position
    return end


def _key_members(with_key: bool) -> list[tuple[str, Path]]:
    path = keyfile.key_file()
    return [(archive.KEY, path)] if with_key and path is not None else []


def _media_members(staging: Path) -> list[tuple[str, Path]]:
    """Link every file of the media folder into the staging folder and name it."""
    root, found = Path(settings.MEDIA_ROOT), []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        inside = path.relative_to(root).as_posix()
        linked = staging / "media" / inside
        linked.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, linked)
        except FileNotFoundError:
            continue  # deleted meanwhile
        except OSError:
            shutil.copyfile(path, linked)  # another disk, or one without links
        found.append((archive.MEDIA + inside, linked))
    return found


def _key_sentence(with_key: bool) -> str:
    path = keyfile.key_file()
    if path is None:
        return (
            "The key is not inside: it comes from CORTEX_SECRET_KEY. Keep it "
            f"elsewhere; {WITHOUT_KEY}"
        )
    if with_key:
        return (
            "The key is inside: whoever has this file can read every stored secret, so "
            "keep it as safe as the key itself."
        )
    return f"The key is not inside. Keep a copy of {path} elsewhere; {WITHOUT_KEY}"
