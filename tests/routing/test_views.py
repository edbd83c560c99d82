"""The pages under ``/settings/models/`` and the admin, as a browser sends forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import AuditEvent, User
from accounts.secrets import decrypt
from ledger.models import LedgerEntry
from ledger.types import Prices
from routing import hosts
from routing.models import Host, Model, RoleSlot
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/settings/models/"
ClientFor = Callable[..., Client]


def host_fields(**fields: str) -> dict[str, str]:
    """Return what the form for a host sends."""
    return {
        "name": "box",
        "type": "local_openai",
        "base_url": "http://127.0.0.1:11434/v1",
        "key": "",
        "enabled": "on",
        **fields,
    }


def vendor_fields(type: str, **fields: str) -> dict[str, str]:
    """Return what the form for a vendor's host sends."""
    return {"name": "mine", "type": type, "key": "", "enabled": "on", **fields}


def model_fields(**fields: str) -> dict[str, str]:
    """Return what the form for a model sends."""
    return {
        "name": "echo",
        "label": "",
        "tier": "2",
        "context_tokens": "4096",
        "max_output_tokens": "256",
        "tags": "",
        "enabled": "on",
        **fields,
    }


def text(response: Any) -> str:
    """Return the page."""
    return str(response.content.decode())


def test_strangers_are_sent_to_sign_in(client: Client) -> None:
    for path in ("", "hosts/add/", "hosts/1/", "models/1/", "chains/own/chat/"):
        response = client.get(URL + path)
        assert response.status_code == 302
        assert "/account/login/" in response["Location"]


def test_administrator_sets_up_a_host_a_model_and_a_test(
    admin_user: User, client_for: ClientFor, upstream: Upstream
) -> None:
    upstream.require_key("sk-canary")
    upstream.list_models("echo", "other-model")
    client = client_for(admin_user)
    fields = host_fields(
        base_url=upstream.base_url + "/", key="sk-canary", shared="on", is_local="on"
    )
    assert client.post(URL + "hosts/add/", fields).status_code == 302
    host = Host.objects.get()
    assert (host.owner, host.base_url, host.is_local) == (None, upstream.base_url, True)
    offered = text(client.post(f"{URL}hosts/{host.id}/models/list/"))
    assert '<option value="other-model">' in offered
    assert f'action="{URL}hosts/{host.id}/models/add/"' in offered
    added = client.post(
        f"{URL}hosts/{host.id}/models/add/", model_fields(add_to_chat="on")
    )
    assert added.status_code == 302
    assert Model.objects.get().label == "echo"
    assert RoleSlot.objects.get().owner is None
    tested = text(client.post(f"{URL}hosts/{host.id}/test/"))
    assert "box works" in tested
    assert "other-model" in tested
    assert LedgerEntry.objects.filter(kind="settle", role="test").count() == 1
    page = text(client.get(URL))
    assert "echo" in page
    for shown in (page, tested, text(client.get(f"{URL}hosts/{host.id}/"))):
        assert "canary" not in shown
        assert host.key_encrypted not in shown


@pytest.mark.parametrize(
    ("prepare", "step"),
    [
        (lambda host, upstream: upstream.require_key("other"), "key"),
        (lambda host, upstream: _move(host, "http://127.0.0.1:9/v1"), "connection"),
        (lambda host, upstream: _rename("status-500"), "answer"),
    ],
)
def test_test_names_the_failing_step(
    prepare: Callable[[Host, Upstream], None],
    step: str,
    admin_user: User,
    client_for: ClientFor,
    upstream: Upstream,
    add_model: Callable[..., Model],
) -> None:
    model = add_model("echo", type="local_openai", base_url=upstream.base_url, key="k")
    prepare(model.host, upstream)
    page = text(client_for(admin_user).post(f"{URL}hosts/{model.host_id}/test/"))
    assert f"the step “{step}” failed" in page


def test_host_is_called_only_while_its_owner_may_choose_addresses(
    alice: User, client_for: ClientFor, upstream: Upstream, add_model: Any
) -> None:
    model = add_model(
        "echo", owner=alice, type="local_openai", base_url=upstream.base_url
    )
    client = client_for(alice)
    for path in ("test/", "models/list/"):
        page = text(client.post(f"{URL}hosts/{model.host_id}/{path}"))
        assert "need the permission of an administrator" in page
    assert upstream.calls == []


