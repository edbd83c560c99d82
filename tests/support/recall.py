"""The sentence model for tests, where its extra is installed."""

from __future__ import annotations

import functools

from channels_app.jobs.recall import sentence_model, vectors
from channels_app.jobs.recall.sentence_model import SentenceModel
from channels_app.jobs.recall.service import BATCH
from personas.search.indexing import index_new
from tests.support.missing import could_not_run


@functools.cache
def _loaded() -> SentenceModel | None:
    place = sentence_model.folder()
    return SentenceModel(place, threads=1) if place else None


def model() -> SentenceModel:
    """Return the model, one for the process, or skip the test and have it reported."""
    loaded = _loaded()
    if loaded is None:
        could_not_run("recall by meaning is not installed; 'make recall' does it")
    return loaded


def index_all(*, meanings: bool) -> None:
    """Take every message into search, with what it means or without."""
    while index_new():
        pass
    while meanings and (batch := vectors.waiting(BATCH)):
        vectors.store(vectors.computed(model(), batch))
