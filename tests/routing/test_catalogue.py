"""Plain values of the registry: what a name means, what is left without a host."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from accounts.models import User
from ledger.types import Prices
from routing.catalogue import BUILTIN, Catalogue, HostInfo, ModelInfo, not_set_up
from routing.models import Host, RoleSlot
from routing.registry import catalogue_for, info_for
from routing.seeds import seed_registry
from tests.routing.conftest import labels_of


def model(
    label: str, host: HostInfo, tier: int = 1, tags: tuple[str, ...] = ()
) -> ModelInfo:
    """Return a model of 8,000 tokens."""
    return ModelInfo(1, label, label, host, 8000, 1000, tier, Prices(), tags)


CLAUDE = HostInfo(1, "Claude CLI", "claude_cli")
MINE = HostInfo(2, "mine", "claude_cli", owner_id=7)
API = HostInfo(3, "API", "gemini_api")
SERVER = HostInfo(4, "server", "local_openai")


def test_plain_id_is_the_tier_else_above_else_below() -> None:
    one, three = model("one", CLAUDE, 1), model("three", CLAUDE, 3)
    both = Catalogue((one, three))
    assert [both.plain("claude_cli", tier) for tier in (1, 2, 3)] == [one, three, three]
    assert Catalogue((one,)).plain("claude_cli", 3) is one
    assert both.plain("gemini_api", 1) is None
    assert both.plain("builtin", 3) is BUILTIN


def test_plain_id_prefers_ones_own_and_a_host_without_complaint() -> None:
    shared, own = model("shared", CLAUDE), model("own", MINE)
    flagged = model("flagged", replace(CLAUDE, flagged="It refuses the key."))
    assert Catalogue((shared, own)).plain("claude_cli", 1) is own
    assert Catalogue((flagged, shared)).plain("claude_cli", 1) is shared
    own_three = model("own-3", MINE, 3)
    assert Catalogue((own_three, shared)).plain("claude_cli", 1) is shared


def test_plain_id_goes_before_a_label_and_uses_the_default_tier() -> None:
    one, two = model("gemini_api", CLAUDE, 1), model("flash", API, 2)
    low = model("lite", API, 1)
    catalogue = Catalogue((one, low, two), default_tier=2)
    assert catalogue.find("gemini_api") is two
    assert catalogue.find("gemini_api", 1) is low
    assert catalogue.find("flash") is two
    assert Catalogue((one,)).find("gemini_api") is None
    assert not_set_up("gemini_api").startswith("Gemini API is not set up:")


def test_abilities_are_tags_that_the_router_knows() -> None:
    tags = ("tools", "images", "german")
    assert model("m", API, tags=tags).abilities == {"tools", "images"}
    assert model("m", SERVER, tags=tags).abilities == {"tools", "images"}
    assert model("m", CLAUDE, tags=tags).abilities == set()


def test_all_models_of_the_vendors_apis_can_call_tools() -> None:
    assert model("m", API).abilities == {"tools"}
    assert model("m", replace(API, type="anthropic_api")).abilities == {"tools"}
    for host in (SERVER, CLAUDE, replace(CLAUDE, type="gemini_cli")):
        assert model("m", host).abilities == set()
    assert BUILTIN.abilities == set()


@pytest.mark.django_db
@pytest.mark.usefixtures("vendor_types")
def test_plain_ids_stand_in_chains_in_their_order(alice: User) -> None:
    seed_registry()
    Host.objects.update(enabled=True)
    pro = Host.objects.get(type="gemini_api").models.get(tier=3)
    RoleSlot.objects.create(role="chat", position=2, plain_id="builtin")
    RoleSlot.objects.create(role="chat", position=0, plain_id="claude_cli")
    RoleSlot.objects.create(role="chat", position=1, model=pro)
    chain = catalogue_for(alice).shared_chains["chat"]
    assert labels_of(chain) == ["claude_cli", pro.label, "builtin"]


@pytest.mark.django_db
@pytest.mark.usefixtures("vendor_types")
def test_cool_down_is_a_time_with_a_zone_on_every_database(alice: User) -> None:
    seed_registry()
    until = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    Host.objects.update(enabled=True, cooling_until=until)
    host = catalogue_for(alice).models[0].host
    assert host.cooling_until == until
    Host.objects.update(cooling_until=until.replace(microsecond=0))
    assert catalogue_for(alice).models[0].host.cooling_until == until.replace(
        microsecond=0
    )
    assert info_for(alice, Host.objects.get(name=host.name)).cooling_until is not None
