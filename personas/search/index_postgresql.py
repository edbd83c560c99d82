"""Full text search in PostgreSQL: a column of words that the database computes.

``words`` is a tsvector of the folded text, without a language's rules (`simple`), and
of two marks in capital letters, which no folded word has: whose entry it is and of
which persona. A GIN index finds them together. Misspelt words need the extension
pg_trgm; where it cannot be had, only exact words and their beginnings are found.

Source: PostgreSQL documentation, "Text Search Types", "GIN Indexes", "pg_trgm".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from personas.search.index_base import TABLE, Wanted, times_of
from personas.search.words import Term

COLUMN: Final = "words"
WORDS_INDEX: Final = "personas_search_words"
TRIGRAM_INDEX: Final = "personas_search_trigrams"
LOOKED_THROUGH: Final = 300
"""Newest entries of each kind whose words are compared with a misspelt one."""
HEAD: Final = 3
PART: Final = 5
"""Letters at the beginning, or at the end, that a misspelt word has right."""


class PostgreSQLIndex:
    """See ``TextIndex``."""

    def install(self, connection: BaseDatabaseWrapper) -> None:
        """Create what is not there; the column fills itself."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS {COLUMN} tsvector "
                "GENERATED ALWAYS AS (array_to_tsvector(ARRAY['O' || owner_id::text, "
                "'P' || persona_id::text]) || to_tsvector('simple', text)) STORED"
            )
            cursor.execute(
                f"CREATE INDEX IF NOT EXISTS {WORDS_INDEX} ON {TABLE} "
                f"USING gin ({COLUMN}) WITH (fastupdate = off)"
            )
            if _has_trigrams(connection):
                cursor.execute(
                    f"CREATE INDEX IF NOT EXISTS {TRIGRAM_INDEX} ON {TABLE} "
                    "USING gin (text gin_trgm_ops)"
                )

    def remove(self, connection: BaseDatabaseWrapper) -> None:
        """Drop all of it; the extension stays, others may use it."""
        with connection.cursor() as cursor:
            cursor.execute(f"DROP INDEX IF EXISTS {TRIGRAM_INDEX}")
            cursor.execute(f"DROP INDEX IF EXISTS {WORDS_INDEX}")
            cursor.execute(f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS {COLUMN}")

    def missing(self, connection: BaseDatabaseWrapper) -> list[str]:
        """Return the names of indexes that are absent or not usable."""
        wanted = [WORDS_INDEX]
        if _extension_is_there(connection):
            wanted.append(TRIGRAM_INDEX)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.relname FROM pg_index i JOIN pg_class c "
                "ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass(%s) "
                "AND i.indisvalid",
                [TABLE],
            )
            found = {row[0] for row in cursor.fetchall()}
        return [name for name in wanted if name not in found]

    def knows_similar(self, connection: BaseDatabaseWrapper) -> bool:
        """Say whether the extension pg_trgm is there."""
        return _extension_is_there(connection)

    def newest(
        self, connection: BaseDatabaseWrapper, wanted: Wanted, limit: int
    ) -> list[int]:
        """Return the ids of the newest entries that match, newest first."""
        times, moments = times_of(wanted)
        # In two steps: with the order in one the planner may walk all entries.
        order = "said_at" if wanted.by_time else "id"
        statement = (
            f"WITH found AS MATERIALIZED (SELECT e.id, e.said_at FROM {TABLE} e "  # noqa: S608
            f"WHERE e.{COLUMN} @@ %s::tsquery{times}) "
            f"SELECT id FROM found ORDER BY {order} DESC LIMIT %s"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [_expression(wanted), *moments, limit])
            return [row[0] for row in cursor.fetchall()]

    def alike(
        self, connection: BaseDatabaseWrapper, owner_id: int, word: str
    ) -> Iterable[str]:
        """Return the words of the newest entries that begin or go on like this one.

        The operators of pg_trgm for likeness compare whole texts, which takes seconds;
        its index for parts of words does not.
        """
        if not self.knows_similar(connection):
            return set()
        beginning = Term((word[:HEAD],), prefix=True)
        ids = set(
            self.newest(connection, Wanted(owner_id, [[beginning]]), LOOKED_THROUGH)
        )
        with connection.cursor() as cursor:
            for part in (word, word[-PART:]):
                cursor.execute(
                    f"WITH found AS MATERIALIZED (SELECT e.id FROM {TABLE} e "  # noqa: S608
                    "WHERE e.text LIKE %s AND e.owner_id = %s) "
                    "SELECT id FROM found ORDER BY id DESC LIMIT %s",
                    [f"%{part}%", owner_id, LOOKED_THROUGH],
                )
                ids.update(row[0] for row in cursor.fetchall())
            cursor.execute(
                f"SELECT text FROM {TABLE} WHERE id = ANY(%s)",  # noqa: S608
                [list(ids)],
            )
            return {part for (text,) in cursor.fetchall() for part in text.split()}


def _expression(wanted: Wanted) -> str:
    """Return the tsquery; words are folded, so they hold no quotes."""
    parts = [f"'O{wanted.owner_id}'"]
    if wanted.persona_id is not None:
        parts.append(f"'P{wanted.persona_id}'")
    for group in wanted.groups:
        parts.append(f"({' | '.join(_phrase(term) for term in group)})")
    return " & ".join(parts)


def _phrase(term: Term) -> str:
    *before, last = (f"'{word}'" for word in term.words)
    return "(" + " <-> ".join([*before, f"{last}:*" if term.prefix else last]) + ")"


def _extension_is_there(connection: BaseDatabaseWrapper) -> bool:
    """Say whether pg_trgm can be used; it may lie in a schema that is not searched."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_opclass WHERE opcname = 'gin_trgm_ops' "
            "AND pg_opclass_is_visible(oid)"
        )
        return cursor.fetchone() is not None


def _has_trigrams(connection: BaseDatabaseWrapper) -> bool:
    """Have the extension, if this database and its user may."""
    if _extension_is_there(connection):
        return True
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:  # not installed on the server, or not allowed
        return False
    return _extension_is_there(connection)
