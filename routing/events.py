"""What a dispatch says while it runs, and how it ended; plain values for its readers.

``routing.dispatcher`` gives these to whoever asked; nothing here does any work.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from ledger.types import BudgetWarning, Outcome
from routing.backends.base import TextDelta, ThinkingDelta, ToolCall, Usage
from routing.errors import ErrorInfo

NoticeCode = Literal["busy", "budget", "background", "context"]
"""``busy``: everybody is overloaded and Cortex keeps trying; ``budget``: what is left
decided or is worth a word; ``background``: the daily amount of background work did;
``context``: the host seems to have read only a part of the prompt."""


@dataclass(frozen=True, slots=True)
class Routed:
    """An attempt begins: who is asked, and why."""

    model: str
    tier: int
    reason: str
    attempt: int
    """Counts from 1."""
    fallback: bool
    """Another model was asked before in this dispatch."""
    continues: bool = False
    """It goes on inside the text that was shown so far: a seam is here."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the person who waits; no part of the answer."""

    code: NoticeCode
    text: str


DispatchEvent = Routed | Notice | TextDelta | ThinkingDelta | ToolCall


@dataclass(frozen=True, slots=True)
class DispatchResult:
    """How a dispatch ended."""

    outcome: Outcome
    model: str
    """Label of the model that answered last; empty when there was no attempt."""
    tier: int | None
    reason: str
    attempts: int
    usage: Usage | None
    """Of the attempts that wrote the answer; of the last one if none did."""
    cost_nano_usd: int | None
    """Of all attempts; ``None`` = unknown."""
    estimated: bool
    """Some count or cost is an estimate."""
    error: ErrorInfo | None
    notices: tuple[Notice, ...] = ()
    """Everything that was said while it ran, and what was to be said at its end."""
    decision_id: uuid.UUID | None = None
    """Row of ``RouteDecision``; ``None`` when no attempt was made."""
    budget_warnings: tuple[BudgetWarning, ...] = ()
    """Thresholds of budgets that it reached; each is among the notices too."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, without its thinking."""

    text: str
    result: DispatchResult
