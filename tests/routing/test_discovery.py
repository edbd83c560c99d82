"""Hosts go in use by themselves once they are able to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from accounts.models import AuditEvent, User
from accounts.secrets import encrypt
from ledger.models import LedgerEntry
from ledger.types import Prices
from routing import discovery, hosts
from routing.backends import programs
from routing.backends.base import AuthenticationFailed, Finished, TextDelta
from routing.backends.scripted import playing
from routing.discovery import Discovery
from routing.host_check import HostReport, Step
from routing.models import Host, Model
from routing.seeds import seed_registry

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("vendor_types"),
]


class Clock:
    """A clock that is moved by hand."""

    now = 0.0
    """Seconds since it began."""

    def __call__(self) -> datetime:
        """Return the time."""
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


@pytest.fixture
def program(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A program that can be found, but is never started."""
    path = tmp_path / "claude"
    path.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    path.chmod(0o700)
    settings.CORTEX_CLAUDE_CLI = str(path)
    settings.CORTEX_GEMINI_CLI = str(tmp_path / "missing")
    programs.forget_programs()
    yield path
    programs.forget_programs()


@pytest.fixture
def seeded(
    admin_user: User, program: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Host]:
    """The seeded hosts by type, and an administrator."""
    monkeypatch.setattr(
        hosts, "price_for", lambda *_: Prices(10**9, 2 * 10**9, None, None)
    )
    seed_registry()
    return {host.type: host for host in Host.objects.all()}


def give_key(host: Host) -> None:
    """Store a key, as the page would."""
    Host.objects.filter(id=host.id).update(key_encrypted=encrypt("host_key", "k"))


async def look(finder: Discovery | None = None, **scripts: list[Any]) -> int:
    """Look once, with answers by model name."""
    with playing(**scripts):
        return await (finder or Discovery()).look()


in_thread = sync_to_async


async def test_page_says_what_is_missing(seeded: dict[str, Host]) -> None:
    assert await look() == 0
    flags = Host.objects.values_list("type", "flagged")
    assert {type: flag async for type, flag in flags} == {
        "claude_cli": "No API key is stored yet.",
        "gemini_cli": "The program “missing” was not found.",
        "gemini_api": "No API key is stored yet.",
    }
    assert not await in_thread(LedgerEntry.objects.exists)()


async def test_host_that_answers_goes_in_use_and_is_priced(
    seeded: dict[str, Host],
) -> None:
    host = seeded["claude_cli"]
    await in_thread(give_key)(host)
    assert await look(haiku=[TextDelta("OK"), Finished()]) == 1
    await host.arefresh_from_db()
    assert (host.enabled, host.auto_enable, host.flagged) == (True, False, "")
    rows = [row async for row in LedgerEntry.objects.order_by("id")]
    assert [(row.kind, row.role) for row in rows] == [
        ("reserve", "test"), ("settle", "test"),
    ]  # fmt: skip
    assert {(row.user_id, row.channel) for row in rows} == {(None, "heartbeat")}
    assert rows[1].cost_nano_usd
    prices = Model.objects.filter(host=host).values_list(
        "input_price_nano_usd_per_mtok", flat=True
    )
    assert [price async for price in prices] == [10**9] * 3
    event = await AuditEvent.objects.aget(event="host.enabled")
    assert (event.actor_name, event.subject) == ("", "Claude CLI")
    assert await look() == 0


