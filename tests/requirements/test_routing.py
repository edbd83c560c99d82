"""Numbered requirements that the dispatcher and the guarded connector must hold."""

from __future__ import annotations

import ast
import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils.html import escape

from accounts.models import User
from accounts.secrets import decrypt, encrypt
from ledger.models import LedgerEntry
from ledger.types import Caller
from routing import dispatcher, net
from routing.backends.base import Prompt, PromptMessage, TextDelta, Timeouts
from routing.dispatcher import DispatchResult, Routed
from routing.errors import BadAddress, BlockedAddress
from routing.hosts import save_host
from routing.models import Host, Model, RoleSlot
from routing.registry import catalogue_for
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
OURS = ("accounts", "channels_app", "cortex_site", "ledger", "personas", "routing")
PROMPT = Prompt("Be kind. " * 30, (PromptMessage("user", "Tell me something. " * 20),))


@pytest.fixture
def chain(upstream: Upstream, db: None) -> Callable[..., None]:
    """Return a function that makes the shared chat chain of mock models, in order."""
    Host.objects.create(
        name="upstream",
        type="local_openai",
        base_url=upstream.base_url,
        key_encrypted=encrypt("host_key", "sk-canary"),
    )

    def fill(*names: str, **fields: Any) -> None:
        host = Host.objects.get()
        for place, name in enumerate(names):
            model = Model.objects.create(
                host=host,
                name=name,
                label=name,
                input_price_nano_usd_per_mtok=1_000_000_000,
                output_price_nano_usd_per_mtok=1_000_000_000,
                **fields,
            )
            RoleSlot.objects.create(role="chat", position=place, model=model)

    def fill_in_thread(*names: str, **fields: Any) -> None:
        try:
            fill(*names, **fields)
        finally:
            connection.close()

    async def in_thread(*names: str, **fields: Any) -> None:
        await asyncio.to_thread(fill_in_thread, *names, **fields)

    return in_thread


async def run(
    user: User, stop_after: int | None = None, **options: Any
) -> tuple[str, list[str], DispatchResult]:
    """Dispatch; return the text, the models that were asked, and the result."""
    text, asked = "", []
    async with dispatcher.stream(
        PROMPT, user=user, caller=Caller(user.id, user.username), **options
    ) as dispatch:
        async for event in dispatch:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, Routed):
                asked.append(event.model)
            if stop_after is not None and len(text) >= stop_after:
                dispatch.stop()
    return text, asked, dispatch.result


async def rows(kind: str = "") -> list[LedgerEntry]:
    """Return the closing rows, or those of one kind, oldest first."""
    kinds = [kind] if kind else ["settle", "release"]
    return [row async for row in LedgerEntry.objects.filter(kind__in=kinds)]


