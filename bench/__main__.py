"""Start everything, measure, print the table, write it into docs/performance.md.

``python -m bench`` measures all; ``python -m bench first_token …`` only the parts
named, and writes nothing. Exits 1 when a target is missed.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench import (
    completions,
    distillation,
    machine,
    measures,
    programs,
    queue,
    route,
    search,
    webhooks,
)
from bench.clients import People
from bench.machine import Helper
from bench.measures import percentile
from bench.report import Figure, as_text, write
from tests.support.missing import find_program
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT, ServerProcess

PAGE = ROOT / "docs" / "performance.md"


@dataclass
class Stage:
    """The processes of a measurement."""

    server: ServerProcess
    upstream: Helper
    relay: Helper
    figures: list[Figure] = field(default_factory=list)
    people: People = field(init=False)

    def add(self, *values: object, **options: object) -> None:
        """Remember a figure."""
        self.figures.append(Figure(*values, **options))  # type: ignore[arg-type]


@contextmanager
def stage() -> Iterator[Stage]:
    """Start upstream and relay; Cortex is started by the first measurement."""
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cortex-bench-")
        )
        upstream = Helper("tests.support.upstream")
        stack.callback(upstream.stop)
        relay = Helper("bench.relay", str(upstream.port))
        stack.callback(relay.stop)
        server = ServerProcess(
            "serve",
            data_dir=Path(folder) / "data",
            variables={"CORTEX_API_PER_MINUTE": "100000"},
            first_start=True,
        )
        stack.callback(server.stop)
        yield Stage(server, upstream, relay)


def start(stage: Stage) -> None:
    """Boot twice, fill the installation in between, note times and memory."""
    first_s = machine.start_timed(stage.server)
    prepared = machine.prepare(stage.server, stage.upstream)
    stage.server.stop()
    second_s = machine.start_timed(stage.server)
    stage.people = People(stage.server.url, prepared)
    measures.wait_until_quiet()
    memory = machine.memory_by_process(stage.server)
    stage.add("first start", first_s, "s")
    stage.add("second start", second_s, "s", 4, 3)
    for name, megabytes in memory.items():
        limits = (200, 150) if name == "web" else ()
        stage.add(f"memory after boot: {name}", megabytes, "MB", *limits, digits=0)
    total = sum(value for name, value in memory.items() if name != "model")
    stage.add("memory after boot: all without the model", total, "MB", 350, digits=0)


def first_token(stage: Stage) -> None:
    """Measure what Cortex adds to the time to the first token."""
    times = asyncio.run(measures.first_token(stage.people, stage.upstream, stage.relay))
    stage.add(
        "first token, direct, p50", statistics.median(times.direct), "ms", digits=2
    )
    for name, way in (("relay", times.relay), ("Cortex", times.cortex)):
        for percent, limits in ((50, (4, 2.5)), (99, (10, 8))):
            limit = limits if name == "Cortex" else ()
            added = times.added_ms(way, percent)
            label = f"added to the first token by {name}, p{percent}"
            stage.add(label, added, "ms", *limit, digits=2)


def paced(stage: Stage) -> None:
    """Measure the delay of tokens in 50 streams of 100 tokens a second."""
    pid = machine.web_pid(stage.server)
    used_s = machine.cpu_s(pid)
    ways = asyncio.run(
        measures.paced_streams(stage.people, stage.upstream, stage.relay)
    )
    used_s = machine.cpu_s(pid) - used_s
    for name, hops in zip(("direct", "relay", "Cortex"), ways, strict=True):
        limit = (10, 5) if name == "Cortex" else ()
        for percent, limits in ((50, ()), (99, limit)):
            label = f"hop of a token, 50 × 100 tokens/s, {name}, p{percent}"
            stage.add(label, percentile(hops.hops_ms, percent), "ms", *limits, digits=2)
    cortex = ways[2]
    stage.add("most stream held back by one frame", cortex.held_back_ms, "ms", 50)
    stage.add(
        "relayed of 5,000 tokens/s offered", cortex.tokens_per_s, "tokens/s", digits=0
    )
    stage.add("bytes per token at 100 tokens/s", cortex.bytes_per_token, "bytes")
    stage.add("processor time per token", used_s / cortex.tokens * 1e6, "µs", digits=0)


def unpaced(stage: Stage) -> None:
    """Measure how many tokens one process relays at full speed."""
    speeds = asyncio.run(
        measures.unpaced_streams(stage.people, stage.upstream, stage.relay)
    )
    for name, speed in zip(("direct", "relay", "Cortex"), speeds, strict=True):
        limits = (20_000, 50_000) if name == "Cortex" else ()
        label = f"16 streams at full speed, {name}"
        stage.add(label, speed, "tokens/s", *limits, more_is_better=True, digits=0)


def bytes_by_length(stage: Stage) -> None:
    """Measure whether bytes grow in step with the answer."""
    short, long = asyncio.run(measures.bytes_by_length(stage.people))
    stage.add("bytes for 1,000 tokens at 1,000 tokens/s", short, "bytes", digits=0)
    stage.add("bytes for 10,000 tokens ÷ for 1,000", long / short, "", 10.5, digits=2)


def memory(stage: Stage) -> None:
    """Measure the memory of idle sockets."""
    pid = machine.web_pid(stage.server)
    kilobytes = asyncio.run(measures.idle_socket_kb(stage.people, pid))
    stage.add(f"each of {measures.IDLE_SOCKETS} idle sockets", kilobytes, "KB", 50, 40)
    stage.add("web process after that", machine.pss_mb(pid), "MB", digits=0)


def choice_of_model(stage: Stage) -> None:
    """Measure the rules and the router over a registry of hundreds of models."""
    times = route.times_ms()
    for percent, limits in ((50, ()), (99, (1, 0.5))):
        label = f"rules and route(), {route.MODELS} models, p{percent}"
        stage.add(label, percentile(times, percent), "ms", *limits, digits=2)


def first_word_of_claude(stage: Stage) -> None:
    """Measure what a kept Claude program saves."""
    program = programs.claude_program()
    if program is None:
        print("not run: cli (the program claude is not installed)")
        return
    times = programs.first_words(program, stage.upstream)
    cold_ms, kept_ms = statistics.median(times.cold), statistics.median(times.kept)
    stage.add("first word of Claude's program, cold start, p50", cold_ms, "ms")
    stage.add("first word of Claude's program, kept ready, p50", kept_ms, "ms")
    label = "cold start ÷ kept ready"
    stage.add(label, cold_ms / kept_ms, "", 5, 10, more_is_better=True)


def openai_door(stage: Stage) -> None:
    """Measure what Cortex adds to a completion that a client of OpenAI asks for."""
    times = asyncio.run(
        completions.first_token(
            stage.upstream.port, stage.server.port, stage.people.api_token
        )
    )
    stage.add(
        "completion, direct, p50", statistics.median(times.direct), "ms", digits=2
    )
    for percent in (50, 99):
        label = f"added to the first token by /v1/chat/completions, p{percent}"
        stage.add(label, times.added_ms(percent), "ms", digits=2)


def events_of_bots(stage: Stage) -> None:
    """Measure how soon a bot's events are acknowledged while others are answered."""
    paced, burst, answers_per_s = webhooks.measure(stage.server, stage.upstream)
    label = f"event acknowledged, {webhooks.RATE} a second"
    for percent, limits in ((50, ()), (99, (1000, 100))):
        value = percentile(paced.each_ms, percent)
        stage.add(f"{label}, p{percent}", value, "ms", *limits)
    label = f"{webhooks.AT_ONCE:,} events at once"
    stage.add(f"{label}, the last acknowledged", max(burst.each_ms), "ms", 5000)
    accepted = len(burst.each_ms) / burst.total_s
    stage.add(
        f"{label}, accepted", accepted, "events/s", 200, more_is_better=True, digits=0
    )
    stage.add(f"{label}, answered", answers_per_s, "events/s", digits=0)


