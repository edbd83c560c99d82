"""Hosts in use recover without a person: the complaint goes when they are well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from ledger.models import LedgerEntry
from ledger.types import Caller
from routing import dispatcher, recovery
from routing.backends.base import Prompt, PromptMessage
from routing.db_pool import run_in_db_pool as now
from routing.host_notes import FAILED_OFTEN
from routing.models import Host, Model
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk-canary-1"
REFUSED = "The host refuses the key."
AddModel = Callable[..., Model]


async def flag_of(model: Model) -> str:
    host = await now(Host.objects.get, pk=model.host_id)
    return host.flagged


@pytest.fixture
def refused(admin_user: User, vendors: Upstream, add_model: AddModel) -> Model:
    """A vendor's host that refused its key."""
    model = add_model("echo", type="gemini_api", key=KEY)
    Host.objects.update(flagged=REFUSED)
    vendors.list_models("echo")
    return model


async def test_a_key_that_is_accepted_again_is_no_complaint(
    refused: Model, vendors: Upstream
) -> None:
    vendors.require_key("another")
    assert await recovery.look_after_flagged() == 0
    assert await flag_of(refused) == REFUSED
    vendors.require_key(KEY)
    assert await recovery.look_after_flagged() == 1
    assert await flag_of(refused) == ""
    assert await recovery.look_after_flagged() == 0
    assert not await now(LedgerEntry.objects.exists)


@pytest.mark.parametrize("open_to_all", [True, False])
async def test_a_list_for_everybody_proves_no_key(
    admin_user: User, upstream: Upstream, add_model: AddModel, open_to_all: bool
) -> None:
    model = await now(
        add_model, "echo", type="local_openai", base_url=upstream.base_url, key=KEY
    )
    await now(Host.objects.update, flagged=REFUSED)
    upstream.list_models("echo")
    if not open_to_all:
        upstream.require_key(KEY)
    assert await recovery.look_after_flagged() == (not open_to_all)
    assert await flag_of(model) == (REFUSED if open_to_all else "")


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"cooling_until": timezone.now() + timedelta(hours=1)},
        {"flagged": ""},
        {"type": "claude_cli"},
    ],
)
async def test_others_are_left_alone(refused: Model, changes: dict[str, Any]) -> None:
    await now(Host.objects.update, **changes)
    assert not await now(recovery.flagged_hosts().exists)


async def test_a_host_that_failed_often_is_flagged_and_recovers(
    admin_user: User, upstream: Upstream, add_model: AddModel
) -> None:
    """The third failure in a row flags it; that it answers at all takes it back."""
    model = await now(
        add_model, "status-500", type="local_openai", base_url=upstream.base_url
    )
    upstream.list_models("status-500")
    for _ in range(3):
        assert await flag_of(model) == ""
        await call(admin_user, model)
    assert (await flag_of(model)).startswith(FAILED_OFTEN)
    rows = await now(LedgerEntry.objects.count)
    assert await recovery.look_after_flagged() == 1
    assert await flag_of(model) == ""
    assert await now(LedgerEntry.objects.count) == rows


async def call(user: User, model: Model) -> None:
    """Make one call, which fails."""
    dispatch = dispatcher.stream(
        Prompt("", (PromptMessage("user", "Hi"),)),
        caller=Caller(user.pk, user.username),
        user=user,
        model=model.label,
        only_host=model.host_id,
    )
    async with dispatch:
        async for _ in dispatch:
            pass


async def test_one_host_at_fault_does_not_hold_up_the_others(
    refused: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = await now(
        lambda: Host.objects.create(name="b", type="gemini_api", flagged=REFUSED)
    )
    is_well = recovery._is_well

    async def fail_first(user: User, info: Any) -> bool:
        if info.id == other.pk:
            raise OSError
        return await is_well(user, info)

    monkeypatch.setattr(recovery, "_is_well", fail_first)
    assert await recovery.look_after_flagged() == 1
    assert "the host b could not be looked at" in caplog.text
