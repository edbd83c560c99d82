"""What search needs of a database's own full text index.

One object per kind of database, chosen by ``personas.search.index``. They answer
which entries match and which words are spelt alike, nothing else: who may see a
message is asked of ``messages_visible_to`` afterwards, and the order of hits is
computed in ``personas.search.ranking``, the same for all databases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from personas.search.words import Term

TABLE: Final = "personas_searchentry"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are looked for.

    ``groups``: of each group at least one term must occur.
    """

    owner_id: int
    groups: Sequence[Sequence[Term]]
    persona_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Said before this moment."""
    by_time: bool = True
    """The newest by when they were said; else by when search took them, which is
    another order after an import, and quicker where many match."""


class TextIndex(Protocol):
    """A full text index over the folded texts of ``SearchEntry``."""

    def install(self, connection: BaseDatabaseWrapper) -> None:
        """Create what is not there, and fill it from the entries."""

    def remove(self, connection: BaseDatabaseWrapper) -> None:
        """Drop all of it."""

    def missing(self, connection: BaseDatabaseWrapper) -> list[str]:
        """Return the names of parts that are not there."""

    def knows_similar(self, connection: BaseDatabaseWrapper) -> bool:
        """Say whether words that are spelt alike can be found."""

    def newest(
        self, connection: BaseDatabaseWrapper, wanted: Wanted, limit: int
    ) -> list[int]:
        """Return the ids of the newest entries that match, newest first."""

    def alike(
        self, connection: BaseDatabaseWrapper, owner_id: int, word: str
    ) -> Iterable[str]:
        """Return words that share much with a folded one, in no order.

        They may be of others: what is shown comes from the person's own entries.
        """


def times_of(wanted: Wanted) -> tuple[str, list[datetime]]:
    """Return the condition on the time, with its parameters; empty for none."""
    conditions, values = "", []
    for moment, sign in ((wanted.since, ">="), (wanted.until, "<")):
        if moment is not None:
            conditions += f" AND e.said_at {sign} %s"
            values.append(moment)
    return conditions, values
