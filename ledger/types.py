"""Values that the ledger takes and gives: who asked, what it may cost, what it used.

Money is counted in integer nano-dollars (10⁻⁹ USD), prices in nano-dollars per million
tokens. ``None`` always means unknown, never zero.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Literal

Billing = Literal["metered", "notional", "local"]
"""``metered``: paid by use; ``notional``: by a subscription; ``local``: free."""
Outcome = Literal["complete", "incomplete", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made, as plain values that outlive what they name."""

    user_id: int | None
    user_name: str
    persona_id: int | None = None
    persona_name: str = ""
    channel: str = "web"
    turn_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Nano-dollars per million tokens; ``None`` = unknown.

    Without a cache price the input price stands in for it, and the cost of a call
    that used the cache is marked as estimated.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None

    @classmethod
    def local(cls) -> Prices:
        """Return the prices of a model in the house: nothing."""
        return cls(0, 0, 0, 0)


PRICE_NAMES: Final = tuple(field.name for field in fields(Prices))
"""The names of the prices, as columns, files and forms have them."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is known before a call; becomes the ``reserve`` row."""

    attempt_id: uuid.UUID
    caller: Caller
    role: str
    host_type: str
    model_id: str
    """The name people know the model by."""
    model_name: str
    """The name its host knows."""
    prices: Prices
    estimated_input_tokens: int
    max_output_tokens: int
    tier: int | None = None
    attempt_number: int = 1
    billing: Billing = "metered"
    preview: str | None = None
    """Start of the prompt; ``None`` for private, temporary and shared conversations."""
    background: bool = False
    """Nobody waits for it (classifier, distillation, schedules); has its own cap."""
    stand_in_prices: Prices | None = None
    """The dearest metered prices known, for budgets where ``prices`` are unknown."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is known after a call; becomes the ``settle`` row."""

    outcome: Outcome
    elapsed_ms: int
    first_token_ms: int | None = None
    error_code: str = ""
    input_tokens: int | None = None
    """Includes cache reads and writes."""
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    estimated: bool = False
    """The token counts are Cortex's estimate, not the host's count."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call cost; ``None`` = unknown."""

    cost_nano_usd: int | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A threshold that was reached; ``text`` is one sentence for the person."""

    budget: str
    """Key of the budget, such as ``person:day``."""
    percent: int
    left_nano_usd: int
    renews_at: datetime
    text: str
