from __future__ import annotations

import asyncio

import pytest

from routing.backends.base import TimedOut, Timeouts
from routing.interrupts import Interrupt, Interrupted, Patience


async def forever() -> None:
    await asyncio.Event().wait()


async def test_fire_ends_the_await_and_every_later_one() -> None:
    interrupt = Interrupt()
    asyncio.get_running_loop().call_later(0.01, interrupt.fire)
    with pytest.raises(Interrupted):
        await interrupt.wait(forever)
    with pytest.raises(Interrupted):
        await interrupt.wait(lambda: asyncio.sleep(0))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancellation_from_outside_goes_through() -> None:
    interrupt = Interrupt()
    task = asyncio.create_task(interrupt.wait(forever))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_and_fire_at_once_is_a_cancellation() -> None:
    interrupt = Interrupt()
    task = asyncio.create_task(interrupt.wait(forever))
    await asyncio.sleep(0)
    task.cancel()
    interrupt.fire()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("timeouts", "progress", "sentence"),
    [
        (Timeouts(first_token_s=0.02), False, "did not begin to answer within 0.02 s"),
        (Timeouts(between_tokens_s=0.02), True, "fell silent for 0.02 s"),
        (Timeouts(total_s=0.02), True, "longer than 0.02 s"),
        (Timeouts(total_s=0.02), False, "longer than 0.02 s"),
    ],
)
async def test_each_limit_has_its_sentence(
    timeouts: Timeouts, progress: bool, sentence: str
) -> None:
    patience = Patience(timeouts)
    if progress:
        patience.progress()
    with pytest.raises(TimedOut, match=sentence):
        await patience.wait(forever)
    patience.close()


async def test_progress_renews_the_limit() -> None:
    patience = Patience(Timeouts(first_token_s=0.2, between_tokens_s=0.2))
    for _ in range(6):
        await patience.wait(lambda: asyncio.sleep(0.05))
        patience.progress()
    patience.close()


async def test_busy_reader_is_not_the_hosts_silence() -> None:
    patience = Patience(Timeouts(first_token_s=0.05, between_tokens_s=0.05))
    patience.progress()
    await asyncio.sleep(0.15)
    await patience.wait(lambda: asyncio.sleep(0))
    patience.close()
