"""Joins the pieces in which a streamed chat completion asks for tools.

Most servers send a call in pieces that share an ``index``; some local ones send it
whole, without an index or an id, or all calls with the same index. All end as
complete ``ToolCall`` events.

Source: OpenAI API reference, "Function calling", streaming.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from routing.backends.base import ToolCall
from routing.backends.wire import as_object, tool_call


@dataclass(slots=True)
class _Pieces:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ToolCallCollector:
    """Collects the calls of one answer, in the order in which they began."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Pieces] = []
        self._by_index: dict[int, _Pieces] = {}

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
        return [
            tool_call(call.id, call.name, "".join(call.arguments))
            for call in self._calls
        ]

    def _call_for(self, piece: dict[str, Any], function: dict[str, Any]) -> _Pieces:
        """Return the call that a piece belongs to."""
        index = piece.get("index")
        if isinstance(index, int):
            call = self._by_index.get(index)
            if call is None or _is_another(call, piece, function):
                call = self._by_index[index] = self._begin()
            return call
        if function.get("name") or not self._calls:
            # Without an index a piece that names a function begins a new call.
            return self._begin()
        return self._calls[-1]

    def _begin(self) -> _Pieces:
        self._calls.append(_Pieces())
        return self._calls[-1]


def _is_another(call: _Pieces, piece: dict[str, Any], function: dict[str, Any]) -> bool:
    """Say whether a piece begins a new call though its index was used before."""
    call_id = str(piece.get("id") or "")
    is_new = bool(call.id and call_id and call.id != call_id)
    return is_new and bool(function.get("name"))
