"""Budgets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from accounts.models import User
from accounts.zones import zone_of
from ledger import budgets, chain, entries
from ledger.allowances import standings_of
from ledger.errors import BudgetExceeded
from ledger.models import Budget, BudgetNotice, LedgerEntry, LedgerPreview
from ledger.periods import next_start, previous_start, start_of
from ledger.types import Prices, Settlement
from tests.support.ledger import PRICES, book, left_nano_usd, make_reservation

pytestmark = pytest.mark.django_db

RESERVED = 1000 * 3000 + 100 * 15_000
"""What ``make_reservation`` reserves, in nano-dollars."""


def set_budget(
    user: User | None, calls: float, period: str = "day", **more: Any
) -> None:
    """Allow so many calls of ``make_reservation``."""
    Budget.objects.create(
        user=user, period=period, limit_nano_usd=int(RESERVED * calls), **more
    )


def test_without_a_budget_everything_fits(alice: User) -> None:
    for _ in range(3):
        entries.reserve(make_reservation(alice))
    assert left_nano_usd(alice) is None


def test_open_reservations_count(alice: User) -> None:
    set_budget(alice, 2)
    entries.reserve(make_reservation(alice))
    entries.reserve(make_reservation(alice))
    assert left_nano_usd(alice) == 0
    with pytest.raises(BudgetExceeded) as refusal:
        entries.reserve(make_reservation(alice, preview="Hello"))
    assert refusal.value.code == "budget_exceeded"
    sentence = str(refusal.value)
    assert sentence.startswith(
        "Your budget for today (0.009 USD) does not cover this call: 0 USD are left "
        "and it may cost up to 0.0045 USD. It starts anew on "
    )
    assert sentence.endswith(
        " at 00:00 (UTC); until then you can ask for more under Money → Budgets."
    )
    assert LedgerEntry.objects.count() == 2
    assert not LedgerPreview.objects.exists()


def test_a_closed_call_counts_with_its_cost_only(alice: User) -> None:
    set_budget(alice, 1.5)
    book(alice, input_tokens=10, output_tokens=2)
    assert left_nano_usd(alice) == int(RESERVED * 1.5) - 60_000
    entries.reserve(make_reservation(alice))


def test_a_released_call_counts_nothing(alice: User) -> None:
    set_budget(alice, 1)
    reservation = make_reservation(alice)
    entries.reserve(reservation)
    entries.release(reservation.attempt_id)
    entries.reserve(make_reservation(alice))


def test_a_correction_counts(alice: User) -> None:
    set_budget(alice, 1)
    attempt = book(alice)
    entries.adjust(attempt, note="refund", cost_nano_usd=-60_000)
    assert left_nano_usd(alice) == RESERVED


def test_ones_own_budget_goes_before_the_default(alice: User, bob: User) -> None:
    set_budget(None, 1)
    set_budget(alice, 2)
    for user, calls in ((alice, 2), (bob, 1)):
        for _ in range(calls):
            entries.reserve(make_reservation(user))
        with pytest.raises(BudgetExceeded):
            entries.reserve(make_reservation(user))


def test_every_period_must_have_room(alice: User) -> None:
    set_budget(None, 1, "month")
    set_budget(alice, 5, "day")
    entries.reserve(make_reservation(alice))
    with pytest.raises(BudgetExceeded, match="Your budget for this month"):
        entries.reserve(make_reservation(alice))


def test_a_subscription_counts_only_when_switched_on(alice: User, bob: User) -> None:
    set_budget(alice, 1)
    set_budget(bob, 1, counts_notional=True)
    for user in (alice, bob):
        entries.reserve(make_reservation(user, billing="notional"))
    entries.reserve(make_reservation(alice, billing="notional"))
    assert left_nano_usd(alice) == RESERVED
    with pytest.raises(BudgetExceeded):
        entries.reserve(make_reservation(bob, billing="notional"))


def test_local_calls_are_not_stopped(alice: User) -> None:
    set_budget(alice, 0)
    entries.reserve(make_reservation(alice, billing="local", prices=Prices.local()))
    entries.reserve(make_reservation(alice, billing="local", prices=Prices()))
    with pytest.raises(BudgetExceeded):
        entries.reserve(make_reservation(alice))


def test_calls_of_nobody_have_no_budget() -> None:
    set_budget(None, 0)
    reservation = make_reservation()
    nobody = type(reservation.caller)(user_id=None, user_name="")
    entries.reserve(make_reservation(caller=nobody))


def test_yesterday_does_not_count(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    set_budget(alice, 1)
    now = chain.timezone.now()
    monkeypatch.setattr(chain.timezone, "now", lambda: now - timedelta(days=2))
    reservation = make_reservation(alice)
    entries.reserve(reservation)
    entries.settle(
        reservation.attempt_id,
        Settlement("complete", 1, input_tokens=1000, output_tokens=100),
    )
    monkeypatch.undo()
    entries.reserve(make_reservation(alice))


def test_a_day_begins_at_midnight_of_the_person(alice: User) -> None:
    alice.time_zone = "Pacific/Auckland"
    zone = zone_of(alice)
    now = datetime(2026, 2, 1, 11, 30, tzinfo=UTC)  # 00:30 on 2 February there
    assert start_of("day", now, zone) == datetime(2026, 2, 1, 11, tzinfo=UTC)
    assert start_of("month", now, zone) == datetime(2026, 1, 31, 11, tzinfo=UTC)


# --- scopes, periods, strictness ------------------------------------------------------


def reserved(user: User, **changes: Any) -> bool:
    """Try a reservation; say whether it fitted."""
    try:
        entries.reserve(make_reservation(user, **changes))
    except BudgetExceeded:
        return False
    return True


def joined(user: User, moment: datetime) -> None:
    """Have the person been here since then."""
    user.date_joined = moment
    user.save()


def on(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Set the clock of the ledger."""
    monkeypatch.setattr(chain.timezone, "now", lambda: moment)


