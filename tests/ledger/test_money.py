"""Arithmetic of money."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ledger.money import MAX_NANO_USD, cost_of, format_usd, nano_usd, reserved_for
from ledger.types import Cost, Prices, Settlement
from tests.support.ledger import PRICES


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, None),
        (0, "0"),
        (1, "0.000000001"),
        (125_000, "0.000125"),
        (2_000_000_000, "2"),
        (12_340_000_000, "12.34"),
        (-500, "-0.0000005"),
        (10**18, "1000000000"),
    ],
)
def test_format_usd_has_no_exponent(nano: int | None, text: str | None) -> None:
    assert format_usd(nano) == text


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [("0", 0), ("0.15", 150_000_000), ("1e6", 10**15), ("0.0000000019", 1)],
)
def test_dollars_become_nano_dollars(dollars: str, nano: int) -> None:
    assert nano_usd(Decimal(dollars)) == nano


def used(**tokens: Any) -> Settlement:
    """Return a settlement with these token counts."""
    return Settlement("complete", 1, **tokens)


@pytest.mark.parametrize(
    ("prices", "settlement", "cost"),
    [
        (PRICES, used(input_tokens=10, output_tokens=2), Cost(60_000, False)),
        (PRICES, used(input_tokens=10, output_tokens=None), Cost(None, False)),
        (PRICES, used(input_tokens=None, output_tokens=2), Cost(None, False)),
        (PRICES, used(input_tokens=0, output_tokens=0), Cost(0, False)),
        (Prices(), used(input_tokens=10, output_tokens=2), Cost(None, False)),
        (Prices(), used(input_tokens=0, output_tokens=0), Cost(0, False)),
        (Prices(input=1), used(input_tokens=10, output_tokens=2), Cost(None, False)),
        (Prices.local(), used(), Cost(0, False)),
        (Prices.local(), used(estimated=True), Cost(0, True)),
        # input includes what was read from and written to the cache
        (
            PRICES,
            used(
                input_tokens=100,
                cache_read_tokens=60,
                cache_write_tokens=30,
                output_tokens=0,
            ),
            Cost(10 * 3000 + 60 * 300 + 30 * 3750, False),
        ),
        (
            PRICES,
            used(input_tokens=None, cache_read_tokens=60, output_tokens=1),
            Cost(None, False),
        ),
        # without a cache price the input price stands in, and that is an estimate
        (
            Prices(3_000_000_000, 15_000_000_000),
            used(input_tokens=100, cache_read_tokens=60, output_tokens=0),
            Cost(100 * 3000, True),
        ),
        # rounded once, half up
        (
            Prices(1, 1),
            used(input_tokens=250_000, output_tokens=250_000),
            Cost(1, False),
        ),
        (
            Prices(1, 1),
            used(input_tokens=250_000, output_tokens=249_999),
            Cost(0, False),
        ),
        (
            Prices(MAX_NANO_USD, 0),
            used(input_tokens=10**12, output_tokens=0),
            Cost(MAX_NANO_USD, False),
        ),
    ],
)
def test_cost_of(prices: Prices, settlement: Settlement, cost: Cost) -> None:
    assert cost_of(prices, settlement) == cost


def test_reserved_for_is_the_most_a_call_can_cost() -> None:
    assert reserved_for(PRICES, 1000, 100) == 1000 * 3000 + 100 * 15_000
    assert reserved_for(Prices(input=1), 1000, 100) is None
    assert reserved_for(Prices.local(), 1000, 100) == 0
    assert reserved_for(PRICES, -5, -5) == 0
