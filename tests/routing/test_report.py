"""``manage.py router report``: classes of requests, redone answers, costs, savings."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from routing.models import Model, RouteDecision
from routing.registry import catalogue_for
from routing.report import JUDGING, NOT_JUDGED, ClassReport, report, table
from routing.savings import Used, compare

USD = 1_000_000_000


def decide(owner: User, kind: str = "code", **changes: Any) -> RouteDecision:
    """Keep a decision whose answer cost a milli-dollar."""
    values: dict[str, Any] = {
        "turn_id": uuid.uuid4(),
        "role": "chat",
        "tier": 1,
        "decided_by": "rules",
        "reason": "It looks simple",
        "attempts": [{"label": "small"}],
        "input_tokens": 1000,
        "output_tokens": 100,
        "cost_nano_usd": 1_000_000,
    }
    return RouteDecision.objects.create(owner=owner, kind=kind, **(values | changes))


def redo(decision: RouteDecision, step: int, **changes: Any) -> RouteDecision:
    """Ask for another answer, so many tiers up."""
    return decide(
        decision.owner,
        decision.kind,
        tier=decision.tier + step,
        redo_of=decision.turn_id,
        redo_step=step,
        **changes,
    )


def run(*words: str) -> str:
    """Return what the command prints."""
    out = io.StringIO()
    call_command("router", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def opus(add_model: Callable[..., Model]) -> Model:
    return add_model(
        "opus",
        tier=3,
        input_price_nano_usd_per_mtok=15 * USD,
        output_price_nano_usd_per_mtok=75 * USD,
    )


@pytest.mark.django_db
class TestReport:
    def test_is_empty_without_decisions(self, alice: User) -> None:
        assert report() == report(alice) == []

    def test_failures_stand_apart_and_dilute_nothing(
        self, alice: User, opus: Model
    ) -> None:
        redo(decide(alice), +1)
        failed = [{"label": "small", "outcome": "failed"}]
        for _ in range(2):
            lost = decide(
                alice,
                attempts=failed,
                input_tokens=0,
                output_tokens=0,
                cost_nano_usd=0,
            )
        redo(lost, +1, attempts=failed, cost_nano_usd=0)
        row = report(alice)[0]
        assert (row.calls, row.failed, row.redone_upward) == (2, 3, 1)
        assert row.redone_percent == 50
        assert row.as_json()["failed"] == 3

    def test_sums_each_class_and_all(self, alice: User, opus: Model) -> None:
        first = decide(alice, "code")
        redo(first, +1)
        decide(alice, "code")
        decide(alice, "small talk", cost_nano_usd=0)
        saved = 1000 * 15_000 + 100 * 75_000
        assert report(alice) == [
            ClassReport("code", 3, 1, 3_000_000, 0, 3 * saved - 3_000_000),
            ClassReport("small talk", 1, 0, 0, 0, saved),
            ClassReport("all", 4, 1, 3_000_000, 0, 4 * saved - 3_000_000),
        ]
        assert report(alice)[-1].redone_percent == 25

    def test_only_redos_upward_count_and_each_answer_once(
        self, alice: User, bob: User
    ) -> None:
        decision = decide(alice)
        redo(decision, -1)
        redo(decision, 0)
        assert report(alice)[0].redone_upward == 0
        redo(decision, +1)
        redo(decision, +2)
        decide(bob, redo_of=decision.turn_id, redo_step=1)
        assert report(alice)[0].redone_upward == 1

    def test_unknown_is_counted_apart_and_leaves_no_saving(
        self, alice: User, opus: Model
    ) -> None:
        decide(alice, "code")
        decide(alice, "code", cost_nano_usd=None)
        decide(alice, "chat")
        code, chat, both = report(alice)
        assert [code.kind, chat.kind, both.kind] == ["code", "chat", "all"]
        assert (code.cost_nano_usd, code.unknown_cost_calls) == (1_000_000, 1)
        assert code.saved_nano_usd is None
        assert chat.saved_nano_usd == 21_500_000
        assert both.saved_nano_usd is None

    def test_decisions_without_a_class_are_shown_too(self, alice: User) -> None:
        decide(alice, "")
        assert report(alice)[0].kind == NOT_JUDGED

    def test_judging_costs_and_saves_nothing_by_itself(
        self, alice: User, opus: Model
    ) -> None:
        decide(alice, "code")
        decide(alice, "other", role="classify")
        judging, code, both = report(alice)
        assert judging == ClassReport(JUDGING, 1, 0, 1_000_000, 0, -1_000_000)
        assert (code.kind, code.saved_nano_usd) == ("code", 21_500_000)
        assert (both.kind, both.saved_nano_usd) == ("all", 20_500_000)

    def test_every_attempt_counts_and_kept_prompts_at_their_own_price(
        self, alice: User, opus: Model
    ) -> None:
        opus.cache_read_price_nano_usd_per_mtok = USD
        opus.save()
        failed = {"input_tokens": 1000, "output_tokens": 0}
        answered = {
            "input_tokens": 10_000,
            "output_tokens": 100,
            "cache_read_tokens": 8000,
            "cache_write_tokens": None,
        }
        decide(alice, attempts=[failed, answered], input_tokens=10_000)
        used = Used(11_000, 100, 1_000_000, cache_read_tokens=8000)
        expected = compare(catalogue_for(alice).models, used).nano_usd
        whole = compare(
            catalogue_for(alice).models, replace(used, cache_read_tokens=0)
        ).nano_usd
        assert expected is not None and whole is not None
        assert report(alice)[0].saved_nano_usd == expected < whole

    def test_tests_of_hosts_are_left_out(self, alice: User) -> None:
        decide(alice, role="test")
        assert report(alice) == []

    def test_decisions_that_came_to_no_call_are_left_out(self, alice: User) -> None:
        decide(alice, attempts=[], cost_nano_usd=None)
        assert report(alice) == []

    def test_everybody_is_measured_by_their_own_models(
        self, alice: User, bob: User, opus: Model, add_model: Callable[..., Model]
    ) -> None:
        add_model(
            "bobs",
            owner=bob,
            tier=3,
            input_price_nano_usd_per_mtok=20 * USD,
            output_price_nano_usd_per_mtok=100 * USD,
        )
        decide(alice)
        decide(bob)
        (row, _) = report()
        assert row.calls == 2
        assert row.saved_nano_usd == 21_500_000 + 29_000_000
        assert report(alice)[0].calls == 1

    def test_counts_from_a_moment_on(self, alice: User) -> None:
        now = timezone.now()
        decide(alice, created_at=now - timedelta(days=8))
        decide(alice)
        assert report(alice, since=now - timedelta(days=7))[0].calls == 1


def test_table_is_aligned_and_says_what_is_unknown() -> None:
    rows = [
        ClassReport("code", 3, 1, 3_000_000, 0, 64_500_000),
        ClassReport("small talk", 12, 0, 0, 12, None),
        ClassReport("all", 15, 1, 3_000_000, 12, None),
    ]
    assert table(rows).splitlines() == [
        "class       calls  failed  redone up            cost USD  saved USD",
        "code            3       0     33.3 %               0.003     0.0645",
        "small talk     12       0        0 %             unknown          –",
        "all            15       0      6.7 %  0.003 + 12 unknown          –",
    ]


@pytest.mark.django_db
class TestCommand:
    def test_prints_a_table(self, alice: User, opus: Model) -> None:
        decide(alice)
        first, row, total = run("report").splitlines()
        assert first.split()[0] == "class"
        assert row.split() == ["code", "1", "0", "0", "%", "0.001", "0.0215"]
        assert total.split()[0] == "all"

    def test_prints_json_of_one_person(self, alice: User, bob: User) -> None:
        decide(alice, cost_nano_usd=None)
        decide(bob)
        (row, total) = json.loads(run("report", "--json", "--user", "alice"))
        assert total["calls"] == 1
        assert row == {
            "class": "code",
            "calls": 1,
            "failed": 0,
            "redone_upward": 0,
            "redone_upward_percent": 0.0,
            "cost_usd": None,
            "unknown_cost_calls": 1,
            "saved_usd": None,
        }

    def test_looks_back_some_days(self, alice: User) -> None:
        decide(alice, created_at=timezone.now() - timedelta(days=3))
        assert run("report", "--days", "2") == (
            "No request has been routed in this time.\n"
        )
        assert "code" in run("report", "--days", "4")

    def test_refuses_what_it_cannot_do_in_one_sentence(self, db: None) -> None:
        with pytest.raises(CommandError, match="There is no person named “nobody”."):
            run("report", "--user", "nobody")
        for days in ("0", "-1", "soon", "999999999"):
            with pytest.raises(CommandError, match="--days"):
                run("report", f"--days={days}")
