from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from accounts.models import User
from accounts.roles import set_role
from tests.support.api import Api, api_of
from tests.support.chat import session_for
from tests.support.chat_fixtures import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("turns_running", "persona", "scripted")


async def used(user: User, text: str) -> None:
    """Let a person use a model once, without a persona."""
    response = await (await api_of(user)).post("/task", {"task": text, "force_tier": 1})
    assert response.status_code == 200, response.content


async def signed_in(user: User, seen: Any) -> Api:
    """Return the API as a page of this person reads it."""
    api = Api()
    api.client.cookies[settings.SESSION_COOKIE_NAME] = await seen(session_for, user)
    return api


async def test_rows_come_newest_first(alice: User) -> None:
    for text in ("one", "two", "three"):
        await used(alice, text)

    response = await (await api_of(alice)).get("/ledger?limit=2")

    entries = response.json()["entries"]
    assert [row["prompt_preview"] for row in entries] == ["three", "two"]
    assert entries[0]["id"] > entries[1]["id"]
    assert entries[0]["timestamp"].endswith("Z")
    assert (entries[0]["user"], entries[0]["channel"]) == ("alice", "api")
    assert entries[0]["success"] is True


async def test_everybody_sees_their_own_alone(alice: User, bob: User) -> None:
    await used(alice, "hers")
    await used(bob, "his")
    api = await api_of(bob)

    entries = (await api.get("/ledger")).json()["entries"]

    assert [row["prompt_preview"] for row in entries] == ["his"]
    assert (await api.get("/ledger/stats")).json()["total_calls"] == 1
    assert (await api.get("/status")).json()["total_calls"] == 1


@pytest.mark.parametrize("by", ["session", "token"])
async def test_administrators_see_all_amounts_and_no_text_of_others(
    alice: User, admin_user: User, seen: Any, by: str
) -> None:
    await used(alice, "hers")
    await used(admin_user, "mine")
    if by == "token":
        api = await api_of(admin_user, scopes=["admin"])
    else:
        api = await signed_in(admin_user, seen)

    response = await api.get("/ledger")

    shown = {row["user"]: row["prompt_preview"] for row in response.json()["entries"]}
    assert shown == {"alice": "", "dora": "mine"}
    assert b"hers" not in response.content
    stats, status = await api.get("/ledger/stats"), await api.get("/status")
    assert stats.json()["total_calls"] == status.json()["total_calls"] == 2


async def test_an_administrators_plain_token_shows_their_own(
    alice: User, admin_user: User
) -> None:
    await used(alice, "hers")
    api = await api_of(admin_user, scopes=["ledger"])

    assert (await api.get("/ledger")).json() == {"entries": []}
    assert (await api.get("/ledger/stats")).json()["total_calls"] == 0


async def test_the_scope_ends_with_the_role(
    alice: User, admin_user: User, seen: Any
) -> None:
    await used(alice, "hers")
    api = await api_of(admin_user, scopes=["ledger", "admin"])
    alone = await api_of(admin_user, scopes=["admin"])
    assert len((await api.get("/ledger")).json()["entries"]) == 1

    await seen(lambda: set_role(admin_user, is_admin=False))

    assert (await api.get("/ledger")).json() == {"entries": []}
    assert (await alone.get("/ledger")).status_code == 403


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5", "9" * 30])
async def test_a_wrong_limit_is_named(alice: User, limit: str) -> None:
    response = await (await api_of(alice)).get(f"/ledger?limit={limit}")

    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("“limit” must be ")


@pytest.mark.parametrize("limit", ["1", "1000"])
async def test_limits_at_the_border_are_fine(alice: User, limit: str) -> None:
    response = await (await api_of(alice)).get(f"/ledger?limit={limit}")

    assert response.status_code == 200


async def test_sums_are_those_of_the_ledger(alice: User) -> None:
    await used(alice, "one")
    await used(alice, "two")

    sums = (await (await api_of(alice)).get("/ledger/stats")).json()

    assert {"total_calls", "total_cost_estimated_usd", "by_model", "by_date"} <= set(
        sums
    )
    assert sums["total_calls"] == 2
    assert sums["by_model"]["scripted"]["calls"] == 2
    assert sum(day["calls"] for day in sums["by_date"].values()) == 2