def tasks_of_the_queue(stage: Stage) -> None:
    """Measure how many tasks a second workers do, and how soon one begins."""
    _queue(stage, "SQLite", lambda: nullcontext(None), least=500)
    if find_program("initdb") is None:
        print("not run: queue on PostgreSQL (it is not installed)")
        return
    _queue(stage, "PostgreSQL", PostgresServer, least_of_many=1500)


def _queue(
    stage: Stage,
    name: str,
    database: Callable[[], AbstractContextManager[PostgresServer | None]],
    *,
    least: int | None = None,
    least_of_many: int | None = None,
) -> None:
    """Measure one kind of database with the settings as they come and with many."""
    label = f"tasks of the queue, {name}, {queue.WORKERS} workers of"
    with database() as server:
        times = queue.measure(server.url if server else "")
    _tasks_per_s(stage, f"{label} 4 (defaults)", times, least)
    for percent in (50, 99):
        each = percentile(times.claims_ms, percent)
        stage.add(f"a claim under that load, {name}, p{percent}", each, "ms")
    for percent in (50, 99):
        each = percentile(times.begins_ms, percent)
        stage.add(f"from queueing to the beginning, {name}, p{percent}", each, "ms")
    many = queue.MANY_MODELS
    with database() as server:
        times = queue.measure(server.url if server else "", many)
    _tasks_per_s(stage, f"{label} {many}, {many} a claim", times, least_of_many)


