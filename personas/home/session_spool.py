"""Keeps sessions that were read on the disk until they are stored.

All sessions of a persona are read before its transaction begins, so that nobody waits
for the reading, and together they may be larger than the memory. So each one is put
away after it was read and comes back when it is its turn.
"""

from __future__ import annotations

import pickle
import tempfile
from types import TracebackType

from django.conf import settings

from personas.home.session_file import Session


class SessionSpool:
    """A file without a name in the data folder; it goes when it is closed."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(dir=settings.DATA_DIR)  # noqa: SIM115

    def __enter__(self) -> SessionSpool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def put(self, session: Session) -> int:
        """Put a session away; return the place to ``get`` it from."""
        place = self._file.seek(0, 2)
        pickle.dump(session, self._file, protocol=pickle.HIGHEST_PROTOCOL)
        return place

    def get(self, place: int) -> Session:
        """Return a session that was put away."""
        self._file.seek(place)
        # Nobody but this object can reach the file.
        session: Session = pickle.load(self._file)  # noqa: S301
        return session
