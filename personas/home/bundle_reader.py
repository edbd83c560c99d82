"""A leaving bundle while it is read; nothing is believed of it.

Before anything is taken, every entry must be a plain file under one of the names that a
bundle has, named once, not encrypted, of a believable size, and what the manifest says
it is. Nothing is ever unpacked to a disk. Entries are read line by line.

Source: the documentation of Python's ``zipfile``, "Decompression pitfalls";
APPNOTE.TXT of the ZIP format, 4.4.4 (flags) and 4.4.15 (attributes).
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from accounts.names import NAME_PATTERN
from personas.errors import FileRefused
from personas.files import clean_name
from personas.home.bundle_shapes import Count, Shape, Text32
from personas.home.bundle_zip import FORMAT, LIST_END, MANIFEST, VERSION
from personas.home.disk import Unreadable
from personas.home.report import shown

MOST_ENTRIES: Final = 200_000
MOST_BYTES: Final = 4 * 1024**3
"""Of all entries together, unpacked."""
MOST_OF_ENTRY: Final = 1024**3
MOST_OF_MANIFEST: Final = 32 * 1024**2
MOST_OF_OBJECT: Final = 16 * 1024**2
"""Of an entry that is read at once."""
LONGEST_LINE: Final = 8 * 1024**2
_BLOCK: Final = 256 * 1024
_ENCRYPTED: Final = 0x1 | 0x40
_OF_PERSON: Final = frozenset(
    {MANIFEST, "person.json", "schedules.json", "ledger.csv", "ledger.jsonl"}
)
_OF_PERSONA: Final = frozenset({"persona.json", "history.json", "memory_runs.json"})
_CONVERSATION: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[a-z0-9_-]{1,80}\.(json|md)"
)
_NAME: Final = re.compile(NAME_PATTERN)
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)
S = TypeVar("S", bound=Shape)


class BadEntry(Exception):
    """What an entry holds cannot be taken; ``str()`` is one sentence with its name."""


class EntryShape(Shape):
    """What the manifest says about an entry."""

    size: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Manifest(Shape):
    """``manifest.json``."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    format: Literal["cortex-leaving-bundle"]
    version: Literal[1]
    user_name: Text32
    entries: dict[str, EntryShape]


class BundleReader:
    """A checked bundle; use ``open_bundle``."""

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zip = zipped
        self.manifest = self._checked()

    def names(self, folder: str = "") -> list[str]:
        """Return the names below a folder that ends with ``/``, sorted."""
        return sorted(n for n in self.manifest.entries if n.startswith(folder))

    def text(self, name: str) -> str:
        """Return an entry as text; raises ``BadEntry``."""
        try:
            return self._whole(name).decode()
        except UnicodeDecodeError:
            raise BadEntry(f"{shown(name)} is no text in UTF-8.") from None

    def object(self, name: str, kind: type[S]) -> S:
        """Return an entry that is one JSON object; raises ``BadEntry``."""
        return _parsed(self._whole(name), kind, name)

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of an entry; raises ``BadEntry``."""
        if name not in self.manifest.entries:
            raise BadEntry(f"{shown(name)} is missing.")
        with self._zip.open(name) as file:
            while line := file.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise BadEntry(f"{shown(name)} has a line that is too long.")
                yield line

    def head(self, name: str, key: str, kind: type[S]) -> S:
        """Return what stands before the list of an entry; raises ``BadEntry``."""
        line = next(self.lines(name), b"").rstrip(b"\r\n")
        start = b'{"%s": ' % key.encode()
        if not (line.startswith(start) and line.endswith(b",")):
            raise _not_laid_out(name)
        return _parsed(line[len(start) : -1], kind, name)

    def items(self, name: str, key: str, kind: type[S]) -> Iterator[S]:
        """Yield the objects of an entry's list, one a line; raises ``BadEntry``."""
        lines = self.lines(name)
        next(lines, None)
        if next(lines, b"").rstrip() != b'"%s": [' % key.encode():
            raise _not_laid_out(name)
        for line in lines:
            line = line.rstrip()
            if line == LIST_END:
                return
            yield _parsed(line.removesuffix(b","), kind, name)
        raise _not_laid_out(name)

    # --- checks -------------------------------------------------------------------

    def _checked(self) -> Manifest:
        seen = _names_of(self._zip.infolist())
        if MANIFEST not in seen:
            raise Unreadable(f"It has no {MANIFEST} and is no leaving bundle.")
        if self._zip.getinfo(MANIFEST).file_size > MOST_OF_MANIFEST:
            raise Unreadable(f"{MANIFEST} is too large.")
        manifest = _manifest(self._zip.read(MANIFEST))
        named = set(manifest.entries) | {MANIFEST}
        if missing := sorted(named - seen):
            raise Unreadable(f"{shown(missing[0])} is missing in the bundle.")
        if extra := sorted(seen - named):
            raise Unreadable(f"{shown(extra[0])} is not in the bundle's manifest.")
        for name, entry in manifest.entries.items():
            if self._sum_of(name) != (entry.size, entry.sha256):
                raise Unreadable(f"{shown(name)} is not what the manifest says.")
        return manifest

    def _sum_of(self, name: str) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with self._zip.open(name) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
        return size, digest.hexdigest()

    def _whole(self, name: str) -> bytes:
        entry = self.manifest.entries.get(name)
        if entry is None:
            raise BadEntry(f"{shown(name)} is missing.")
        if entry.size > MOST_OF_OBJECT:
            raise BadEntry(f"{shown(name)} is too large.")
        return self._zip.read(name)


