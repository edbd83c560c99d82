"""What a brief will cost, in words."""

from __future__ import annotations

from channels_app.jobs.prices import PriceTag
from ledger.money import write_amount


def price_in_words(tag: PriceTag) -> str:
    """Return what a run and a month cost, as one or two sentences."""
    if tag.kind == "refused":
        return f"Nobody would answer now. {tag.why}"
    by = f"; answered by {tag.model}" if tag.model else ""
    if tag.kind == "free":
        where = " (in the house)" if tag.in_house else ""
        return f"Free{where}{by}."
    if tag.kind == "unknown" or tag.run_nano_usd is None:
        return f"Unknown price{by}. Nobody has said what this model costs."
    month = ""
    if tag.runs_a_month:
        month = f", about {_roughly(tag.month_nano_usd)} a month"
    if tag.kind == "covered":
        price = f"{_roughly(tag.run_nano_usd)} a run{month}, at list prices"
        return f"Covered by a subscription ({price}){by}."
    return f"About {_run(tag)} a run{month}{by}."


def _run(tag: PriceTag) -> str:
    middle = _roughly(tag.run_nano_usd)
    if not tag.varies:
        return middle
    low, high = _roughly(tag.low_nano_usd), _roughly(tag.high_nano_usd)
    return f"{middle} ({low} to {high})"


def _roughly(nano: int | None) -> str:
    """Write an amount with two digits that count, since more would promise too much."""
    if nano is not None and nano >= 100:
        unit = 10 ** (len(str(nano)) - 2)
        nano = (nano + unit // 2) // unit * unit
    return write_amount(nano)


def price_source(tag: PriceTag) -> str:
    """Return where the price comes from, as one sentence."""
    if tag.kind == "refused":
        return ""
    if tag.runs:
        last = "the last run" if tag.runs == 1 else f"the last {tag.runs} runs"
        more = f"; {tag.unknown_runs} more of unknown cost" if tag.unknown_runs else ""
        return f"From {last}{more}."
    if tag.unknown_runs:
        return "From its last runs, whose cost is unknown."
    return "Estimated without a call, for an answer of usual length."
