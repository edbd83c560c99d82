"""R22, R23 and R25 over the wire: what each failure leads to, and when hosts rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from accounts.secrets import encrypt
from ledger.models import LedgerEntry
from ledger.types import Caller
from routing import breakers, dispatcher
from routing.backends.base import Prompt, PromptMessage, TextDelta, Timeouts
from routing.dispatcher import DispatchResult, Notice, Routed
from routing.models import Host, Model, RoleSlot, RoutingPreferences
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = Prompt("Be kind. " * 30, (PromptMessage("user", "Tell me something. " * 20),))
LIMITS = Timeouts(connect_s=1, first_token_s=0.3, between_tokens_s=0.3, total_s=20)
ANSWER = "tokens-8"
TEXT = "".join(f"{number:04d}" for number in range(8))


@dataclass
class Seen:
    """What a dispatch gave."""

    text: str
    asked: list[str]
    continues: list[bool]
    notices: list[str]
    result: DispatchResult


async def ask(user: User, **options: Any) -> Seen:
    """Dispatch and note everything."""
    options.setdefault("timeouts", LIMITS)
    seen = Seen("", [], [], [], None)  # type: ignore[arg-type]
    async with dispatcher.stream(
        PROMPT, user=user, caller=Caller(user.id, user.username), **options
    ) as dispatch:
        async for event in dispatch:
            if isinstance(event, TextDelta):
                seen.text += event.text
            elif isinstance(event, Routed):
                seen.asked.append(event.model)
                seen.continues.append(event.continues)
            elif isinstance(event, Notice):
                seen.notices.append(event.code)
    seen.result = dispatch.result
    return seen


async def closings() -> list[LedgerEntry]:
    """Return the closing rows, and make sure that each belongs to one reservation."""
    rows = [row async for row in LedgerEntry.objects.order_by("id")]
    closed = [row for row in rows if row.kind in {"settle", "release"}]
    reserved = [row.attempt_id for row in rows if row.kind == "reserve"]
    assert sorted(row.attempt_id for row in closed) == sorted(reserved)
    return closed


async def in_thread(func: Callable[..., Any], *args: Any) -> Any:
    """Use the database on a thread of its own."""

    def call() -> Any:
        try:
            return func(*args)
        finally:
            connection.close()

    return await asyncio.to_thread(call)


@pytest.fixture
def chain(upstream: Upstream, db: None) -> Callable[..., list[Model]]:
    """Return a function that makes the shared chat chain, each model on its own host.

    A name that begins with ``house-`` stands on a host in the house.
    """

    def make(*names: str, role: str = "chat", **fields: Any) -> list[Model]:
        made = []
        for place, name in enumerate(names):
            host = Host.objects.create(
                name=f"host of {name}",
                type="local_openai",
                base_url=upstream.base_url,
                key_encrypted=encrypt("host_key", "sk-test"),
                is_local=name.startswith("house-"),
            )
            model = Model.objects.create(host=host, name=name, label=name, **fields)
            RoleSlot.objects.create(role=role, position=place, model=model)
            made.append(model)
        return made

    return make


# --- R22 ------------------------------------------------------------------------------

NEXT, STOP = ["first", "second"], ["first"]
TABLE = {
    # behaviour of the first model → who is asked, code of the first closing row
    "status-500": (NEXT, "upstream_unavailable"),
    "status-502": (NEXT, "upstream_unavailable"),
    "status-503": (NEXT, "upstream_unavailable"),
    "status-529": (NEXT, "upstream_unavailable"),
    "hang": (NEXT, "upstream_timeout"),
    "empty": (NEXT, "upstream_unavailable"),
    "status-429": (NEXT, "too_many"),
    "status-429-bare": (NEXT, "too_many"),
    "status-401": (NEXT, "upstream_auth"),
    "status-403": (NEXT, "upstream_auth"),
    "status-404": (NEXT, "no_model"),
    "never heard of": (NEXT, "no_model"),
    "too-long": (STOP, "too_long"),  # the second is not larger
    "status-413": (STOP, "too_long"),
    "filtered": (STOP, "refused"),
    "status-400": (STOP, "bad_request"),
    "cut-after-3": (STOP, "upstream_unavailable"),
    "end-after-3": (STOP, "upstream_unavailable"),
    "stall-after-3": (STOP, "upstream_timeout"),
    "error-in-stream": (STOP, "upstream_unavailable"),
    "malformed": (STOP, "upstream_unavailable"),
}


@pytest.mark.parametrize("behaviour", TABLE)
async def test_r22_error_class_decides_who_is_asked_next(
    behaviour: str, alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "first", "second")
    upstream.script("first", behaviour)
    upstream.script("second", ANSWER)
    asked, code = TABLE[behaviour]
    seen = await ask(alice)
    assert seen.asked == asked
    rows = await closings()
    assert len(rows) == len(asked) == len(upstream.completions) == seen.result.attempts
    assert rows[0].error_code == code
    if asked == NEXT:
        assert (seen.text, seen.result.outcome) == (TEXT, "complete")
    else:
        assert seen.result.outcome == ("incomplete" if seen.text else "failed")
        assert seen.result.error is not None
        assert seen.result.error.code == code


@pytest.mark.parametrize("behaviour", ["too-long", "status-413"])
async def test_r22_too_long_goes_to_the_next_larger_one(
    behaviour: str, alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "first", "second", "third")
    await Model.objects.filter(name="third").aupdate(context_tokens=100_000)
    upstream.script("first", behaviour)
    upstream.script("third", ANSWER)
    assert (await ask(alice)).asked == ["first", "third"]


async def test_r22_refusal_goes_on_where_the_person_allows_it(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "first", "second")
    await RoutingPreferences.objects.acreate(owner=alice, fallback_after_refusal=True)
    upstream.script("first", "filtered")
    upstream.script("second", ANSWER)
    seen = await ask(alice)
    assert (seen.asked, seen.text) == (NEXT, TEXT)


@pytest.mark.parametrize(
    "behaviour", ["cut-after-3", "end-after-3", "stall-after-3", "error-in-stream"]
)
async def test_r22_continuation_only_appends(
    behaviour: str, alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "first", "second")
    await RoutingPreferences.objects.acreate(
        owner=alice, finish_with_another_model=True
    )
    upstream.script("first", behaviour)
    upstream.script("second", "say:00010002 and so on")
    seen = await ask(alice)
    assert seen.text == "000000010002 and so on"  # the repetition is left out
    assert (seen.asked, seen.continues) == (NEXT, [False, True])
    assert (seen.result.outcome, seen.result.error) == ("complete", None)
    first, second = await closings()
    assert (first.outcome, second.outcome) == ("incomplete", "complete")
    assert first.output_tokens
    messages = upstream.completions[1].body["messages"]
    assert [message["role"] for message in messages[-2:]] == ["assistant", "user"]
    assert messages[-2]["content"] == "000000010002"


@pytest.mark.parametrize("behaviour", ["status-500", "hang", "cut-after-3"])
async def test_r22_explicit_choice_is_strict(
    behaviour: str, alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "first", "second")
    await RoutingPreferences.objects.acreate(
        owner=alice, finish_with_another_model=True
    )
    upstream.script("first", behaviour)
    seen = await ask(alice, model="first")
    assert seen.asked == ["first"]
    assert len(upstream.completions) == 1
    assert seen.result.error is not None


# --- R23 ------------------------------------------------------------------------------


async def test_r23_three_failures_open_a_breaker_and_one_probe_closes_it(
    alice: User, chain: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(breakers.BREAKERS, "_clock", lambda: now)
    await in_thread(chain, "first", "second")
    upstream.script("first", *["status-500"] * 4, "slow-200ms", *[ANSWER] * 3)
    upstream.script("second", *[ANSWER] * 20)

    async def asked() -> list[str]:
        return (await ask(alice)).asked

    assert [await asked() for _ in range(3)] == [NEXT] * 3
    assert await asked() == ["second"]  # open
    now += 4.9
    assert await asked() == ["second"]
    now += 0.1
    assert await asked() == NEXT  # the probe fails: open again
    assert await asked() == ["second"]
    now += 5
    together = await asyncio.gather(*(asked() for _ in range(4)))
    assert sorted(together) == [["first"], ["second"], ["second"], ["second"]]
    assert [await asked() for _ in range(3)] == [["first"]] * 3  # closed


async def test_r23_retry_after_is_obeyed(
    alice: User, chain: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(breakers.BREAKERS, "_clock", lambda: now)
    await in_thread(chain, "first", "second")
    upstream.script("first", "status-429", ANSWER)
    upstream.script("second", *[ANSWER] * 9)
    assert (await ask(alice)).asked == NEXT
    now += 6.9  # it said 7
    assert (await ask(alice)).asked == ["second"]
    host = await Host.objects.aget(name="host of first")
    assert host.cooling_until is not None
    now += 0.1
    assert (await ask(alice)).asked == ["first"]


async def test_r23_overloaded_chain_is_tried_again_within_the_deadline(
    alice: User, chain: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "COOL_S", 0.05)
    monkeypatch.setattr(breakers, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr("routing.dispatch.BUSY_NOTICE_S", 0.1)
    await in_thread(chain, "first", "second")
    upstream.script("first", *["status-429-bare"] * 3, ANSWER)
    upstream.script("second", *["status-429-bare"] * 9)
    seen = await ask(alice)
    assert (seen.text, seen.result.outcome) == (TEXT, "complete")
    assert seen.notices == ["busy"]
    assert len(await closings()) == len(upstream.completions) == len(seen.asked)


async def test_r23_deadline_ends_it(
    alice: User, chain: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "COOL_S", 0.05)
    monkeypatch.setattr(breakers, "FIRST_PAUSE_S", 0.05)
    await in_thread(chain, "first")
    upstream.script("first", *["status-429-bare"] * 99)
    begun = time.monotonic()
    seen = await ask(alice, timeouts=Timeouts(total_s=0.5))
    assert time.monotonic() - begun < 5
    assert seen.result.error is not None
    assert (seen.result.outcome, seen.result.error.code) == ("failed", "too_many")
    assert 1 < len(upstream.completions) == len(await closings())


# --- R25 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"tier": "auto"}, {"tier": 1}, {"tier": 3}, {"model": "cloud"}]
)
async def test_r25_private_chat_stays_in_the_house_whatever_fails(
    options: dict[str, Any], alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "house-a", "cloud", "house-b")
    await RoutingPreferences.objects.acreate(
        owner=alice, finish_with_another_model=True, fallback_after_refusal=True
    )
    for name in ("house-a", "house-b"):
        upstream.script(name, *["status-500"] * 3)
    upstream.script("cloud", *[ANSWER] * 9)
    seen = await ask(alice, private=True, **options)
    assert seen.result.outcome == "failed"
    asked = {call.model for call in upstream.completions}
    assert asked == (set() if "model" in options else {"house-a", "house-b"})


async def test_r25_private_answer_is_not_finished_outside(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "house-a", "cloud")
    await RoutingPreferences.objects.acreate(
        owner=alice, finish_with_another_model=True
    )
    upstream.script("house-a", "cut-after-3")
    seen = await ask(alice, private=True)
    assert (seen.asked, seen.result.outcome) == (["house-a"], "incomplete")


async def test_r25_private_message_is_judged_in_the_house_or_not_at_all(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await in_thread(chain, "house-a", "cloud")
    await Model.objects.filter(name="house-a").aupdate(tier=2)
    await in_thread(lambda: chain("cloud-judge", role="classify"))
    upstream.script("house-a", *[ANSWER] * 3)
    prompt = Prompt("", (PromptMessage("user", "It rained, so I went home again."),))
    completion = await dispatcher.complete(
        prompt, user=alice, tier="auto", private=True
    )
    assert completion.result.outcome == "complete"
    assert [call.model for call in upstream.completions] == ["house-a"]
