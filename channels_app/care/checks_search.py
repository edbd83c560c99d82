"""The doctor's check of search: is its index whole, and does it keep up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

from channels_app.care.findings import Finding, fail, ok, warn
from personas.search import index, indexing

MANY: Final = 1000
WITHIN: Final = timedelta(minutes=5)
"""A message that has waited for longer shows that nobody takes them."""


def search() -> Iterator[Finding]:
    """Check the index, how many messages wait for it, and what it cannot do."""
    if missing := index.missing():
        yield fail(
            "search",
            f"Parts of its index are missing: {', '.join(missing)}.",
            "Stop Cortex and start it again: the worker builds the index anew.",
        )
        return
    waiting = indexing.waiting()
    number = waiting.count()
    late = waiting.filter(created_at__lt=timezone.now() - WITHIN).exists()
    if number > MANY or late:
        yield warn(
            "search",
            f"{number:,} messages are not in the search yet.",
            "Look whether the worker runs; after an upgrade this takes some minutes.",
        )
    elif not index.text_index().knows_similar(connection):
        yield warn(
            "search",
            "Only exact words and their beginnings are found: pg_trgm is not there.",
            "Have an administrator run CREATE EXTENSION pg_trgm in the database, then "
            "start Cortex again.",
        )
    else:
        yield ok("search", f"The index is whole; {number:,} messages wait for it.")
