"""The file of a backup: a ``.tar.gz`` whose first member says what the others are.

``manifest.json`` names the form, Cortex's version, the state of the database and each
member with its size and SHA-256. Nothing is believed of an archive that is read: every
member must be a plain file that the manifest names, under one of the few names that a
backup has, and give the sum that was written down.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, Final

from channels_app.care.contents import Contents
from channels_app.care.errors import BackupFailed, BadArchive

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
KIND_NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
JOURNAL: Final = "ledger.jsonl"
KEY: Final = "secret.key"
MEDIA: Final = "media/"
_MANIFEST_BYTES: Final = 256 * 1024 * 1024
_LEVEL: Final = 4
"""Of gzip: half the time of the usual one for a few per cent more bytes."""
_BLOCK: Final = 1024 * 1024
_SUM = re.compile(r"[0-9a-f]{64}")
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Member:
    """What the manifest says about one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is."""

    format: int
    version: str
    """Cortex's, when it was written."""
    created_at: str
    """RFC 3339, UTC."""
    database: str
    """``sqlite`` or ``postgresql``."""
    migrations: list[str]
    ledger_rows: int
    ledger_head: str
    rows: dict[str, int]
    """Table → rows, at the time of the copy."""
    members: dict[str, Member]

    @property
    def with_key(self) -> bool:
        """Whether the key file is inside."""
        return KEY in self.members

    @property
    def contents(self) -> Contents:
        """What the database must hold after a restore."""
        return Contents(self.migrations, self.rows, self.ledger_head)


def make_manifest(
    database: str, contents: Contents, *, version: str, created_at: str
) -> Manifest:
    """Return the manifest of a backup that has no members yet."""
    return Manifest(
        FORMAT,
        version,
        created_at,
        database,
        contents.migrations,
        contents.ledger_rows,
        contents.ledger_head,
        contents.rows,
        {},
    )


# --- writing --------------------------------------------------------------------------


def write(
    target: Path, manifest: Manifest, files: Sequence[tuple[str, Path]]
) -> Manifest:
    """Write an archive of ``files`` (name inside, place) and return its manifest.

    Files may still grow at their end while they are read: what is written is what
    they held at first.

    Raises:
        BackupFailed: A file or the archive cannot be read or written.
    """
    try:
        manifest = replace(manifest, members={n: _sum_of(p) for n, p in files})
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with tarfile.open(
                fileobj=raw,
                mode="w:gz",
                compresslevel=_LEVEL,
                format=tarfile.PAX_FORMAT,
            ) as tar:
                text = json.dumps(asdict(manifest), indent=1).encode()
                _add(tar, MANIFEST, len(text), io.BytesIO(text))
                for name, path in files:
                    with open(path, "rb") as file:
                        _add(tar, name, manifest.members[name].size, file)
            raw.flush()
            os.fsync(raw.fileno())
    except OSError as error:
        raise BackupFailed(
            f"The backup {target} could not be written: {error.strerror or error}."
        ) from None
    return manifest


def _add(tar: tarfile.TarFile, name: str, size: int, file: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    tar.addfile(info, file)


def _sum_of(path: Path) -> Member:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return Member(size, digest.hexdigest())


# --- reading --------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; whatever is wrong with it becomes a sentence."""
    try:
        with tarfile.open(path, "r:gz") as tar:
            yield tar
    except FileNotFoundError:
        raise BadArchive(f"There is no file {path}.") from None
    except _UNREADABLE:
        raise BadArchive(
            f"{path.name} is damaged, cut short, or no backup of Cortex."
        ) from None
    except OSError as error:
        raise BadArchive(f"{path} cannot be read: {error.strerror}.") from None


def read_manifest(path: Path) -> Manifest:
    """Return what an archive says of itself.

    Raises:
        BadArchive: It is no backup, or one in a newer form.
    """
    with _opened(path) as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or not first.isreg():
            raise BadArchive(f"{path.name} is no backup of Cortex.")
        if first.size > _MANIFEST_BYTES:
            raise BadArchive(f"The manifest of {path.name} is too large.")
        file = tar.extractfile(first)
        text = file.read() if file else b""
    return _parse(text, path.name)


def _parse(text: bytes, file_name: str) -> Manifest:
    try:
        found = json.loads(text)
        form = found["format"]
        if isinstance(form, int) and form > FORMAT:
            raise BadArchive(
                f"{file_name} has the form {form}, which is newer than this version of "
                "Cortex; install the newer version to restore it."
            )
        values = {each.name: found[each.name] for each in fields(Manifest)}
        values["members"] = {
            str(name): Member(int(each["size"]), str(each["sha256"]))
            for name, each in found["members"].items()
        }
        manifest = Manifest(**values)
        fits = _fits(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise BadArchive(f"The manifest of {file_name} cannot be read.")
    return manifest


def _fits(manifest: Manifest) -> bool:
    """Say whether the values have the types that they should have."""
    needed = {DATABASE[manifest.database], JOURNAL}
    texts = [manifest.version, manifest.created_at, manifest.ledger_head]
    texts += manifest.migrations
    return (
        manifest.format == FORMAT
        and needed <= manifest.members.keys()
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(count, int) for count in manifest.rows.values())
        and all(_SUM.fullmatch(each.sha256) for each in manifest.members.values())
    )


def extract(path: Path, folder: Path) -> Manifest:
    """Unpack an archive into an empty folder, checking every member.

    Raises:
        BadArchive: Something is not as the manifest says; the sentence names it.
        OSError: The folder cannot be written.
    """
    manifest = read_manifest(path)
    left = dict(manifest.members)
    with _opened(path) as tar:
        tar.next()  # the manifest
        while info := tar.next():
            _refuse_tricky(info, manifest)
            member = left.pop(info.name, None)
            if member is None:
                raise BadArchive(f"The backup's manifest does not name {info.name!r}.")
            if info.size != member.size or _unpack(tar, info, folder) != member.sha256:
                raise BadArchive(
                    f"{info.name!r} in the backup is not what its manifest says."
                )
    if left:
        raise BadArchive(f"The backup lacks {min(left)!r}, which its manifest names.")
    return manifest


def _refuse_tricky(info: tarfile.TarInfo, manifest: Manifest) -> None:
    """Refuse members that are no plain files, or not where those of a backup are."""
    name = info.name
    if not info.isreg():
        raise BadArchive(f"{name!r} in the backup is a link or no plain file.")
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or {"", ".", ".."} & {*parts}:
        raise BadArchive(f"{name!r} in the backup has a path that leads elsewhere.")
    known = {DATABASE[manifest.database], JOURNAL, KEY}
    if name not in known and not name.startswith(MEDIA):
        raise BadArchive(f"{name!r} in the backup is nothing that a backup has.")


def _unpack(tar: tarfile.TarFile, info: tarfile.TarInfo, folder: Path) -> str:
    """Write a member into the folder and return its sum."""
    target = folder / info.name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    source: Any = tar.extractfile(info)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while block := source.read(_BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
