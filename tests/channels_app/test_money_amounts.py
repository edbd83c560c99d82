"""How sums are written on the pages about money."""

from __future__ import annotations

import pytest

from channels_app.money_amounts import Figure, figures_of
from ledger.money import write_amount
from ledger.statistics import Totals


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (12_500_000_000, "$12.50"),
        (1_234_567_890_123, "$1234.57"),
        (999_999_999, "$1.00"),
        (120_000_000, "$0.12"),
        (3_100_000, "$0.0031"),
        (60_000, "$0.00006"),
        (1, "$0.000000001"),
        (-2_500_000_000, "-$2.50"),
        # tests/js/amounts.test.js asks the same of the page's script
        (3_105_000, "$0.00311"),
        (123_456_789, "$0.123"),
        (1_005_000_000, "$1.01"),
        (9_999_999, "$0.01"),
        (125_000, "$0.000125"),
    ],
)
def test_write_amount(nano: int | None, text: str) -> None:
    assert write_amount(nano) == text


def sums(paid: int = 0, covered: int = 0, calls: int = 1, unknown: int = 0) -> Totals:
    return Totals(
        calls=calls,
        unknown_cost_calls=unknown,
        cost_nano_usd=paid + covered,
        notional_nano_usd=covered,
    )


def test_what_a_subscription_covers_is_not_written_as_paid() -> None:
    figure = Figure("haiku", sums(paid=2_000_000_000, covered=500_000_000))
    assert (figure.amount, figure.by_subscription) == ("$2.00", "$0.50")
    assert Figure("haiku", sums(paid=5)).by_subscription == ""


def test_unknown_is_never_written_as_zero() -> None:
    some = Figure("a", sums(paid=10_000_000, calls=3, unknown=1))
    none = Figure("b", sums(calls=3, unknown=3))
    assert (some.amount, some.unknown_beside) == ("$0.01", 1)
    assert (none.amount, none.unknown_beside) == ("unknown", 0)
    assert (none.bar, none.share) == (0, "")


def test_figures_come_the_most_expensive_first_with_their_shares() -> None:
    figures = figures_of(
        {
            "tiny": sums(paid=1),
            "b": sums(),
            "a": sums(),
            "opus": sums(paid=500, covered=250),
            "haiku": sums(paid=250),
            "refunded": sums(paid=-100),
        }
    )
    shown = [(each.name, each.bar, each.share) for each in figures]
    assert shown == [
        ("opus", 1000, "83 %"),
        ("haiku", 333, "28 %"),
        ("tiny", 1, "< 1 %"),
        ("a", 0, ""),
        ("b", 0, ""),
        ("refunded", 0, ""),
    ]


def test_nothing_booked_has_no_figures() -> None:
    assert figures_of({}) == []
