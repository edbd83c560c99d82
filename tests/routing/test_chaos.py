"""Hundreds of turns over hosts of every type that fail in every way at once.

The vendors' mock drops, garbles, disconnects and rate-limits 20 % of the requests each
(in turn, so that about two of five are answered); our own mock breaks answers off in
the middle. Whatever happens: a turn ends in an answer or in one clear error, and the
ledger agrees with what the mocks have seen.

``make test`` plays 500 turns over the APIs and a few with the programs, which take a
second each; ``make soak`` plays many more of both.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from accounts.models import User
from accounts.secrets import encrypt
from ledger.models import LedgerEntry
from ledger.verify import verify
from routing import breakers, dispatcher
from routing.backends.base import Prompt, PromptMessage, TextDelta, Timeouts
from routing.dispatcher import DispatchResult
from routing.models import Host, Model, RoleSlot
from tests.routing.conftest import caller_of
from tests.support.aimock import ANSWER, USAGE, AIMock
from tests.support.children import Children
from tests.support.environment import SOAK
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SOAKING = SOAK in os.environ
TURNS = 3000 if SOAKING else 500
HALF_SENT_TURNS = 1000 if SOAKING else 100
PROGRAM_TURNS = 60 if SOAKING else 4
AT_ONCE = 8
REST_S = 0.02
"""How long a failing host is left alone here."""
SYSTEM = "Be kind to everyone, and brief. " * 20
QUESTION = "What can be heard of an evening? " * 10
PRICE = {
    "input_price_nano_usd_per_mtok": 1_000_000_000,
    "output_price_nano_usd_per_mtok": 5_000_000_000,
}
APIS = ["local_openai", "gemini_api", "anthropic_api"]
ROLES = ["chat", "coder", "research", "orchestrator", "distill"]
LIMITS = Timeouts(first_token_s=20, between_tokens_s=0.4, total_s=40)


@dataclass
class Turn:
    """How a turn ended."""

    text: str
    result: DispatchResult


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let hosts rest for moments instead of seconds, so that they are asked again."""
    for name in ("OPEN_S", "COOL_S", "SHORTEST_S", "LONGEST_S", "LONGEST_GUESS_S"):
        monkeypatch.setattr(breakers, name, REST_S)
    monkeypatch.setattr(breakers, "FIRST_PAUSE_S", REST_S)
    monkeypatch.setattr(breakers, "LONGEST_PAUSE_S", 0.1)
    breakers.BREAKERS.clear()
    yield
    breakers.BREAKERS.clear()


def add_hosts(url: str, *types: str) -> None:
    """Add a host of each type; each role asks them in another order.

    The chain of the first role begins with the first, of the second with the second.
    """
    models = []
    for place, kind in enumerate(types):
        free = kind == "local_openai"
        host = Host.objects.create(
            name=f"{kind} {place}",
            type=kind,
            base_url=f"{url}/v1" if free else "",
            key_encrypted=encrypt("host_key", "sk-canary"),
        )
        name = "gemini-2.5-flash" if "gemini" in kind else "claude-haiku-4-5-20251001"
        label = f"{kind}-{place}"
        models.append(Model.objects.create(host=host, name=name, label=label, **PRICE))
    for start, role in enumerate(ROLES):
        for place in range(len(models)):
            model = models[(start + place) % len(models)]
            RoleSlot.objects.create(role=role, position=place, model=model)


async def play(user: User, turns: int, at_once: int = AT_ONCE) -> list[Turn]:
    """Play the turns, some at a time, one role after the other."""
    gate = asyncio.Semaphore(at_once)

    async def play_one(number: int) -> Turn:
        async with gate:
            turn = await play_turn(number)
            if not turn.result.attempts:  # every host rests: so does who asks
                await asyncio.sleep(2 * REST_S)
            return turn

    async def play_turn(number: int) -> Turn:
        message = PromptMessage("user", f"{number}: {QUESTION}")
        async with dispatcher.stream(
            Prompt(SYSTEM, (message,)),
            user=user,
            caller=caller_of(user),
            role=ROLES[number % len(ROLES)],
            timeouts=LIMITS,
        ) as dispatch:
            text = "".join(
                [event.text async for event in dispatch if isinstance(event, TextDelta)]
            )
        return Turn(text, dispatch.result)

    return await asyncio.gather(*(play_one(number) for number in range(turns)))


async def rows(*kinds: str) -> list[LedgerEntry]:
    """Return rows of these kinds, oldest first."""
    return [row async for row in LedgerEntry.objects.filter(kind__in=kinds)]


async def check_turns(turns: list[Turn]) -> None:
    """Check that each turn ended in an answer or in one clear error."""
    for turn in turns:
        result = turn.result
        if result.outcome == "complete":
            assert turn.text
            assert result.error is None
        else:
            assert result.outcome == ("incomplete" if turn.text else "failed")
            assert result.error is not None
            assert result.error.code
            assert result.error.message.endswith(".")
            assert "canary" not in result.error.message
    # With every host resting at once a turn is refused before any attempt.
    refused = [turn for turn in turns if not turn.result.attempts]
    assert len(refused) <= 0.1 * len(turns)


