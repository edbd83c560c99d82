"""``manage.py registry`` sets up what the dispatcher then uses."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.secrets import decrypt
from ledger.models import LedgerEntry
from routing.models import Host, Model
from routing.registry import catalogue_for
from tests.routing.conftest import labels_of
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)


def registry(*arguments: str) -> str:
    """Run the command and return what it prints."""
    out = io.StringIO()
    call_command("registry", *arguments, stdout=out)
    return out.getvalue().strip()


def registry_json(*arguments: str) -> Any:
    """Run the command with ``--json`` and return the value."""
    return json.loads(registry(*arguments, "--json"))


def test_host_model_and_chain_are_set_up(alice: User) -> None:
    assert registry("list") == "Nothing is set up."
    registry("add-host", "box", "http://127.0.0.1:11434/v1", "--local")
    registry("add-model", "box", "llama3.2:3b", "--label", "llama", "--tier", "2")
    added = registry_json(
        "add-model", "box", "big", "--context", "32000", "--input-price", "0.5"
    )
    assert added["context_tokens"] == 32000
    value = registry_json("set-chain", "chat", "big", "llama")
    assert value == {"role": "chat", "chain": ["big", "llama"]}
    listed = registry_json("list")
    assert listed["chains"] == {"chat": ["big", "llama"]}
    assert listed["hosts"][0]["local"] is True
    catalogue = catalogue_for(alice)
    assert labels_of(catalogue.shared_chains["chat"]) == ["big", "llama"]
    assert catalogue.models[0].host.trusted_origin
    assert "chain chat: big → llama" in registry("list")
    registry("remove-model", "big")
    assert registry_json("list")["chains"] == {"chat": ["llama"]}
    registry("remove-host", "box")
    assert not Host.objects.exists()


def test_models_of_servers_can_call_tools_unless_it_is_denied(alice: User) -> None:
    registry("add-host", "box", "http://127.0.0.1:11434/v1", "--local")
    registry("add-model", "box", "able")
    registry("add-model", "box", "unable", "--no-tools")
    registry("add-host", "claude", "--type", "anthropic_api")
    registry("add-model", "claude", "claude-haiku-4-5")
    tags = {model.label: model.tags for model in Model.objects.filter(host__owner=None)}
    assert (tags["able"], tags["unable"]) == (["tools"], [])
    assert tags["claude-haiku-4-5"] == []
    abilities = {model.label: model.abilities for model in catalogue_for(alice).models}
    assert "tools" in abilities["able"]
    assert "tools" not in abilities["unable"]


def test_key_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-canary\n"))
    shown = registry(
        "add-host", "box", "https://api.example/v1", "--key-stdin", "--json"
    )
    assert json.loads(shown)["key"] is True
    assert "canary" not in shown + registry("list", "--json")
    assert decrypt("host_key", Host.objects.get().key_encrypted) == "sk-canary"


def test_persons_own_follow_the_rules_of_the_page(alice: User) -> None:
    add = ("add-host", "box", "https://api.example/v1", "--user", "alice")
    with pytest.raises(CommandError, match="permission"):
        registry(*add)
    registry("allow-addresses", "--user", "alice")
    registry(*add)
    registry("add-model", "box", "m", "--user", "alice")
    registry("set-chain", "chat", "m", "--user", "alice")
    assert Model.objects.get().host.owner == alice
    assert registry_json("list") == {"hosts": [], "models": [], "chains": {}}
    assert registry_json("list", "--user", "alice")["chains"] == {"chat": ["m"]}
    assert "may not" in registry("refuse-addresses", "--user", "alice")


@pytest.mark.parametrize(
    "arguments",
    [
        ("add-host", "box", "ftp://nowhere/"),
        ("add-host", "box", "http://x/", "--type", "builtin"),
        ("add-host", "box"),
        ("add-host", "box", "--type=gemini_cli", "--credential=token"),
        ("add-model", "nowhere", "m"),
        ("set-chain", "chat", "nobody"),
        ("remove-host", "nowhere"),
        ("remove-model", "nobody"),
        ("list", "--user", "nobody"),
        ("allow-addresses",),
        ("test",),
    ],
)
def test_refusal_is_one_sentence(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as caught:
        registry(*arguments)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_list_says_what_is_in_use_and_why_not(add_model: Callable[..., Model]) -> None:
    add_model("a", host="box", is_local=True)
    add_model("b", host="cloud", key="k", enabled=False)
    add_model("c", host="wait", type="claude_cli")
    add_model("d", host="off", type="claude_cli")
    Host.objects.filter(name="cloud").update(flagged="The key was refused.")
    Host.objects.filter(name="wait").update(
        enabled=False, auto_enable=True, flagged="No API key is stored yet."
    )
    Host.objects.filter(name="off").update(enabled=False, credential="login")
    assert registry("list").splitlines() == [
        "host box: scripted; in the house; no key stored",
        "host cloud: scripted; a key stored; needs attention: The key was refused.",
        "host off: claude_cli; login made by hand; not in use",
        "host wait: claude_cli; no key stored; not in use, waits until it can answer: "
        "No API key is stored yet.",
        "model a: a on box, tier 1",
        "model b: b on cloud, tier 1, not in use",
        "model c: c on wait, tier 1",
        "model d: d on off, tier 1",
    ]


def test_unknown_type_names_the_choices() -> None:
    with pytest.raises(CommandError) as caught:
        registry("add-host", "box", "http://x/", "--type", "nosuch")
    said = str(caught.value)
    assert "local_openai" in said
    assert "anthropic_api" in said
    assert "builtin" not in said


@pytest.mark.parametrize("option", ["context", "max-output"])
@pytest.mark.parametrize("tokens", ["-5", "0", "99999999999"])
def test_impossible_number_of_tokens_is_one_sentence(
    option: str, tokens: str, add_model: Callable[..., Model]
) -> None:
    add_model("m", host="box")
    with pytest.raises(CommandError, match=f"^--{option} is a number of tokens from 1"):
        registry("add-model", "box", "n", f"--{option}", tokens)


@pytest.mark.parametrize("price", ["much", "-1", "NaN"])
def test_wrong_price_is_refused(price: str, add_model: Callable[..., Model]) -> None:
    add_model("m", host="box")
    with pytest.raises(CommandError, match="not a price"):
        registry("add-model", "box", "n", f"--input-price={price}")


def test_hosts_are_tested(admin_user: User, upstream: Upstream) -> None:
    registry("add-host", "box", upstream.base_url)
    registry("add-model", "box", "echo")
    value = registry_json("test", "box")
    assert value["ok"]
    steps = value["hosts"]["box"]["steps"]
    assert [step["name"] for step in steps] == [
        "connection", "key", "model list", "answer",
    ]  # fmt: skip
    assert {row.channel for row in LedgerEntry.objects.all()} == {"cli"}
    upstream.require_key("k")
    with pytest.raises(CommandError):
        registry("test")


@pytest.mark.usefixtures("vendor_types")
def test_vendors_hosts_need_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-canary\n"))
    row = registry_json("add-host", "gem", "--type", "gemini_api", "--key-stdin")
    assert (row["base_url"], row["key"], row["waits"]) == ("", True, False)
    login = registry_json("add-host", "c", "--type=claude_cli", "--credential=login")
    assert login["login_command"].startswith("CLAUDE_CONFIG_DIR=")
    said = registry("add-host", "d", "--type=claude_cli", "--credential=login")
    assert "Log its program in: CLAUDE_CONFIG_DIR=" in said


def test_plain_ids_stand_in_chains(add_model: Callable[..., Model]) -> None:
    add_model("m")
    value = registry_json("set-chain", "chat", "claude_cli", "m", "builtin")
    assert value["chain"] == ["claude_cli", "m", "builtin"]
    assert registry_json("list")["chains"] == {"chat": value["chain"]}
    assert "claude_cli → m → builtin" in registry("list")


def test_test_puts_a_waiting_host_in_use(admin_user: User, upstream: Upstream) -> None:
    registry("add-host", "box", upstream.base_url)
    registry("add-model", "box", "echo")
    Host.objects.update(enabled=False, auto_enable=True)
    assert registry_json("list")["hosts"][0]["waits"]
    value = registry_json("test", "box")
    assert value["enabled"] == ["box"]
    answer = value["hosts"]["box"]["steps"][-1]
    assert answer["cost_usd"] == "unknown"
    assert Host.objects.get().enabled
    assert registry_json("test", "box")["enabled"] == []
