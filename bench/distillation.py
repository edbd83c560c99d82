"""How many tokens distillation reads for each message; nothing is called or stored.

Counted as Cortex estimates them: the whole prompt of one call over a batch of messages
of 5 to 60 words, with their answers (cut as ever) and a short memory that is half full.
``python -m bench.distillation`` counts in a process of its own, for the packages of
Cortex need their settings.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import uuid
from datetime import date
from pathlib import Path
from typing import Any, Final

import django

from tests.support.environment import clean_environment
from tests.support.processes import ROOT

BATCHES: Final = (1, 10, 40)
"""Messages a call: one alone, an hour's, and as many as begin a call by themselves."""
ENTRIES: Final = 32
ROOM: Final = 24_000
WORDS: Final = (
    "cello", "lesson", "Monday", "Lisbon", "garden", "letter", "flight", "kitchen",
    "sister", "harbour", "bicycle", "report", "meeting", "doctor", "ticket", "recipe",
)  # fmt: skip


def measure() -> dict[str, float]:
    """Return tokens per message by the size of the batch, and of messages alone."""
    with tempfile.TemporaryDirectory(prefix="cortex-bench-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "bench.distillation"],
            cwd=ROOT,
            env=clean_environment(Path(folder) / "data"),
            capture_output=True,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _sentence(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(words)).capitalize() + "."


def _messages(count: int) -> list[Any]:
    from personas.memory.sources import Said, read_as

    dice = random.Random(1)
    day, conversation = date(2026, 11, 20), uuid.UUID(int=1)
    said = []
    for number in range(count):
        text = _sentence(dice, dice.choice((5, 10, 20, 60)))
        read = read_as(text, _sentence(dice, dice.randint(40, 70)))
        said.append(Said(uuid.UUID(int=number), conversation, day, *read))
    return said


def count() -> dict[str, float]:
    """Count in this process, whose settings are loaded."""
    from personas.memory.instructions import Material, asked, new_fence
    from personas.memory.lines import entries_of
    from routing.tokens import estimate_tokens

    dice = random.Random(2)
    lines = (f"- 2026-11-20 {_sentence(dice, 8)}\n" for _ in range(ENTRIES))
    entries = tuple(entries_of("".join(lines)))
    found = {}
    for size in BATCHES:
        material = Material(entries=entries, said=tuple(_messages(size)))
        question = asked(material, ROOM, new_fence())
        if question.material != material:
            raise RuntimeError("The batch does not fit into one call.")
        texts = [one.text for one in question.prompt.messages]
        read = sum(map(estimate_tokens, [question.prompt.system, *texts]))
        found[str(size)] = read / size
    alone = [estimate_tokens(one.text) for one in _messages(BATCHES[-1])]
    found["alone"] = sum(alone) / len(alone)
    return found


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    django.setup()
    print(json.dumps(count()))
