"""Ids of a bundle: kept where they are free, else new ones that are always the same."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from django.db.models import Model

from personas.home.bundle_reader import BadEntry
from personas.home.report import shown

_NAMESPACE: Final = uuid.UUID("6d0c8f5e-2f0b-5f7c-9a41-0b7f3a9d4e21")
"""Under it new ids are made; it must never change."""
_LINK: Final = re.compile(
    r"/m/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)


class Ids:
    """The ids of one import for one person."""

    def __init__(self, user_name: str) -> None:
        self._user_name = user_name
        self._seen: defaultdict[type[Model], set[uuid.UUID]] = defaultdict(set)
        self.changed: dict[uuid.UUID, uuid.UUID] = {}
        """Old id → new id, of what could not keep its own."""

    def make_room(
        self, model: type[Model], ids: Sequence[uuid.UUID], where: str
    ) -> None:
        """Choose new ids for those that a row has already, whosever it is.

        A key is taken for everybody, so this looks at all rows, and at nothing but
        their keys.

        Args:
            model: What the ids are of.
            ids: As they stand in the bundle.
            where: The name of their entry.

        Raises:
            BadEntry: One stands in the bundle twice, or its new id is taken too.
        """
        seen = self._seen[model]
        if len({*ids}) < len(ids) or not seen.isdisjoint(ids):
            raise BadEntry(f"{shown(where)} holds an id that the bundle has twice.")
        seen.update(ids)
        new = {id: self.new(id) for id in _taken(model, ids)}
        if _taken(model, [*new.values()]) or not seen.isdisjoint(new.values()):
            raise BadEntry(f"{shown(where)} has been taken over already.")
        seen.update(new.values())
        self.changed |= new

    def new(self, id: uuid.UUID) -> uuid.UUID:
        """Return the other id of something of this person."""
        return uuid.uuid5(_NAMESPACE, f"{self._user_name}/{id}")

    def of(self, id: uuid.UUID) -> uuid.UUID:
        """Return the id that something has here."""
        return self.changed.get(id, id)

    def relinked(self, text: str) -> str:
        """Return a text whose links to messages lead to where these are now."""
        if not self.changed:
            return text
        return _LINK.sub(lambda link: f"/m/{self.of(uuid.UUID(link[1]))}", text)


def _taken(model: type[Model], ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Return those that a row has."""
    rows: Any = model._default_manager.filter(pk__in=ids)
    return list(rows.values_list("pk", flat=True)) if ids else []
