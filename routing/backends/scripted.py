"""A back end that plays scripts, for tests and for development with ``CORTEX_DEBUG``.

A model plays the script given for its name with ``playing``; a model without one
repeats the last message word by word. A script is a list of events to yield, errors
to raise and numbers of seconds to wait; an error at its very beginning is raised while
the call is opened, as a refused connection is. Each call is noted in ``calls``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from routing.backends.base import (
    ConnectionFailed,
    Event,
    Finished,
    Prompt,
    Target,
    TextDelta,
    Timeouts,
    Usage,
    UsageReported,
)
from routing.interrupts import Patience
from routing.tokens import estimate_tokens

Step = Event | Exception | float


@dataclass(slots=True)
class ScriptedCall:
    """One call as the host saw it."""

    prompt: Prompt
    target: Target
    max_output_tokens: int
    finished: bool = False
    """The script was played to its end; False = cancelled or failed."""


calls: Final[list[ScriptedCall]] = []
"""All calls since the last ``playing`` began, oldest first."""
_scripts: Final[dict[str, list[Sequence[Step]]]] = {}


@contextmanager
def playing(**scripts: Sequence[Any]) -> Iterator[None]:
    """Let models play scripts within the context; keys are model names.

    A list of lists gives one script for each call in turn; the last one repeats.
    """
    calls.clear()
    for name, script in scripts.items():
        many = bool(script) and all(isinstance(part, list) for part in script)
        _scripts[name] = list(script) if many else [script]
    try:
        yield
    finally:
        _scripts.clear()


class Scripted:
    """The back end of type ``scripted``."""

    type = "scripted"

    @asynccontextmanager
    async def stream(
        self,
        prompt: Prompt,
        target: Target,
        *,
        max_output_tokens: int,
        timeouts: Timeouts,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Open one call, see ``routing.backends.base.Backend.stream``."""
        call = ScriptedCall(prompt, target, max_output_tokens)
        calls.append(call)
        script = _script_for(target.model_name, prompt)
        if script and isinstance(script[0], Exception):
            raise script[0]
        patience = Patience(timeouts)
        try:
            async with aclosing(_play(script, call, patience)) as events:
                yield events
        finally:
            patience.close()


def _script_for(model_name: str, prompt: Prompt) -> Sequence[Step]:
    scripts = _scripts.get(model_name)
    if scripts:
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]
    return _echo(prompt)


def _echo(prompt: Prompt) -> Sequence[Step]:
    text = prompt.messages[-1].text if prompt.messages else ""
    said = text or "…"
    sent = prompt.system + "".join(message.text for message in prompt.messages)
    usage = Usage(estimate_tokens(sent), estimate_tokens(said))
    words: list[Step] = [TextDelta(word + " ") for word in said.split(" ")[:-1]]
    last = TextDelta(said.split(" ")[-1])
    return [*words, last, UsageReported(usage), Finished()]


async def _play(
    script: Sequence[Step], call: ScriptedCall, patience: Patience
) -> AsyncGenerator[Event, None]:
    for step in script:
        if isinstance(step, (int, float)):
            seconds = step
            await patience.wait(lambda: asyncio.sleep(seconds))  # noqa: B023
        elif isinstance(step, Exception):
            raise step
        else:
            patience.progress()
            yield step
            if isinstance(step, Finished):
                call.finished = True
                return
    raise ConnectionFailed("The host cut the answer short.")
