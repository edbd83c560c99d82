"""Ids of a bundle: kept where they are free, else new ones that are always the same."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from typing import Any, Final

from django.db.models import Model

_NAMESPACE: Final = uuid.UUID("6d0c8f5e-2f0b-5f7c-9a41-0b7f3a9d4e21")
"""Under it new ids are made; it must never change."""
_LINK: Final = re.compile(
    r"/m/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)


class Ids:
    """The ids of one import for one person."""

    def __init__(self, user_name: str) -> None:
        self._user_name = user_name
        self.changed: dict[uuid.UUID, uuid.UUID] = {}
        """Old id → new id, of what could not keep its own."""

    def make_room(self, model: type[Model], ids: Collection[uuid.UUID]) -> None:
        """Choose new ids for those that a row has already, whosever it is.

        A key is taken for everybody, so this looks at all rows, and at nothing but
        their keys.
        """
        rows: Any = model._default_manager.filter(pk__in=list(ids))
        for id in rows.values_list("pk", flat=True):
            self.changed[id] = self.new(id)

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
