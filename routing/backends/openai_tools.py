"""Joins the pieces in which a streamed answer asks for tools.

Most servers send a call in pieces that share an ``index``; some local ones send it
whole, without an index or an id. Both end as complete ``ToolCall`` events.

Source: OpenAI API reference, "Function calling", streaming.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from routing.backends.base import ToolCall
from routing.net import parse_json


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object of a host; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class _Pieces:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ToolCallCollector:
    """Collects the calls of one answer, in the order in which they began."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[int, _Pieces] = {}

    def add(self, pieces: list[Any]) -> None:
        """Take the ``tool_calls`` of one chunk."""
        for piece in map(as_object, pieces):
            function = as_object(piece.get("function"))
            call = self._call_for(piece, function)
            call.id = call.id or str(piece.get("id") or "")
            call.name = call.name or str(function.get("name") or "")
            arguments = function.get("arguments")
            if isinstance(arguments, dict):
                arguments = json.dumps(arguments)
            if arguments:
                call.arguments.append(str(arguments))

    def finish(self) -> list[ToolCall]:
        """Return the complete calls."""
        return [_complete(call) for _, call in sorted(self._calls.items())]

    def _call_for(self, piece: dict[str, Any], function: dict[str, Any]) -> _Pieces:
        index = piece.get("index")
        last = max(self._calls, default=-1)
        if not isinstance(index, int):
            # Without an index a piece that names a function begins a new call.
            index = last + 1 if function.get("name") or last < 0 else last
        return self._calls.setdefault(index, _Pieces())


def _complete(call: _Pieces) -> ToolCall:
    call_id = call.id or f"call_{uuid.uuid4().hex[:24]}"
    text = "".join(call.arguments).strip() or "{}"
    try:
        arguments = parse_json(text)
    except ValueError:
        arguments = None
    if isinstance(arguments, dict):
        return ToolCall(call_id, call.name, arguments)
    return ToolCall(call_id, call.name, {}, "The arguments are not a JSON object.")
