"""The model gives near numbers to like meanings, and limits what it reads."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from channels_app.jobs.recall import sentence_model
from channels_app.jobs.recall.sentence_model import DIMENSIONS, PART, PARTS
from tests.support.recall import model

KNOWN = (
    # Cosines that the same model gives for these pairs in another form of its file
    # (ONNX, 8 bits) and with another program.
    ("A man is eating food.", "A man is eating a piece of bread.", 0.753),
    ("A man is eating food.", "The girl is carrying a baby.", -0.105),
    ("A cheetah is running behind its prey.", "A man is riding a horse.", 0.025),
    ("When is my sister's birthday?", "The kettle is broken again.", 0.003),
)


def cosine(one: str, other: str) -> float:
    return float(model().vector(one) @ model().vector(other))


@pytest.mark.parametrize(("one", "other", "expected"), KNOWN)
def test_it_computes_what_other_programs_compute(
    one: str, other: str, expected: float
) -> None:
    assert cosine(one, other) == pytest.approx(expected, abs=0.02)


def test_a_meaning_has_the_length_one() -> None:
    vector = model().vector("Good morning!")
    assert vector.shape == (DIMENSIONS,)
    assert float(vector @ vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", "\x00", "🙂", "x" * 10_000, "日本語"])
def test_every_text_has_a_meaning(text: str) -> None:
    vector = model().vectors([text])[0][0]
    assert float(vector @ vector) == pytest.approx(1, abs=1e-5)


def test_a_long_message_has_a_meaning_for_each_of_its_first_parts() -> None:
    short, long = "cat " * PART, "cat " * (PART * PARTS * 3)
    parts = model().vectors([short, f"{short} dog", long])
    assert [len(each) for each in parts] == [1, 2, PARTS]


def test_texts_computed_together_mean_what_each_means_alone() -> None:
    texts = ["Where is the key?", "ok", "The cat sleeps on the sofa all day."]
    together = model().vectors(texts)
    for text, (vector,) in zip(texts, together, strict=True):
        assert float(vector @ model().vector(text)) == pytest.approx(1, abs=1e-5)


def test_without_its_package_there_is_no_model(monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert sentence_model.folder() is None


def test_the_limit_of_threads_is_for_the_import_alone() -> None:
    model()
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """What web imports, and what the worker imports first, has no numpy in it."""
    code = (
        "import django, sys; django.setup();"
        "import channels_app.jobs.chores, cortex_site.asgi;"
        "sys.exit('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        timeout=60,
    )
    assert done.returncode == 0
