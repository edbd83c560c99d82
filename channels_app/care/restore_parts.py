"""The parts of a restore beside the database: media, key and ``ledger.jsonl``.

Each changes its place as long as a context ends well, and is put back otherwise.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from accounts import keyfile, secrets
from channels_app.care import archive, backup
from channels_app.care.archive import Manifest
from channels_app.care.errors import BadArchive
from channels_app.care.pending import putting_back
from ledger import journal, restores
from ledger.journal_reader import JournalFault

# --- media ----------------------------------------------------------------------------


@contextlib.contextmanager
def media_replaced(staging: Path) -> Iterator[None]:
    """Move files instead of the folder, which may be where a disk is mounted."""
    media = Path(settings.MEDIA_ROOT)
    old, new = staging / "old-media", staging / "media"
    for folder in (media, old, new):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        _move_children(media, old)
    except BaseException:
        with putting_back():
            _move_children(old, media)
        raise
    try:
        _move_children(new, media)
        yield
    except BaseException:
        with putting_back():
            _move_children(media, new)
            _move_children(old, media)
        raise


def _move_children(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        shutil.move(path, target / path.name)


# --- key ------------------------------------------------------------------------------


def replaces_key(manifest: Manifest) -> bool:
    """Say whether the backup's key takes the place of the present one."""
    return manifest.with_key and keyfile.key_file() is not None


def refuse_no_key(manifest: Manifest, staging: Path) -> None:
    """Refuse a key file without a key.

    Raises:
        BadArchive: The backup has one.
    """
    if manifest.with_key and not _keys_in(staging):
        raise BadArchive("The key file in the backup holds no key.")


def _keys_in(staging: Path) -> list[str]:
    try:
        return (staging / archive.KEY).read_text(encoding="ascii").split()
    except UnicodeDecodeError:
        return []


@contextlib.contextmanager
def key_replaced(manifest: Manifest, staging: Path) -> Iterator[list[str]]:
    """Put the backup's key in its place, if it has one; yield the keys that count."""
    path = keyfile.key_file()
    if path is None or not replaces_key(manifest):
        yield list(secrets.current_keys())
        return
    before = staging / "old-key"
    if path.exists():
        shutil.copy2(path, before)
    keys = _keys_in(staging)
    keyfile.write_keys(path, keys)
    try:
        yield keys
    except BaseException:
        with putting_back():
            if before.exists():
                shutil.copy2(before, path)
            else:
                path.unlink(missing_ok=True)
        raise


def key_notes(manifest: Manifest, keys: list[str]) -> list[str]:
    """Say what is to be done about the key."""
    path = keyfile.key_file()
    notes = []
    if manifest.with_key:
        notes.append(
            "The backup holds a key, which was not put in place, because "
            "CORTEX_SECRET_KEY is set."
            if path is None
            else f"The key came with the backup and is in {path}."
        )
    if secrets.first_unreadable(keys) is None:
        notes.append("Stored secrets can be read with the present key.")
        return notes
    where = "CORTEX_SECRET_KEY" if path is None else str(path)
    notes.append(
        "Stored secrets cannot be read with the present key: put the key of the "
        f"installation that was backed up into {where} before you start Cortex."
    )
    return notes


# --- ledger.jsonl ---------------------------------------------------------------------


@contextlib.contextmanager
def journal_settled(copy: Path) -> Iterator[list[str]]:
    """Let ``ledger.jsonl`` say that this restore was lawful; yield what to know.

    The present file goes on, with a line about the restore. The backup's copy takes its
    place only where there is none, or none that can be read; and if neither can, it is
    written anew from the database.
    """
    path = journal.path()
    size = path.stat().st_size if path.exists() else 0
    kept: list[Path] = []
    try:
        yield _settle(copy, bool(size), kept)
    except BaseException:
        with putting_back():
            if kept and size:
                kept[0].replace(path)
            if size:
                os.truncate(path, size)
            else:
                path.unlink(missing_ok=True)
        raise


def _settle(copy: Path, is_there: bool, kept: list[Path]) -> list[str]:
    path, notes = journal.path(), []
    if not is_there:
        _take(copy)
    for instead in [copy, None] if is_there else [None]:
        try:
            restores.mark()
        except (JournalFault, ValueError) as fault:
            stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
            kept.append(backup.folder() / f"ledger-{stamp}.jsonl")
            path.replace(kept[-1])
            notes.append(
                f"{fault} That file is kept as {kept[-1]}; "
                + ("the backup's took its place." if instead else "it was made anew.")
            )
            _take(instead)
        else:
            return notes
    restores.mark()
    return notes


def _take(source: Path | None) -> None:
    """Put a copy, or an empty file, in the journal's place."""
    path = journal.path()
    if source is None:
        path.write_bytes(b"")
    else:
        shutil.copyfile(source, path)
    path.chmod(0o600)
