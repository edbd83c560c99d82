"""Rows inserted by statements that are composed once for each model.

The ORM composes an INSERT anew for every row, which takes several times as long as the
database needs to store it. Columns and conversions come from the model, as in
``Model.save``; what ``save`` does besides is left out: signals, validation, parents and
keys that the database gives.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model


def insert(*rows: Model) -> None:
    """Insert new rows of one model, in their order; each has its key already.

    Raises:
        IntegrityError: One meets an existing row; wrap several in a transaction.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    statement, fields = _statement_for(type(rows[0]))
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(statement, _values(row, fields, connection))
            row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def _values(
    row: Model, fields: Sequence[Field[Any, Any]], connection: BaseDatabaseWrapper
) -> list[Any]:
    return [
        field.get_db_prep_save(field.pre_save(row, True), connection)
        for field in fields
    ]


@functools.cache
def _statement_for(model: type[Model]) -> tuple[str, tuple[Field[Any, Any], ...]]:
    """Return the INSERT of a model and the fields whose values it takes."""
    options, quoted = model._meta, connections[DEFAULT_DB_ALIAS].ops.quote_name
    fields = tuple(options.local_concrete_fields)
    columns = ", ".join(quoted(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    table = quoted(options.db_table)
    return f"INSERT INTO {table} ({columns}) VALUES ({places})", fields  # noqa: S608


class Batch:
    """New rows of one model, ready to be inserted at once.

    Making it does what takes time, so make it before a lock is taken.
    """

    def __init__(self, rows: Sequence[Model]) -> None:
        self._statement, fields = _statement_for(type(rows[0]))
        self._places = {field.attname: at for at, field in enumerate(fields)}
        connection = connections[DEFAULT_DB_ALIAS]
        self._rows = [_values(row, fields, connection) for row in rows]

    def change(self, row: int, values: Mapping[str, Any]) -> None:
        """Put other values into a row, as the database takes them."""
        for name, value in values.items():
            self._rows[row][self._places[name]] = value

    def insert(self) -> None:
        """Insert the rows in their order; raises ``IntegrityError`` like ``insert``."""
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.executemany(self._statement, self._rows)
