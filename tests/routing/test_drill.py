"""The fallback drill: the router itself says what would answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from ledger.models import LedgerEntry
from routing import hosts
from routing.catalogue import BUILTIN
from routing.models import Model
from routing.registry import catalogue_for
from routing.role_answers import answer_for, drill, price_of

pytestmark = pytest.mark.django_db
ROLES = ["chat", "coder", "distill"]
DOLLAR = 1_000_000_000


@pytest.fixture
def two(add_model: Callable[..., Model]) -> tuple[Model, Model]:
    """Two models on two hosts, and chains of them for chat and coder."""
    prices = {
        "input_price_nano_usd_per_mtok": 2 * DOLLAR,
        "output_price_nano_usd_per_mtok": 4 * DOLLAR,
    }
    near, far = (
        add_model("near", host="Box", is_local=True),
        add_model("far", host="Cloud", **prices),
    )
    hosts.set_chain(None, "chat", [near, far])
    hosts.set_chain(None, "coder", [far])
    return near, far


def down(user: User, *models: Model) -> dict[str, list[str]]:
    """Return what answers for each role while the models' hosts are down."""
    rows = drill(catalogue_for(user), {model.host_id for model in models}, ROLES)
    return {row.role: [model.label for model in row.after.models] for row in rows}


def test_the_next_one_answers(alice: User, two: tuple[Model, Model]) -> None:
    near, far = two
    assert down(alice)["chat"] == ["near", "far"]
    assert down(alice, near)["chat"] == ["far"]
    assert down(alice, far) == {"chat": ["near"], "coder": [], "distill": []}


def test_several_hosts_down_leave_the_built_in_model(
    alice: User, two: tuple[Model, Model]
) -> None:
    assert down(alice, *two) == {"chat": ["builtin"], "coder": [], "distill": []}


def test_drill_tells_what_changes_and_calls_nobody(
    alice: User, two: tuple[Model, Model]
) -> None:
    rows = drill(catalogue_for(alice), {two[0].host_id}, ROLES)
    assert [row.changes for row in rows] == [True, False, False]
    assert not LedgerEntry.objects.exists()
    assert [row.role for row in rows] == ROLES


def test_nobody_has_a_reason(alice: User) -> None:
    answer = answer_for("distill", catalogue_for(alice))
    assert (answer.first, answer.error_code) == (None, "no_model")
    assert "distill" in answer.reason


def test_prices_are_words(alice: User, two: tuple[Model, Model]) -> None:
    near, far = catalogue_for(alice).shared_chains["chat"]
    assert not isinstance(near, str)
    assert not isinstance(far, str)
    assert price_of(near) == price_of(BUILTIN) == "free"
    assert price_of(far) == "0.004 USD"
    subscribed = replace(far, host=replace(far.host, credential="login"))
    assert price_of(subscribed) == "0.004 USD by subscription"
    unknown = replace(far, prices=replace(far.prices, output=None))
    assert price_of(unknown) == "price unknown"


# --- page and command -------------------------------------------------------------


def text(response: Any) -> str:
    """Return the page."""
    return str(response.content.decode())


def test_page_takes_any_number_of_hosts(
    alice: User, client_for: Callable[[User], Client], two: tuple[Model, Model]
) -> None:
    client, url = client_for(alice), "/settings/models/drill/"
    assert 'href="/settings/models/drill/"' in text(client.get("/settings/models/"))
    assert "With every host up" in text(client.get(url))
    page = text(client.get(url, {"down": two[0].host_id}))
    assert "Without Box" in page
    assert "Instead of near." in page
    both = text(client.get(url, {"down": [model.host_id for model in two]}))
    assert "Nobody" in both
    odd = text(client.get(url, {"down": ["x", "-1", "999999999999999999999"]}))
    assert "With every host up" in odd
    assert client.post(url).status_code == 405


def test_page_knows_no_hosts_of_others(
    alice: User,
    charlie: User,
    client_for: Callable[[User], Client],
    add_model: Callable[..., Model],
) -> None:
    model = add_model("of-alice", owner=alice)
    page = client_for(charlie).get("/settings/models/drill/", {"down": model.host_id})
    assert "of-alice" not in text(page)
    assert "With every host up" in text(page)


def command(*arguments: str) -> str:
    """Run the drill and return what it prints."""
    out = io.StringIO()
    call_command("registry", "drill", *arguments, stdout=out)
    return out.getvalue().strip()


def test_command_tells_the_same(alice: User, two: tuple[Model, Model]) -> None:
    value = json.loads(command("--down", "Box", "--down", "Cloud", "--json"))
    assert value["down"] == ["Box", "Cloud"]
    assert value["empty"] == [
        "orchestrator", "distill", "coder", "research", "classify",
    ]  # fmt: skip
    chat = value["roles"]["chat"]
    assert chat["before"] == "near"
    assert chat["answers"][0]["model"] == "builtin"
    said = command("--down", "Box", "--user", "alice").splitlines()
    assert said[0] == "chat: far (0.004 USD), instead of near"
    with pytest.raises(CommandError, match="no host “Nowhere”"):
        command("--down", "Nowhere")


def test_command_for_a_person_counts_their_own(
    alice: User, two: tuple[Model, Model], add_model: Callable[..., Model]
) -> None:
    own = add_model("mine", owner=alice, host="Mine")
    hosts.set_chain(alice, "chat", [own])
    assert command("--user", "alice").startswith("chat: mine")
    assert command().startswith("chat: near")
    with pytest.raises(CommandError, match="no host “Mine”"):
        command("--down", "Mine")
    assert "instead of mine" in command("--down", "Mine", "--user", "alice")
