"""Foreign folders, read so that nothing outside them can be reached.

Every folder and file is opened relative to the folder above it that is open already
(``dir_fd``) and never through a link (``O_NOFOLLOW``). So it does not matter whether
somebody swaps a folder for a link in between: what is open stays what was looked at.
Only plain files with a single name are read, and never more than their limit.

New trees are written the same way, for their owner alone.

Source: the manual pages openat(2) and open(2).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_ENTRIES: Final = 20_000
"""Entries of one folder; one with more is not read."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS: Final = {
    stat.S_IFLNK: "is a symbolic link, and links are not followed.",
    stat.S_IFIFO: "is a pipe and no file.",
    stat.S_IFSOCK: "is a socket and no file.",
    stat.S_IFCHR: "is a device and no file.",
    stat.S_IFBLK: "is a device and no file.",
}


class Unreadable(Exception):
    """The whole cannot be read or written; ``str()`` is one sentence."""


class Refused(Exception):
    """One thing cannot be taken; ``str()`` says why and begins with a verb."""


@dataclass(frozen=True, slots=True)
class Data:
    """A file's bytes and when it was last changed, in seconds since 1970."""

    raw: bytes
    changed_at: float


class Folder:
    """An open folder; close it, or use ``opened``."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        """Give the folder back to the system."""
        os.close(self._number)

    def names(self) -> list[str]:
        """Return the names inside, sorted; raises ``Refused`` when there are too many.

        Names that are not UTF-8 come with lone surrogates, as ``os.fsdecode`` has it.
        """
        try:
            with os.scandir(self._number) as entries:
                names = []
                for entry in entries:
                    names.append(entry.name)
                    if len(names) > MOST_ENTRIES:
                        raise Refused(f"holds more than {MOST_ENTRIES:,} entries.")
        except OSError as error:
            raise Refused(_reason(error)) from None
        return sorted(names)

    def is_folder(self, name: str) -> bool:
        """Say whether there is a folder of this name that is not a link."""
        try:
            return stat.S_ISDIR(self._look(name).st_mode)
        except Refused:
            return False

    def is_there(self, name: str) -> bool:
        """Say whether anything has this name, a broken link too."""
        try:
            self._look(name)
        except Refused:
            return False
        return True

    def folder(self, name: str) -> Folder:
        """Open a folder inside; raises ``Refused`` for links and all that is none."""
        found = self._look(name)
        if not stat.S_ISDIR(found.st_mode):
            kind = _KINDS.get(stat.S_IFMT(found.st_mode))
            raise Refused(kind or "is no folder.")
        try:
            return Folder(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._number))
        except OSError as error:
            raise Refused(_reason(error)) from None

    def read(self, name: str, limit: int) -> Data:
        """Return a plain file's bytes; raises ``Refused``.

        It is looked at before it is opened, because opening a device may do something,
        and again when it is open, because it may be another one by then.
        """
        _check_file(self._look(name), limit)
        try:
            number = os.open(name, _FILE, dir_fd=self._number)
        except OSError as error:
            raise Refused(_reason(error)) from None
        with os.fdopen(number, "rb") as file:
            _check_file(os.fstat(number), limit)
            try:
                raw = file.read(limit + 1)
            except OSError as error:
                raise Refused(_reason(error)) from None
            if len(raw) > limit:
                raise Refused(_too_large(limit))
            return Data(raw, os.fstat(number).st_mtime)

    def make_folder(self, name: str) -> Folder:
        """Make a new folder for its owner alone, and open it."""
        _check_name(name)
        try:
            os.mkdir(name, 0o700, dir_fd=self._number)
            return Folder(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._number))
        except OSError as error:
            raise Unreadable(f"{name}: {_reason(error)}") from None

    def write(self, name: str, raw: bytes) -> None:
        """Write a new file for its owner alone."""
        _check_name(name)
        try:
            number = os.open(name, _NEW, 0o600, dir_fd=self._number)
            with os.fdopen(number, "wb") as file:
                file.write(raw)
        except OSError as error:
            raise Unreadable(f"{name}: {_reason(error)}") from None

    def _look(self, name: str) -> os.stat_result:
        _check_name(name)
        try:
            return os.stat(name, dir_fd=self._number, follow_symlinks=False)
        except OSError as error:
            raise Refused(_reason(error)) from None


@contextmanager
def opened(folder: Folder) -> Iterator[Folder]:
    """Close a folder at the end of the block."""
    try:
        yield folder
    finally:
        folder.close()


def open_root(path: Path) -> Folder:
    """Open the folder that somebody named; its own path may lead through links.

    Raises:
        Unreadable: It is not there, or no folder.
    """
    try:
        return Folder(os.open(path, _FOLDER))
    except (OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "is no path."
        raise Unreadable(f"“{path}” {reason}") from None


def make_root(path: Path) -> Folder:
    """Make or open the folder to write into; it must be empty.

    Raises:
        Unreadable: It holds something, or it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "is no path."
        raise Unreadable(f"“{path}” {reason}") from None
    root = open_root(path)
    try:
        why = "is not empty; name a new folder." if root.names() else ""
    except Refused as error:
        why = str(error)
    if why:
        root.close()
        raise Unreadable(f"“{path}” {why}")
    os.chmod(path, 0o700)
    return root


def _check_name(name: str) -> None:
    """Refuse what is not the name of something directly inside a folder."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise Refused("is no name of a file.")


def _check_file(found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        raise Refused(kind or "is a folder, and a file belongs here.")
    if found.st_nlink > 1:
        raise Refused("has a second name elsewhere (a hard link); copy it instead.")
    if found.st_size > limit:
        raise Refused(_too_large(limit))


def _too_large(limit: int) -> str:
    if limit >= 1024 * 1024:
        return f"is larger than {limit // (1024 * 1024)} MB."
    return f"is larger than {limit // 1024} KB."


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and links are not followed."
    return f"cannot be used: {(error.strerror or 'it is not there').lower()}."
