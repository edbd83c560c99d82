"""Reads the lines of Symbiont's ``queue.jsonl``, without a database.

The old file was written down nowhere, so one JSON object a line is understood with
several names for each thing (``NAMES``). The same id on several lines is one task, of
which later lines say more. What is not understood is told, never guessed.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from channels_app.errors import TurnError
from channels_app.models import QueuedTask
from channels_app.single_tasks import tier_named
from channels_app.turn_requests import checked_text
from channels_app.turn_run import storable
from ledger.money import MAX_TOKENS, MAX_USD, nano_usd
from ledger.symbiont_lines import Fault as Fault

States = QueuedTask.State
NAMES: Final = {
    "id": ("id", "task_id", "uuid"),
    "text": ("task", "prompt", "text", "message", "input", "description"),
    "tier": ("force_tier", "tier", "model_tier"),
    "state": ("status", "state"),
    "result": ("result", "output", "response", "answer"),
    "error": ("error", "reason", "error_message", "failure"),
    "model": ("model", "model_used"),
    "input_tokens": ("input_tokens", "tokens_in"),
    "output_tokens": ("output_tokens", "tokens_out"),
    "cost": ("estimated_cost_usd", "cost_usd", "cost"),
    "created": (
        *("timestamp", "created_at", "queued_at", "enqueued_at", "inserted_at"),
        "submitted_at",
    ),
    "started": ("started_at", "processing_at"),
    "finished": (
        *("finished_at", "completed_at", "done_at", "failed_at", "processed_at"),
        *("cancelled_at", "updated_at"),
    ),
    "not_before": ("not_before", "run_at", "scheduled_at", "run_after"),
}
"""What each thing may be called; of several names on a line the first one counts."""
_WORDS: Final = {
    States.PENDING: (
        *("pending", "queued", "waiting", "new", "retry", "retrying", "scheduled"),
        # What was running when Symbiont was left off was not done.
        *("processing", "running", "in_progress", "started", "claimed", "executing"),
    ),
    States.DONE: (
        *("done", "complete", "completed", "success", "succeeded", "finished", "ok"),
    ),
    States.FAILED: ("failed", "failure", "error", "errored", "timeout"),
    States.DEAD: ("dead", "gave_up", "discarded", "abandoned"),
    States.CANCELLED: ("cancelled", "canceled", "aborted"),
}
_STATES: Final = {word: state for state, words in _WORDS.items() for word in words}
_NAMESPACE: Final = uuid.UUID("6f1f4f0e-07f0-5b6c-8b43-6a1c2f7d9e11")
"""Under it the keys of imported tasks are made; it must never change."""
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM: Final = 10**11
"""Larger numbers for a time are no seconds."""


@dataclass(frozen=True, slots=True)
class OldTask:
    """What the lines about a task say; ``None`` = they do not say."""

    line: int
    """The last line about it."""
    key: uuid.UUID
    """The same whenever the task is read."""
    text: str
    tier: int | None
    state: QueuedTask.State
    result: str
    error: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cost_nano_usd: int | None
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    not_before: datetime | None


class _Unusable(Exception):
    """A line cannot be taken; the text is one sentence."""


def read_lines(lines: Iterable[bytes]) -> tuple[list[OldTask], list[Fault]]:
    """Return the tasks of a file in the order of their first lines, and what is wrong.

    Empty lines count and are passed over.
    """
    found: dict[uuid.UUID, tuple[int, dict[str, Any]]] = {}
    faults: list[Fault] = []
    seen: Counter[bytes] = Counter()
    for number, line in enumerate(lines, start=1):
        if not (line := line.strip()):
            continue
        seen[line] += 1
        try:
            said = _object(line)
            key = _key(said, line, seen[line])
        except _Unusable as error:
            faults.append(Fault(number, str(error)))
            continue
        _, before = found.get(key, (0, {}))
        found[key] = number, before | said
    tasks: list[OldTask] = []
    for key, (number, said) in found.items():
        try:
            tasks.append(_task(number, key, said))
        except _Unusable as error:
            faults.append(Fault(number, str(error)))
    return tasks, sorted(faults, key=lambda fault: fault.line)


def _object(line: bytes) -> dict[str, Any]:
    """Return what a line says, under our names; null says nothing."""
    try:
        found = json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _Unusable("It is not JSON.") from None
    if not isinstance(found, dict):
        raise _Unusable("It is not a JSON object.")
    said: dict[str, Any] = {}
    for own, names in NAMES.items():
        values = (found[name] for name in names if found.get(name) is not None)
        if (value := next(values, None)) is not None:
            said[own] = value
    return said


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _key(said: Mapping[str, Any], line: bytes, times: int) -> uuid.UUID:
    """Name a task by its old id, else by its line; equal lines are counted through."""
    old_id = said.get("id")
    if old_id is None:
        text = line.decode("utf-8", "replace")
        return uuid.uuid5(_NAMESPACE, f"line {times} {text}")
    if isinstance(old_id, bool) or not isinstance(old_id, str | int) or old_id == "":
        raise _Unusable("“id” is neither a text nor a number.")
    return uuid.uuid5(_NAMESPACE, storable(f"id {old_id}"))


def _task(number: int, key: uuid.UUID, said: Mapping[str, Any]) -> OldTask:
    moments = {
        name: _moment(said.get(name), name)
        for name in ("created", "started", "finished", "not_before")
    }
    return OldTask(
        line=number,
        key=key,
        text=_text(said.get("text")),
        tier=_tier(said.get("tier")),
        state=_state(said),
        result=_words(said.get("result")),
        error=_error(said.get("error")),
        model=_words(said.get("model"))[:200],
        input_tokens=_tokens(said, "input_tokens"),
        output_tokens=_tokens(said, "output_tokens"),
        cost_nano_usd=_cost(said.get("cost")),
        **moments,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Unusable("It does not say what the task is.")
    try:
        return checked_text(value)
    except TurnError as error:
        raise _Unusable(error.message) from None


def _tier(value: Any) -> int | None:
    name = value.lower().strip() if isinstance(value, str) else value
    if name in (None, "", "auto"):
        return None
    if isinstance(name, str):
        name = int(name) if name in {"1", "2", "3"} else name
    try:
        tier = None if isinstance(name, bool) else tier_named(name)
    except (KeyError, TypeError):
        tier = None
    if tier not in (1, 2, 3):
        raise _Unusable("Its tier is none of haiku, sonnet and opus.")
    return int(tier)


def _state(said: Mapping[str, Any]) -> QueuedTask.State:
    """Return the state, by its word, else by what came of the task."""
    value = said.get("state")
    if value is None:
        if "result" in said:
            return States.DONE
        return States.FAILED if "error" in said else States.PENDING
    word = value.lower().strip().lstrip(":") if isinstance(value, str) else ""
    if word not in _STATES:
        raise _Unusable("Its state is not one that is known here.")
    return _STATES[word]


def _words(value: Any) -> str:
    """Return a text; what is none is written as JSON."""
    if value is None:
        return ""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return storable(value)


def _error(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("message") or value.get("reason") or value
    return _words(value)[:300]


def _moment(value: Any, name: str) -> datetime | None:
    """Return a time in UTC: from text, or from seconds or milliseconds since 1970."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        else:
            seconds = float(value)
            if seconds >= _MILLISECONDS_FROM:
                seconds /= 1000
            moment = datetime.fromtimestamp(seconds, UTC)
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise _Unusable(f"The time “{name}” is none.") from None
    if not _EARLIEST <= moment <= _LATEST:
        raise _Unusable(f"The time “{name}” cannot be true.")
    return moment


def _tokens(said: Mapping[str, Any], name: str) -> int | None:
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Unusable(f"“{name}” is no whole number.")
    if not 0 <= value <= MAX_TOKENS:
        raise _Unusable(f"“{name}” cannot be true.")
    return int(value)


def _cost(value: Any) -> int | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise InvalidOperation
        usd = Decimal(value)
    except InvalidOperation:
        raise _Unusable("Its cost is no number.") from None
    if not (usd.is_finite() and 0 <= usd <= MAX_USD):
        raise _Unusable("Its cost cannot be true.")
    return nano_usd(usd)