@contextmanager
def open_bundle(path: Path) -> Iterator[BundleReader]:
    """Open and check a bundle.

    Raises:
        Unreadable: It is none, or something about it is not right; one sentence.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            bundle = BundleReader(stack.enter_context(zipfile.ZipFile(file)))
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}.") from None
        except _UNREADABLE:
            raise Unreadable("The bundle is damaged, or no zip at all.") from None
        yield bundle


def is_bundle(path: Path) -> bool:
    """Say whether a path is a file that may be a bundle, and no folder."""
    return path.is_file() or path.suffix == ".zip"


def _names_of(infos: list[zipfile.ZipInfo]) -> set[str]:
    """Return the names of all entries, none of which is a trick."""
    if len(infos) > MOST_ENTRIES:
        raise Unreadable(f"The bundle has more than {MOST_ENTRIES:,} entries.")
    seen: set[str] = set()
    for info in infos:
        _refuse_tricky(info)
        if info.filename in seen:
            raise Unreadable(f"{shown(info.filename)} is in the bundle twice.")
        seen.add(info.filename)
    if sum(info.file_size for info in infos) > MOST_BYTES:
        raise Unreadable(f"The bundle unpacks to more than {MOST_BYTES:,} bytes.")
    return seen


def _refuse_tricky(info: zipfile.ZipInfo) -> None:
    """Refuse an entry by what the zip's directory says of it."""
    name = shown(info.orig_filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable(f"{name} is encrypted; a bundle is not.")
    if _leads_elsewhere(info.orig_filename):
        raise Unreadable(f"{name} has a path that leads elsewhere.")
    if kind not in (0, stat.S_IFREG) or info.is_dir():
        raise Unreadable(f"{name} is a link or no plain file.")
    if not _is_known(info.orig_filename):
        raise Unreadable(f"{name} is nothing that a bundle has.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable(f"{name} is packed in a way that a bundle is not.")
    if info.file_size > MOST_OF_ENTRY:
        raise Unreadable(f"{name} unpacks to more than {MOST_OF_ENTRY:,} bytes.")


def _leads_elsewhere(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return bool({"", ".", ".."} & {*parts}) or "\\" in name or ":" in name


def _is_known(name: str) -> bool:
    """Say whether a bundle has an entry of this name."""
    if name in _OF_PERSON:
        return True
    top, _, rest = name.partition("/")
    persona, _, rest = rest.partition("/")
    if top != "personas" or not _NAME.match(persona):
        return False
    folder, _, leaf = rest.partition("/")
    if not leaf:
        return rest in _OF_PERSONA
    if folder == "conversations":
        return _CONVERSATION.fullmatch(leaf) is not None
    return folder == "files" and _is_file_name(leaf)


def _is_file_name(name: str) -> bool:
    try:
        return clean_name(name) == name
    except FileRefused:
        return False


def _manifest(text: bytes) -> Manifest:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Unreadable(f"{MANIFEST} is none of a leaving bundle.")
    if found.get("version") != VERSION:
        raise Unreadable(
            f"The bundle has the version {shown(str(found.get('version')))}, and this "
            f"Cortex reads version {VERSION}."
        )
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        raise Unreadable(str(_fault(error, MANIFEST))) from None


def _parsed(text: bytes, kind: type[S], name: str) -> S:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise _fault(error, name) from None


def _fault(error: ValidationError, name: str) -> BadEntry:
    """Return the first fault as one sentence, without what stands there."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"][:3])
    what = f"“{shown(where)}”: " if where else ""
    return BadEntry(f"{shown(name)}: {what}{fault['msg']}.")


def _not_laid_out(name: str) -> BadEntry:
    return BadEntry(f"{shown(name)} is not laid out as Cortex writes it.")