async def test_r08_stop_ends_the_upstream_call_and_bills_what_came(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("tokens-1000-10ms")
    stopped_ns = 0
    received = 0
    async with dispatcher.stream(
        PROMPT, user=alice, caller=Caller(alice.id, alice.username)
    ) as dispatch:
        async for event in dispatch:
            if isinstance(event, TextDelta):
                received += len(event.text)
                if received >= 80 and not stopped_ns:
                    stopped_ns = time.monotonic_ns()
                    dispatch.stop()
    call = upstream.wait_for_disconnect()
    assert call.disconnected_ns is not None
    assert call.disconnected_ns - stopped_ns < 250_000_000
    assert dispatch.result.outcome == "interrupted"
    (row,) = await rows()
    assert (row.outcome, row.estimated) == ("interrupted", True)
    assert row.output_tokens == received // 4
    assert row.output_tokens < 100


async def test_r08_stop_while_waiting_for_the_first_word(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("hang", "echo")
    async with dispatcher.stream(
        PROMPT, user=alice, caller=Caller(alice.id, alice.username)
    ) as dispatch:
        asyncio.get_running_loop().call_later(0.2, dispatch.stop)
        events = [event async for event in dispatch]
        stopped_ns = time.monotonic_ns()
    call = upstream.wait_for_disconnect()
    assert call.disconnected_ns is not None
    assert call.disconnected_ns - stopped_ns < 250_000_000
    assert len(events) == 1
    assert dispatch.result.outcome == "interrupted"
    assert [row.outcome for row in await rows()] == ["interrupted"]


async def test_r20_one_closing_row_for_each_attempt(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("status-500", "status-429", "hang", "empty", "tokens-40")
    _, asked, result = await run(alice, timeouts=Timeouts(first_token_s=0.3))
    closed, reserved = await rows(), await rows("reserve")
    assert result.attempts == len(asked) == len(upstream.completions) == 5
    assert len(closed) == len(reserved) == 5
    assert {row.attempt_id for row in closed} == {row.attempt_id for row in reserved}
    assert [row.outcome for row in closed] == ["failed"] * 4 + ["complete"]
    assert sum(row.cost_nano_usd or 0 for row in closed) == result.cost_nano_usd


async def test_r20_where_usage_was_sent_the_ledger_equals_it(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("tokens-123")
    _, _, result = await run(alice)
    (row,), (call,) = await rows(), upstream.completions
    assert (row.input_tokens, row.output_tokens) == (call.input_tokens, 123)
    assert row.cost_nano_usd == 1000 * (call.input_tokens + 123)
    assert not row.estimated
    assert not result.estimated


@pytest.mark.parametrize(
    "name",
    ["no-usage", "stall-after-30", "cut-after-30", "end-after-30", "error-in-stream",
     "malformed"],
)  # fmt: skip
async def test_r20_elsewhere_it_is_estimated_and_marked(
    name: str, alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain(name)
    text, _, _ = await run(alice, timeouts=Timeouts(between_tokens_s=0.3))
    (row,), (call,) = await rows(), upstream.completions
    assert text
    assert row.estimated
    assert row.output_tokens
    assert row.input_tokens
    assert abs(row.output_tokens - call.tokens_sent) <= 0.15 * call.tokens_sent
    assert abs(row.input_tokens - call.input_tokens) <= 0.15 * call.input_tokens
    assert row.cost_nano_usd


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        ("status-500", ["first", "echo"]),
        ("status-529", ["first", "echo"]),
        ("status-429", ["first", "echo"]),
        ("status-401", ["first", "echo"]),
        ("status-404", ["first", "echo"]),
        ("hang", ["first", "echo"]),
        ("empty", ["first", "echo"]),
        ("too-long", ["first"]),
        ("status-400", ["first"]),
        ("filtered", ["first"]),
        ("cut-after-3", ["first"]),
        ("stall-after-3", ["first"]),
        ("error-in-stream", ["first"]),
        ("malformed", ["first"]),
    ],
)
async def test_r22_error_class_decides_and_nothing_is_tried_after_text(
    first: str, asked: list[str], alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("first", "echo")
    upstream.script("first", first)
    limits = Timeouts(first_token_s=0.3, between_tokens_s=0.3)
    text, models, result = await run(alice, timeouts=limits)
    assert models == asked
    assert len(upstream.completions) == len(asked)
    if len(asked) == 2:
        assert (result.outcome, result.error) == ("complete", None)
        assert text == PROMPT.messages[0].text
    else:
        assert result.outcome == ("incomplete" if text else "failed")
        assert result.error is not None


async def test_r22_too_long_goes_to_a_larger_model_only(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("first", "second", context_tokens=4096)
    await asyncio.to_thread(_add_larger)
    upstream.script("first", "too-long")
    _, models, result = await run(alice)
    assert models == ["first", "echo"]
    assert result.outcome == "complete"


def _add_larger() -> None:
    try:
        model = Model.objects.create(
            host=Host.objects.get(), name="echo", label="echo", context_tokens=100_000
        )
        RoleSlot.objects.create(role="chat", position=2, model=model)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("name", "limits", "sentence", "text"),
    [
        ("hang", Timeouts(first_token_s=0.2), "did not begin", ""),
        ("slow-2000ms", Timeouts(first_token_s=0.2), "did not begin", ""),
        ("stall-after-3", Timeouts(between_tokens_s=0.2), "fell silent", "0000"),
        ("tokens-1000-10ms", Timeouts(total_s=0.3), "took longer than", "0000"),
    ],
)
async def test_r24_each_limit_ends_the_call_with_its_sentence(
    name: str,
    limits: Timeouts,
    sentence: str,
    text: str,
    alice: User,
    chain: Any,
    upstream: Upstream,
) -> None:
    await chain(name)
    shown, _, result = await run(alice, timeouts=limits)
    assert result.error is not None
    assert result.error.code == "upstream_timeout"
    assert sentence in result.error.message
    assert shown.startswith(text)
    assert bool(shown) == bool(text)
    upstream.wait_for_disconnect()


async def test_r24_host_that_takes_no_connection_is_given_up(
    alice: User, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chain("echo")

    async def never(*arguments: Any, **options: Any) -> None:
        await asyncio.sleep(30)

    session = await net.session(guarded=False)
    monkeypatch.setattr(session.connector, "_create_connection", never)
    _, _, result = await run(alice, timeouts=Timeouts(connect_s=0.2))
    assert result.error is not None
    assert result.error.code == "upstream_timeout"
    assert "connection in time" in result.error.message
    assert [row.kind for row in await rows()] == ["release"]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _sources() -> list[Path]:
    return [path for app in OURS for path in (ROOT / app).rglob("*.py")]


CLIENTS = re.compile(
    r"(aiohttp|httpx|requests|urllib3|http\.client|urllib\.request|ftplib"
    r"|telnetlib|websockets|websocket|xmlrpc\.client|curl_cffi|pycurl)(\.|$)"
)
CONNECTING = re.compile(
    r"\b(open_connection|open_unix_connection|create_connection|sock_connect"
    r"|create_unix_connection|connect_ex)\("
)


def test_s12_nothing_else_opens_outgoing_connections() -> None:
    door = ROOT / "routing" / "net.py"
    sources = _sources()
    assert len(sources) > 50
    assert any(CLIENTS.match(name) for name in _imports(door))
    for path in sources:
        if path == door:
            continue
        clients = [name for name in _imports(path) if CLIENTS.match(name)]
        assert not clients, f"{path} imports {clients}"
        found = CONNECTING.search(path.read_text(encoding="utf-8"))
        # The supervisor knocks at its own child's port to see whether it listens.
        if path.name != "supervisor.py":
            assert not found, f"{path} connects by itself"


def test_s12_only_the_dispatcher_calls_back_ends() -> None:
    holders = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in _sources()
        if "get_backend(" in path.read_text(encoding="utf-8")
    }
    assert holders.pop("routing/dispatch.py").count(").stream(") == 1
    assert holders.keys() <= {"routing/backends/__init__.py", "routing/checks.py"}
    assert not [path for path, source in holders.items() if ".stream(" in source]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://224.0.0.1/",
        "http://[::1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/",
        "http://[64:ff9b::7f00:1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
    ],
)
async def test_s12_private_and_odd_addresses_are_refused(url: str) -> None:
    with pytest.raises((BadAddress, BlockedAddress)):
        await net.request("GET", url)


async def test_s12_members_hosts_reach_no_private_address(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("echo")
    await asyncio.to_thread(_give_host_to, alice)
    _, _, result = await run(alice, model="echo")
    assert result.outcome == "failed"
    assert upstream.calls == []


def _give_host_to(user: User) -> None:
    from routing.hosts import allow_free_urls

    try:
        allow_free_urls(user, True, actor=None)
        Host.objects.update(owner=user)
    finally:
        connection.close()


async def test_s13_key_reaches_its_own_host_only(
    alice: User, chain: Any, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await chain("redirect", "status-401", "status-500")
    _, _, result = await run(alice, model="status-401")
    await run(alice, model="status-500")
    _, _, redirected = await run(alice, model="redirect")
    assert redirected.error is not None
    assert "redirects elsewhere" in redirected.error.message
    headers = upstream.completions[0].headers
    assert headers["authorization"] == "Bearer sk-canary"
    assert set(headers) == {
        "accept", "accept-encoding", "authorization", "content-length", "content-type",
        "host", "user-agent",
    }  # fmt: skip
    ledger = str([row.__dict__ for row in await rows()])
    assert "canary" not in caplog.text + repr(result) + repr(redirected) + ledger
    host = await Host.objects.aget()
    assert "canary" not in host.flagged + host.key_encrypted


async def test_s14_user_text_is_never_expanded(
    alice: User, chain: Any, upstream: Upstream
) -> None:
    await chain("echo")
    text = "${CORTEX_SECRET_KEY} $HOME {{ settings.SECRET_KEY }} {% load x %} %(a)s {0}"
    prompt = Prompt(text, (PromptMessage("user", text),))
    completion = await dispatcher.complete(prompt, user=alice)
    assert completion.text == text
    sent = [message["content"] for message in upstream.completions[0].body["messages"]]
    assert sent == [text, text]


NASTY_NAME = "${HOME} {{ 7|add:7 }} {% now 'Y' %} %(a)s {0} $(id)"


def test_s14_names_of_the_registry_are_never_expanded(
    admin_user: User, client_for: Callable[[User], Client]
) -> None:
    client = client_for(admin_user)
    url = {"type": "local_openai", "base_url": "https://$HOME.example/v1"}
    odd = {"name": NASTY_NAME, "enabled": "on", "key": "${CORTEX_SECRET_KEY}"}
    refused = client.post("/settings/models/hosts/add/", {**odd, **url})
    assert refused.status_code in {302, 400}
    host = save_host(
        Host(name=NASTY_NAME, type="local_openai", base_url="https://a.example/v1"),
        key="${CORTEX_SECRET_KEY}",
        actor=admin_user,
    )
    Model.objects.create(host=host, label=NASTY_NAME, name=NASTY_NAME)
    assert decrypt("host_key", host.key_encrypted) == "${CORTEX_SECRET_KEY}"
    catalogue = catalogue_for(admin_user)
    found = catalogue.find(NASTY_NAME)
    assert found is not None
    assert (found.label, found.name, found.host.name) == (NASTY_NAME,) * 3
    for page in ("", "drill/", f"hosts/{host.id}/", "chains/own/chat/"):
        shown = client.get(f"/settings/models/{page}").content.decode()
        assert escape(NASTY_NAME) in shown, page


def test_s15_registry_has_no_field_for_a_command() -> None:
    names = {
        field.name for model in (Host, Model, RoleSlot) for field in model._meta.fields
    }
    assert not [n for n in names if re.search("command|exec|shell|script|argument", n)]
