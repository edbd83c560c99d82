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
from routing.role_answers import ALL_DOWN, answer_for, drill, price_of

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


def test_chain_whose_hosts_are_all_down_is_empty(
    alice: User, two: tuple[Model, Model], add_model: Callable[..., Model]
) -> None:
    add_model("idle", host="Other")  # in use, but in no chain
    assert down(alice, *two) == {"chat": [], "coder": [], "distill": []}
    ids = [model.host_id for model in two]
    answer = answer_for("chat", catalogue_for(alice), ids)
    assert (answer.reason, answer.error_code) == (ALL_DOWN, "no_model")
    hosts.set_chain(alice, "chat", [two[0]])  # does not fall through to the shared one
    assert down(alice, two[0])["chat"] == []


def test_built_in_model_answers_only_where_it_is_asked(
    alice: User, two: tuple[Model, Model]
) -> None:
    hosts.set_chain(None, "chat", [two[0], "builtin"])
    assert down(alice, *two)["chat"] == ["builtin"]
    hosts.set_chain(None, "chat", [])
    assert "builtin" not in down(alice)["chat"]
    assert down(alice, two[0])["chat"] == ["far"]
    assert down(alice, *two)["chat"] == []


def test_plain_id_means_the_same_model_as_in_a_real_request(
    alice: User, add_model: Callable[..., Model]
) -> None:
    first = add_model("one", type="claude_cli", host="One")
    add_model("two", type="claude_cli", host="Two")
    hosts.set_chain(None, "chat", ["claude_cli"])
    (asked,) = down(alice)["chat"]
    other = Model.objects.exclude(label=asked).get()
    assert down(alice, other)["chat"] == [asked]
    assert down(alice, Model.objects.get(label=asked))["chat"] == []
    assert first.label in {asked, other.label}


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
    assert f"{ALL_DOWN} So each message ends with an error." in both
    assert "builtin" not in both
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
        "chat", "orchestrator", "distill", "coder", "research", "classify",
    ]  # fmt: skip
    chat = value["roles"]["chat"]
    assert chat["before"] == "near"
    assert (chat["answers"], chat["reason"]) == ([], ALL_DOWN)
    said = command("--down", "Box", "--down", "Cloud").splitlines()
    assert said[0] == f"chat: nobody ({ALL_DOWN})"
    said = command("--down", "Box", "--user", "alice").splitlines()
    assert said[0] == "chat: far (0.004 USD), instead of near"
    with pytest.raises(CommandError, match="no host “Nowhere”"):
        command("--down", "Nowhere")


def test_command_for_a_person_counts_their_own(
    alice: User, two: tuple[Model, Model], add_model: Callable[..., Model]
) -> None:
    own = add_model("mine", owner=alice, host="Mine")
    hosts.set_chain(alice, "chat", [own, two[1]])
    assert command("--user", "alice").startswith("chat: mine")
    assert command().startswith("chat: near")
    with pytest.raises(CommandError, match="no host “Mine”"):
        command("--down", "Mine")
    assert "instead of mine" in command("--down", "Mine", "--user", "alice")
