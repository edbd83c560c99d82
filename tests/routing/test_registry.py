"""What a person sees, may change and may call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404

from accounts import secrets
from accounts.models import AuditEvent, User
from ledger.types import Prices
from routing import hosts
from routing.backends import programs
from routing.models import Host, Model, RoleSlot
from routing.registry import (
    catalogue_for,
    catalogue_of_host,
    get_host_to_change,
    get_model_to_change,
    hosts_visible_to,
    info_for,
    may_call,
    models_visible_to,
)
from tests.routing.conftest import labels_of

pytestmark = pytest.mark.django_db
NANO = 1_000_000_000


def test_outsider_gets_nothing_of_a_persons_own(
    alice: User, charlie: User, admin_user: User, add_model: Callable[..., Model]
) -> None:
    model = add_model("mine", owner=alice)
    assert get_host_to_change(alice, model.host_id) == model.host
    assert get_model_to_change(alice, model.id) == model
    for outsider in (charlie, admin_user):
        for get, row_id in (
            (get_host_to_change, model.host_id),
            (get_model_to_change, model.id),
        ):
            with pytest.raises(Http404):
                get(outsider, row_id)
        assert not hosts_visible_to(outsider)
        assert not models_visible_to(outsider)
        assert catalogue_for(outsider).models == ()


def test_shared_is_seen_by_all_and_changed_by_administrators(
    alice: User, admin_user: User, add_model: Callable[..., Model]
) -> None:
    model = add_model("shared")
    assert get_host_to_change(admin_user, model.host_id) == model.host
    assert get_model_to_change(admin_user, model.id) == model
    with pytest.raises(Http404):
        get_host_to_change(alice, model.host_id)
    with pytest.raises(Http404):
        get_model_to_change(alice, model.id)


def test_catalogue_takes_two_queries_and_holds_no_key(
    alice: User,
    add_model: Callable[..., Model],
    set_chain: Callable[..., None],
    django_assert_num_queries: Any,
) -> None:
    models = [add_model(f"m{n}", key="sk-canary") for n in range(5)]
    set_chain("chat", *models)
    with django_assert_num_queries(2):
        catalogue = catalogue_for(alice)
    assert labels_of(catalogue.shared_chains["chat"]) == [
        "m0", "m1", "m2", "m3", "m4",
    ]  # fmt: skip
    assert "canary" not in repr(catalogue)
    assert models[0].host.key_encrypted not in repr(catalogue)


def test_catalogue_leaves_out_what_cannot_be_called(
    alice: User,
    add_model: Callable[..., Model],
    set_chain: Callable[..., None],
    settings: Any,
) -> None:
    settings.MODEL_BACKENDS = {"scripted": settings.MODEL_BACKENDS["scripted"]}
    off = add_model("off", enabled=False)
    host_off = add_model("host-off")
    Host.objects.filter(id=host_off.host_id).update(enabled=False)
    other_type = add_model("vendor", type="claude_cli")
    on = add_model("on")
    set_chain("chat", off, host_off, other_type, on)
    catalogue = catalogue_for(alice)
    assert [model.label for model in catalogue.models] == ["on"]
    assert labels_of(catalogue.shared_chains["chat"]) == ["on"]


def test_own_models_and_chains_come_first(
    alice: User, bob: User, add_model: Callable[..., Model], set_chain: Any
) -> None:
    shared = add_model("same", host="shared")
    own = add_model("same", host="own", owner=alice)
    set_chain("chat", shared)
    set_chain("chat", own, shared, owner=alice)
    mine, theirs = catalogue_for(alice), catalogue_for(bob)
    found = mine.find("same")
    assert found is not None
    assert found.id == own.id
    mine_first = {model.id: model for model in mine.models}
    assert list(mine_first) == [own.id, shared.id]
    assert mine.own_chains["chat"] == tuple(mine_first.values())
    assert theirs.own_chains == {}
    assert theirs.shared_chains["chat"] == theirs.models == (mine_first[shared.id],)


def test_own_address_counts_only_while_it_is_allowed(
    alice: User, add_model: Callable[..., Model]
) -> None:
    add_model(
        "own", owner=alice, type="local_openai", base_url="https://api.example/v1"
    )
    assert catalogue_for(User.objects.get(id=alice.id)).models == ()
    hosts.allow_free_urls(alice, True, actor=None)
    assert len(catalogue_for(User.objects.get(id=alice.id)).models) == 1
    hosts.allow_free_urls(alice, False, actor=None)
    assert catalogue_for(User.objects.get(id=alice.id)).models == ()


def test_only_addresses_saved_by_administrators_are_trusted(
    alice: User, admin_user: User, add_model: Callable[..., Model]
) -> None:
    hosts.allow_free_urls(alice, True, actor=admin_user)
    url = {"type": "local_openai", "base_url": "http://10.0.0.5:11434/v1"}
    own = add_model("a", owner=alice, **url)
    assert not info_for(alice, own.host).trusted_origin
    of_admin = add_model("b", owner=admin_user, **url)
    assert info_for(admin_user, of_admin.host).trusted_origin
    assert not info_for(alice, own.host).trusted_origin
    shared = add_model("c", **url)
    assert info_for(alice, shared.host).trusted_origins == {"http://10.0.0.5:11434"}
    assert info_for(alice, own.host).trusted_origin
    models = {model.label: model for model in catalogue_for(alice).models}
    assert models["a"].host.trusted_origin
    Host.objects.filter(id=shared.host_id).update(base_url="http://10.0.0.5:1/v1")
    assert not catalogue_for(alice).models[0].host.trusted_origin


def test_prices_of_models(alice: User, add_model: Callable[..., Model]) -> None:
    prices = {"input_price_nano_usd_per_mtok": 3 * NANO}
    add_model("a", is_local=True, **prices)
    add_model("b", **prices)
    add_model("c")
    found = {model.label: model.prices for model in catalogue_for(alice).models}
    assert found["a"] == Prices.local()
    assert found["b"] == Prices(input=3 * NANO)
    assert found["c"] == Prices()


def test_role_settings_reach_the_catalogue(alice: User, settings: Any) -> None:
    settings.CORTEX_ROLE_MODELS = {"coder": "m"}
    settings.CORTEX_DEFAULT_TIER = 3
    catalogue = catalogue_for(alice)
    assert (catalogue.role_settings, catalogue.default_tier) == ({"coder": "m"}, 3)


# --- changes ------------------------------------------------------------


def host(**fields: Any) -> Host:
    """Return an unsaved host at a public address."""
    return Host(
        **{
            "name": "h",
            "type": "local_openai",
            "base_url": "https://api.example/v1",
            **fields,
        }
    )


def test_key_is_stored_encrypted(admin_user: User) -> None:
    saved = hosts.save_host(host(), key="sk-canary", actor=admin_user)
    assert "canary" not in saved.key_encrypted
    assert secrets.decrypt("host_key", saved.key_encrypted) == "sk-canary"
    assert "canary" not in str(list(AuditEvent.objects.values()))


def test_key_is_kept_replaced_and_removed(admin_user: User) -> None:
    saved = hosts.save_host(host(), key="one", actor=admin_user)
    first = saved.key_encrypted
    saved.base_url = "https://api.example/v2"
    assert hosts.save_host(saved, key=None, actor=admin_user).key_encrypted == first
    hosts.save_host(saved, key="two", actor=admin_user)
    assert secrets.decrypt("host_key", saved.key_encrypted) == "two"
    assert hosts.save_host(saved, key="", actor=admin_user).key_encrypted == ""


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/v1", "http://api.example/v1", "https://api.example:444/v1"],
)
def test_key_does_not_move_to_another_origin(admin_user: User, url: str) -> None:
    saved = hosts.save_host(host(), key="one", actor=admin_user)
    saved.base_url = url
    assert hosts.save_host(saved, key=None, actor=admin_user).key_encrypted == ""


def test_key_does_not_move_to_another_owner(admin_user: User, alice: User) -> None:
    saved = hosts.save_host(host(), key="one", actor=admin_user)
    saved.owner = alice
    assert hosts.save_host(saved, key=None, actor=admin_user).key_encrypted == ""
    saved.owner = None
    hosts.save_host(saved, key="two", actor=admin_user)
    assert secrets.decrypt("host_key", saved.key_encrypted) == "two"


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ"])
def test_odd_keys_are_refused(admin_user: User, key: str) -> None:
    with pytest.raises(ValidationError):
        hosts.save_host(host(), key=key, actor=admin_user)


def test_members_need_permission_and_a_public_address(
    alice: User, admin_user: User
) -> None:
    with pytest.raises(ValidationError, match="permission"):
        hosts.save_host(host(owner=alice), key=None, actor=alice)
    hosts.allow_free_urls(alice, True, actor=admin_user)
    alice = User.objects.get(id=alice.id)
    hosts.save_host(host(owner=alice), key=None, actor=alice)
    inside = {"owner": alice, "name": "b", "base_url": "http://127.0.0.1:11434/v1"}
    with pytest.raises(ValidationError, match="private network"):
        hosts.save_host(host(**inside), key=None, actor=alice)
    hosts.save_host(host(**{**inside, "owner": None}), key=None, actor=admin_user)
    hosts.save_host(host(**inside), key=None, actor=alice)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "builtin"},
        {"type": "telepathy"},
        {"base_url": ""},
        {"base_url": "ftp://x/"},
        {"base_url": "http://user:pass@x/v1"},
        {"base_url": "http://x/v1?key=1"},
    ],
)
def test_unusable_hosts_are_refused(admin_user: User, fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        hosts.save_host(host(**fields), key=None, actor=admin_user)


def vendor(type: str, **fields: Any) -> Host:
    """Return an unsaved host of a vendor, at its fixed address."""
    return host(**{"type": type, "base_url": "", **fields})


VENDORS = ("claude_cli", "gemini_cli", "gemini_api", "anthropic_api")


@pytest.mark.usefixtures("vendor_types")
@pytest.mark.parametrize("type", VENDORS)
def test_anybody_may_add_a_vendors_host_with_a_key(alice: User, type: str) -> None:
    saved = hosts.save_host(vendor(type, owner=alice), key="k", actor=alice)
    Model.objects.create(host=saved, label="m", name="m")
    (model,) = catalogue_for(alice).models
    assert model.host.billing == "metered"
    saved.base_url = "https://gateway.example"
    with pytest.raises(ValidationError) as caught:
        hosts.save_host(saved, key=None, actor=alice)
    assert set(caught.value.error_dict) == {"base_url"}


@pytest.mark.usefixtures("vendor_types")
def test_typed_address_of_a_vendors_host_needs_the_permission_for_ever(
    alice: User, admin_user: User
) -> None:
    hosts.allow_free_urls(alice, True, actor=admin_user)
    allowed = User.objects.get(id=alice.id)
    own = vendor("gemini_api", owner=alice, base_url="https://gateway.example")
    hosts.save_host(own, key="k", actor=allowed)
    Model.objects.create(host=own, label="m", name="m")
    assert len(catalogue_for(allowed).models) == 1
    hosts.allow_free_urls(alice, False, actor=admin_user)
    assert catalogue_for(User.objects.get(id=alice.id)).models == ()


@pytest.mark.usefixtures("vendor_types")
@pytest.mark.parametrize("type", ["claude_cli", "gemini_cli"])
def test_programs_are_pointed_elsewhere_for_shared_hosts_alone(
    alice: User, admin_user: User, type: str
) -> None:
    url = {"base_url": "http://127.0.0.1:9"}
    hosts.allow_free_urls(alice, True, actor=admin_user)
    for person in (User.objects.get(id=alice.id), admin_user):
        own = vendor(type, owner=person, **url)
        with pytest.raises(ValidationError, match="Only administrators"):
            hosts.save_host(own, key="k", actor=person)
        # Nor does a row that came some other way count.
        own.save()
        Model.objects.create(host=own, label="m", name="m")
        assert catalogue_for(person).models == ()
        assert catalogue_of_host(person, own.id).models == ()
    hosts.save_host(vendor(type, **url), key="k", actor=admin_user)


@pytest.mark.usefixtures("vendor_types")
@pytest.mark.parametrize("type", ["claude_cli", "gemini_cli"])
def test_login_by_hand_is_for_shared_hosts_alone(
    alice: User, admin_user: User, type: str
) -> None:
    for person in (alice, admin_user):
        own = vendor(type, owner=person, credential="login")
        with pytest.raises(ValidationError, match="whoever runs this machine"):
            hosts.save_host(own, key=None, actor=person)
        own.save()
        Model.objects.create(host=own, label="m", name="m")
        assert catalogue_for(person).models == ()
        assert not may_call(person, info_for(person, own))
    shared = hosts.save_host(
        vendor(type, credential="login"), key=None, actor=admin_user
    )
    assert hosts.enable_host(shared)
    Model.objects.create(host=shared, label="m", name="m")
    (model,) = catalogue_for(alice).models
    assert model.host.billing == "notional"


@pytest.mark.usefixtures("vendor_types")
def test_only_programs_know_other_credentials(admin_user: User) -> None:
    api = vendor("anthropic_api", credential="login")
    assert hosts.save_host(api, key="k", actor=admin_user).credential == "key"
    with pytest.raises(ValidationError, match="API key or a login"):
        token = vendor("gemini_cli", credential="token", name="g")
        hosts.save_host(token, key="k", actor=admin_user)


@pytest.mark.usefixtures("vendor_types")
@pytest.mark.parametrize("type", VENDORS)
def test_vendor_is_never_in_the_house(alice: User, admin_user: User, type: str) -> None:
    with pytest.raises(ValidationError, match="not in the house"):
        hosts.save_host(vendor(type, is_local=True), key="k", actor=admin_user)
    saved = hosts.save_host(vendor(type), key="k", actor=admin_user)
    Model.objects.create(host=saved, label="m", name="m")
    Host.objects.update(is_local=True)  # past the rules
    (model,) = catalogue_for(alice).models
    assert not model.host.is_local
    assert model.prices.input is None
    assert not info_for(alice, Host.objects.get()).is_local


@pytest.mark.usefixtures("vendor_types")
@pytest.mark.parametrize("change", [{"type": "anthropic_api"}, {"credential": "token"}])
def test_key_does_not_move_to_another_kind_of_account(
    admin_user: User, change: dict[str, str]
) -> None:
    saved = hosts.save_host(vendor("claude_cli"), key="one", actor=admin_user)
    for name, value in change.items():
        setattr(saved, name, value)
    assert hosts.save_host(saved, key=None, actor=admin_user).key_encrypted == ""


@pytest.mark.usefixtures("vendor_types")
@pytest.mark.parametrize(
    "name", ["--add-dir=/", "-p", "a b", "a\nb", "$(id)", "a;b", "../x", "", "ä"]
)
def test_program_is_never_given_an_option_as_a_model(
    admin_user: User, name: str
) -> None:
    saved = hosts.save_host(vendor("claude_cli"), key="k", actor=admin_user)
    with pytest.raises(ValidationError):
        hosts.save_model(Model(host=saved, name=name, label="m"), actor=None)
    for good in ("haiku", "claude-sonnet-5[1m]", "us.anthropic.claude:0", "m@1"):
        hosts.save_model(Model(host=saved, name=good, label=good), actor=None)


def test_switching_a_waiting_host_is_a_decision(admin_user: User) -> None:
    saved = hosts.save_host(host(enabled=False), key=None, actor=admin_user)
    Host.objects.update(auto_enable=True, flagged="No API key is stored yet.")
    saved.refresh_from_db()
    saved.name = "renamed"
    hosts.save_host(saved, key="k", actor=admin_user)
    assert (saved.auto_enable, saved.flagged) == (True, "")
    saved.enabled = True
    assert not hosts.save_host(saved, key=None, actor=admin_user).auto_enable
    assert not hosts.enable_host(saved)


def test_one_host_alone_counts_for_its_test(
    alice: User, bob: User, add_model: Callable[..., Model]
) -> None:
    mine, other = add_model("mine", owner=alice, host="h"), add_model("other")
    add_model("off", owner=alice, host="h", enabled=False)
    Host.objects.update(enabled=False)
    assert [m.label for m in catalogue_of_host(alice, mine.host_id).models] == ["mine"]
    assert [m.label for m in catalogue_of_host(bob, other.host_id).models] == ["other"]
    assert catalogue_of_host(bob, mine.host_id).models == ()
    assert catalogue_of_host(alice, 0).models == ()


def test_plain_ids_in_chains(alice: User, add_model: Callable[..., Model]) -> None:
    model = add_model("m")
    hosts.set_chain(alice, "chat", ["claude_cli", model, "builtin"])
    assert hosts.chain_of(alice, "chat") == ["claude_cli", model, "builtin"]
    hosts.add_to_chain(alice, "chat", "builtin", actor=alice)
    hosts.add_to_chain(alice, "chat", "gemini_api", actor=alice)
    assert hosts.chain_of(alice, "chat")[2:] == ["builtin", "gemini_api"]
    with pytest.raises(ValidationError, match="only once"):
        hosts.set_chain(alice, "chat", ["builtin", "builtin"])
    with pytest.raises(ValidationError, match="no such kind"):
        hosts.set_chain(alice, "chat", ["anthropic_api"])
    hosts.set_chain(None, "chat", ["claude_cli"])
    with pytest.raises(ValidationError, match="cannot be used"):
        hosts.save_model(
            Model(host=model.host, name="x", label="claude_cli"), actor=None
        )


def test_names_and_labels_are_unique_for_each_owner(
    alice: User, admin_user: User, add_model: Callable[..., Model]
) -> None:
    model = add_model("m", host="h")
    with pytest.raises(ValidationError):
        hosts.save_host(host(), key=None, actor=admin_user)
    with pytest.raises(ValidationError, match="label"):
        hosts.save_model(Model(host=model.host, name="other", label="m"), actor=None)
    with pytest.raises(ValidationError, match="already has"):
        hosts.save_model(Model(host=model.host, name="m", label="other"), actor=None)
    with pytest.raises(ValidationError, match="cannot be used"):
        hosts.save_model(Model(host=model.host, name="x", label="builtin"), actor=None)
    own = add_model("other", owner=alice, host="h")
    hosts.save_model(Model(host=own.host, name="m", label="m"), actor=None)


def test_what_others_saved_meanwhile_is_a_refusal(
    admin_user: User,
    add_model: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = add_model("m", host="h")
    monkeypatch.setattr(hosts, "check_host", lambda host, actor: None)
    with pytest.raises(ValidationError, match="at the same moment"):
        hosts.save_host(host(), key=None, actor=admin_user)
    monkeypatch.setattr(hosts, "check_model", lambda model: None)
    with pytest.raises(ValidationError, match="at the same moment"):
        hosts.save_model(Model(host=model.host, name="m", label="m"), actor=None)
    hosts.set_chain(None, "chat", [model])
    monkeypatch.setattr(QuerySet, "delete", lambda rows: (0, {}))
    with pytest.raises(ValidationError, match="at the same moment"):
        hosts.set_chain(None, "chat", [model])
    assert RoleSlot.objects.count() == 1


def test_chain_is_replaced_as_a_whole(
    alice: User, add_model: Callable[..., Model]
) -> None:
    models = [add_model(f"m{n}") for n in range(6)]
    hosts.set_chain(alice, "chat", models[:3])
    hosts.set_chain(alice, "chat", [models[2], models[0]])
    assert hosts.chain_of(alice, "chat") == [models[2], models[0]]
    with pytest.raises(ValidationError, match="at most 5"):
        hosts.set_chain(alice, "chat", models)
    with pytest.raises(ValidationError, match="only once"):
        hosts.set_chain(alice, "chat", [models[0], models[0]])
    hosts.set_chain(alice, "chat", [])
    assert not RoleSlot.objects.exists()


def test_chain_takes_only_models_that_its_owner_sees(
    alice: User, bob: User, add_model: Callable[..., Model]
) -> None:
    model = add_model("mine", owner=alice)
    with pytest.raises(ValidationError, match="no such model"):
        hosts.set_chain(bob, "chat", [model])
    with pytest.raises(ValidationError, match="shared models only"):
        hosts.set_chain(None, "chat", [model])


def test_deleted_host_leaves_the_chains(
    alice: User, add_model: Callable[..., Model]
) -> None:
    model = add_model("m")
    hosts.set_chain(None, "chat", [model])
    hosts.delete_host(model.host, actor=None)
    assert not RoleSlot.objects.exists()
    assert AuditEvent.objects.filter(event="host.deleted").exists()


def _log_in(host: Host) -> Path:
    """Leave what a login leaves, and return the host's folder."""
    folder = programs.config_folder("claude_cli", host.id)
    (folder / ".credentials.json").write_text('{"claudeAiOauth": {}}')
    return folder


