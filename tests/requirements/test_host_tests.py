"""Numbered requirements that “Test this host” and the lists of models must hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from accounts.models import User
from accounts.secrets import encrypt
from ledger.models import LedgerEntry
from routing import host_check
from routing.host_check import HostReport
from routing.models import Host, Model
from routing.registry import info_for
from tests.routing.fixed_answers import FixedAnswers
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk-canary-7d1e"
API_TYPES = ["local_openai", "anthropic_api", "gemini_api"]
LISTS = {
    "local_openai": "GET /models",
    "anthropic_api": "GET /v1/models?limit=1000",
    "gemini_api": "GET /v1beta/models?pageSize=1000",
}


def host_of(owner: User | None, host_type: str, base_url: str) -> Host:
    """Return a host with a key and one model."""
    host = Host.objects.create(
        owner=owner,
        name="h",
        type=host_type,
        base_url=base_url,
        key_encrypted=encrypt("host_key", KEY),
    )
    Model.objects.create(host=host, name="echo", label="echo")
    return host


def reports_of(user: User, host: Host) -> list[HostReport]:
    """Test a host and ask it for its models."""
    asks: tuple[Callable[..., Any], ...] = (
        host_check.test_host,
        host_check.list_models,
    )
    return [asyncio.run(ask(user, info_for(user, host))) for ask in asks]


@pytest.fixture
def trusted_alice(alice: User) -> User:
    """Return a member who may type addresses."""
    permission = Permission.objects.get(codename="add_free_url")
    alice.user_permissions.add(permission)
    return User.objects.get(id=alice.id)


@pytest.mark.parametrize("host_type", API_TYPES)
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_s12_tests_of_a_members_host_reach_no_private_address(
    name: str, host_type: str, trusted_alice: User, upstream: Upstream
) -> None:
    host = host_of(trusted_alice, host_type, f"http://{name}:{upstream.port}")
    for report in reports_of(trusted_alice, host):
        assert report.failed_step == "address"
        assert "private network" in report.steps[-1].detail
    assert upstream.calls == []


@pytest.mark.parametrize("host_type", API_TYPES)
def test_s12_members_without_permission_test_no_typed_address(
    host_type: str, alice: User, upstream: Upstream
) -> None:
    host = host_of(alice, host_type, upstream.url)
    for report in reports_of(alice, host):
        assert report.failed_step == "address"
        assert "permission" in report.steps[-1].detail
    assert upstream.calls == []


@pytest.mark.parametrize("host_type", API_TYPES)
def test_s13_key_is_not_taken_along_by_a_redirect(
    host_type: str, admin_user: User, upstream: Upstream
) -> None:
    there = upstream.url + "/v1/models"
    with FixedAnswers({}, otherwise=(307, {}), redirect_to=there) as server:
        for report in reports_of(admin_user, host_of(None, host_type, server.url)):
            assert report.failed_step == "model list"
        assert LISTS[host_type] in server.paths
    assert upstream.calls == []


@pytest.mark.parametrize("host_type", API_TYPES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_s30_no_report_log_or_row_holds_the_key_that_a_host_repeats(
    status: int, host_type: str, admin_user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    words = {"error": {"message": f"Wrong key {KEY}", "type": KEY, "code": KEY}}
    with FixedAnswers({}, otherwise=(status, words)) as server:
        host = host_of(None, host_type, server.url)
        shown = repr(reports_of(admin_user, host))
        assert server.requests
    booked = repr(list(LedgerEntry.objects.values()))
    noted = repr(list(Host.objects.values()))
    assert "canary" not in shown + caplog.text + booked + noted
