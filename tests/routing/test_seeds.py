"""The shared hosts that every installation begins with."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps

from accounts.models import User
from routing.catalogue import PLAIN_IDS
from routing.models import Host, Model
from routing.registry import catalogue_for
from routing.seeds import seed_registry

pytestmark = pytest.mark.django_db


def test_seeds_are_shared_not_in_use_and_wait_to_answer(alice: User) -> None:
    assert seed_registry() == ["Claude CLI", "Gemini CLI", "Gemini API"]
    found = Host.objects.filter(owner=None).values_list(
        "enabled", "auto_enable", "is_local"
    )
    assert list(found) == [(False, True, False)] * 3
    assert catalogue_for(alice).models == ()


def test_each_type_has_a_model_of_every_tier() -> None:
    seed_registry()
    rows = Model.objects.order_by("host__type", "tier").values_list("label", "tier")
    assert list(rows) == [
        ("claude_cli:haiku", 1), ("claude_cli:sonnet", 2), ("claude_cli:opus", 3),
        ("gemini_api:flash-lite", 1), ("gemini_api:flash", 2), ("gemini_api:pro", 3),
        ("gemini_cli:flash-lite", 1), ("gemini_cli:flash", 2), ("gemini_cli:pro", 3),
    ]  # fmt: skip


def test_a_second_run_adds_nothing() -> None:
    seed_registry()
    before = list(Model.objects.values())
    assert seed_registry() == []
    assert list(Model.objects.values()) == before


def test_what_is_set_up_already_stays_as_it_is() -> None:
    host = Host.objects.create(name="Work", type="claude_cli")
    Model.objects.create(host=host, label="gemini_cli:pro", name="x")
    Host.objects.create(name="Gemini API", type="local_openai")
    assert seed_registry() == ["Gemini CLI"]
    assert list(host.models.values_list("label", flat=True)) == ["gemini_cli:pro"]
    seeded = Model.objects.filter(host__name="Gemini CLI").order_by("tier")
    assert [model.label for model in seeded] == [
        "gemini_cli:flash-lite", "gemini_cli:flash", "Gemini CLI:pro",
    ]  # fmt: skip


def test_the_migration_adds_them_too() -> None:
    import_module("routing.migrations.0003_seeds").add_seeds(apps, None)
    assert Host.objects.filter(type__in=PLAIN_IDS).count() == 3
