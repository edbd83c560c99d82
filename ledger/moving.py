"""A person's rows of the ledger on their way to another installation.

A row goes out as one line of JSON, without what belongs to the installation alone: its
number, the hashes, the keys of people and personas. Calls that never ended and grants
stay behind. ``ledger.moving_in`` books the lines; sums of a person agree on both sides.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from accounts.models import User
from ledger import previews
from ledger.models import LedgerEntry
from ledger.money import MAX_NANO_USD, MAX_TOKENS
from ledger.open_attempts import CLOSINGS

IMPORTED: Final = "Imported from a bundle"
"""How the note of such a row begins."""
BATCH: Final = 500
_MOVED: Final = (*CLOSINGS, LedgerEntry.Kind.ADJUST)

_Tokens = Annotated[int, Field(ge=-MAX_TOKENS, le=MAX_TOKENS)] | None
_Money = Annotated[int, Field(ge=-MAX_NANO_USD, le=MAX_NANO_USD)] | None
_Some = Annotated[int, Field(ge=0, le=2**63 - 1)] | None
_Text32 = Annotated[str, Field(max_length=32)]
_Text200 = Annotated[str, Field(max_length=200)]


class Row(BaseModel):
    """One line: a closing row, or a later correction of one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["settle", "release", "adjust"]
    attempt_id: uuid.UUID
    created_at: AwareDatetime
    persona_name: _Text32
    channel: _Text32
    turn_id: uuid.UUID | None
    role: _Text32
    host_type: _Text32
    model_id: _Text200
    model_name: _Text200
    tier: Annotated[int, Field(ge=0, le=32767)] | None
    attempt_number: Annotated[int, Field(ge=0, le=32767)]
    outcome: Literal["", "complete", "incomplete", "interrupted", "failed"]
    error_code: _Text32
    elapsed_ms: _Some
    first_token_ms: _Some
    input_tokens: _Tokens
    output_tokens: _Tokens
    cache_read_tokens: _Tokens
    cache_write_tokens: _Tokens
    estimated: bool
    billing: Literal["metered", "notional", "local"]
    input_price_nano_usd_per_mtok: _Some
    output_price_nano_usd_per_mtok: _Some
    cache_read_price_nano_usd_per_mtok: _Some
    cache_write_price_nano_usd_per_mtok: _Some
    reserved_nano_usd: _Some
    cost_nano_usd: _Money
    note: _Text200
    background: bool | None
    prompt_preview: Annotated[str, Field(max_length=2 * previews.MAX_CHARACTERS)] = ""


_COLUMNS: Final = tuple(name for name in Row.model_fields if name != "prompt_preview")


def lines_of(user: User) -> Iterator[str]:
    """Yield a person's closing rows and corrections with their previews, oldest first.

    Each line ends with a line break.
    """
    last_id = 0
    rows = LedgerEntry.objects.filter(user_id=user.pk, kind__in=_MOVED).order_by("id")
    while batch := list(rows.filter(id__gt=last_id)[:BATCH]):
        last_id = batch[-1].id
        texts = previews.for_user(user, [row.attempt_id for row in batch])
        for row in batch:
            own = texts.get(row.attempt_id, "") if row.kind in CLOSINGS else ""
            values = {
                name: getattr(row, name)
                for name in Row.model_fields
                if name in _COLUMNS
            }
            values |= {"note": _unmarked(row.note), "prompt_preview": own}
            line = Row.model_construct(**values)
            yield line.model_dump_json(warnings=False) + "\n"


def _unmarked(note: str) -> str:
    """Return a note without the mark of an earlier import."""
    return note.removeprefix(IMPORTED).removeprefix(": ")
