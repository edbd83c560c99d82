"""How fast bots' events are acknowledged, paced and all at once.

A stand-in Nextcloud in this process signs events of many rooms and takes the answers;
Cortex stores each event, acknowledges it, and answers meanwhile by way of the mock
upstream. Every event must have been acknowledged with 200 and answered exactly once
before a figure counts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from bench.machine import Helper
from bench.prepare import TALK_ROOMS, TALK_SECRET
from tests.support.nextcloud import Nextcloud
from tests.support.processes import ROOT, ServerProcess, wait_until

RATE: Final = 100
SECONDS: Final = 10
AT_ONCE: Final = 1000
ANSWERED_WITHIN_S: Final = 180


@dataclass
class Acknowledged:
    """When events were acknowledged, in ms from the first byte of their request."""

    each_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    total_s: float = 0.0


def prepare(server: ServerProcess, upstream: Helper, cloud: Nextcloud) -> str:
    """Give a person a bot in many rooms and return the path of its address."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.prepare", upstream.url, cloud.url],
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    path: str = json.loads(done.stdout)["webhook"]
    cloud.bot.rooms.update(TALK_ROOMS)
    return path


def requests(cloud: Nextcloud, path: str, count: int, round: int) -> list[bytes]:
    """Return whole signed requests, spread evenly over the rooms."""
    made = []
    for number in range(count):
        room = TALK_ROOMS[number % len(TALK_ROOMS)]
        # Somebody else each time: twenty a minute from one person look like a loop.
        event = cloud.message(
            f"event {round}-{number}", room=room, sender=f"users/person{round}"
        )
        made.append(request_of(cloud, path, event))
    return made


def request_of(cloud: Nextcloud, path: str, event: dict[str, Any]) -> bytes:
    """Return the whole signed request that carries an event."""
    body, headers = cloud.signed(event)
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def send(port: int, made: list[bytes], rate: float | None) -> Acknowledged:
    """Send requests, so many a second or all at once, a connection for each."""
    seen = Acknowledged()
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def one(number: int, request: bytes) -> None:
        if rate:
            await asyncio.sleep(started + number / rate - loop.time())
        begun = loop.time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        status = int((await reader.readline()).split()[1])
        seen.each_ms.append((loop.time() - begun) * 1000)
        seen.statuses[status] += 1
        await reader.read()
        writer.close()

    await asyncio.gather(*(one(n, request) for n, request in enumerate(made)))
    seen.total_s = loop.time() - started
    return seen


def measure(
    server: ServerProcess, upstream: Helper
) -> tuple[Acknowledged, Acknowledged, float]:
    """Return the paced events, those at once, and how many a second were answered."""
    with Nextcloud(TALK_SECRET) as cloud:
        path = prepare(server, upstream, cloud)
        paced = asyncio.run(
            send(server.port, requests(cloud, path, RATE * SECONDS, 1), RATE)
        )
        wait_for_answers(cloud, RATE * SECONDS)
        begun = time.monotonic()
        burst = asyncio.run(send(server.port, requests(cloud, path, AT_ONCE, 2), None))
        wait_for_answers(cloud, AT_ONCE)
        answers_per_s = AT_ONCE / (time.monotonic() - begun)
    for seen in (paced, burst):
        if set(seen.statuses) != {200}:
            raise RuntimeError(f"Not all were acknowledged: {seen.statuses}")
    return paced, burst, answers_per_s


def wait_for_answers(cloud: Nextcloud, count: int) -> None:
    """Wait until every event has its answer; none may have two."""
    wait_until(
        lambda: len(cloud.posts) >= count,
        within_s=ANSWERED_WITHIN_S,
        what=f"{count} answers",
    )
    replied = Counter(post.reply_to for post in cloud.posts)
    if len(replied) != count or set(replied.values()) != {1}:
        raise RuntimeError(f"{count} events have {len(cloud.posts)} answers.")
    cloud.posts.clear()
