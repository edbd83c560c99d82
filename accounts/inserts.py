"""Rows inserted by statements that are composed once for each model.

The ORM composes an INSERT anew for every row, which takes several times as long as the
database needs to store it. Columns and conversions come from the model, as in
``Model.save``; what ``save`` does besides is left out: signals, validation, parents and
keys that the database gives.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
