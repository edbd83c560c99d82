"""Numbered requirements that hold for hosts of every type, programs included."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from django import forms
from django.conf import settings as django_settings
from django.db import connection

from accounts.models import User
from accounts.secrets import encrypt
from ledger.models import LedgerEntry
from ledger.types import Caller
from routing import dispatcher
from routing.backends.base import Prompt, PromptMessage, TextDelta, Timeouts
from routing.backends.programs import forget_programs
from routing.breakers import BREAKERS
from routing.dispatcher import DispatchResult
from routing.models import Host, Model
from tests.support import programs
from tests.support.upstream import Upstream, texts

pytestmark = pytest.mark.django_db(transaction=True)

APIS = ["local_openai", "gemini_api", "anthropic_api"]
PROGRAMS = ["claude_cli", "gemini_cli"]
TYPES = [*APIS, *(pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS)]
MODELS = {
    "local_openai": "m1",
    "gemini_api": "gemini-2.5-flash",
    "anthropic_api": "claude-haiku-4-5",
    "claude_cli": "haiku",
    "gemini_cli": "gemini-2.5-pro",
}
ASKED = {**MODELS, "claude_cli": "claude-haiku-4-5-20251001"}
"""What the mock is asked for: one program knows the model's whole name."""
PROMPT = Prompt("Be kind. " * 60, (PromptMessage("user", "Tell me something. " * 40),))
PRICES = {
    "input_price_nano_usd_per_mtok": 1_000_000_000,
    "output_price_nano_usd_per_mtok": 5_000_000_000,
}


def canary_of(host_type: str) -> str:
    """Return the key of a type's host, which nobody but that host may see."""
    return f"sk-canary-{host_type.replace('_', '-')}-c8d1"


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run something that uses the database off the event loop's thread."""

    def run() -> Any:
        try:
            return function(*arguments)
        finally:
            connection.close()

    return asyncio.to_thread(run)


@dataclass
class House:
    """Hosts of some types in front of the mock."""

    user: User
    upstream: Upstream
    settings: Any

    async def add(self, *types: str, model: str = "") -> None:
        """Add a host with one model for each type; its label is the type."""
        if "claude_cli" in types:
            self.settings.CORTEX_CLAUDE_CLI = str(programs.claude_program())
        if "gemini_cli" in types:
            self.settings.CORTEX_GEMINI_CLI = str(programs.gemini_program())
        forget_programs()
        await in_thread(self._add, types, model)

    def _add(self, types: tuple[str, ...], model: str) -> None:
        for kind in types:
            host = Host.objects.create(
                name=f"host {kind}",
                type=kind,
                base_url=self.upstream.base_url if kind == "local_openai" else "",
                key_encrypted=encrypt("host_key", canary_of(kind)),
            )
            name = model or MODELS[kind]
            Model.objects.create(host=host, name=name, label=kind, **PRICES)

    async def ask(
        self, kind: str, behaviour: str, limits: Timeouts | None = None
    ) -> tuple[str, DispatchResult]:
        """Let the mock behave and ask the type's model; return text and result."""
        self.upstream.script(ASKED[kind], *[behaviour] * 3)
        text = ""
        async with dispatcher.stream(
            PROMPT,
            user=self.user,
            caller=Caller(self.user.id, self.user.username),
            model=kind,
            timeouts=limits,
        ) as dispatch:
            async for event in dispatch:
                if isinstance(event, TextDelta):
                    text += event.text
        return text, dispatch.result


@pytest.fixture
def house(alice: User, vendors: Upstream, settings: Any) -> Iterator[House]:
    """Return a house without hosts; no process may be left when it is closed."""
    settings.CORTEX_CLAUDE_WARM = False
    BREAKERS.clear()
    before = set(psutil.Process().children(recursive=True))
    yield House(alice, vendors, settings)
    BREAKERS.clear()
    left = set(psutil.Process().children(recursive=True)) - before
    assert not psutil.wait_procs(left, timeout=5)[1]


async def rows() -> list[LedgerEntry]:
    """Return the closing rows, oldest first."""
    closing = LedgerEntry.objects.filter(kind__in=["settle", "release"])
    return [row async for row in closing]