@pytest.mark.usefixtures("vendor_types")
def test_host_waits_until_somebody_has_logged_in(
    admin_user: User, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    host = vendor("claude_cli", credential="login")
    hosts.save_host(host, key=None, actor=admin_user)
    host.refresh_from_db()
    waiting = (False, True, "Nobody has logged the program in for this host yet.")
    assert (host.enabled, host.auto_enable, host.flagged) == waiting
    host.enabled = True
    hosts.save_host(host, key=None, actor=admin_user)
    assert (host.enabled, host.auto_enable, host.flagged) == waiting
    _log_in(host)
    host.enabled = True
    hosts.save_host(host, key=None, actor=admin_user)
    assert (host.enabled, host.auto_enable) == (True, False)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("vendor_types")
def test_login_ends_with_its_host(
    admin_user: User, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    host = vendor("claude_cli", credential="login")
    hosts.save_host(host, key=None, actor=admin_user)
    folder = _log_in(host)
    with pytest.raises(OSError), transaction.atomic():
        hosts.delete_host(host, actor=admin_user)
        raise OSError
    assert folder.exists()
    host = Host.objects.get()
    hosts.save_host(host, key=None, actor=admin_user)
    assert folder.exists()
    host.credential = "key"
    hosts.save_host(host, key="k", actor=admin_user)
    assert not folder.exists()
    _log_in(host)
    hosts.delete_host(host, actor=admin_user)
    assert not folder.exists()


def test_models_and_chains_leave_events_without_texts(
    alice: User, add_model: Callable[..., Model]
) -> None:
    host = add_model("one", owner=alice).host
    model = hosts.save_model(Model(host=host, name="two", label="Two"), actor=alice)
    hosts.save_model(model, actor=alice)
    hosts.add_to_chain(alice, "chat", model, actor=alice)
    rows = AuditEvent.objects.order_by("id").values_list(
        "event", "actor_name", "subject", "detail"
    )
    assert list(rows) == [
        ("model.added", "alice", "Two", {"shared": False}),
        ("model.changed", "alice", "Two", {"shared": False}),
        ("chain.changed", "alice", "chat", {"shared": False, "models": 1}),
    ]
