"""Full text search in SQLite: FTS5 tables over the entries, kept by triggers.

``personas_search_words`` finds words and their beginnings; owner and persona are
columns of it, so that what others wrote costs nothing. ``personas_search_trigrams``
finds parts of words, and with the vocabulary of the first words that are misspelt.
Both hold no text of their own ("external content").

Source: SQLite documentation, "SQLite FTS5 Extension".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

from personas.search.index_base import TABLE, Wanted, times_of
from personas.search.words import Term

WORDS: Final = "personas_search_words"
TRIGRAMS: Final = "personas_search_trigrams"
VOCABULARY: Final = "personas_search_vocabulary"
BY_TIME: Final = "search_entry_recent"
"""The index of entries of one person by when they were said."""
LOOKED_THROUGH: Final = 300
"""Newest entries whose words are compared with a part of a word."""

TABLES: Final = {
    WORDS: f"""CREATE VIRTUAL TABLE {WORDS} USING fts5(
    owner_id, persona_id, text, content='{TABLE}', content_rowid='id',
    tokenize='unicode61 remove_diacritics 0', prefix='3')""",
    TRIGRAMS: f"""CREATE VIRTUAL TABLE {TRIGRAMS} USING fts5(
    text, content='{TABLE}', content_rowid='id', tokenize='trigram', detail='none')""",
    VOCABULARY: f"CREATE VIRTUAL TABLE {VOCABULARY} USING fts5vocab({WORDS}, row)",
}
_COLUMNS = {WORDS: ("owner_id", "persona_id", "text"), TRIGRAMS: ("text",)}


def _insert(table: str) -> str:
    names = ", ".join(_COLUMNS[table])
    values = ", ".join(f"NEW.{name}" for name in _COLUMNS[table])
    return f"INSERT INTO {table} (rowid, {names}) VALUES (NEW.id, {values});"  # noqa: S608


def _delete(table: str) -> str:
    names = ", ".join(_COLUMNS[table])
    values = ", ".join(f"OLD.{name}" for name in _COLUMNS[table])
    return (
        f"INSERT INTO {table} ({table}, rowid, {names}) "  # noqa: S608
        f"VALUES ('delete', OLD.id, {values});"
    )


_ADD = " ".join(_insert(table) for table in _COLUMNS)
_TAKE = " ".join(_delete(table) for table in _COLUMNS)
TRIGGERS: Final = {
    "personas_search_added": "CREATE TRIGGER personas_search_added "
    f"AFTER INSERT ON {TABLE} BEGIN {_ADD} END",
    "personas_search_removed": "CREATE TRIGGER personas_search_removed "
    f"AFTER DELETE ON {TABLE} BEGIN {_TAKE} END",
    # Not for vectors: they are filled in later and are no words.
    "personas_search_changed": "CREATE TRIGGER personas_search_changed "
    f"AFTER UPDATE OF id, owner_id, persona_id, text ON {TABLE} "
    f"BEGIN {_TAKE} {_ADD} END",
}


class SQLiteIndex:
    """See ``TextIndex``."""

    def install(self, connection: BaseDatabaseWrapper) -> None:
        """Create what is not there, and fill it from the entries."""
        missing = self.missing(connection)
        with connection.cursor() as cursor:
            for name, statement in {**TABLES, **TRIGGERS}.items():
                if name in missing:
                    kind = "TABLE" if name in TABLES else "TRIGGER"
                    cursor.execute(f"DROP {kind} IF EXISTS {name}")
                    cursor.execute(statement)
            if missing:  # a trigger that was gone has missed something
                for table in _COLUMNS:
                    cursor.execute(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")  # noqa: S608

    def remove(self, connection: BaseDatabaseWrapper) -> None:
        """Drop all of it."""
        with connection.cursor() as cursor:
            for name in TRIGGERS:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            for name in reversed(TABLES):
                cursor.execute(f"DROP TABLE IF EXISTS {name}")

    def missing(self, connection: BaseDatabaseWrapper) -> list[str]:
        """Return the names of tables and triggers that are absent or not ours."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE name LIKE %s",
                ["personas_search_%"],
            )
            found = dict(cursor.fetchall())
        return [
            name
            for name, statement in {**TABLES, **TRIGGERS}.items()
            if found.get(name) != statement
        ]

    def knows_similar(self, connection: BaseDatabaseWrapper) -> bool:
        """Return true: trigrams belong to FTS5."""
        return True

    def newest(
        self, connection: BaseDatabaseWrapper, wanted: Wanted, limit: int
    ) -> list[int]:
        """Return the ids of the newest entries that match, newest first."""
        times, moments = times_of(wanted)
        matching = f"SELECT w.rowid FROM {WORDS} w"  # noqa: S608
        join = f"JOIN {TABLE} e ON e.id = w.rowid" if times else ""
        where = f"WHERE {WORDS} MATCH %s"
        words = _expression(wanted)
        said = [connection.ops.adapt_datetimefield_value(each) for each in moments]
        with connection.cursor() as cursor:
            cursor.execute(
                f"{matching} {join} {where}{times} ORDER BY w.rowid DESC LIMIT %s",
                [words, *said, limit],
            )
            found = [row[0] for row in cursor.fetchall()]
            if len(found) < limit or limit == 1 or not wanted.by_time:
                return found
            # There are more: after an import the highest ids are not the newest.
            cursor.execute(
                f"SELECT e.id FROM {TABLE} e INDEXED BY {BY_TIME} "  # noqa: S608
                f"WHERE e.owner_id = %s{times} AND e.id IN ({matching} {where}) "
                "ORDER BY e.said_at DESC LIMIT %s",
                [wanted.owner_id, *said, words, limit],
            )
            return [row[0] for row in cursor.fetchall()]

    def alike(
        self, connection: BaseDatabaseWrapper, owner_id: int, word: str
    ) -> Iterable[str]:
        """Return words with the same first letter, and words that contain this one."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT term FROM {VOCABULARY} WHERE term >= %s AND term < %s",  # noqa: S608
                [word[0], word[0] + "\U0010ffff"],
            )
            found = {row[0] for row in cursor.fetchall()}
            parts = " AND ".join(f'"{word[i : i + 3]}"' for i in range(len(word) - 2))
            cursor.execute(
                f"SELECT e.text FROM {TRIGRAMS} t JOIN {TABLE} e ON e.id = t.rowid "  # noqa: S608
                f"WHERE {TRIGRAMS} MATCH %s AND e.owner_id = %s "
                "ORDER BY t.rowid DESC LIMIT %s",
                [parts, owner_id, LOOKED_THROUGH],
            )
            for (text,) in cursor.fetchall():
                found.update(part for part in text.split() if word in part)
        return found


def _expression(wanted: Wanted) -> str:
    """Return the expression for MATCH; words are folded, so they hold no quotes."""
    parts = [f'owner_id:"{wanted.owner_id}"']
    if wanted.persona_id is not None:
        parts.append(f'persona_id:"{wanted.persona_id}"')
    for group in wanted.groups:
        either = " OR ".join(_phrase(term) for term in group)
        parts.append(f"text:({either})")
    return " AND ".join(parts)


def _phrase(term: Term) -> str:
    return f'"{" ".join(term.words)}"{"*" if term.prefix else ""}'
