"""What is measured, one function for each question."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.clients import CortexClient, DirectClient, People, Received
from bench.machine import Helper, journal, pss_mb
from tests.support.upstream import CHUNK_CHARACTERS

ROUNDS = 10
REQUESTS_A_ROUND = 30
WARM_UP = 40
PACED_STREAMS = 50
FAST_STREAMS = 16
IDLE_SOCKETS = 500
STAGGER_S = 2
"""Streams begin over this time, as people do."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which ``percent`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass
class FirstToken:
    """Times to the first token in ms, by way."""

    direct: list[float]
    relay: list[float]
    cortex: list[float]

    def added_ms(self, way: list[float], percent: float) -> float:
        """Return what a way adds to the median of the direct way."""
        return percentile(way, percent) - statistics.median(self.direct)


@dataclass
class Hops:
    """How long tokens were under way, in ms, and how much one frame held back."""

    hops_ms: list[float]
    held_back_ms: float
    tokens_per_s: float
    bytes_per_token: float
    tokens: int


async def first_token(people: People, upstream: Helper, relay: Helper) -> FirstToken:
    """Ask one question at a time, in interleaved rounds of the three ways."""
    times = FirstToken([], [], [])
    model, conversation = "tokens-5-10ms", people.conversation(0)
    async with people.session() as session:
        socket = await people.connect(session, 0)
        cortex = CortexClient(socket)
        for number in range(WARM_UP):
            await cortex.ask(model, f"warm-up {number}", conversation)
        async with (
            DirectClient(upstream.port) as direct,
            DirectClient(relay.port) as relayed,
        ):
            for _ in range(ROUNDS):
                for number in range(REQUESTS_A_ROUND):
                    answer = await direct.ask(model, f"direct {number}")
                    times.direct.append(answer.first_token_ms)
                for number in range(REQUESTS_A_ROUND):
                    answer = await relayed.ask(model, f"relay {number}")
                    times.relay.append(answer.first_token_ms)
                for number in range(REQUESTS_A_ROUND):
                    answer = await cortex.ask(model, f"cortex {number}", conversation)
                    times.cortex.append(answer.first_token_ms)
        await socket.close()
    return times


async def _cortex_streams(
    people: People, model: str, count: int, stagger_s: float
) -> list[Received]:
    """Run streams side by side, each with a socket and conversation of its own."""
    async with people.session() as session:
        sockets = [await people.connect(session, number) for number in range(count)]

        async def one(number: int) -> Received:
            await asyncio.sleep(stagger_s * number / count)
            client = CortexClient(sockets[number])
            tag = f"stream {number}"
            return await client.ask(model, tag, people.conversation(number))

        answers = await asyncio.gather(*map(one, range(count)))
        for socket in sockets:
            await socket.close()
        return answers


async def _direct_streams(
    port: int, model: str, count: int, stagger_s: float
) -> list[Received]:
    async def one(number: int) -> Received:
        await asyncio.sleep(stagger_s * number / count)
        async with DirectClient(port) as client:
            return await client.ask(model, f"stream {number}")

    return await asyncio.gather(*map(one, range(count)))


def stream_speed(answer: Received) -> float:
    """Return tokens per second of one stream, from its first text to its last."""
    first_ns, last_ns = answer.frames[0][0], answer.frames[-1][0]
    return (answer.tokens - 1) / max((last_ns - first_ns) / 1e9, 1e-9)


def judge_hops(answers: list[Received], calls: list[dict[str, Any]]) -> Hops:
    """Match what was received with the moments at which each token was sent."""
    sent_by_tag = {call["prompt"].rsplit("\n")[-1]: call["sent_ns"] for call in calls}
    hops: list[float] = []
    held_back = 0.0
    tokens = payload = 0
    for answer in answers:
        sent = sent_by_tag[answer.tag]
        first = 0
        for now, characters in answer.frames:
            until = characters // CHUNK_CHARACTERS
            if until == first:
                continue
            hops.extend((now - moment) / 1e6 for moment in sent[first:until])
            held_back = max(held_back, (sent[until - 1] - sent[first]) / 1e6)
            first = until
        if first != len(sent):
            raise RuntimeError(f"{answer.tag}: {first} of {len(sent)} tokens came.")
        tokens += first
        payload += answer.payload_bytes
    speed = sum(map(stream_speed, answers))
    return Hops(hops, held_back, speed, payload / tokens, tokens)


async def paced_streams(
    people: People, upstream: Helper, relay: Helper
) -> tuple[Hops, Hops, Hops]:
    """Run 50 streams of 100 tokens a second: direct, by the relay, by Cortex."""
    model, count = "tokens-800-10ms", PACED_STREAMS
    short = "tokens-200-10ms"
    journal(upstream)
    answers = await _direct_streams(upstream.port, short, count, STAGGER_S)
    direct = judge_hops(answers, journal(upstream))
    answers = await _direct_streams(relay.port, short, count, STAGGER_S)
    relayed = judge_hops(answers, journal(upstream))
    answers = await _cortex_streams(people, model, count, STAGGER_S)
    return direct, relayed, judge_hops(answers, journal(upstream))


async def unpaced_streams(
    people: People, upstream: Helper, relay: Helper
) -> tuple[float, float, float]:
    """Return tokens per second of 16 streams at full speed, best of three rounds."""
    model, count = "tokens-20000", FAST_STREAMS
    best = [0.0, 0.0, 0.0]
    for _ in range(3):
        for index in range(3):
            if index < 2:
                port = (upstream.port, relay.port)[index]
                answers = await _direct_streams(port, model, count, 0)
            else:
                answers = await _cortex_streams(people, model, count, 0)
            began = min(answer.asked_ns for answer in answers)
            ended = max(answer.frames[-1][0] for answer in answers)
            tokens = sum(answer.tokens for answer in answers)
            best[index] = max(best[index], tokens / ((ended - began) / 1e9))
    journal(upstream)
    return best[0], best[1], best[2]


async def bytes_by_length(people: People) -> tuple[int, int]:
    """Return the bytes on the wire for answers of 1,000 and 10,000 tokens."""
    sizes = []
    for model in ("tokens-1000-1ms", "tokens-10000-1ms"):
        (answer,) = await _cortex_streams(people, model, 1, 0)
        sizes.append(answer.payload_bytes)
    return sizes[0], sizes[1]


async def idle_socket_kb(people: People, web_pid: int) -> float:
    """Return KB of the web process for each idle, signed-in socket."""
    async with people.session() as session:
        # The first sockets load what all share.
        first = [await people.connect(session, number) for number in range(20)]
        await asyncio.sleep(1)
        before = pss_mb(web_pid)
        sockets = [
            await people.connect(session, number) for number in range(IDLE_SOCKETS)
        ]
        await asyncio.sleep(2)
        after = pss_mb(web_pid)
        for socket in [*first, *sockets]:
            await socket.close()
    return (after - before) * 1024 / IDLE_SOCKETS


def wait_until_quiet(seconds: float = 1) -> None:
    """Let a started server finish what it does after its first answer."""
    time.sleep(seconds)
