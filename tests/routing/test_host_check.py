"""Tests of hosts: their steps, the one that fails, what they cost, what they hide."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from accounts.secrets import encrypt
from ledger.models import LedgerEntry
from ledger.types import Caller, Prices
from routing import host_check, hosts
from routing.backends import programs, scripted
from routing.backends.base import AuthenticationFailed, Finished, TextDelta
from routing.backends.programs import config_folder, forget_programs, version_of
from routing.host_check import HostReport, Step, list_models
from routing.models import Host, Model
from routing.registry import info_for
from tests.routing.fixed_answers import FixedAnswers
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk-canary-1"
API_STEPS = ["connection", "key", "model list", "answer"]
API_TYPES = ["local_openai", "anthropic_api", "gemini_api"]
VENDOR_TYPES = ["anthropic_api", "gemini_api"]
AddModel = Callable[..., Model]
PRICES = {
    "input_price_nano_usd_per_mtok": 1_000_000_000,
    "output_price_nano_usd_per_mtok": 2_000_000_000,
}


def check(user: User, host: Host, **options: Any) -> HostReport:
    """Test a host."""
    return asyncio.run(host_check.test_host(user, info_for(user, host), **options))


def names_of(report: HostReport) -> list[str]:
    """Return the names of the steps."""
    return [step.name for step in report.steps]


def test_report_names_the_first_failure() -> None:
    steps = (Step("a", True, ""), Step("b", None, ""), Step("c", False, ""))
    assert (HostReport(steps).ok, HostReport(steps).failed_step) == (False, "c")
    assert (HostReport(steps[:2]).ok, HostReport(steps[:2]).failed_step) == (True, "")


@pytest.mark.parametrize("host_type", VENDOR_TYPES)
def test_vendor_is_tested_at_its_own_address(
    host_type: str, admin_user: User, vendors: Upstream, add_model: AddModel
) -> None:
    vendors.require_key(KEY)
    vendors.list_models("echo", "other")
    model = add_model("echo", type=host_type, key=KEY, **PRICES)
    report = check(admin_user, model.host)
    assert (report.ok, names_of(report)) == (True, API_STEPS)
    assert report.models == ("echo", "other")
    answer = report.steps[-1]
    entry = LedgerEntry.objects.get(kind="settle")
    assert entry.input_tokens and entry.output_tokens
    spent = entry.input_tokens * 1_000 + entry.output_tokens * 2_000
    assert entry.cost_nano_usd == spent
    assert float(answer.cost_usd) == pytest.approx(spent / 10**9)
    assert f"{answer.cost_usd} USD" in answer.detail


def test_price_that_is_not_known_is_said(
    admin_user: User, vendors: Upstream, add_model: AddModel
) -> None:
    model = add_model("say:Hi", type="gemini_api", key=KEY)
    answer = check(admin_user, model.host).steps[-1]
    assert (answer.ok, answer.cost_usd) == (True, "unknown")
    assert "unknown" in answer.detail


def test_prices_are_filled_in_before_the_call(
    admin_user: User,
    vendors: Upstream,
    add_model: AddModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "price_for", lambda *_: Prices(10**9, 2 * 10**9))
    model = add_model("echo", type="gemini_api", key=KEY)
    assert check(admin_user, model.host).steps[-1].cost_usd not in {"", "unknown"}
    assert LedgerEntry.objects.get(kind="settle").cost_nano_usd


@pytest.mark.parametrize("how", ["cut:Half an", "cut-after-2", "end-after-2"])
def test_answer_that_dies_half_way_fails(
    how: str, admin_user: User, upstream: Upstream, add_model: AddModel
) -> None:
    model = add_model(how, type="local_openai", base_url=upstream.base_url)
    report = check(admin_user, model.host)
    assert report.failed_step == "answer"
    assert LedgerEntry.objects.get(kind="settle").outcome == "incomplete"


def test_host_that_wants_no_key_is_not_said_to_accept_one(
    admin_user: User, upstream: Upstream, add_model: AddModel
) -> None:
    upstream.list_models("say:Hi")
    model = add_model("say:Hi", type="local_openai", base_url=upstream.base_url)
    report = check(admin_user, model.host)
    assert report.steps[1].detail == "No key is stored; none was asked for."
    Host.objects.update(key_encrypted=encrypt("host_key", KEY))
    report = check(admin_user, Host.objects.get())
    assert report.steps[1].detail == "The host accepts the key."


@pytest.mark.parametrize("host_type", API_TYPES)
def test_key_that_only_the_call_wants_is_said_to_be_missing(
    host_type: str, admin_user: User, upstream: Upstream, add_model: AddModel
) -> None:
    upstream.list_models("status-401")
    model = add_model("status-401", type=host_type, base_url=upstream.url)
    report = check(admin_user, model.host)
    assert report.failed_step == "key"
    assert "wants a key and none is stored" in report.steps[-1].detail


def test_answer_says_which_model_was_called(
    admin_user: User, upstream: Upstream, add_model: AddModel
) -> None:
    model = add_model("say:Hi", host="h", type="local_openai", tier=1)
    Host.objects.update(base_url=upstream.base_url)
    assert "other" not in check(admin_user, Host.objects.get()).steps[-1].detail
    add_model("large", host="h", tier=3)
    detail = check(admin_user, Host.objects.get()).steps[-1].detail
    assert detail.startswith(f"{model.label} was called and answers.")
    assert detail.endswith("Its other model was not called.")
    add_model("larger", host="h", tier=3)
    detail = check(admin_user, Host.objects.get()).steps[-1].detail
    assert detail.endswith("Its 2 other models were not called.")


@pytest.mark.parametrize("host_type", VENDOR_TYPES)
@pytest.mark.parametrize(
    ("key", "asked"), [("sk-canary-2", True), ("", False)], ids=["wrong", "none"]
)
def test_key_that_is_wrong_or_missing_fails_the_step_key(
    host_type: str,
    key: str,
    asked: bool,
    admin_user: User,
    vendors: Upstream,
    add_model: AddModel,
) -> None:
    vendors.require_key(KEY)
    model = add_model("echo", type=host_type, key=key)
    report = check(admin_user, model.host)
    assert report.failed_step == "key"
    assert bool(vendors.calls) == asked
    assert vendors.completions == []


def test_host_in_nobodys_use_is_tested_and_booked_for_whom_it_is_told(
    admin_user: User, vendors: Upstream, add_model: AddModel
) -> None:
    model = add_model("echo", type="gemini_api", key=KEY)
    Host.objects.update(enabled=False)
    caller = Caller(None, "", channel="schedule")
    assert check(admin_user, Host.objects.get(), caller=caller).ok
    entry = LedgerEntry.objects.get(kind="settle")
    assert (entry.user_id, entry.channel, entry.model_id) == (
        None, "schedule", model.label,
    )  # fmt: skip


def test_no_step_shows_the_key_or_the_hosts_words(
    admin_user: User, vendors: Upstream, add_model: AddModel, caplog: Any
) -> None:
    caplog.set_level("DEBUG")
    for number, host_type in enumerate([*VENDOR_TYPES, "local_openai"]):
        base_url = vendors.base_url if host_type == "local_openai" else ""
        name = f"status-{(401, 500, 400)[number]}"
        model = add_model(name, type=host_type, key=KEY, base_url=base_url)
        report = check(admin_user, model.host)
        assert not report.ok
        assert "canary" not in repr(report) + caplog.text
        assert "as asked" not in repr(report)


def test_address_that_leads_nowhere_fails_the_step_connection(
    admin_user: User, settings: Any, unused_tcp_port: int, add_model: AddModel
) -> None:
    settings.CORTEX_GEMINI_URL = f"http://127.0.0.1:{unused_tcp_port}"
    model = add_model("echo", type="gemini_api", key=KEY)
    assert check(admin_user, model.host).failed_step == "connection"


def test_model_that_only_thought_has_answered(
    admin_user: User, settings: Any, add_model: AddModel
) -> None:
    chunk = {
        "candidates": [{"finishReason": "MAX_TOKENS"}],
        "usageMetadata": {"promptTokenCount": 5, "thoughtsTokenCount": 16},
    }
    call = "POST /v1beta/models/m:streamGenerateContent?alt=sse"
    answers: dict[str, Any] = {
        call: (200, b"data: " + json.dumps(chunk).encode() + b"\n\n"),
        "GET /v1beta/models?pageSize=1000": (200, {"models": []}),
    }
    with FixedAnswers(answers) as server:
        settings.CORTEX_GEMINI_URL = server.url
        model = add_model("m", type="gemini_api", key=KEY)
        assert check(admin_user, model.host).ok


SAYS_HI = (
    b'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize(("registered", "ok"), [(4096, True), (8192, False)])
def test_server_that_reads_less_than_registered_is_named(
    registered: int, ok: bool, admin_user: User, add_model: AddModel
) -> None:
    answers: dict[str, Any] = {
        "GET /v1/models": (200, {"data": [{"id": "m"}]}),
        "POST /v1/chat/completions": (200, SAYS_HI),
        "GET /api/ps": (200, {"models": [{"name": "m", "context_length": 4096}]}),
    }
    with FixedAnswers(answers) as server:
        model = add_model(
            "m",
            type="local_openai",
            base_url=server.url + "/v1",
            context_tokens=registered,
        )
        report = check(admin_user, model.host)
    assert names_of(report) == [*API_STEPS, "context"]
    assert report.failed_step == ("" if ok else "context")
    assert "4,096" in report.steps[-1].detail


def test_host_without_a_list_may_still_answer(
    admin_user: User, add_model: AddModel
) -> None:
    with FixedAnswers({"POST /chat/completions": (200, SAYS_HI)}) as server:
        model = add_model("m", type="local_openai", base_url=server.url)
        report = check(admin_user, model.host)
    assert [step.ok for step in report.steps] == [True, True, False, True]
    assert report.failed_step == "model list"


def test_list_alone_calls_nothing(
    admin_user: User, vendors: Upstream, add_model: AddModel
) -> None:
    vendors.list_models("one", "two")
    model = add_model("echo", type="gemini_api", key=KEY)
    report = asyncio.run(list_models(admin_user, info_for(admin_user, model.host)))
    assert report.models == ("one", "two")
    assert report.contexts["one"] == 1_048_576
    assert vendors.completions == []
    assert not LedgerEntry.objects.exists()


@pytest.fixture
def program(tmp_path: Path, settings: Any) -> Path:
    """Let ``claude`` be a program that states its version and nothing else."""
    path = tmp_path / "claude"
    path.write_text("#!/bin/sh\necho 9.8.7\n")
    path.chmod(0o755)
    settings.CORTEX_CLAUDE_CLI = str(path)
    forget_programs()
    return path


def test_program_that_is_not_there_is_named(
    admin_user: User, settings: Any, add_model: AddModel
) -> None:
    settings.CORTEX_CLAUDE_CLI = "no-such-claude"
    forget_programs()
    model = add_model("haiku", type="claude_cli", key=KEY)
    report = check(admin_user, model.host)
    assert names_of(report) == ["program"]
    assert "no-such-claude" in report.steps[0].detail


@pytest.mark.parametrize("credential", ["key", "token", "login"])
def test_program_without_anything_to_sign_in_with_is_not_called(
    credential: str, program: Path, admin_user: User, add_model: AddModel
) -> None:
    model = add_model("haiku", type="claude_cli")
    Host.objects.update(credential=credential)
    report = check(admin_user, Host.objects.get(id=model.host_id))
    assert names_of(report) == ["program", "key"]
    assert report.failed_step == "key"
    assert "9.8.7" in report.steps[0].detail
    assert not LedgerEntry.objects.exists()


def test_key_that_only_a_call_can_refuse_fails_the_step_key(
    program: Path, admin_user: User, add_model: AddModel, settings: Any
) -> None:
    settings.MODEL_BACKENDS = {
        **settings.MODEL_BACKENDS,
        "claude_cli": "routing.backends.scripted.Scripted",
    }
    model = add_model("haiku", type="claude_cli", key=KEY)
    script = [AuthenticationFailed("The host refused the key.")]
    with scripted.playing(haiku=script):
        report = check(admin_user, model.host)
    assert names_of(report) == ["program", "model list", "key"]
    assert report.failed_step == "key"
    with scripted.playing(haiku=[TextDelta("OK"), Finished()]):
        report = check(admin_user, model.host)
    assert names_of(report) == ["program", "key", "model list", "answer"]
    assert report.ok


def test_host_that_is_too_busy_is_not_waited_for(
    admin_user: User, vendors: Upstream, add_model: AddModel
) -> None:
    model = add_model("status-529", type="gemini_api", key=KEY)
    assert check(admin_user, model.host).failed_step == "answer"
    assert len(vendors.completions) == 1


def test_names_of_a_program_are_listed_without_a_call(
    program: Path, admin_user: User, add_model: AddModel
) -> None:
    model = add_model("haiku", type="claude_cli")
    Host.objects.update(credential="login")
    folder = config_folder("claude_cli", model.host_id)
    (folder / ".credentials.json").write_text('{"claudeAiOauth": {}}')
    host = Host.objects.get(id=model.host_id)
    report = asyncio.run(list_models(admin_user, info_for(admin_user, host)))
    assert (report.ok, report.models) == (True, ("haiku", "sonnet", "opus"))
    assert not LedgerEntry.objects.exists()


def test_program_that_was_just_installed_is_found_at_once(
    admin_user: User, settings: Any, tmp_path: Path, add_model: AddModel
) -> None:
    path = tmp_path / "claude"
    settings.CORTEX_CLAUDE_CLI = str(path)
    forget_programs()
    model = add_model("haiku", type="claude_cli")
    assert check(admin_user, model.host).failed_step == "program"
    path.write_text("#!/bin/sh\necho 9.8.7\n")
    path.chmod(0o755)
    assert "9.8.7" in check(admin_user, model.host).steps[0].detail


async def test_program_that_hangs_ends_with_whoever_asks_it(tmp_path: Path) -> None:
    path, started = tmp_path / "claude", tmp_path / "started"
    path.write_text(f"#!/bin/sh\necho $$ >{started}\nsleep 60 &\nwait\n")
    path.chmod(0o755)
    asking = asyncio.create_task(version_of(path))
    while not started.exists() or not started.read_text().strip():
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


async def test_program_that_hangs_has_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "VERSION_WITHIN_S", 0.2)
    path = tmp_path / "claude"
    path.write_text("#!/bin/sh\necho 9.8.7\nexec sleep 60\n")
    path.chmod(0o755)
    assert await version_of(path) == ""