async def check_books(turns: list[Turn], requests: int) -> list[LedgerEntry]:
    """Check that rows, attempts and requests are as many; return the closing rows."""
    closed, reserved = await rows("settle", "release"), await rows("reserve")
    assert len(closed) == len(reserved)
    assert {row.attempt_id for row in closed} == {row.attempt_id for row in reserved}
    assert len({row.attempt_id for row in closed}) == len(closed)
    assert len(closed) == sum(turn.result.attempts for turn in turns) == requests
    assert (await asyncio.to_thread(_verified)).ok
    return closed


def _verified() -> Any:
    from django.db import connection

    try:
        return verify()
    finally:
        connection.close()


@pytest.fixture
def children() -> Children:
    """Return a function that lists the processes which the test has left behind."""
    return Children()


async def check_counts(closed: list[LedgerEntry], answered: int) -> None:
    """Check that the answered requests, and they alone, are booked as counted."""
    complete = [row for row in closed if row.outcome == "complete"]
    assert len(complete) == answered
    for row in complete:
        assert not row.estimated
        assert row.input_tokens == USAGE["prompt_tokens"]
        assert row.output_tokens == USAGE["completion_tokens"]
        assert row.cost_nano_usd == 1000 * row.input_tokens + 5000 * row.output_tokens
    for row in closed:
        if row.kind == "settle" and row.outcome != "complete":
            assert row.estimated
            assert row.input_tokens
            assert row.output_tokens == 0
            assert row.cost_nano_usd


def answered_in(journal: list[dict[str, Any]]) -> int:
    """Return how many requests were answered without chaos."""
    return len([each for each in journal if not each["response"].get("chaosAction")])


@pytest.mark.timeout(600)
async def test_chaos_over_the_apis(alice: User, aimock: AIMock, settings: Any) -> None:
    settings.CORTEX_ANTHROPIC_URL = settings.CORTEX_GEMINI_URL = aimock.url
    await asyncio.to_thread(_in_thread, add_hosts, aimock.url, *APIS, *APIS[:2])
    turns = await play(alice, TURNS)
    journal = aimock.journal()
    await check_turns(turns)
    closed = await check_books(turns, len(journal))
    await check_counts(closed, answered_in(journal))
    answered = [turn for turn in turns if turn.result.outcome == "complete"]
    assert {turn.text for turn in answered} == {ANSWER}
    assert len(answered) > 0.7 * len(turns)
    assert {row.host_type for row in closed} == set(APIS)
    kinds = {each["response"].get("chaosAction") for each in journal}
    assert kinds == {None, "drop", "malformed", "disconnect", "rateLimit"}


@pytest.mark.timeout(600)
async def test_chaos_over_the_programs(
    alice: User,
    aimock: AIMock,
    settings: Any,
    claude_program: Any,
    gemini_program: Any,
    children: Children,
) -> None:
    settings.CORTEX_ANTHROPIC_URL = settings.CORTEX_GEMINI_URL = aimock.url
    settings.CORTEX_CLAUDE_WARM = False
    before = set(children())
    types = ("claude_cli", "gemini_cli", "claude_cli", "gemini_cli")
    await asyncio.to_thread(_in_thread, add_hosts, aimock.url, *types)
    turns = await play(alice, PROGRAM_TURNS, at_once=2)
    journal = aimock.journal()
    await check_turns(turns)
    closed = await check_books(turns, len(journal))
    await check_counts(closed, answered_in(journal))
    assert {row.host_type for row in closed} == {"claude_cli", "gemini_cli"}
    assert not set(children()) - before


ENDINGS = ["tokens-60", "no-usage", "tokens-20-5ms", "status-500", "status-529"]
BREAKS = ["cut-after-40", "stall-after-30", "end-after-50", "malformed", "status-429",
          "error-in-stream", "cut-after-0"]  # fmt: skip


@pytest.mark.timeout(600)
async def test_chaos_of_half_sent_answers(
    alice: User, vendors: Upstream, settings: Any
) -> None:
    await asyncio.to_thread(_in_thread, add_hosts, vendors.url, *APIS, *APIS[:2])
    dice = random.Random(5)
    plan = [dice.choice(ENDINGS + BREAKS) for _ in range(HALF_SENT_TURNS * 20)]
    for name in ("gemini-2.5-flash", "claude-haiku-4-5-20251001"):
        vendors.script(name, *plan)
    turns = await play(alice, HALF_SENT_TURNS)
    await check_turns(turns)
    closed = await check_books(turns, len(vendors.completions))
    told = Counter(
        (call.input_tokens, call.output_tokens)
        for call in vendors.completions
        if call.usage_sent
    )
    exact = [row for row in closed if row.kind == "settle" and not row.estimated]
    counted = Counter((row.input_tokens, row.output_tokens) for row in exact)
    assert counted.total() > 10
    assert counted <= told
    booked = sorted(row.output_tokens or 0 for row in closed)
    sent = sorted(call.output_tokens for call in vendors.completions)
    for mine, theirs in zip(booked, sent, strict=True):
        assert abs(mine - theirs) <= 0.15 * theirs
    for row in closed:
        if row.outcome in {"complete", "incomplete"}:
            assert row.output_tokens
            assert row.input_tokens
            assert row.cost_nano_usd
    assert {row.host_type for row in closed} == set(APIS)
    assert any(row.estimated for row in closed)
    assert any(turn.result.outcome == "incomplete" for turn in turns)


def _in_thread(function: Callable[..., None], *arguments: Any) -> None:
    from django.db import connection

    try:
        function(*arguments)
    finally:
        connection.close()