def _tasks_per_s(
    stage: Stage, label: str, times: queue.QueueTimes, least: int | None
) -> None:
    speed = times.tasks_per_s
    stage.add(label, speed, "tasks/s", least, more_is_better=True, digits=0)


def distillation_of_messages(stage: Stage) -> None:
    """Count the tokens that distillation reads for each message."""
    found = distillation.measure()
    stage.add("tokens of a message by itself, mean", found["alone"], "tokens")
    for size in distillation.BATCHES:
        label = f"distillation, tokens read per message, {size} a call"
        stage.add(label, found[str(size)], "tokens", digits=0)


def searching(stage: Stage) -> None:
    """Measure searches among 50,000 messages, and how fast they become findable."""
    _searching(stage, "SQLite", "")
    if find_program("initdb") is None:
        print("not run: search on PostgreSQL (it is not installed)")
        return
    with PostgresServer() as server:
        _searching(stage, "PostgreSQL", server.url)


def _searching(stage: Stage, name: str, url: str) -> None:
    """Measure one kind of database."""
    times = search.measure(url)
    label = f"search among {search.MESSAGES:,} messages, {name}"
    for kind, taken in times.searches_ms.items():
        middle = statistics.median(taken)
        stage.add(f"{label}, {kind}, p50", middle, "ms", 100, 50)
    speed = times.indexed_per_s
    stage.add(f"taken into the search, {name}", speed, "messages/s", digits=0)


MEASURES = {
    "memory": memory,
    "first_token": first_token,
    "completions": openai_door,
    "paced": paced,
    "unpaced": unpaced,
    "bytes": bytes_by_length,
    "route": choice_of_model,
    "cli": first_word_of_claude,
    "webhooks": events_of_bots,
    "queue": tasks_of_the_queue,
    "search": searching,
    "distillation": distillation_of_messages,
}
"""The parts by name, in the order in which they are measured."""


def main(parts: list[str]) -> int:
    """Run the parts asked for; return the exit code."""
    with stage() as running:
        try:
            start(running)
            for name in parts or MEASURES:
                print(f"measuring: {name} …", flush=True)
                MEASURES[name](running)
        except Exception:
            print(running.server.log[-4000:], file=sys.stderr)
            raise
        figures = running.figures
    print()
    print(as_text(figures))
    if not parts:
        write(PAGE, figures, machine.describe())
        print(f"\nWritten to {PAGE.relative_to(ROOT)}.")
    return any(figure.verdict == "missed" for figure in figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