def test_hosts_are_asked_for_their_models_by_post_alone(
    admin_user: User, client_for: ClientFor, upstream: Upstream, add_model: Any
) -> None:
    model = add_model("echo", type="local_openai", base_url=upstream.base_url)
    url = f"{URL}hosts/{model.host_id}/models/"
    client = client_for(admin_user)
    assert client.get(url + "list/").status_code == 405
    assert client.get(url + "add/?list=1").status_code == 200
    assert upstream.calls == []


def _move(host: Host, url: str) -> None:
    Host.objects.filter(id=host.id).update(base_url=url)


def _rename(name: str) -> None:
    Model.objects.update(name=name)


def test_host_without_models_is_tested_without_a_call(
    admin_user: User, client_for: ClientFor, upstream: Upstream
) -> None:
    host = Host.objects.create(
        name="box", type="local_openai", base_url=upstream.base_url
    )
    page = text(client_for(admin_user).post(f"{URL}hosts/{host.id}/test/"))
    assert "box works" in page
    assert "Not tried" in page
    assert upstream.completions == []


def test_refused_form_keeps_what_was_typed_but_the_key(
    admin_user: User, client_for: ClientFor
) -> None:
    fields = host_fields(base_url="ftp://nowhere/", key="sk-canary", name="my box")
    response = client_for(admin_user).post(URL + "hosts/add/", fields)
    assert response.status_code == 400
    assert "my box" in text(response)
    assert "must begin with http" in text(response)
    assert "canary" not in text(response)
    assert not Host.objects.exists()


