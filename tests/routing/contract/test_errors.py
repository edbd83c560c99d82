"""Failures: each becomes its error, after one request, in words of our own."""

from __future__ import annotations

import time
import traceback

import pytest

from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ConnectionFailed,
    ContextTooLong,
    RateLimited,
    TimedOut,
    Timeouts,
    UnknownModel,
    UpstreamFailed,
)
from tests.routing.contract.harness import KEY, Bench, counting

BROKEN = (ConnectionFailed, UpstreamFailed)
REFUSALS = {
    "status-400": BadRequest,
    "status-401": AuthenticationFailed,
    "status-403": AuthenticationFailed,
    "status-404": UnknownModel,
    "status-413": ContextTooLong,
    "too-long": ContextTooLong,
    "status-429": RateLimited,
    "status-429-bare": RateLimited,
    "status-500": UpstreamFailed,
    "status-503": UpstreamFailed,
    "status-529": UpstreamFailed,
}


def words_of(error: BackendError) -> str:
    """Return all that a log could show of an error."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(("behaviour", "kind"), REFUSALS.items())
async def test_refusal_becomes_its_error(
    bench: Bench,
    behaviour: str,
    kind: type[BackendError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    bench.behave(behaviour, behaviour)
    outcome = await bench.call()
    assert isinstance(outcome.error, kind), repr(outcome.error)
    assert outcome.text == ""
    # Claude's program asks again without streaming where a model is unknown; neither
    # of the two costs anything. Nothing else is ever tried again.
    twice = bench.kind.name == "claude_cli" and behaviour == "status-404"
    assert len(bench.calls) == (2 if twice else 1)
    if isinstance(outcome.error, RateLimited):
        told = 7 if behaviour == "status-429" else None
        silent = {None} if bench.kind.is_program else set()
        assert outcome.error.retry_after_s in {told} | silent
    assert not outcome.error.worked
    written = words_of(outcome.error) + caplog.text
    assert "as asked" not in written
    assert "Hello, who are you" not in written
    assert KEY not in written


async def test_host_that_does_not_begin_is_given_up(bench: Bench) -> None:
    limits = Timeouts(first_token_s=await _start_s(bench))
    outcome = await bench.call("hang", limits=limits)
    assert isinstance(outcome.error, TimedOut)
    assert outcome.error.worked
    call = await bench.wait_for(lambda call: call.disconnected_ns)
    assert call.tokens_sent == 0


async def test_slow_first_token_is_waited_for(bench: Bench) -> None:
    outcome = await bench.call("slow-700ms")
    assert outcome.error is None
    assert outcome.text.strip() == bench.calls[0].prompt.strip()


async def test_host_that_falls_silent_is_given_up(bench: Bench) -> None:
    limits = Timeouts(first_token_s=40, between_tokens_s=0.6)
    outcome = await bench.call("stall-after-3", limits=limits)
    assert isinstance(outcome.error, TimedOut), repr(outcome.error)
    assert outcome.text == counting(3)
    call = await bench.wait_for(lambda call: call.disconnected_ns)
    assert call.tokens_sent == 3


async def test_answer_that_takes_too_long_is_given_up(bench: Bench) -> None:
    limits = Timeouts(
        first_token_s=40, between_tokens_s=20, total_s=await _start_s(bench)
    )
    outcome = await bench.call("tokens-2000-20ms", limits=limits)
    assert isinstance(outcome.error, TimedOut), repr(outcome.error)
    assert counting(2000).startswith(outcome.text)
    call = await bench.wait_for(lambda call: call.disconnected_ns)
    assert call.tokens_sent < 2000


@pytest.mark.parametrize(
    "behaviour", ["cut-after-3", "end-after-3", "malformed", "error-in-stream"]
)
async def test_broken_stream_is_an_error_and_never_an_answer(
    bench: Bench, behaviour: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    outcome = await bench.call(behaviour)
    assert isinstance(outcome.error, BROKEN), repr(outcome.error)
    assert outcome.finished is None
    assert counting(3).startswith(outcome.text)
    if not bench.kind.is_program:
        assert outcome.text == counting(3)
    assert len(bench.calls) == 1, "it must not ask again, and be it without streaming"
    written = words_of(outcome.error) + caplog.text
    assert "fell over" not in written
    assert KEY not in written


@pytest.mark.parametrize("behaviour", ["cut-after-0", "end-after-0"])
async def test_stream_broken_before_any_text(bench: Bench, behaviour: str) -> None:
    outcome = await bench.call(behaviour)
    assert isinstance(outcome.error, BROKEN), repr(outcome.error)
    assert outcome.text == ""
    assert len(bench.calls) == 1


async def _start_s(bench: Bench) -> float:
    """Return a limit within which the mock will have been asked and have said much.

    A program's start takes as long as the machine is busy, so it is measured.
    """
    if not bench.kind.is_program:
        return 0.4
    began = time.monotonic()
    await bench.call("echo")
    bench.upstream.clear()
    return 2 * (time.monotonic() - began) + 1
