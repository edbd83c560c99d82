"""Scripts that stand for a vendor's program where the real one cannot be made to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from routing.backends.base import (
    BackendError,
    Event,
    Prompt,
    PromptMessage,
    Target,
    TextDelta,
    Timeouts,
    Usage,
    UsageReported,
)

PATIENT = Timeouts(first_token_s=40, between_tokens_s=20, total_s=60)
HELLO = Prompt("Be kind.", (PromptMessage("user", "Hello, who are you?"),))


def script(folder: Path, body: str, name: str = "program") -> Path:
    """Write a program in Python; ``say(…)`` prints a JSON line at once."""
    path = folder / name
    path.write_text(
        f"#!{sys.executable} -S\n"
        "import json, os, signal, sys, time\n"
        "def say(**line):\n"
        "    sys.stdout.write(json.dumps(line) + '\\n')\n"
        "    sys.stdout.flush()\n" + body
    )
    path.chmod(0o700)
    return path


def claude_says(*texts: str, stop_reason: str = "end_turn") -> str:
    """Return a body that reads one message and streams an answer, without result."""
    start: dict[str, Any] = {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 9}},
    }
    lines = [start]
    for text in texts:
        delta = {"type": "text_delta", "text": text}
        lines.append({"type": "content_block_delta", "delta": delta})
    lines.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason},
            "usage": {"output_tokens": 3},
        }
    )
    says = "".join(
        f"say(type='stream_event', event=json.loads({json.dumps(line)!r}))\n"
        for line in lines
    )
    return "sys.stdin.readline()\n" + says


def target_of(host_type: str, **fields: Any) -> Target:
    """Return a target with a key, for Alice-like number 1 and her persona 1."""
    values: dict[str, Any] = {
        "host_type": host_type,
        "base_url": "",
        "api_key": "sk-secret-of-the-host",
        "model_name": "haiku" if host_type == "claude_cli" else "gemini-2.5-flash",
        "context_tokens": 100_000,
        "trusted_origin": False,
        "host_id": 1,
        "user_id": 1,
        "persona_id": 1,
    }
    return Target(**values | fields)


async def ask(
    backend: Any,
    target: Target,
    prompt: Prompt = HELLO,
    *,
    max_output_tokens: int = 400,
    timeouts: Timeouts = PATIENT,
) -> tuple[list[Event], BackendError | None]:
    """Call a back end; return its events and the error that ended them, if one did."""
    events: list[Event] = []
    try:
        async with backend.stream(
            prompt, target, max_output_tokens=max_output_tokens, timeouts=timeouts
        ) as stream:
            async for event in stream:
                events.append(event)
    except BackendError as error:
        return events, error
    return events, None


def text_of(events: list[Event]) -> str:
    """Return the answer."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def usage_of(events: list[Event]) -> Usage | None:
    """Return the last count."""
    counts = [event.usage for event in events if isinstance(event, UsageReported)]
    return counts[-1] if counts else None