def test_a_shared_budget_counts_everybody(alice: User, bob: User) -> None:
    set_budget(None, 3, scope="shared")
    assert reserved(alice)
    assert reserved(bob)
    nobody = replace(make_reservation().caller, user_id=None, user_name="")
    assert reserved(alice, caller=nobody)
    assert not reserved(bob)
    with pytest.raises(BudgetExceeded, match="Everybody's shared budget for today"):
        entries.reserve(make_reservation(caller=nobody))


def test_background_work_has_a_cap_of_its_own(alice: User, bob: User) -> None:
    set_budget(None, 1, scope="background")
    assert reserved(alice, background=True)
    assert not reserved(alice, background=True)
    assert reserved(alice)
    assert reserved(bob, background=True)
    assert set(LedgerEntry.objects.values_list("background", flat=True)) == {True, None}
    with pytest.raises(BudgetExceeded, match="budget for background work today"):
        entries.reserve(make_reservation(alice, background=True))


def test_the_settings_cap_background_work_where_no_budget_does(
    alice: User, bob: User, settings: Any
) -> None:
    settings.CORTEX_BACKGROUND_DAILY_USD = Decimal("0.0045")
    set_budget(bob, 2, scope="background")
    assert reserved(alice, background=True)
    assert not reserved(alice, background=True)
    assert [reserved(bob, background=True) for _ in range(3)] == [True, True, False]
    assert reserved(alice)


def test_background_work_also_counts_towards_everything_else(alice: User) -> None:
    set_budget(alice, 1)
    set_budget(alice, 5, scope="background")
    assert reserved(alice, background=True)
    assert not reserved(alice)
    assert not reserved(alice, background=True)


def test_a_soft_budget_refuses_nothing_and_leaves_cheap_models(alice: User) -> None:
    set_budget(alice, 1, hard=False)
    assert [reserved(alice) for _ in range(3)] == [True] * 3
    assert reserved(alice, prices=Prices())
    left = budgets.left_for(alice)
    assert left is not None
    assert 0 < left.fraction < 0.1
    assert left.left_nano_usd > 0


def test_left_for_tells_the_tightest_budget(alice: User) -> None:
    assert budgets.left_for(alice) is None
    set_budget(alice, 2, "day")
    set_budget(None, 10, "month")
    set_budget(None, 0, "month", scope="background")
    entries.reserve(make_reservation(alice))
    assert budgets.left_for(alice) == budgets.BudgetLeft(0.5, RESERVED)
    assert budgets.left_for(alice, background=True) == budgets.BudgetLeft(0.0, 0)


