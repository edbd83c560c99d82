"""Registries of earlier versions are taken over, and written in the same form."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import AuditEvent, User
from accounts.secrets import decrypt
from routing import hosts, registry_import
from routing.catalogue import VENDOR_TYPES
from routing.models import Host, Model, RoleSlot
from routing.registry_file import UnusableFile, read
from routing.seeds import seed_registry

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("vendor_types"),
]
OLD = {
    "version": 1,
    "hosts": {
        "box": {
            "label": "Box",
            "api_url": "https://box.example",
            "api_key": "sk-canary",
        }
    },
    "models": {
        "m1": {
            "type": "local_openai",
            "label": "Llama",
            "model_name": "llama3.1:8b",
            "host_id": "box",
            "context_k": 32,
            "tags": ["fast", "tools"],
        },
        "claude_cli": {"type": "claude_cli", "label": "Claude CLI"},
        "pro": {
            "type": "gemini_api",
            "label": "Pro",
            "model_name": "gemini-2.5-pro",
            "context_k": 1000,
        },
    },
    "roles": {
        "chat": {"primary": "m1", "backup_1": "claude_cli", "backup_2": None},
        "distill": {"primary": "gemini_cli", "backup_4": "pro"},
    },
}


@pytest.fixture
def allowed(alice: User) -> User:
    """Alice, who may enter addresses."""
    hosts.allow_free_urls(alice, True, actor=None)
    return User.objects.get(id=alice.id)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file and returns its path."""

    def write(body: Any, name: str = "model_registry.json") -> Path:
        path = tmp_path / name
        text = body if isinstance(body, str) else json.dumps(body)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def registry(*arguments: Any) -> str:
    """Run the command and return what it prints."""
    out = io.StringIO()
    call_command("registry", *map(str, arguments), stdout=out)
    return out.getvalue().strip()


def take(path: Path, *arguments: str) -> Any:
    """Import a file for alice and return the report."""
    out = io.StringIO()
    words = ["import", str(path), *arguments, "--json"]
    with contextlib.suppress(CommandError):  # where nothing could be taken
        call_command("registry", *words, stdout=out)
    return json.loads(out.getvalue())


def everything() -> list[Any]:
    """Return every row of the registry."""
    return [list(table.objects.values()) for table in (Host, Model, RoleSlot)]


def chain(role: str, owner: User | None) -> list[str]:
    """Return a chain in words."""
    rows = hosts.chain_of(owner, role)
    return [row if isinstance(row, str) else row.label for row in rows]


def test_old_registry_becomes_ones_own(
    allowed: User, write: Callable[..., Path]
) -> None:
    report = take(write(OLD), "--user", "alice")
    assert report["changed"]
    assert report["could_not"] == []
    host = Host.objects.get(name="Box")
    assert (host.owner, host.base_url) == (allowed, "https://box.example/v1")
    assert decrypt("host_key", host.key_encrypted) == "sk-canary"
    model = Model.objects.get(label="Llama")
    assert (model.host, model.name) == (host, "llama3.1:8b")
    assert (model.context_tokens, model.tags) == (32_000, ["fast", "tools"])
    assert chain("chat", allowed) == ["Llama", "claude_cli"]
    assert chain("distill", allowed) == ["gemini_cli", "Pro"]
    assert "canary" not in json.dumps(report)
    assert "canary" not in str(list(AuditEvent.objects.values()))
    assert AuditEvent.objects.filter(event="registry.imported").count() == 1


def test_second_run_changes_nothing_and_says_so(
    allowed: User, write: Callable[..., Path]
) -> None:
    path = write(OLD)
    take(path, "--user", "alice")
    before = everything()
    report = take(path, "--user", "alice")
    assert (report["changed"], report["did"]) == (False, [])
    assert everything() == before
    said = registry("import", path, "--user", "alice")
    assert said.endswith("Everything is there already; nothing was changed.")
    assert AuditEvent.objects.filter(event="registry.imported").count() == 1


def test_trial_changes_nothing(allowed: User, write: Callable[..., Path]) -> None:
    report = take(write(OLD), "--user", "alice", "--dry-run")
    assert len(report["did"]) == 6
    assert not report["changed"]
    assert everything() == [[], [], []]
    assert not AuditEvent.objects.filter(event="registry.imported").exists()


