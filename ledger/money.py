"""Integer arithmetic on nano-dollars, and how amounts are written."""

from __future__ import annotations

from decimal import Decimal

from ledger.types import Cost, Prices, Settlement

NANO_PER_USD = 1_000_000_000
MAX_USD = 1_000_000
"""Most that a budget, a grant or an imported call may be, in dollars."""
MAX_NANO_USD = 2**63 - 1
"""Largest amount the database can hold."""
MAX_TOKENS = 10**12
"""Larger counts are a host's mistake and are booked as unknown."""
_TOKENS_PER_PRICE = 1_000_000


def format_usd(nano: int | None) -> str | None:
    """Write an amount as a decimal string without exponent; unknown stays ``None``.

    Example: ``125_000`` → ``"0.000125"``, ``2_000_000_000`` → ``"2"``.
    """
    if nano is None:
        return None
    whole, part = divmod(abs(nano), NANO_PER_USD)
    digits = f"{whole}.{part:09d}".rstrip("0").rstrip(".")
    return f"-{digits}" if nano < 0 else digits


def write_amount(nano: int | None) -> str:
    """Write an amount for people: at least cents, more digits only where they matter.

    Example: ``$12.50``, ``$0.0031``, ``$0.00``, ``unknown``.
    """
    if nano is None:
        return "unknown"
    sign = "-" if nano < 0 else ""
    digits = 2
    while digits < 9 and 0 < abs(nano) < 10 ** (11 - digits):
        digits += 1
    unit = 10 ** (9 - digits)
    rounded = (abs(nano) + unit // 2) // unit * unit
    whole, _, part = str(format_usd(rounded)).partition(".")
    return f"{sign}${whole}.{part:0<2}"


def nano_usd(dollars: Decimal) -> int:
    """Return dollars in nano-dollars; what is smaller than one is dropped."""
    return int(dollars * NANO_PER_USD)


def as_dollars(nano: int | None) -> float | None:
    """Return an amount as a number for programs; unknown stays ``None``."""
    return None if nano is None else nano / NANO_PER_USD


def usable_tokens(count: int | None) -> int | None:
    """Return the count, or ``None`` where it cannot be true."""
    if count is None or not 0 <= count <= MAX_TOKENS:
        return None
    return count


def amount(tokens: int | None, price: int | None) -> int | None:
    """Multiply without rounding, in nano-dollars × 10⁶.

    A price of 0 needs no count and a count of 0 no price.
    """
    if price == 0 or tokens == 0:
        return 0
    if tokens is None or price is None:
        return None
    return tokens * price


def round_amount(amounts: list[int | None]) -> int | None:
    """Add exact amounts and round once, half up; one unknown makes the sum unknown."""
    known = [each for each in amounts if each is not None]
    if len(known) < len(amounts):
        return None
    nano = (sum(known) + _TOKENS_PER_PRICE // 2) // _TOKENS_PER_PRICE
    return min(nano, MAX_NANO_USD)


def cost_of(prices: Prices, used: Settlement) -> Cost:
    """Return what a call cost.

    Cache reads and writes are part of the input tokens and are priced apart; without
    a price of their own they cost as much as other input and the cost counts as
    estimated. Unknown tokens or prices make the cost unknown.
    """
    read = usable_tokens(used.cache_read_tokens) or 0
    write = usable_tokens(used.cache_write_tokens) or 0
    total = usable_tokens(used.input_tokens)
    plain = None if total is None else max(0, total - read - write)
    read_price = prices.input if prices.cache_read is None else prices.cache_read
    write_price = prices.input if prices.cache_write is None else prices.cache_write
    stand_in = (read > 0 and prices.cache_read is None) or (
        write > 0 and prices.cache_write is None
    )
    cost = round_amount(
        [
            amount(plain, prices.input),
            amount(read, read_price) if read else 0,
            amount(write, write_price) if write else 0,
            amount(usable_tokens(used.output_tokens), prices.output),
        ]
    )
    return Cost(cost, used.estimated or stand_in)


def reserved_for(prices: Prices, input_tokens: int, output_tokens: int) -> int | None:
    """Return the most a call can cost before it is made; unknown without prices."""
    return round_amount(
        [
            amount(max(0, input_tokens), prices.input),
            amount(max(0, output_tokens), prices.output),
        ]
    )
