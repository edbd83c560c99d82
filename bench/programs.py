"""How long a person waits for Claude's first word, with and without a kept program.

Two Cortexes side by side, each with the real ``claude`` program, a scratch home and a
dummy key, and the mock upstream in the vendor's place: one keeps programs ready, the
other starts one for each message. Messages of one conversation go to them in turn.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import machine
from bench.clients import CortexClient, People
from bench.machine import Helper
from bench.prepare import CLAUDE_LABEL
from tests.support.processes import ServerProcess
from tests.support.programs import MODULES

ROUNDS: Final = 12
PAUSE_S: Final = 2.5
"""Between two messages, as a quick reader needs at least; the next program boots."""


@dataclass
class FirstWord:
    """Times from the message to its first word in ms."""

    cold: list[float] = field(default_factory=list)
    """A program was started for the message."""
    kept: list[float] = field(default_factory=list)
    """A program was waiting, from the second message on."""


def claude_program() -> Path | None:
    """Return the ``claude`` of this platform, ``None`` if npm has not installed it."""
    found = sorted((MODULES / "@anthropic-ai").glob("claude-code-*/claude"))
    return next((path for path in found if os.access(path, os.X_OK)), None)


def first_words(program: Path, upstream: Helper) -> FirstWord:
    """Start both installations and ask them in turn."""
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cortex-bench-")
        )
        people = []
        for warm in "01":
            variables = {
                "CORTEX_CLAUDE_CLI": str(program),
                "CORTEX_ANTHROPIC_URL": upstream.url,
                "CORTEX_CLAUDE_WARM": warm,
            }
            server = ServerProcess(
                "web", data_dir=Path(folder) / warm / "data", variables=variables
            )
            stack.callback(server.stop)
            server.manage("migrate", "--verbosity=0")
            people.append(People(server.url, machine.prepare(server, upstream)))
            server.start()
        return asyncio.run(_ask_in_turn(*people))


async def _ask_in_turn(cold: People, kept: People) -> FirstWord:
    times = FirstWord()
    ways = ((cold, times.cold), (kept, times.kept))
    for number in range(ROUNDS + 1):
        for people, taken in ways:
            async with people.session() as session:
                socket = await people.connect(session, 0)
                client = CortexClient(socket)
                place = people.conversation(0)
                answer = await client.ask(CLAUDE_LABEL, f"message {number}", place)
                await socket.close()
            if number:
                taken.append(answer.first_token_ms)
            await asyncio.sleep(PAUSE_S)
    return times