def test_error_in_the_middle_changes_nothing(
    allowed: User, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError

    monkeypatch.setattr(hosts, "set_chain", fail)
    with pytest.raises(OSError):
        take(write(OLD), "--user", "alice")
    assert everything() == [[], [], []]


def test_vendors_models_need_a_key_or_are_the_shared_ones(
    alice: User, write: Callable[..., Path]
) -> None:
    only = {"models": {"pro": OLD["models"]["pro"]}}  # type: ignore[index]
    report = take(write(only), "--user", "alice")
    own = Host.objects.get(owner=alice)
    assert (own.type, own.enabled) == ("gemini_api", False)
    assert "needs a key" in report["did"][0]
    Host.objects.all().delete()
    seed_registry()
    report = take(write(only), "--user", "alice")
    assert report["kept"] == ["“Pro” is the shared model “gemini_api:pro”."]
    assert not Host.objects.filter(owner=alice).exists()


def test_addresses_follow_the_persons_permission(
    alice: User, write: Callable[..., Path]
) -> None:
    private = {
        "hosts": [{"id": "b", "name": "Box", "url": "10.0.0.5:11434", "token": "k"}],
        "models": [{"id": "m", "model": "llama", "host": "b"}],
        "roles": {"chat": ["m", "builtin"], "nonsense": ["m"]},
    }
    path = write(private)
    report = take(path, "--user", "alice")
    assert "permission of an administrator" in report["could_not"][0]
    hosts.allow_free_urls(alice, True, actor=None)
    report = take(path, "--user", "alice")
    assert "private network" in report["could_not"][0]
    assert "its host was left out" in report["could_not"][1]
    assert "“nonsense” does not exist" in report["could_not"][-1]
    assert chain("chat", alice) == ["builtin"]
    report = take(path, "--user", "alice", "--share-hosts")
    host = Host.objects.get()
    assert (host.owner, host.base_url) == (None, "http://10.0.0.5:11434/v1")
    assert host.is_local
    assert chain("chat", alice) == ["llama", "builtin"]
    assert "Completed the chain for chat: llama → builtin." in report["did"]


def test_another_chain_stays(
    allowed: User, write: Callable[..., Path], add_model: Callable[..., Model]
) -> None:
    hosts.set_chain(allowed, "chat", [add_model("mine", owner=allowed)])
    report = take(write(OLD), "--user", "alice")
    assert report["could_not"] == ["There is another chain for chat already; it stays."]
    assert chain("chat", allowed) == ["mine"]


def test_taken_names_get_a_number(
    allowed: User, write: Callable[..., Path], add_model: Callable[..., Model]
) -> None:
    add_model("Llama", owner=allowed, host="Box")
    path = write(OLD)
    take(path, "--user", "alice")
    assert Model.objects.get(name="llama3.1:8b").label == "Llama 2"
    assert Host.objects.filter(name="Box 2", owner=allowed).exists()
    assert take(path, "--user", "alice")["did"] == []


def test_local_file_describes_one_server(
    allowed: User, write: Callable[..., Path], tmp_path: Path
) -> None:
    write({"roles": {"coder": ["big"]}})
    write(
        {
            "api_url": "https://llm.example/v1/chat/completions",
            "api_key": "sk-x",
            "model": ["small", {"model_name": "big", "context_k": 8.192}],
        },
        "local_llm.json",
    )
    report = take(tmp_path, "--user", "alice")
    host = Host.objects.get()
    assert host.base_url == "https://llm.example/v1"
    assert Model.objects.get(name="big").context_tokens == 8192
    # The chain of the other file names a model of this one.
    assert chain("coder", allowed) == ["big"]
    assert report["could_not"] == []


def test_host_may_stand_in_the_models_row(write: Callable[..., Path]) -> None:
    row = {"model_name": "m", "base_url": "http://h.example/v1"}
    file = read(write({"models": [row]}))
    assert file.models[0].host_id == file.hosts[0].id
    assert file.hosts[0].base_url == "http://h.example/v1"


def test_key_is_added_to_a_host_without_one_and_never_replaced(
    allowed: User, write: Callable[..., Path]
) -> None:
    path = write(OLD)
    take(path, "--user", "alice")
    hosts.save_host(Host.objects.get(name="Box"), key="", actor=None)
    assert "Stored the key" in take(path, "--user", "alice")["did"][0]
    hosts.save_host(Host.objects.get(name="Box"), key="newer", actor=None)
    assert take(path, "--user", "alice")["did"] == []
    stored = Host.objects.get(name="Box").key_encrypted
    assert decrypt("host_key", stored) == "newer"


@pytest.mark.parametrize(
    "body",
    [
        "{", '"text"', "{}", '{"version": 9, "models": {}}', "[" * 100_000,
        '{"api_url": ""}', "\ud800",
    ],
)  # fmt: skip
def test_unusable_file_is_one_sentence(body: str, tmp_path: Path, alice: User) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(body.encode(errors="surrogatepass"))
    with pytest.raises(CommandError, match=r"Nothing was changed\.$"):
        registry("import", path, "--user", "alice")
    assert everything() == [[], [], []]


def test_missing_and_oversized_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="has no model_registry"):
        read(tmp_path)
    with pytest.raises(UnusableFile, match="No such file"):
        read(tmp_path / "none.json")
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (5 * 1024 * 1024 + 1))
    with pytest.raises(UnusableFile, match="larger than 5 MB"):
        read(large)


