"""Streams as the vendors and servers send them, cut at every place a network can cut.

The files in ``recorded`` hold the bytes of whole answers; however they are cut, the
same events must come of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from routing.backends.anthropic_wire import MessageStream
from routing.backends.base import (
    Event,
    Finished,
    Overloaded,
    Refused,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.gemini_wire import ContentStream
from routing.backends.openai_wire import ChatStream
from routing.backends.wire import AnswerStream

RECORDED = Path(__file__).parent / "recorded"
STREAMS: dict[str, Callable[[], AnswerStream]] = {
    "anthropic": MessageStream,
    "gemini": ContentStream,
    "openai": ChatStream,
}
HELLO = "Grüß dich, 世界! 🙂\n\ndata: this is text"
THOUGHT = ThinkingDelta("They want the weather.")
LOOK = TextDelta("I look.")
TOOLS = [("weather", {"city": "München", "days": 2}), ("clock", {})]
DONE, CUT = Finished(), Finished(complete=False)
EXPECTED: dict[str, list[Any]] = {
    "anthropic-text": [TextDelta(HELLO), Usage(1233, 17, 1024, 188), DONE],
    "anthropic-thinking-and-tools": [
        THOUGHT, LOOK, *TOOLS, Usage(1233, 89, 1024, 188), DONE,
    ],
    "anthropic-overloaded": [
        TextDelta("It was a "), Usage(1233, None, 1024, 188), Overloaded,
    ],
    "anthropic-refusal": [Usage(1233, 1, 1024, 188), Refused],
    "anthropic-newer-kinds": [
        TextDelta("Still here"), Usage(1233, 5, 1024, 188), CUT,
    ],
    "gemini-text": [TextDelta(HELLO), Usage(12, 17, 4), DONE],
    "gemini-thinking-and-tools": [THOUGHT, LOOK, *TOOLS, Usage(12, 27), DONE],
    "gemini-blocked": [Usage(12, None), Refused],
    "gemini-error": [TextDelta("It was a "), Usage(12, 3), Overloaded],
    "gemini-cut-short": [TextDelta("Once upon"), Usage(12, 64), CUT],
    "openai-text": [TextDelta(HELLO), Usage(12, 17, 4), DONE],
    "openai-vllm": [THOUGHT, LOOK, *TOOLS, Usage(12, 21), DONE],
    "openai-ollama": [THOUGHT, LOOK, *TOOLS, Usage(12, 21), DONE],
    "openai-think-tags": [THOUGHT, TextDelta("I <think> not."), DONE],
    "openai-error": [TextDelta("It was a "), UpstreamFailed],
    "openai-cut-short": [TextDelta("Once upon"), Usage(12, 64), CUT],
}  # fmt: skip
NAMES = sorted(EXPECTED)


def events_of(name: str, pieces: Iterator[bytes]) -> list[Any]:
    """Return what a stream gives, in a form that does not depend on the pieces.

    Neighbouring pieces of text are one, of counts the last one stays and stands before
    the end, calls are name and arguments, and an error is its class.
    """
    stream = STREAMS[name.partition("-")[0]]()
    events: list[Event] = []
    for piece in pieces:
        events += stream.feed(piece)
        if stream.failure or stream.ended:
            break
    if stream.failure is None:
        events += stream.close()
    end: list[Any] = [type(stream.failure)] if stream.failure else []
    return _joined(events) + end


def _joined(events: list[Event]) -> list[Any]:
    joined: list[Any] = []
    counts: list[Any] = []
    ends: list[Any] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, UsageReported):
            counts = [event.usage]
        elif isinstance(event, Finished):
            ends.append(event)
        elif isinstance(event, ToolCall):
            assert event.id
            assert not event.error
            joined.append((event.name, event.arguments))
        elif type(event) is type(last):
            joined[-1] = type(event)(last.text + event.text)
        else:
            joined.append(event)
    return joined + counts + ends


def cut(data: bytes, *, seed: int) -> Iterator[bytes]:
    """Yield the data in pieces of any size, most of them small."""
    dice = random.Random(seed)
    while data:
        size = dice.choice([1, 2, 3, 7, 40, 400])
        yield data[:size]
        data = data[size:]


def test_each_recorded_stream_is_expected() -> None:
    assert sorted(path.stem for path in RECORDED.glob("*.sse")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recorded_stream_gives_its_events(name: str) -> None:
    data = (RECORDED / f"{name}.sse").read_bytes()
    assert events_of(name, iter([data])) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_stream_byte_by_byte(name: str) -> None:
    data = (RECORDED / f"{name}.sse").read_bytes()
    pieces = (data[place : place + 1] for place in range(len(data)))
    assert events_of(name, pieces) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_stream_in_any_pieces(name: str) -> None:
    data = (RECORDED / f"{name}.sse").read_bytes()
    for seed in range(40):
        assert events_of(name, cut(data, seed=seed)) == EXPECTED[name], seed


@pytest.mark.parametrize("name", [n for n in NAMES if EXPECTED[n][-1] in (DONE, CUT)])
def test_recorded_stream_without_its_end_is_no_answer(name: str) -> None:
    data = (RECORDED / f"{name}.sse").read_bytes()
    dice = random.Random(1)
    for _ in range(40):
        length = dice.randrange(len(data) // 2)
        events = events_of(name, iter([data[:length]]))
        assert DONE not in events
        assert CUT not in events
