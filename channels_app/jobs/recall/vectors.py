"""What messages mean, kept beside their search entries: filled in, and compared.

A vector is kept as 384 signed bytes, each number as a part of the largest one; its own
length is taken from the bytes when it is compared. A long message has several, one
behind the other, and counts as near as the nearest of them. Comparing is a plain scan
over the vectors of one person: no index beside the rows can be out of date or show
others.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Any, Final

from accounts.transactions import quick_transaction
from channels_app.jobs.recall.sentence_model import DIMENSIONS, NAME, SentenceModel
from personas.models import SearchEntry

SCANNED_AT_ONCE: Final = 4_000
"""Messages whose vectors are held as full numbers at a time: 6 to 25 MB."""
LARGEST: Final = 127


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


def computed(
    model: SentenceModel, batch: list[tuple[int, str]]
) -> list[tuple[int, bytes]]:
    """Return what messages mean: ``DIMENSIONS`` signed bytes for each of its parts."""
    meanings = model.vectors([text for _, text in batch])
    return [
        (entry, b"".join(_packed(model.np, vector) for vector in parts))
        for (entry, _), parts in zip(batch, meanings, strict=True)
    ]


def _packed(np: Any, vector: Any) -> bytes:
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
    # Ids of messages are only read of the few that are returned: each costs time.
    rows = entries.order_by().values_list("pk", "vector")
    question = model.vector(text)
    best: list[tuple[float, int]] = []
    for keys, starts, matrix in _matrices(model.np, rows.iterator(SCANNED_AT_ONCE)):
        lengths = model.np.sqrt(model.np.einsum("ij,ij->i", matrix, matrix))
        scores = model.np.maximum.reduceat((matrix @ question) / lengths, starts)
        places = scores.argsort()[::-1][:limit].tolist()
        best += [(float(scores[place]), keys[place]) for place in places]
        best = heapq.nlargest(limit, best)
    ids = dict(
        SearchEntry.objects.filter(pk__in=[key for _, key in best]).values_list(
            "pk", "message_id"
        )
    )
    return [(ids[key], score) for score, key in best if key in ids]


def _matrices(
    np: Any, rows: Iterator[tuple[int, Any]]
) -> Iterator[tuple[list[int], list[int], Any]]:
    """Yield keys, where the vectors of each begin, and the vectors as a matrix."""
    while chunk := list(islice(rows, SCANNED_AT_ONCE)):
        keys, held = zip(*chunk, strict=True)
        counts = [len(each) // DIMENSIONS for each in held]
        starts = [0, *accumulate(counts)][:-1]
        matrix = np.frombuffer(b"".join(held), "i1").reshape(-1, DIMENSIONS)
        yield list(keys), starts, matrix.astype("f4")