def test_empty_key_field_keeps_the_key(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    host = add_model("m", type="local_openai", base_url="http://box:1/v1", key="k").host
    client = client_for(admin_user)
    fields = host_fields(base_url="http://box:1/v1", name="renamed")
    assert client.post(f"{URL}hosts/{host.id}/", fields).status_code == 302
    host.refresh_from_db()
    assert (host.name, decrypt("host_key", host.key_encrypted)) == ("renamed", "k")
    client.post(f"{URL}hosts/{host.id}/", {**fields, "remove_key": "on"})
    host.refresh_from_db()
    assert host.key_encrypted == ""


def test_member_without_permission_cannot_choose_an_address(
    alice: User, client_for: ClientFor
) -> None:
    client = client_for(alice)
    for response in (
        client.get(URL + "hosts/add/?type=local_openai"),
        client.post(URL + "hosts/add/", host_fields()),
    ):
        assert response.status_code == 403
        assert "permission of an administrator" in text(response)
    kinds = text(client.get(URL + "hosts/add/"))
    assert "?type=gemini_api" in kinds
    assert "?type=local_openai" not in kinds
    typed = vendor_fields("gemini_api", base_url="https://gateway.example")
    assert client.post(URL + "hosts/add/", typed).status_code == 302
    assert Host.objects.get().base_url == ""


def test_permission_is_given_and_taken_on_the_page(
    alice: User, admin_user: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    client.post(URL + "people/", {"people": [alice.id]})
    public = host_fields(base_url="https://api.example/v1")
    mine = client_for(alice)
    assert mine.post(URL + "hosts/add/", public).status_code == 302
    assert Host.objects.get().owner == alice
    shared = {**public, "name": "b", "shared": "on"}
    assert mine.post(URL + "hosts/add/", shared).status_code == 302
    assert Host.objects.get(name="b").owner == alice
    inside = mine.post(URL + "hosts/add/", host_fields(name="c"))
    assert inside.status_code == 400
    assert "private network" in text(inside)
    client.post(URL + "people/", {})
    assert mine.post(URL + "hosts/add/", {**public, "name": "d"}).status_code == 403
    assert mine.post(URL + "people/", {"people": [alice.id]}).status_code == 404


def test_outsiders_reach_nothing_of_a_persons_own(
    alice: User, charlie: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("of-alice", owner=alice)
    outsider = client_for(charlie)
    pages = [
        f"hosts/{model.host_id}/",
        f"hosts/{model.host_id}/delete/",
        f"hosts/{model.host_id}/models/add/",
        f"models/{model.id}/",
        f"models/{model.id}/delete/",
    ]
    for path in pages:
        assert client_for(alice).get(URL + path).status_code == 200
        assert outsider.get(URL + path).status_code == 404
        assert outsider.post(URL + path, {"name": "x"}).status_code == 404
    assert outsider.post(f"{URL}hosts/{model.host_id}/test/").status_code == 404
    assert "of-alice" not in text(outsider.get(URL))


def test_members_see_shared_hosts_without_address_and_cannot_change_them(
    alice: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("m", base_url="http://secret-box:1/v1", key="k")
    client = client_for(alice)
    page = text(client.get(URL))
    assert "host of m" in page
    assert "secret-box" not in page
    for path in (f"hosts/{model.host_id}/", f"models/{model.id}/"):
        assert client.get(URL + path).status_code == 404
    assert client.get(URL + "chains/shared/chat/").status_code == 404
    assert client.post(URL + "chains/shared/chat/", {}).status_code == 404


def test_chain_is_chosen_reordered_and_removed(
    alice: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    one, two = add_model("one"), add_model("two")
    client, url = client_for(alice), URL + "chains/own/chat/"
    assert client.get(url).status_code == 200
    client.post(url, {"place_0": one.id, "place_3": two.id})
    assert _chain(alice) == ["one", "two"]
    client.post(url + "move/", {"up": two.id})
    assert _chain(alice) == ["two", "one"]
    client.post(url + "move/", {"up": two.id})
    assert _chain(alice) == ["two", "one"]
    double = client.post(url, {"place_0": one.id, "place_1": one.id})
    assert double.status_code == 400
    assert "only once" in text(double)
    client.post(url, {})
    assert _chain(alice) == []
    assert client.get(URL + "chains/own/nonsense/").status_code == 404


def _chain(user: User) -> list[str]:
    rows = hosts.chain_of(user, "chat")
    return [row if isinstance(row, str) else row.label for row in rows]


def test_chain_with_a_model_that_is_gone_cannot_be_moved(
    alice: User, bob: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    one, two = add_model("one"), add_model("two")
    hosts.set_chain(alice, "chat", [one, two])
    Host.objects.filter(id=one.host_id).update(owner=bob)
    url = URL + "chains/own/chat/move/"
    moved = client_for(alice).post(url, {"up": two.id}, follow=True)
    assert "You have no such model" in text(moved)
    assert _chain(alice) == ["one", "two"]


def test_chain_offers_no_foreign_models(
    alice: User, bob: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("of-alice", owner=alice)
    client, url = client_for(bob), URL + "chains/own/chat/"
    assert "of-alice" not in text(client.get(url))
    assert client.post(url, {"place_0": model.id}).status_code == 400
    assert _chain(bob) == []


def test_model_is_changed_priced_and_deleted(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("m")
    client, url = client_for(admin_user), f"{URL}models/{model.id}/"
    fields = model_fields(
        name="m",
        label="M",
        tags="fast, small",
        input_price_nano_usd_per_mtok="0.15",
        output_price_nano_usd_per_mtok="2",
    )
    assert client.post(url, fields).status_code == 302
    model.refresh_from_db()
    assert (model.label, model.tags, model.tier) == ("M", ["fast", "small"], 2)
    assert model.input_price_nano_usd_per_mtok == 150_000_000
    assert model.output_price_nano_usd_per_mtok == 2_000_000_000
    assert model.cache_read_price_nano_usd_per_mtok is None
    assert 'value="0.15"' in text(client.get(url))
    for wrong in ({"context_tokens": "1"}, {"tier": "4"}, {"name": ""}):
        assert client.post(url, {**fields, **wrong}).status_code == 400
    assert client.get(url + "delete/").status_code == 200
    assert Model.objects.exists()
    client.post(url + "delete/")
    assert not Model.objects.exists()
    event = AuditEvent.objects.get(event="model.deleted")
    assert (event.actor_name, event.subject) == ("dora", "M")


def test_host_is_deleted_only_by_its_name(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    host = add_model("m", host="box").host
    client, url = client_for(admin_user), f"{URL}hosts/{host.id}/delete/"
    refused = client.post(url, {"name": "bo"})
    assert refused.status_code == 400
    assert "nothing was deleted" in text(refused)
    client.post(url, {"name": "box"})
    assert not Host.objects.exists()


def test_overview_takes_a_bounded_number_of_queries(
    alice: User,
    client_for: ClientFor,
    add_model: Callable[..., Model],
    django_assert_max_num_queries: Any,
) -> None:
    client = client_for(alice)
    for number in range(20):
        add_model(f"m{number}")
    client.get(URL)
    with django_assert_max_num_queries(16):
        client.get(URL)


def test_texts_are_escaped(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    add_model("<script>1</script>", host="<img src=x>", label="<b>{{ 7 }}</b>")
    page = text(client_for(admin_user).get(URL))
    assert "<script>1" not in page
    assert "<img src=x" not in page
    assert "&lt;b&gt;{{ 7 }}" in page


# --- vendors ----------------------------------------------------------------------


@pytest.mark.usefixtures("vendor_types")
def test_member_adds_a_vendors_host_with_its_usual_models(
    alice: User, client_for: ClientFor
) -> None:
    client, add = client_for(alice), URL + "hosts/add/"
    form = text(client.get(add + "?type=claude_cli"))
    assert 'name="base_url"' not in form
    assert 'name="is_local"' not in form
    assert 'value="login"' not in form
    assert 'value="token"' in form
    fields = vendor_fields(
        "claude_cli", credential="token", key="sk-canary", usual_models="on"
    )
    page = text(client.post(add, fields, follow=True))
    assert "mine is saved." in page
    host = Host.objects.get()
    assert (host.owner, host.credential) == (alice, "token")
    labels = host.models.order_by("tier").values_list("label", flat=True)
    assert list(labels) == ["claude_cli:haiku", "claude_cli:sonnet", "claude_cli:opus"]
    assert "canary" not in page
    edit = text(client.get(f"{URL}hosts/{host.id}/"))
    assert "usual models" not in edit
    assert "canary" not in edit
    # A token is no API key, so changing one to the other takes a new one.
    changed = vendor_fields("claude_cli", credential="key")
    page = text(client.post(f"{URL}hosts/{host.id}/", changed, follow=True))
    assert "Its key was given up" in page
    assert Host.objects.get().key_encrypted == ""


@pytest.mark.usefixtures("vendor_types")
def test_member_cannot_borrow_the_login_of_the_machine(
    alice: User, client_for: ClientFor
) -> None:
    fields = vendor_fields("claude_cli", credential="login")
    refused = client_for(alice).post(URL + "hosts/add/", fields)
    assert refused.status_code == 400
    assert not Host.objects.exists()


@pytest.mark.usefixtures("vendor_types")
def test_administrator_is_shown_how_to_log_in(
    admin_user: User, alice: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    own = client.post(
        URL + "hosts/add/", vendor_fields("claude_cli", credential="login")
    )
    assert own.status_code == 400
    assert "belongs to whoever runs this machine" in text(own)
    fields = vendor_fields("claude_cli", credential="login", shared="on")
    page = text(client.post(URL + "hosts/add/", fields, follow=True))
    host = Host.objects.get()
    assert f"host-{host.id} " in page
    assert "CLAUDE_CONFIG_DIR=" in page
    assert client_for(alice).get(f"{URL}hosts/{host.id}/").status_code == 404


@pytest.mark.usefixtures("vendor_types")
def test_host_without_a_key_is_saved_with_a_hint(
    alice: User, client_for: ClientFor
) -> None:
    fields = vendor_fields("gemini_api")
    page = text(client_for(alice).post(URL + "hosts/add/", fields, follow=True))
    assert "It has no key yet. Enter one." in page


def test_unknown_kind_shows_the_kinds_again(
    admin_user: User, client_for: ClientFor
) -> None:
    client, add = client_for(admin_user), URL + "hosts/add/"
    for response in (
        client.post(add, {"name": "x"}),
        client.get(add + "?type=telepathy"),
        client.post(add, host_fields(type="builtin")),
    ):
        assert response.status_code == 400
        assert "?type=local_openai" in text(response)
    assert client.get(add).status_code == 200


@pytest.mark.usefixtures("vendor_types")
def test_kind_of_a_host_does_not_change(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    host = add_model("m", type="gemini_api", key="k").host
    fields = vendor_fields("anthropic_api")
    client_for(admin_user).post(f"{URL}hosts/{host.id}/", fields)
    host.refresh_from_db()
    assert (host.name, host.type, bool(host.key_encrypted)) == (
        "mine", "gemini_api", True,
    )  # fmt: skip


@pytest.mark.usefixtures("vendor_types")
def test_model_comes_with_what_is_known_of_it(
    admin_user: User,
    client_for: ClientFor,
    add_model: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = add_model("m", type="gemini_api", key="k").host
    client, url = client_for(admin_user), f"{URL}hosts/{host.id}/models/add/"
    known = {"gemini-2.5-pro": Prices(1_250_000_000, 10_000_000_000)}
    monkeypatch.setattr(hosts, "price_for", lambda _, name: known.get(name))
    form = client.get(url, {"name": "gemini-2.5-pro"}).context["form"]
    assert form["tier"].value() == 3
    assert form["context_tokens"].value() == 1_048_576
    assert form["input_price_nano_usd_per_mtok"].value() == "1.25"
    assert form["cache_read_price_nano_usd_per_mtok"].value() is None
    told = client.get(url, {"name": "gemini-2.5-pro", "context": "65536"})
    assert told.context["form"]["context_tokens"].value() == 65_536
    unknown = client.get(url, {"name": "new-model", "context": "nonsense"})
    assert "list prices do not know this model" in text(unknown)
    saved = client.post(url, model_fields(name="new-model"), follow=True)
    assert "Its price is not known" in text(saved)


def test_what_a_model_can_do_is_ticked(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("m", tags=["images", "german"])
    client, url = client_for(admin_user), f"{URL}models/{model.id}/"
    form = client.get(url).context["form"]
    assert form["abilities"].value() == ["images"]
    assert form["tags"].value() == "german"
    fields = model_fields(name="m", abilities="tools", tags="images, fast")
    client.post(url, fields)
    model.refresh_from_db()
    assert model.tags == ["tools", "fast"]
    assert client.post(url, {**fields, "abilities": "flying"}).status_code == 400


@pytest.mark.usefixtures("vendor_types")
def test_programs_have_no_abilities_to_tick(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("m", type="claude_cli")
    client = client_for(admin_user)
    assert "abilities" not in text(client.get(f"{URL}models/{model.id}/"))


@pytest.mark.usefixtures("vendor_types")
def test_models_of_vendors_apis_call_tools_without_being_told(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("m", type="gemini_api")
    page = client_for(admin_user).get(f"{URL}models/{model.id}/")
    assert [name for name, _ in page.context["form"]["abilities"].field.choices] == [
        "images"
    ]


@pytest.mark.usefixtures("vendor_types")
def test_chain_takes_plain_ids_and_says_what_they_mean(
    alice: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("haiku", type="claude_cli")
    client, url = client_for(alice), URL + "chains/own/chat/"
    client.post(url, {"place_0": "claude_cli", "place_1": "builtin"})
    assert hosts.chain_of(alice, "chat") == ["claude_cli", "builtin"]
    page = text(client.get(url))
    assert "claude_cli <span" in page
    assert "(now haiku)" in page
    assert client.get(url).context["form"]["place_1"].value() == "builtin"
    client.post(url + "move/", {"up": "builtin"})
    assert hosts.chain_of(alice, "chat") == ["builtin", "claude_cli"]
    Host.objects.update(enabled=False)
    assert "Claude CLI is not set up" in text(client.get(url))
    hosts.set_chain(alice, "chat", [model])
    assert "not in use, so skipped" in text(client.get(url))
    refused = client.post(url, {"place_0": "anthropic_api"})
    assert refused.status_code == 400


def test_waiting_host_says_what_it_waits_for(
    alice: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    add_model("m")
    Host.objects.update(enabled=False, auto_enable=True, flagged="No key yet.")
    page = text(client_for(alice).get(URL))
    assert "Waits until it can answer" in page
    assert "No key yet." in page


# --- admin ------------------------------------------------------------------------


def test_admin_takes_a_key_and_never_shows_it(
    admin_user: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    fields = host_fields(key="sk-canary", base_url="http://box:1/v1")
    added = client.post("/admin/routing/host/add/", fields)
    assert added.status_code == 302
    host = Host.objects.get()
    assert decrypt("host_key", host.key_encrypted) == "sk-canary"
    change = f"/admin/routing/host/{host.id}/change/"
    client.post(change, {**fields, "key": "", "name": "renamed"})
    host.refresh_from_db()
    assert host.name == "renamed"
    assert decrypt("host_key", host.key_encrypted) == "sk-canary"
    pages = [change, f"/admin/routing/host/{host.id}/history/", "/admin/routing/host/"]
    for page in pages:
        shown = text(client.get(page))
        assert "canary" not in shown
        assert host.key_encrypted not in shown
    assert "canary" not in str(list(LogEntry.objects.values()))
    refused = client.post(change, {**fields, "base_url": "ftp://x/"})
    assert "must begin with http" in text(refused)


def test_admin_lists_and_changes_models_and_chains(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    model = add_model("m")
    hosts.set_chain(None, "chat", [model])
    client = client_for(admin_user)
    for path in ("model/", "roleslot/", f"model/{model.id}/change/", "roleslot/add/"):
        assert client.get("/admin/routing/" + path).status_code == 200
    fields = {
        "host": model.host_id,
        "label": "builtin",
        "name": "m",
        "context_tokens": 4096,
        "max_output_tokens": 100,
        "tier": 1,
        "tags": "[]",
    }
    change = f"/admin/routing/model/{model.id}/change/"
    assert "cannot be used" in text(client.post(change, fields))
    assert client.post(change, {**fields, "label": "M"}).status_code == 302
    model.refresh_from_db()
    assert model.label == "M"


def test_admin_deletes_models_with_an_audit_event(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    one, two = add_model("one"), add_model("two")
    client = client_for(admin_user)
    client.post(f"/admin/routing/model/{one.id}/delete/", {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": two.id, "post": "yes"}
    client.post("/admin/routing/model/", chosen)
    assert not Model.objects.exists()
    events = AuditEvent.objects.filter(event="model.deleted").order_by("id")
    assert [event.subject for event in events] == ["one", "two"]


def test_admin_deletes_hosts_with_an_audit_event(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    one, two = add_model("one").host, add_model("two").host
    client = client_for(admin_user)
    client.post(f"/admin/routing/host/{one.id}/delete/", {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": two.id, "post": "yes"}
    client.post("/admin/routing/host/", chosen)
    assert not Host.objects.exists()
    assert AuditEvent.objects.filter(event="host.deleted").count() == 2


def test_admin_tests_hosts_and_leaves_those_of_others(
    admin_user: User, alice: User, client_for: ClientFor, upstream: Upstream
) -> None:
    url = {"type": "local_openai", "base_url": upstream.base_url}
    shared = Host.objects.create(name="box", enabled=False, auto_enable=True, **url)
    Model.objects.create(host=shared, label="echo", name="echo")
    broken = Host.objects.create(
        name="broken", type="local_openai", base_url="http://127.0.0.1:9/v1"
    )
    hers = Host.objects.create(name="hers", owner=alice, **url)
    client = client_for(admin_user)
    chosen = [shared.id, broken.id, hers.id]
    action = {"action": "test_hosts", "_selected_action": chosen}
    page = text(client.post("/admin/routing/host/", action, follow=True))
    assert "Box works and is in use from now on." in page
    assert "Broken: the step “connection” failed" in page
    assert "Hers belongs to alice" in page
    assert len(upstream.completions) == 1


def test_admin_keeps_the_rules_of_credentials(
    admin_user: User, alice: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    fields = vendor_fields("claude_cli", credential="login", base_url="")
    add = "/admin/routing/host/add/"
    refused = client.post(add, {**fields, "owner": alice.id})
    assert "belongs to whoever runs this machine" in text(refused)
    assert client.post(add, fields).status_code == 302
    assert Host.objects.get().credential == "login"


def test_admin_shows_a_refused_key_in_the_form(
    admin_user: User, client_for: ClientFor
) -> None:
    client, add = client_for(admin_user), "/admin/routing/host/add/"
    refused = client.post(add, host_fields(key="sk canary"))
    assert refused.status_code == 200
    assert "A key has no spaces or special characters." in text(refused)
    assert "canary" not in text(refused)
    assert not Host.objects.exists()


def test_admin_shows_what_others_did_meanwhile_in_the_form(
    admin_user: User,
    client_for: ClientFor,
    add_model: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meanwhile(*arguments: Any, **named: Any) -> None:
        raise ValidationError(hosts.MEANWHILE)

    client, model = client_for(admin_user), add_model("m")
    monkeypatch.setattr(hosts, "save_host", meanwhile)
    monkeypatch.setattr(hosts, "save_model", meanwhile)
    refused = client.post("/admin/routing/host/add/", host_fields(name="typed"))
    assert hosts.MEANWHILE in text(refused)
    assert 'value="typed"' in text(refused)
    fields = {**model_fields(label="typed", tags="[]"), "host": str(model.host_id)}
    refused = client.post(f"/admin/routing/model/{model.id}/change/", fields)
    assert hosts.MEANWHILE in text(refused)
    assert 'value="typed"' in text(refused)
    assert not LogEntry.objects.exists()


def test_admin_notes_changes_of_models_and_chains(
    admin_user: User, client_for: ClientFor, add_model: Callable[..., Model]
) -> None:
    client, model = client_for(admin_user), add_model("m")
    fields = {**model_fields(label="M", tags="[]"), "host": str(model.host_id)}
    client.post(f"/admin/routing/model/{model.id}/change/", fields)
    place = {"role": "chat", "position": "0", "model": model.id}
    client.post("/admin/routing/roleslot/add/", place)
    slot = RoleSlot.objects.get()
    client.post(f"/admin/routing/roleslot/{slot.id}/delete/", {"post": "yes"})
    events = AuditEvent.objects.order_by("id").values_list("event", "subject")
    assert list(events)[-3:] == [
        ("model.changed", "M"), ("chain.changed", "chat"), ("chain.changed", "chat"),
    ]  # fmt: skip


@pytest.mark.usefixtures("vendor_types")
def test_deleting_a_host_says_that_its_login_goes_too(
    admin_user: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    for credential, shown in (("login", True), ("key", False)):
        host = Host.objects.create(
            name=credential, type="claude_cli", credential=credential
        )
        page = text(client.get(f"{URL}hosts/{host.id}/delete/"))
        assert ("the login that its program keeps" in page) is shown


@pytest.mark.usefixtures("vendor_types")
def test_host_to_log_in_waits_for_it(admin_user: User, client_for: ClientFor) -> None:
    fields = vendor_fields("claude_cli", credential="login", shared="on")
    client = client_for(admin_user)
    page = text(client.post(URL + "hosts/add/", fields, follow=True))
    assert "It goes in use as soon as somebody has logged its program in." in page
    assert not Host.objects.get().enabled


def test_saving_a_host_hints_at_the_house(
    admin_user: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    saved = client.post(URL + "hosts/add/", host_fields(), follow=True)
    assert "looks as if it were in the house" in text(saved)
    fields = host_fields(name="far", base_url="https://api.example/v1")
    saved = client.post(URL + "hosts/add/", fields, follow=True)
    assert "looks as if" not in text(saved)


def test_admin_offers_only_types_that_can_be_called(
    admin_user: User, client_for: ClientFor, settings: Any
) -> None:
    client = client_for(admin_user)
    add, one = "/admin/routing/host/add/", Host.objects.create(name="a", type="builtin")
    assert _offered(client, add) == set(settings.MODEL_BACKENDS)
    kept = {name: settings.MODEL_BACKENDS[name] for name in ("builtin", "local_openai")}
    settings.MODEL_BACKENDS = kept
    assert _offered(client, add) == {"builtin", "local_openai"}
    change = f"/admin/routing/host/{one.id}/change/"
    assert _offered(client, change) == {"builtin", "local_openai"}
    # The type of a host that can be called no longer is not changed unasked.
    Host.objects.update(type="scripted")
    assert _offered(client, change) == {"builtin", "local_openai", "scripted"}


def _offered(client: Client, path: str) -> set[str]:
    form = client.get(path).context["adminform"].form
    return {value for value, _ in form.fields["type"].choices}
