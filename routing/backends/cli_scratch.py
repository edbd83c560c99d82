"""Folders that a vendor's program runs in, gone when it has ended.

Each has an empty working folder, a home and a folder for temporary files, all for this
user alone. They lie in the machine's folder for temporary files, because programs tell
their host where they run, and a data folder's path may hold somebody's name.

A process that was killed cannot clean up. Every process therefore holds a lock on its
own folder for as long as it lives, and whoever starts next removes those that nobody
holds any more.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "cortex-cli-"
_LOCK_NAME: Final = "lock"


@dataclass(frozen=True, slots=True)
class Scratch:
    """The folders of one program."""

    root: Path

    @property
    def cwd(self) -> Path:
        """Where the program starts; nothing to read there."""
        return self.root / "cwd"

    @property
    def home(self) -> Path:
        """Its home, and its configuration where it has no lasting one."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """Its ``TMPDIR``."""
        return self.root / "tmp"

    def write(self, name: str, text: str) -> Path:
        """Write a file for this user alone, outside the working folder."""
        path = self.root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(text.encode(errors="replace"))
        return path

    def remove(self) -> None:
        """Remove everything; again has no effect."""
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def prepared(scratch: Scratch) -> Iterator[Scratch]:
    """Remove the folders if writing into them fails within the context."""
    try:
        yield scratch
    except BaseException:
        scratch.remove()
        raise


def new_scratch() -> Scratch:
    """Make the folders of one program."""
    scratch = Scratch(Path(tempfile.mkdtemp(dir=_own_folder(os.getpid()))))
    for folder in (scratch.cwd, scratch.home, scratch.temporary):
        folder.mkdir(mode=0o700)
    return scratch


@functools.cache
def _own_folder(_pid: int) -> Path:
    """Make and return this process's folder."""
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder / _LOCK_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    # Never closed: the lock ends with the process, however that ends.
    fcntl.flock(lock, fcntl.LOCK_EX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def remove_leftovers() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder of this user whose lock nobody holds.

    One without a lock file is being made or being removed at this moment.
    """
    with suppress(OSError):
        about = folder.lstat()
        if about.st_uid != os.getuid() or folder.is_symlink():
            return
        lock = os.open(folder / _LOCK_NAME, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
