"""What Cortex adds to a streamed completion, beside the same request to the upstream.

Both ways use a bare keep-alive connection and the same few messages. Cortex adds the
check of the token, the persona's files, routing, the reservation in the ledger, and the
way back through the turn's stream.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from bench.clients import KeptConnection
from bench.measures import REQUESTS_A_ROUND, ROUNDS, WARM_UP, percentile
from bench.prepare import MODELS

PATH = "/v1/chat/completions"
FIRST = (b'"content": "0', b'"content":"0')
"""How the first token stands in the chunks of the mock, and in those of Cortex."""
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Times:
    """Times to the first token in ms, by way."""

    direct: list[float] = field(default_factory=list)
    cortex: list[float] = field(default_factory=list)

    def added_ms(self, percent: float) -> float:
        """Return what Cortex adds to the median of the direct way."""
        return percentile(self.cortex, percent) - statistics.median(self.direct)


class Way(KeptConnection):
    """A keep-alive connection over which completions are streamed."""

    def __init__(self, port: int, model: str, token: str = "") -> None:
        super().__init__(port)
        self.model = model
        self.token = token

    async def first_token_ms(self, number: int) -> float:
        """Ask a question of a conversation, read the whole answer, return the time."""
        request = self._request(number)
        asked_ns = time.monotonic_ns()
        self.writer.write(request)
        answer, first_ns = b"", 0
        while not (DONE in answer and answer.endswith(LAST_CHUNK)):
            data = await self.reader.read(2**18)
            if not data:
                raise RuntimeError(f"The connection closed: {answer!r}")
            answer += data
            if not first_ns and any(mark in answer for mark in FIRST):
                first_ns = time.monotonic_ns()
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"A completion failed: {answer!r}")
        return (first_ns - asked_ns) / 1e6

    def _request(self, number: int) -> bytes:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "Answer in one sentence."},
                {"role": "user", "content": "How was the sea today?"},
                {"role": "assistant", "content": "It was calm in the morning."},
                {"role": "user", "content": f"And question {number}?"},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        data = json.dumps(body).encode()
        lines = [
            f"POST {PATH} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + data


async def first_token(upstream_port: int, cortex_port: int, token: str) -> Times:
    """Ask one question at a time, in interleaved rounds of both ways."""
    times = Times()
    async with (
        Way(upstream_port, MODELS[0]) as direct,
        Way(cortex_port, "inara", token) as cortex,
    ):
        for number in range(WARM_UP):
            await cortex.first_token_ms(number)
        for _ in range(ROUNDS):
            for number in range(REQUESTS_A_ROUND):
                times.direct.append(await direct.first_token_ms(number))
            for number in range(REQUESTS_A_ROUND):
                times.cortex.append(await cortex.first_token_ms(number))
    return times