def test_odd_rows_are_named_and_the_rest_is_taken(
    allowed: User, write: Callable[..., Path]
) -> None:
    odd = {
        "hosts": [3, {"id": "h", "base_url": "https://h.example/v1"}],
        "models": {
            "a": "text",
            "b": {"host_id": "gone", "model_name": "b"},
            "c": {"host_id": "h", "model_name": "c", "context_k": "many", "tier": 9},
            "d": {"type": "builtin", "label": "small"},
            "e": {"model_name": "e"},
            "f": {},
        },
        "roles": {"chat": {"primary": "d", "backup_1": "c"}, "coder": "c"},
    }
    report = take(write(odd), "--user", "alice")
    assert len(report["could_not"]) == 5
    assert Model.objects.get().label == "c"
    assert chain("chat", allowed) == ["builtin", "c"]
    assert chain("coder", allowed) == ["c"]


def test_programs_take_no_login_and_no_option_from_a_file(
    alice: User, write: Callable[..., Path]
) -> None:
    file = {
        "hosts": {"c": {"type": "claude_cli", "credential": "login"}},
        "models": {
            "x": {"type": "claude_cli", "model_name": "--dangerous", "label": "x"}
        },
    }
    report = take(write(file), "--user", "alice")
    assert "belongs to whoever runs this machine" in report["could_not"][0]
    assert "no model of such a name" in report["could_not"][1]
    assert not Model.objects.exists()


@pytest.mark.parametrize("is_seeded", [True, False])
def test_program_without_a_key_is_the_shared_one_or_waits_for_its_key(
    alice: User, write: Callable[..., Path], is_seeded: bool
) -> None:
    file = {
        "hosts": {"c": {"type": "claude_cli", "label": "My Claude"}},
        "models": {
            "x": {"host_id": "c", "model_name": "sonnet", "label": "Sonnet"},
            "y": {"host_id": "c", "type": "claude_cli", "label": "Claude"},
        },
        "roles": {"chat": {"primary": "x"}, "coder": "y"},
    }
    file["models"]["x"]["type"] = "claude_cli"
    if is_seeded:
        seed_registry()
    report = take(write(file), "--user", "alice")
    own = Host.objects.filter(owner=alice)
    if is_seeded:
        assert not own.exists()
        assert "has no key in the file" in report["kept"][0]
        assert chain("chat", alice) == ["claude_cli:sonnet"]
        assert chain("coder", alice) == ["claude_cli"]
    else:
        assert report["did"][0].endswith("“My Claude”, not in use: it needs a key.")
        assert not own.get().enabled


@pytest.mark.parametrize(
    "body", [[1, 2], {"models": {"b": {"host_id": "gone", "model_name": "b"}}}]
)
def test_file_of_which_nothing_can_be_taken_is_an_error(
    body: Any, alice: User, write: Callable[..., Path]
) -> None:
    path = write(body)
    with pytest.raises(CommandError, match="Nothing of the file") as caught:
        registry("import", path, "--user", "alice")
    assert caught.value.returncode == 1
    assert not take(path, "--user", "alice")["ok"]


def test_many_refusals_are_counted(alice: User, write: Callable[..., Path]) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("registry", "import", write([1] * 300), stdout=out)
    assert "… and 280 more." in out.getvalue()
    assert len(out.getvalue().splitlines()) == 22


def test_what_is_added_is_not_there_already(
    allowed: User, write: Callable[..., Path]
) -> None:
    row = {"host_id": "box", "model_name": "llama3.1:8b"}
    twice = OLD | {"models": {"m1": row, "m2": row}, "roles": {}}
    assert take(write(twice), "--user", "alice")["kept"] == []


