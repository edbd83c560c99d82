"""How long a search takes among 50,000 messages, with another person's 50,000 beside.

``python -m bench.search`` measures on SQLite, ``python -m bench.search postgres://…``
on an empty PostgreSQL database. Words are made up and as unevenly common as those of
a language.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import django

from tests.support.environment import clean_environment
from tests.support.processes import ROOT

MESSAGES: Final = 50_000
WORDS: Final = 20_000
LENGTHS: Final = (5, 20, 40, 80, 160)
IN_A_CHAT: Final = 50
AT_ONCE: Final = 1_000
ROUNDS: Final = 5
RECALLED: Final = (3, 20, 50, 100, 200, 400, 800, 2000)
"""Which words a question has, from common to rare."""
_WORK: Final = "work"


@dataclass(frozen=True, slots=True)
class SearchTimes:
    """What was measured on one database."""

    indexed_per_s: float
    searches_ms: dict[str, list[float]]
    """By the kind of search: how long each took."""


def measure(database_url: str = "") -> SearchTimes:
    """Fill a new installation and search it, on SQLite unless an address is given."""
    with tempfile.TemporaryDirectory(prefix="cortex-bench-") as folder:
        variables = {"DATABASE_URL": database_url} if database_url else {}
        done = subprocess.run(
            [sys.executable, "-m", "bench.search", _WORK],
            cwd=ROOT,
            env=clean_environment(Path(folder) / "data", **variables),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return SearchTimes(**json.loads(done.stdout.splitlines()[-1]))


def _work() -> SearchTimes:
    """Fill, index and search; in a process of its own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cortex_site.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import User
    from personas.models import Conversation, SearchEntry
    from personas.search.finding import search
    from personas.search.indexing import index_new
    from personas.search.recall import recall

    call_command("migrate", verbosity=0)
    dice = random.Random(1)
    words = _words(dice)
    for name in ("ann", "ben"):
        _fill(User.objects.create_user(name), words, dice)
    begun = time.perf_counter()
    while index_new():
        pass
    indexed_s = time.perf_counter() - begun
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    ann = User.objects.get(username="ann")
    taken: dict[str, list[float]] = {}
    for kind, text in _searches(words).items():
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            search(ann, text)
            taken.setdefault(kind, []).append((time.perf_counter() - begun) * 1000)
    now = Conversation.objects.create(owner=ann, persona=ann.personas.get())
    question = " ".join(words[place] for place in RECALLED)
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        recall(now, question)
        taken.setdefault("recall", []).append((time.perf_counter() - begun) * 1000)
    return SearchTimes(SearchEntry.objects.count() / indexed_s, taken)


def _searches(words: list[str]) -> dict[str, str]:
    common, often, rare = words[0], words[30], words[-1]
    return {
        "a common word": common,
        "three words": f"{common} {words[5]} {often}",
        "a rare word": rare,
        "a phrase": f'"{often} {common}"',
        "filters": f"{common} from:me persona:one before:2100-01-01",
        "a misspelt word": f"{words[400]}x",
    }


def _words(dice: random.Random) -> list[str]:
    """Make words of syllables; the earlier, the more common."""
    made: dict[str, None] = {}
    while len(made) < WORDS:
        syllables = (
            dice.choice("bdfgklmnprst") + dice.choice("aeiou") for _ in "12345"
        )
        made["".join(syllables)[: dice.randint(4, 10)]] = None
    return list(made)


def _fill(person: Any, words: list[str], dice: random.Random) -> None:
    """Give a person a persona with half of a hundred thousand messages."""
    from django.utils import timezone

    from personas.models import Conversation, Message
    from personas.personas import create_persona

    persona = create_persona(
        person, template="companion", name="one", display_name="One"
    )
    shares = list(accumulate(1 / place for place in range(1, WORDS + 1)))
    first = timezone.now() - timedelta(minutes=MESSAGES)
    for begin in range(0, MESSAGES, AT_ONCE):
        chats = Conversation.objects.bulk_create(
            Conversation(owner=person, persona=persona, title=f"Chat {number}")
            for number in range(AT_ONCE // IN_A_CHAT)
        )
        Message.objects.bulk_create(
            Message(
                conversation=chats[number // IN_A_CHAT],
                owner=person,
                role=("user", "assistant")[number % 2],
                text=" ".join(
                    dice.choices(words, cum_weights=shares, k=dice.choice(LENGTHS))
                ),
                created_at=first + timedelta(minutes=begin + number),
            )
            for number in range(AT_ONCE)
        )


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else ""
    if argument == _WORK:
        result = _work()
        values = {
            "indexed_per_s": result.indexed_per_s,
            "searches_ms": result.searches_ms,
        }
        print(json.dumps(values))
    else:
        result = measure(argument)
        print(f"indexed: {result.indexed_per_s:.0f} messages/s")
        for kind, times in result.searches_ms.items():
            print(f"{kind}: {min(times):.1f} to {max(times):.1f} ms")
