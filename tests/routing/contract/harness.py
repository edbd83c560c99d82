"""One way to call any back end against the mock and to collect what came of it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from routing.backends import get_backend
from routing.backends.base import (
    Backend,
    BackendError,
    Event,
    Finished,
    Prompt,
    PromptMessage,
    Target,
    TextDelta,
    ThinkingDelta,
    Timeouts,
    ToolCall,
    Usage,
    UsageReported,
)
from routing.backends.builtin import Builtin
from tests.support.children import Children
from tests.support.upstream import Upstream, texts
from tests.support.wire import Call

KEY = "sk-canary-3f9c1b7e"
"""The key of every host here; it must be seen by the mock and by nobody else."""
PROMPT = Prompt("Be kind to everyone.", (PromptMessage("user", "Hello, who are you?"),))
PATIENT = Timeouts(first_token_s=40, between_tokens_s=20, total_s=60)


@dataclass(frozen=True)
class Kind:
    """A back end under test."""

    name: str
    type: str
    model: str
    """What the target is asked for."""
    asked: str = ""
    """What the mock is asked for, where the program knows a longer name."""
    is_program: bool = False
    has_tools: bool = False
    has_key: bool = True

    def __str__(self) -> str:
        return self.name


KINDS = [
    Kind("builtin", "builtin", "builtin", has_key=False),
    Kind("local_openai", "local_openai", "m1", has_tools=True),
    Kind("gemini_api", "gemini_api", "gemini-2.5-flash", has_tools=True),
    Kind("anthropic_api", "anthropic_api", "claude-haiku-4-5", has_tools=True),
    Kind("claude_cli", "claude_cli", "haiku", "claude-haiku-4-5-20251001",
         is_program=True),
    Kind("gemini_cli", "gemini_cli", "gemini-2.5-flash", is_program=True),
]  # fmt: skip
APIS = [kind for kind in KINDS if not kind.is_program]
PROGRAMS = [kind for kind in KINDS if kind.is_program]
WITH_TOOLS = [kind for kind in KINDS if kind.has_tools]


@dataclass
class Outcome:
    """What a call gave: its events in order, and its error if it had one."""

    events: list[Event] = field(default_factory=list)
    error: BackendError | None = None

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(each.text for each in self.events if isinstance(each, TextDelta))

    @property
    def thinking(self) -> str:
        """The reasoning."""
        thoughts = [each for each in self.events if isinstance(each, ThinkingDelta)]
        return "".join(each.text for each in thoughts)

    @property
    def usage(self) -> Usage | None:
        """The last count."""
        counts = [each.usage for each in self.events if isinstance(each, UsageReported)]
        return counts[-1] if counts else None

    @property
    def tools(self) -> list[ToolCall]:
        """The tools asked for."""
        return [each for each in self.events if isinstance(each, ToolCall)]

    @property
    def finished(self) -> Finished | None:
        """The end, if it is the last event."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Finished) else None


@dataclass
class Bench:
    """One back end and the mock behind it."""

    kind: Kind
    upstream: Upstream
    children: Children = field(default_factory=Children)
    """The processes that were started since; only programs start any."""

    @property
    def backend(self) -> Backend:
        """The back end; the built-in one remembers an address, so it is a new one."""
        if self.kind.type == "builtin":
            return Builtin()
        return get_backend(self.kind.type)

    @property
    def calls(self) -> list[Call]:
        """The requests for an answer, oldest first."""
        return self.upstream.completions

    def target(self, **fields: Any) -> Target:
        """Return where to call; vendors have no address of their own."""
        values: dict[str, Any] = {
            "host_type": self.kind.type,
            "base_url": "",
            "api_key": KEY if self.kind.has_key else "",
            "model_name": self.kind.model,
            "context_tokens": 100_000,
            "trusted_origin": False,
            "host_id": 7,
            "user_id": 1,
            "persona_id": 1,
        }
        if self.kind.type == "local_openai":
            values |= {"base_url": self.upstream.base_url, "trusted_origin": True}
        return Target(**values | fields)

    def behave(self, *names: str) -> None:
        """Let the mock answer the next calls as these names of its table say."""
        self.upstream.script(self.kind.asked or self.kind.model, *names)

    def open(
        self,
        prompt: Prompt = PROMPT,
        *,
        limits: Timeouts = PATIENT,
        target: Target | None = None,
    ) -> AbstractAsyncContextManager[Any]:
        """Open a call."""
        return self.backend.stream(
            prompt, target or self.target(), max_output_tokens=2000, timeouts=limits
        )

    async def call(self, behaviour: str = "", **options: Any) -> Outcome:
        """Let the mock behave, call the back end to its end and return what came."""
        if behaviour:
            self.behave(behaviour)
        outcome = Outcome()
        try:
            async with self.open(**options) as events:
                async for event in events:
                    outcome.events.append(event)
        except BackendError as error:
            outcome.error = error
        return outcome

    async def wait_for(self, condition: Any, *, within_s: float = 20) -> Call:
        """Return the first call that fulfils the condition, without blocking."""
        return await asyncio.to_thread(
            self.upstream.wait_for, condition, within_s=within_s
        )


def counting(count: int) -> str:
    """Return the text of the mock's first chunks."""
    return "".join(texts(count))
