"""Queries whose SQL is written once for each thread.

The ORM writes the SQL of a query anew each time, which takes several times as long as
SQLite needs to answer it. ``Prepared`` keeps the compiled query of a queryset and
exchanges its values; filters, joins and access rules stay in the queryset.

Source: ``ModelIterable`` in Django's ``db/models/query.py``, version 5.2, which does
the same for every query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model, QuerySet
from django.db.models.query import (  # type: ignore[attr-defined]
    get_related_populators,
)

M = TypeVar("M", bound=Model)


class Prepared(Generic[M]):
    """``Prepared(build, samples)``: ``build`` makes a queryset of the samples.

    Each sample is a field and a value of its own that stands for what ``all`` and
    ``first`` are given later in its place; no two may be equal in the database.
    """

    def __init__(
        self,
        build: Callable[..., QuerySet[M]],
        samples: Sequence[tuple[Field[Any, Any], Any]],
    ) -> None:
        self._build = build
        self._samples = samples
        self._local = threading.local()

    def all(self, *values: Any) -> list[M]:
        """Return the objects for these values, with what they are joined with."""
        compiled = getattr(self._local, "compiled", None)
        if compiled is None or not compiled.fits():
            compiled = self._local.compiled = _Compiled(self._build, self._samples)
        found: list[M] = compiled.all(values)
        return found

    def first(self, *values: Any) -> M | None:
        """Return the first of them; ``None`` when there is none."""
        found = self.all(*values)
        return found[0] if found else None


class _Compiled:
    """The SQL of one queryset on one connection, and how rows become objects."""

    def __init__(
        self,
        build: Callable[..., QuerySet[Any]],
        samples: Sequence[tuple[Field[Any, Any], Any]],
    ) -> None:
        self.connection = connections[DEFAULT_DB_ALIAS]
        query = build(*(sample for _, sample in samples)).query
        self.compiler = compiler = query.get_compiler(connection=self.connection)
        self.sql, parameters = compiler.as_sql()
        self.parameters = list(parameters)
        self.fields = [field for field, _ in samples]
        self.places = [
            self.parameters.index(field.get_db_prep_value(sample, self.connection))
            for field, sample in samples
        ]
        klass_info, select = compiler.klass_info, compiler.select
        assert klass_info is not None and select is not None  # noqa: S101  as_sql did
        first, last = klass_info["select_fields"][0], klass_info["select_fields"][-1]
        self.columns = slice(first, last + 1)
        self.names = [each[0].target.attname for each in select[self.columns]]
        self.model = klass_info["model"]
        self.populators = get_related_populators(klass_info, select, DEFAULT_DB_ALIAS)
        self.converters = compiler.get_converters([each[0] for each in select])

    def fits(self) -> bool:
        """Whether the thread still uses the same connection object."""
        return self.connection is connections[DEFAULT_DB_ALIAS]

    def all(self, values: Sequence[Any]) -> list[Any]:
        parameters = self.parameters.copy()
        for place, field, value in zip(self.places, self.fields, values, strict=True):
            parameters[place] = field.get_db_prep_value(value, self.connection)
        with self.connection.cursor() as cursor:
            cursor.execute(self.sql, parameters)
            rows = cursor.fetchall()
        return [
            self._object(row)
            for row in self.compiler.apply_converters(rows, self.converters)
        ]

    def _object(self, row: Sequence[Any]) -> Any:
        made = self.model.from_db(DEFAULT_DB_ALIAS, self.names, row[self.columns])
        for populator in self.populators:
            populator.populate(row, made)
        return made
