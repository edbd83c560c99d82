"""What messages mean, kept beside their search entries: filled in, and compared.

A vector is kept as 384 signed bytes, each number as a part of the largest one; its own
length is taken from the bytes when it is compared. Comparing is a plain scan over the
vectors of one person: no index beside the rows can be out of date or show others.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterator
from typing import Any, Final

from accounts.transactions import quick_transaction
from channels_app.jobs.recall.sentence_model import DIMENSIONS, NAME, SentenceModel
from personas.models import SearchEntry

SCANNED_AT_ONCE: Final = 4_096
"""Rows whose vectors are held as full numbers at a time: 6 MB."""
LARGEST: Final = 127

Found = tuple[float, uuid.UUID]


def waiting(limit: int) -> list[tuple[int, str]]:
    """Return entries without a vector, newest first, and the texts of their messages.

    What was computed by another model counts as without.
    """
    return list(
        SearchEntry.objects.filter(vector_model="")
        .order_by("-id")
        .values_list("pk", "message__text")[:limit]
    )


def store(vectors: list[tuple[int, bytes]]) -> None:
    """Keep the vectors of these entries; of one that is gone meanwhile nothing."""
    with quick_transaction():
        for entry, vector in vectors:
            SearchEntry.objects.filter(pk=entry).update(
                vector=vector, vector_model=NAME
            )


def forget_others() -> int:
    """Have everything computed anew that another model computed; return how much."""
    return SearchEntry.objects.exclude(vector_model__in=("", NAME)).update(
        vector=None, vector_model=""
    )


def packed(np: Any, vector: Any) -> bytes:
    """Return a vector as ``DIMENSIONS`` signed bytes."""
    scaled: bytes = np.rint(vector * (LARGEST / abs(vector).max())).astype("i1")
    return bytes(scaled)


def nearest(
    model: SentenceModel, owner: int, persona: int | None, text: str, limit: int
) -> list[tuple[uuid.UUID, float]]:
    """Return the messages of this owner that are nearest to a text, with cosines."""
    entries = SearchEntry.objects.filter(
        owner=owner, vector_model=NAME, vector__isnull=False
    )
    if persona is not None:
        entries = entries.filter(persona=persona)
    rows = (
        entries.order_by()
        .values_list("message_id", "vector")
        .iterator(chunk_size=SCANNED_AT_ONCE)
    )
    question = model.vector(text)
    best: list[Found] = []
    for ids, matrix in _matrices(model.np, rows):
        lengths = model.np.linalg.norm(matrix, axis=1)
        scores = (matrix @ question) / lengths
        places = scores.argsort()[::-1][:limit]
        best += [(float(scores[place]), ids[place]) for place in places]
        best = heapq.nlargest(limit, best, key=lambda found: found[0])
    return [(id, score) for score, id in best]


def _matrices(
    np: Any, rows: Iterator[tuple[uuid.UUID, Any]]
) -> Iterator[tuple[list[uuid.UUID], Any]]:
    """Yield ids and their vectors as matrices of up to ``SCANNED_AT_ONCE`` rows."""
    ids: list[uuid.UUID] = []
    held = bytearray()
    for id, vector in rows:
        ids.append(id)
        held += vector
        if len(ids) == SCANNED_AT_ONCE:
            yield ids, _matrix(np, held)
            ids, held = [], bytearray()
    if ids:
        yield ids, _matrix(np, held)


def _matrix(np: Any, held: bytearray) -> Any:
    return np.frombuffer(held, "i1").reshape(-1, DIMENSIONS).astype("f4")