@pytest.mark.parametrize("kind", TYPES)
async def test_r20_what_a_host_counted_is_booked_to_the_token(
    kind: str, house: House
) -> None:
    await house.add(kind)
    _, result = await house.ask(kind, "tokens-50")
    await house.ask(kind, "cached")
    (first, second), calls = await rows(), house.upstream.completions
    assert (first.input_tokens, first.output_tokens) == (calls[0].input_tokens, 50)
    assert first.cost_nano_usd == 1000 * calls[0].input_tokens + 5000 * 50
    assert not first.estimated
    assert not result.estimated
    assert second.input_tokens == calls[1].input_tokens
    assert second.output_tokens == calls[1].output_tokens
    assert second.cache_read_tokens == calls[1].cache_read_tokens > 0


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("behaviour", ["cut-after-40", "stall-after-40"])
async def test_r20_half_an_answer_is_booked_within_fifteen_percent(
    kind: str, behaviour: str, house: House
) -> None:
    await house.add(kind)
    limits = Timeouts(first_token_s=30, between_tokens_s=0.6)
    text, result = await house.ask(kind, behaviour, limits)
    (row,), (call,) = await rows(), house.upstream.completions
    assert text == "".join(texts(40))
    assert result.outcome == row.outcome == "incomplete"
    assert row.output_tokens
    assert abs(row.output_tokens - call.output_tokens) <= 0.15 * call.output_tokens
    assert row.input_tokens
    # Programs add words of their own, of which nobody can know.
    most = 1.0 if kind in PROGRAMS else 0.15
    assert abs(row.input_tokens - call.input_tokens) <= most * call.input_tokens
    assert row.cost_nano_usd
    if not call.usage_sent:
        assert row.estimated


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("behaviour", ["status-401", "status-500"])
async def test_r20_a_refused_call_is_one_row_that_costs_nothing(
    kind: str, behaviour: str, house: House
) -> None:
    await house.add(kind)
    _, result = await house.ask(kind, behaviour)
    closed = await rows()
    assert len(closed) == result.attempts == len(house.upstream.completions) == 1
    assert not [row for row in closed if row.cost_nano_usd or row.output_tokens]
    assert result.outcome == "failed"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("hang", "did not begin"),
        ("stall-after-3", "fell silent"),
        ("tokens-3000-10ms", "took longer than"),
    ],
)
async def test_r24_each_limit_ends_the_call_whatever_the_type(
    kind: str, behaviour: str, sentence: str, house: House
) -> None:
    await house.add(kind)
    start_s = 0.4
    if kind in PROGRAMS:  # they start as slowly as the machine is busy
        began = time.monotonic()
        await house.ask(kind, "echo")
        start_s = 2 * (time.monotonic() - began) + 1
        house.upstream.clear()
    limits = {
        "hang": Timeouts(first_token_s=start_s),
        "stall-after-3": Timeouts(first_token_s=30, between_tokens_s=0.6),
        "tokens-3000-10ms": Timeouts(first_token_s=30, total_s=start_s),
    }
    text, result = await house.ask(kind, behaviour, limits[behaviour])
    assert result.error is not None
    assert result.error.code == "upstream_timeout"
    assert sentence in result.error.message
    assert bool(text) == (behaviour != "hang")
    assert result.attempts == 1
    call = await asyncio.to_thread(house.upstream.wait_for_disconnect)
    assert call.finished_ns is None


@pytest.mark.slow
async def test_s13_each_key_reaches_the_host_of_its_own_type_only(
    house: House,
) -> None:
    types = [*APIS, *PROGRAMS]
    await house.add(*types)
    for kind in types:
        house.upstream.clear()
        await house.ask(kind, "echo")
        (asked,) = house.upstream.completions
        assert asked.key == canary_of(kind)
        for call in house.upstream.calls:
            sent = repr(call.headers) + repr(call.body) + call.path
            assert not [k for k in types if k != kind and canary_of(k) in sent]
            assert "cookie" not in call.headers
            assert django_settings.SECRET_KEY not in sent
            assert house.user.username not in sent


def all_forms() -> list[type[forms.Form]]:
    """Return every form of the registry."""
    import routing.forms
    import routing.host_forms

    found = [
        item
        for module in (routing.forms, routing.host_forms)
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, forms.BaseForm)
    ]
    assert found
    return found


def test_s15_no_form_takes_a_command_or_a_path() -> None:
    pattern = re.compile("command|exec|shell|script|argument|program|path|folder")
    names = {name for form in all_forms() for name in getattr(form, "base_fields", ())}
    names |= {field.name for model in (Host, Model) for field in model._meta.fields}
    assert "base_url" in names
    assert not [name for name in names if pattern.search(name)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize(
    "name",
    [
        "--version",
        "--mcp-config=/tmp/x.json",
        "$(touch made); touch made",
    ],
)
async def test_s15_a_models_name_is_never_an_option_or_a_command(
    kind: str, name: str, house: House, tmp_path: Path
) -> None:
    await house.add(kind, model=name)
    text, result = await house.ask(kind, "echo")
    assert text == ""
    assert result.outcome == "failed"
    assert result.error is not None
    # Asked for by its whole name, or not at all.
    assert {call.model for call in house.upstream.completions} <= {name}
    assert not list(Path.cwd().glob("made"))


@pytest.mark.slow
async def test_s30_keys_are_in_no_table_no_log_and_no_process_list(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    types = [*APIS, *PROGRAMS]
    await house.add(*types)
    results = []
    for kind in types:
        for behaviour in ("echo", "status-401", "cut-after-3"):
            BREAKERS.clear()
            results.append((await house.ask(kind, behaviour))[1])
        assert house.upstream.completions[-1].key == canary_of(kind)
    listed = await _process_lists(house)
    dump = await in_thread(_dump)
    ledger = django_settings.DATA_DIR / "ledger.jsonl"
    written = dump + caplog.text + repr(results) + ledger.read_text(encoding="utf-8")
    assert "host claude_cli" in dump
    assert len(listed) >= 2
    assert "sk-canary" not in written
    assert "sk-canary" not in " ".join(listed)


async def _process_lists(house: House) -> list[str]:
    """Return the command lines of all programs while they answer."""
    lines: list[str] = []
    for kind in PROGRAMS:
        house.upstream.script(ASKED[kind], "tokens-3000-10ms")
        async with dispatcher.stream(
            PROMPT,
            user=house.user,
            caller=Caller(house.user.id, house.user.username),
            model=kind,
        ) as dispatch:
            async for event in dispatch:
                if isinstance(event, TextDelta):
                    break
            running = psutil.Process().children(recursive=True)
            lines += [" ".join(process.cmdline()) for process in running]
    return lines


def _dump() -> str:
    """Return everything that stands in the database."""
    parts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            parts += [repr(row) for row in cursor.fetchall()]
    return "\n".join(parts)