def test_prices_are_looked_up_before_the_transaction(
    alice: User, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def price(host_type: str, name: str, **more: Any) -> None:
        asked.append((name, connection.in_atomic_block))

    monkeypatch.setattr(registry_import, "price_for", price)
    take(write(OLD), "--user", "alice")
    assert ("gemini-2.5-pro", False) in asked


# --- export -----------------------------------------------------------------------


def test_what_is_exported_is_imported_again(
    allowed: User, tmp_path: Path, add_model: Callable[..., Model]
) -> None:
    seed_registry()
    one = add_model(
        "one", owner=allowed, host="Box", type="local_openai", tier=2,
        base_url="https://box.example/v1", key="sk-canary", context_tokens=32_768,
        tags=["tools", "x"], input_price_nano_usd_per_mtok=150_000_001,
    )  # fmt: skip
    add_model("two", owner=allowed, host="Gem", type="gemini_api", enabled=False)
    shared = Model.objects.get(label="gemini_api:pro")
    hosts.set_chain(allowed, "chat", [one, "claude_cli", shared])
    before = _own_rows(allowed)
    path = tmp_path / "out.json"
    registry("export", "--user", "alice", "--with-secrets", "--output", path)
    assert path.stat().st_mode & 0o777 == 0o600
    Host.objects.filter(owner=allowed).delete()
    RoleSlot.objects.all().delete()
    report = take(path, "--user", "alice")
    assert report["could_not"] == []
    assert _own_rows(allowed) == before
    assert take(path, "--user", "alice")["did"] == []


@pytest.mark.parametrize("path", ["", "/v1", "/api"])
@pytest.mark.parametrize("host_type", sorted({*VENDOR_TYPES, "local_openai"}))
def test_addresses_of_every_type_come_back_letter_by_letter(
    host_type: str, path: str, tmp_path: Path, add_model: Callable[..., Model]
) -> None:
    for name in ("first", "second"):
        add_model(
            name,
            type=host_type,
            host=f"gate {name}",
            base_url=f"https://g.example{path}",
        )
    before = _own_rows(None)
    file = tmp_path / "out.json"
    registry("export", "--output", file)
    assert json.loads(registry("import", file, "--json"))["did"] == []
    assert _own_rows(None) == before
    Host.objects.all().delete()
    registry("import", file)
    assert _own_rows(None) == before


@pytest.mark.parametrize(
    ("host_type", "address"),
    [
        ("local_openai", "https://g.example/v1"),
        ("", "https://g.example/v1"),
        ("gemini_api", "https://g.example"),
        ("anthropic_api", "https://g.example"),
    ],
)
def test_only_openai_servers_of_old_files_get_the_path_they_need(
    host_type: str, address: str, write: Callable[..., Path]
) -> None:
    row = {"id": "g", "type": host_type, "api_url": "https://g.example/"}
    (host,) = read(write({"hosts": [row]})).hosts
    assert host.base_url == address


def _own_rows(owner: User | None) -> Any:
    host_fields = ("name", "type", "base_url", "credential", "is_local", "enabled")
    rows = Host.objects.filter(owner=owner).order_by("name")
    models = Model.objects.filter(host__owner=owner).order_by("label")
    left_out = {"id", "host_id"}
    return (
        list(rows.values_list(*host_fields)),
        [decrypt("host_key", h.key_encrypted) if h.key_encrypted else "" for h in rows],
        [{k: v for k, v in m.items() if k not in left_out} for m in models.values()],
        chain("chat", owner),
    )


def test_export_holds_keys_only_on_demand_and_in_a_file(
    tmp_path: Path, add_model: Callable[..., Model]
) -> None:
    add_model(
        "m", type="local_openai", base_url="https://b.example/v1", key="sk-canary"
    )
    shown = registry("export")
    assert json.loads(shown)["hosts"]["host of m"]["api_key"] == ""
    assert "canary" not in shown + registry("export", "--json")
    with pytest.raises(CommandError, match="--output"):
        registry("export", "--with-secrets")
    path = tmp_path / "out.json"
    registry("export", "--with-secrets", "--output", path)
    assert "sk-canary" in path.read_text(encoding="utf-8")
    with pytest.raises(CommandError, match="exists"):
        registry("export", "--output", path)
    events = AuditEvent.objects.filter(event="registry.exported").order_by("id")
    assert [event.detail["with_secrets"] for event in events] == [False, False, True]


def test_unreadable_key_is_said_in_one_sentence(
    tmp_path: Path, add_model: Callable[..., Model]
) -> None:
    host = add_model("m", key="k").host
    Host.objects.filter(id=host.id).update(key_encrypted="nonsense")
    with pytest.raises(CommandError, match="cannot be read"):
        registry("export", "--with-secrets", "--output", tmp_path / "o.json")