def test_nobody_with_a_budget_costs_one_query(
    alice: User, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert budgets.left_for(alice) is None
    with django_assert_num_queries(1):
        assert budgets.warnings_due(alice) == []


def test_reading_a_budget_again_reads_only_new_rows(
    alice: User, django_assert_num_queries: Any
) -> None:
    set_budget(alice, 1000, "month")
    for _ in range(3):
        book(alice)
        budgets.left_for(alice)
    with django_assert_num_queries(5) as seen:
        assert left_nano_usd(alice) == RESERVED * 1000 - 180_000
    for query in seen.captured_queries:
        assert 'SUM("ledger_ledgerentry"."cost_nano_usd")' not in query["sql"]


def test_a_week_begins_on_monday_in_the_zone_of_the_person() -> None:
    zone = ZoneInfo("Europe/Berlin")
    sunday = datetime(2026, 3, 29, 12, tzinfo=UTC)  # the clocks went forward that night
    start = start_of("week", sunday, zone)
    assert start.isoformat() == "2026-03-23T00:00:00+01:00"
    assert next_start("week", start).isoformat() == "2026-03-30T00:00:00+02:00"
    assert previous_start("week", start).isoformat() == "2026-03-16T00:00:00+01:00"
    january = start_of("month", datetime(2026, 1, 31, 12, tzinfo=UTC), zone)
    assert next_start("month", january).date().isoformat() == "2026-02-01"
    assert previous_start("month", january).date().isoformat() == "2025-12-01"
    day = start_of("day", sunday, zone)
    assert next_start("day", day) - day.astimezone(UTC) == timedelta(hours=23)


def test_a_week_lasts_until_sunday(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monday = datetime(2026, 3, 2, 12, tzinfo=UTC)
    on(monkeypatch, monday)
    set_budget(alice, 1, "week")
    book(alice, input_tokens=1000, output_tokens=100)
    for day in range(7):
        on(monkeypatch, monday + timedelta(days=day))
        assert not reserved(alice)
    on(monkeypatch, monday + timedelta(days=7))
    assert reserved(alice)


def test_a_shared_budget_follows_the_zone_of_the_installation(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Pacific/Auckland")
    on(monkeypatch, datetime(2026, 2, 1, 10, tzinfo=UTC))  # 23:00 in Auckland
    set_budget(None, 1, scope="shared")
    set_budget(None, 1)
    book(alice, input_tokens=1000, output_tokens=100)
    on(monkeypatch, datetime(2026, 2, 1, 12, tzinfo=UTC))
    alice.refresh_from_db()
    mine, shared = standings_of(alice)
    assert (mine.budget.scope, shared.budget.scope) == ("person", "shared")
    assert (mine.spent, shared.spent) == (0, RESERVED)
    with pytest.raises(BudgetExceeded, match=r"2 February 2026 at 00:00 \(UTC\)"):
        entries.reserve(make_reservation(alice))


# --- rolling over ---------------------------------------------------------------------


def test_what_is_left_rolls_over_up_to_one_limit(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = datetime(2026, 3, 2, 12, tzinfo=UTC)
    on(monkeypatch, first)
    joined(alice, first)
    set_budget(alice, 2, roll_over=True, terms_since=first)
    assert left_nano_usd(alice) == 2 * RESERVED  # nothing was there before it
    book(alice, input_tokens=1000, output_tokens=100)
    on(monkeypatch, first + timedelta(days=1))
    assert left_nano_usd(alice) == 3 * RESERVED
    for _ in range(2):
        book(alice, input_tokens=1000, output_tokens=100)
    # What rolled over was used first.
    on(monkeypatch, first + timedelta(days=2))
    assert left_nano_usd(alice) == 3 * RESERVED
    for days in (3, 4, 40):
        on(monkeypatch, first + timedelta(days=days))
        assert left_nano_usd(alice) == 4 * RESERVED
    for _ in range(4):
        book(alice, input_tokens=1000, output_tokens=100)
    assert not reserved(alice)
    on(monkeypatch, first + timedelta(days=41))
    assert left_nano_usd(alice) == 2 * RESERVED


def test_nothing_rolls_over_unless_it_says_so(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = datetime(2026, 3, 2, 12, tzinfo=UTC)
    on(monkeypatch, first)
    set_budget(alice, 2, terms_since=first)
    on(monkeypatch, first + timedelta(days=1))
    assert left_nano_usd(alice) == 2 * RESERVED


# --- unknown prices -------------------------------------------------------------------


def test_an_unknown_price_counts_as_the_dearest_known(alice: User) -> None:
    set_budget(alice, 3)
    unpriced: dict[str, Any] = {"prices": Prices(), "stand_in_prices": PRICES}
    attempt = book(alice, **unpriced)
    closing = LedgerEntry.objects.get(attempt_id=attempt, kind="settle")
    assert closing.cost_nano_usd is None  # unknown is never written as a number
    assert left_nano_usd(alice) == 2 * RESERVED
    assert [reserved(alice, **unpriced) for _ in range(3)] == [True, True, False]


def test_a_correction_replaces_what_stood_in_for_an_unknown_cost(alice: User) -> None:
    set_budget(alice, 2)
    attempt = book(alice, prices=Prices(), stand_in_prices=PRICES)
    assert left_nano_usd(alice) == RESERVED
    entries.adjust(attempt, note="invoice", cost_nano_usd=1000)
    assert left_nano_usd(alice) == 2 * RESERVED - 1000


def test_a_price_that_is_half_known_stands_in_for_the_other_half(alice: User) -> None:
    set_budget(alice, 1)
    half = Prices(input=3_000_000_000)
    assert reserved(alice, prices=half, stand_in_prices=PRICES)
    assert LedgerEntry.objects.get().reserved_nano_usd == RESERVED


def test_unknown_prices_are_refused_by_setting(alice: User, settings: Any) -> None:
    settings.CORTEX_UNKNOWN_PRICE = "refuse"
    unpriced: dict[str, Any] = {"prices": Prices(), "stand_in_prices": PRICES}
    assert reserved(alice, **unpriced)  # there is no budget to be held against
    set_budget(alice, 100)
    with pytest.raises(BudgetExceeded) as refusal:
        entries.reserve(make_reservation(alice, **unpriced))
    assert str(refusal.value) == (
        "The price of “haiku” is not known, so the call cannot be held against your "
        "budget for today. Choose another model, or ask an administrator to set its "
        "price."
    )


def test_without_any_price_to_go_by_a_hard_budget_refuses(alice: User) -> None:
    set_budget(alice, 100)
    assert not reserved(alice, prices=Prices())
    assert reserved(alice, prices=Prices(), billing="notional")


def test_an_abandoned_call_counts_with_its_reservation(alice: User) -> None:
    set_budget(alice, 2)
    entries.reserve(make_reservation(alice))
    assert entries.release_stale(-1) == 1
    assert left_nano_usd(alice) == RESERVED


# --- warnings -------------------------------------------------------------------------


def spend(user: User, percent: int) -> None:
    """Book so many percent of a budget of 100 cents."""
    book(user, prices=Prices(1_000_000_000, 0), input_tokens=percent * 10_000)


def test_warnings_come_once_each(alice: User, bob: User) -> None:
    Budget.objects.create(period="month", limit_nano_usd=10**9)
    seen = []
    for percent in (49, 1, 10, 19, 1, 10, 9, 1):
        spend(alice, percent)
        seen.append([each.percent for each in budgets.warnings_due(alice)])
        assert budgets.warnings_due(alice) == []
    assert seen == [[], [50], [], [], [80], [], [], [100]]
    assert budgets.warnings_due(bob) == []


def test_a_jump_over_thresholds_is_told_once(alice: User) -> None:
    Budget.objects.create(period="day", limit_nano_usd=10**9)
    spend(alice, 81)
    (warning,) = budgets.warnings_due(alice)
    assert (warning.percent, warning.budget) == (80, "person:day")
    assert warning.text.startswith(
        "80 % of your budget for today is used: 0.19 of 1 USD are left. "
        "It starts anew on "
    )
    assert BudgetNotice.objects.count() == 2
    spend(alice, 18)
    assert budgets.warnings_due(alice) == []


def test_what_still_works_is_said_at_the_end(alice: User) -> None:
    Budget.objects.create(period="day", limit_nano_usd=10**9)
    Budget.objects.create(period="week", limit_nano_usd=10**9, hard=False)
    spend(alice, 100)
    hard, soft = (each.text for each in budgets.warnings_due(alice))
    assert "is used up. What costs nothing goes on answering." in hard
    assert "is used up. Answers go on coming from cheap models." in soft


def test_open_calls_do_not_warn(alice: User) -> None:
    set_budget(alice, 1)
    entries.reserve(make_reservation(alice))
    assert budgets.warnings_due(alice) == []


def test_warnings_come_again_in_the_next_period(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Budget.objects.create(period="day", limit_nano_usd=10**9)
    for days in (0, 1, 90):
        on(monkeypatch, datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(days=days))
        spend(alice, 60)
        assert [each.percent for each in budgets.warnings_due(alice)] == [50]
    assert BudgetNotice.objects.count() == 1  # old ones are swept
