"""Check the lines of Symbiont's ledger, one at a time, without a database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from django.utils import timezone

from ledger.money import MAX_TOKENS, MAX_USD, NANO_PER_USD

MAX_SECONDS = 10**7
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
"""No such call was made before; a time long ago is a mistake."""
_FUTURE = timedelta(days=1)
"""How far another machine's clock may be ahead."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be taken, and why, in one sentence."""

    line: int
    """The line's number in the file, from 1."""
    why: str


@dataclass(frozen=True, slots=True)
class OldCall:
    """What a line says; ``None`` = it does not say."""

    moment: datetime
    model: str
    success: bool
    elapsed_ms: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_nano_usd: int | None
    preview: str

    @property
    def identity(self) -> str:
        """Everything that the line says, so that it is known again."""
        values = (
            self.moment.astimezone(UTC).isoformat(timespec="microseconds"),
            self.model,
            self.success,
            self.elapsed_ms,
            self.input_tokens,
            self.output_tokens,
            self.cost_nano_usd,
            self.preview,
        )
        return json.dumps(values)


class _Unusable(Exception):
    """A line cannot be taken; the text is one sentence."""


def read_lines(lines: Iterable[bytes]) -> Iterator[OldCall | Fault]:
    """Yield what each line that is not empty says, or what is wrong with it."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _read(line)
        except _Unusable as error:
            yield Fault(number, str(error))


def _read(line: bytes) -> OldCall:
    found = _object(line)
    if "kind" in found and "hash" in found:
        raise _Unusable("It comes from a ledger of Cortex, not of Symbiont.")
    success = found.get("success", True)
    if not isinstance(success, bool):
        raise _Unusable("“success” is neither true nor false.")
    preview = found.get("prompt_preview")
    return OldCall(
        moment=_moment(found.get("timestamp")),
        model=_model(found.get("model")),
        success=success,
        elapsed_ms=_milliseconds(found.get("elapsed_seconds")),
        input_tokens=_tokens(found, "input_tokens"),
        output_tokens=_tokens(found, "output_tokens"),
        cost_nano_usd=_nano_usd(found.get("estimated_cost_usd")),
        preview=preview if isinstance(preview, str) else "",
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _Unusable("It is not JSON.") from None
    if not isinstance(found, dict):
        raise _Unusable("It is not a JSON object.")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise _Unusable("“timestamp” is missing or is no time.") from None
    if moment < _EARLIEST:
        raise _Unusable(f"“timestamp” lies before {_EARLIEST.year}.")
    if moment > timezone.now() + _FUTURE:
        raise _Unusable("“timestamp” lies in the future.")
    return moment


def _model(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Unusable("“model” is missing.")
    if len(value) > 200:
        raise _Unusable("“model” is longer than 200 characters.")
    return value.strip()


def _tokens(found: dict[str, Any], name: str) -> int | None:
    value: Any = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Unusable(f"“{name}” is no whole number.")
    if not 0 <= value <= MAX_TOKENS:
        raise _Unusable(f"“{name}” cannot be true: {value}.")
    return int(value)


def _number(value: Any, name: str, most: int) -> Decimal | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise InvalidOperation
        number = Decimal(value)
    except InvalidOperation:
        raise _Unusable(f"“{name}” is no number.") from None
    if not (number.is_finite() and 0 <= number <= most):
        raise _Unusable(f"“{name}” cannot be true: {value}.")
    return number


def _milliseconds(value: Any) -> int | None:
    seconds = _number(value, "elapsed_seconds", MAX_SECONDS)
    return None if seconds is None else _rounded(seconds * 1000)


def _nano_usd(value: Any) -> int | None:
    """Return dollars in nano-dollars; parts of one are what floats leave behind."""
    usd = _number(value, "estimated_cost_usd", MAX_USD)
    return None if usd is None else _rounded(usd * NANO_PER_USD)


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_UP))
