"""The rows behind a catalogue, read with statements that are built only once.

Every message needs a catalogue, and building the two queries anew costs several times
what the database needs to answer them. So the ORM builds each statement once a process,
for a stand-in owner, and later calls only put the person's id in its place.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import F, Q, QuerySet

from routing.models import Model, RoleSlot

STAND_IN: Final = -1
"""The owner for whom statements are built; no person has this id."""


class ModelRow(NamedTuple):
    """A model that may be called, with its host and the host's owner."""

    id: int
    label: str
    name: str
    context_tokens: int
    max_output_tokens: int
    tier: int
    tags: str | list[str]
    input_price: int | None
    output_price: int | None
    cache_read_price: int | None
    cache_write_price: int | None
    host_id: int
    host_name: str
    host_type: str
    base_url: str
    key_encrypted: str
    is_local: bool
    flagged: str
    credential: str
    cooling_until: datetime | None
    owner_id: int | None
    owner_is_active: bool | None
    owner_is_superuser: bool | None


class SlotRow(NamedTuple):
    """One place in a chain: a model or a plain id."""

    role: str
    model_id: int | None
    plain_id: str
    owner_id: int | None


_MODEL_FIELDS: Final = (
    "id",
    "label",
    "name",
    "context_tokens",
    "max_output_tokens",
    "tier",
    "tags",
    "input_price_nano_usd_per_mtok",
    "output_price_nano_usd_per_mtok",
    "cache_read_price_nano_usd_per_mtok",
    "cache_write_price_nano_usd_per_mtok",
    "host_id",
    "host__name",
    "host__type",
    "host__base_url",
    "host__key_encrypted",
    "host__is_local",
    "host__flagged",
    "host__credential",
    "host__cooling_until",
    "host__owner_id",
    "host__owner__is_active",
    "host__owner__is_superuser",
)
"""The columns of ``ModelRow``, in its order."""


def model_rows(owner_id: int, types: tuple[str, ...]) -> list[ModelRow]:
    """Return the enabled models on a person's and the shared hosts, own ones first."""
    statement = _model_statement(types, connection.vendor)
    return [_model_row(row) for row in _fetch(statement, owner_id)]


def host_model_rows(host_id: int) -> list[ModelRow]:
    """Return the enabled models of one host, whether or not the host is in use."""
    rows = Model.objects.filter(host=host_id, enabled=True).order_by("tier", "label")
    return [_model_row(row) for row in rows.values_list(*_MODEL_FIELDS)]


def slot_rows(owner_id: int) -> list[SlotRow]:
    """Return the places of a person's and the shared chains, in order."""
    statement = _slot_statement(connection.vendor)
    return [SlotRow(*row) for row in _fetch(statement, owner_id)]


def _model_row(values: tuple[Any, ...]) -> ModelRow:
    """Name the columns; SQLite gives times without their zone, which is always UTC."""
    row = ModelRow(*values)
    if row.cooling_until is not None and row.cooling_until.tzinfo is None:
        return row._replace(cooling_until=row.cooling_until.replace(tzinfo=UTC))
    return row


Statement = tuple[str, tuple[Any, ...]]


def _fetch(statement: Statement, owner_id: int) -> list[tuple[Any, ...]]:
    sql, parameters = statement
    given = [owner_id if value == STAND_IN else value for value in parameters]
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


@functools.lru_cache(maxsize=32)
def _model_statement(types: tuple[str, ...], vendor: str) -> Statement:
    rows = (
        Model.objects.filter(Q(host__owner=STAND_IN) | Q(host__owner=None))
        .filter(enabled=True, host__enabled=True, host__type__in=types)
        .order_by(F("host__owner").asc(nulls_last=True), "host__name", "tier", "label")
    )
    return _build(rows.values_list(*_MODEL_FIELDS))


@functools.lru_cache(maxsize=4)
def _slot_statement(vendor: str) -> Statement:
    rows = RoleSlot.objects.filter(Q(owner=STAND_IN) | Q(owner=None))
    rows = rows.order_by("role", "position")
    return _build(rows.values_list(*SlotRow._fields))


def _build(rows: QuerySet[Any, Any]) -> Statement:
    sql, parameters = rows.query.sql_with_params()
    return sql, tuple(parameters)