async def test_failed_test_is_told_and_tried_again_ever_later(
    seeded: dict[str, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = seeded["gemini_api"]
    await in_thread(give_key)(host)
    clock = Clock()
    tested: list[float] = []

    async def refuse(*arguments: Any, **named: Any) -> HostReport:
        tested.append(clock.now)
        return HostReport((Step("key", False, "The host refuses the key."),))

    monkeypatch.setattr(discovery, "test_host", refuse)
    for minute in range(60):
        clock.now = minute * 60.0
        # As after a restart, or on another machine.
        finder = Discovery(clock)
        found = await in_thread(finder.count)()
        before = len(tested)
        assert await look(finder) == 0
        # The first time pages are told what the other hosts lack.
        assert found == (3 if minute == 0 else len(tested) - before)
    assert tested == [0.0, 300.0, 900.0, 2100.0]
    await host.arefresh_from_db()
    assert host.flagged == "Its test failed: The host refuses the key."
    assert not host.enabled
    # Another key is tried at once.
    await in_thread(give_key)(host)
    assert await in_thread(finder.count)() == 1
    await look(finder)
    assert len(tested) == 5


async def test_refused_key_is_booked_and_said(seeded: dict[str, Host]) -> None:
    host = seeded["claude_cli"]
    await in_thread(give_key)(host)
    refused = AuthenticationFailed("The host refuses the key.")
    assert await look(haiku=[refused]) == 0
    await host.arefresh_from_db()
    assert not host.enabled
    assert "refuses the key" in host.flagged
    assert await LedgerEntry.objects.acount() == 2


async def test_test_that_hangs_ends(
    seeded: dict[str, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = seeded["claude_cli"]
    await in_thread(give_key)(host)
    monkeypatch.setattr(discovery, "TEST_WITHIN_S", 0.2)
    assert await look(haiku=[30.0]) == 0
    await host.arefresh_from_db()
    assert host.flagged == discovery.TOO_SLOW


async def test_one_bad_host_does_not_hold_up_the_others(
    seeded: dict[str, Host],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await in_thread(give_key)(seeded["gemini_api"])
    missing = discovery.missing

    def fail(host: Host) -> str:
        if host.type == "claude_cli":
            raise OSError
        return missing(host)

    async def answer(*arguments: Any, **named: Any) -> HostReport:
        return HostReport((Step("answer", True, "It answers."),))

    monkeypatch.setattr(discovery, "missing", fail)
    monkeypatch.setattr(discovery, "test_host", answer)
    assert await look() == 1
    assert "Claude CLI could not be looked at" in caplog.text


async def test_decision_of_an_administrator_stays(
    seeded: dict[str, Host], admin_user: User
) -> None:
    host = seeded["claude_cli"]
    await in_thread(give_key)(host)
    host.enabled = True
    await in_thread(hosts.save_host)(host, key=None, actor=admin_user)
    host.enabled = False
    await in_thread(hosts.save_host)(host, key="k", actor=admin_user)
    assert await look(haiku=[TextDelta("OK"), Finished()]) == 0
    await host.arefresh_from_db()
    assert (host.enabled, host.auto_enable) == (False, False)


async def test_without_an_administrator_nothing_is_called(
    program: Path, db: None
) -> None:
    await in_thread(seed_registry)()
    host = await Host.objects.aget(type="claude_cli")
    await in_thread(give_key)(host)
    assert await look(haiku=[TextDelta("OK"), Finished()]) == 0
    assert not await LedgerEntry.objects.aexists()


async def test_peoples_own_hosts_are_left_alone(
    alice: User, admin_user: User, program: Path
) -> None:
    await Host.objects.acreate(
        owner=alice, name="x", type="gemini_api", enabled=False, auto_enable=True
    )
    assert await look() == 0
    assert (await Host.objects.aget()).flagged == ""


async def test_login_by_hand_is_looked_for(
    seeded: dict[str, Host], tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path
    host = seeded["claude_cli"]
    host.credential = Host.Credential.LOGIN
    assert await asyncio.to_thread(discovery.missing, host) == programs.NO_LOGIN
    folder = programs.config_folder("claude_cli", host.id)
    (folder / ".credentials.json").write_text('{"claudeAiOauth": {}}')
    assert await asyncio.to_thread(discovery.missing, host) == ""


def test_test_on_the_page_puts_a_waiting_host_in_use(
    seeded: dict[str, Host],
    admin_user: User,
    client_for: Callable[[User], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(*arguments: Any) -> HostReport:
        return HostReport((Step("answer", True, "haiku answers."),))

    monkeypatch.setattr("routing.host_views.test_host", answer)
    host = seeded["claude_cli"]
    url = f"/settings/models/hosts/{host.id}/test/"
    page = client_for(admin_user).post(url).content.decode()
    assert "is in use from now on" in page
    host.refresh_from_db()
    assert host.enabled
    again = client_for(admin_user).post(url).content.decode()
    assert "is in use from now on" not in again


def test_report_without_an_answer_proves_nothing(seeded: dict[str, Host]) -> None:
    steps = (Step("connection", True, ""), Step("answer", None, "Add a model."))
    assert not discovery.enable_if_proved(seeded["gemini_api"], HostReport(steps))
    assert not Host.objects.filter(enabled=True).exists()
