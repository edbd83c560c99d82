"""A leaving bundle while it is written: a zip whose last entry names all others.

Entries go straight into the file, so memory does not grow with what a person has. A
list that may be long has one item on each line::

    {"conversation": {"id": "…", "title": "…"},
    "messages": [
    {"id": "…", …},
    {"id": "…", …}
    ]}

This is plain JSON, and can be read line by line.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, Final

from personas.home.bundle_shapes import Shape

FORMAT: Final = "cortex-leaving-bundle"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
LIST_END: Final = b"]}"
_FILE_MODE: Final = 0o100600
"""A plain file that only its owner reads."""


class Entry:
    """An entry that is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)
        self._sum.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """The sum of what was written so far, in hexadecimal."""
        return self._sum.hexdigest()


class BundleWriter:
    """Writes entries one after the other; ``finish`` adds the manifest."""

    def __init__(self, file: IO[bytes], *, now: datetime) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._now = now.astimezone(UTC)
        self._entries: dict[str, dict[str, int | str]] = {}
        self.counts: Counter[str] = Counter()
        """How many there are of each kind, for the manifest."""

    @contextmanager
    def entry(self, name: str) -> Iterator[Entry]:
        """Open the next entry; only one is open at a time."""
        with self._zip.open(self._info(name), "w", force_zip64=True) as file:
            entry = Entry(file)
            yield entry
        self._entries[name] = {"size": entry.size, "sha256": entry.sha256}

    def put(self, name: str, text: str) -> None:
        """Write an entry from a text."""
        with self.entry(name) as entry:
            entry.write(text.encode())

    def put_object(self, name: str, shape: Shape) -> None:
        """Write an entry that is one JSON object."""
        self.put(name, shape.model_dump_json(indent=1, warnings=False) + "\n")

    def put_list(
        self, name: str, *, head: tuple[str, Shape], items: tuple[str, Iterable[Shape]]
    ) -> int:
        """Write an entry with an object and a list below it; return its length."""
        count, separator = 0, b""
        with self.entry(name) as entry:
            entry.write(b'{"%s": %s,\n' % (head[0].encode(), as_line(head[1])))
            entry.write(b'"%s": [\n' % items[0].encode())
            for item in items[1]:
                entry.write(separator + as_line(item))
                count, separator = count + 1, b",\n"
            entry.write((b"\n" if count else b"") + LIST_END + b"\n")
        return count

    def has(self, name: str) -> bool:
        """Say whether an entry of this name was written."""
        return name in self._entries

    def finish(self, *, version: str, user_name: str) -> None:
        """Write the manifest and close the zip."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "cortex_version": version,
            "created_at": self._now.isoformat(timespec="seconds"),
            "user_name": user_name,
            "counts": dict(self.counts),
            "entries": self._entries,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        self._zip.writestr(self._info(MANIFEST), text)
        self._zip.close()

    def abandon(self) -> None:
        """Let go of the file after a failure; what is in it is no bundle."""
        with suppress(OSError, ValueError):
            self._zip.close()

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name, self._now.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = _FILE_MODE << 16
        info.create_system = 3  # Unix, so that the mode above is understood
        return info


def as_line(shape: Shape) -> bytes:
    """Return an object on one line."""
    return shape.model_dump_json(warnings=False).encode()
