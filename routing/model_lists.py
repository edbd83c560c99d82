"""Which models a host offers, as it says itself; programs say nothing and are known.

Source: OpenAI API reference, "List models"; Anthropic API reference, "List models";
Gemini API reference, "models.list"; vLLM, OpenAI-compatible server (max_model_len).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

from routing import net
from routing.backends import anthropic_api, gemini_api
from routing.backends.anthropic_errors import error_of as anthropic_error_of
from routing.backends.api_errors import ErrorReader
from routing.backends.base import BackendError
from routing.backends.gemini_errors import error_of as gemini_error_of
from routing.backends.local_openai import bearer
from routing.backends.openai_errors import error_of as openai_error_of
from routing.backends.vendors import address_of, origins_trusted_for, require_key
from routing.backends.wire import as_count, as_list, as_object, as_text
from routing.catalogue import PROGRAM_TYPES, HostInfo
from routing.seeds import SEEDS

LIST_TIMEOUT_S: Final = 10.0
MAX_PAGES: Final = 20
MAX_NAME_CHARACTERS: Final = 200


class NoList(Exception):
    """The host answered, but not with a list of models."""

    def __init__(self, status: int, reason: BackendError) -> None:
        super().__init__(
            f"The host lists no models (status {status}); check its address."
        )
        self.reason = reason
        """What the answer means."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """The models that a host offers, in its order."""

    names: tuple[str, ...] = ()
    contexts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Name → how many tokens the model takes, where the host says so."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """How one API lists its models."""

    path: str
    headers: Callable[[str], dict[str, str]]
    error_of: ErrorReader
    row: Callable[[dict[str, Any]], tuple[str, int | None]]
    """Gives name and context of one row; an empty name leaves it out."""
    query: Mapping[str, str] = field(default_factory=dict)
    next_page: Callable[[dict[str, Any]], dict[str, str]] = lambda body: {}
    """Gives what to ask for next, nothing at the end."""


def can_list(host_type: str) -> bool:
    """Say whether hosts of this type can be asked for their models."""
    return host_type in _LISTINGS


def known_models(host_type: str) -> ModelList:
    """Return the names that a type's program takes; empty for other types."""
    if host_type not in PROGRAM_TYPES:
        return ModelList()
    models, context_tokens, _ = SEEDS[host_type]
    names = tuple(model.name for model in models)
    return ModelList(names, dict.fromkeys(names, context_tokens))


async def fetch_models(host: HostInfo, api_key: str) -> ModelList:
    """Ask a host for its models, page by page.

    Raises:
        NetError: It cannot be reached.
        AuthenticationFailed: A vendor's host has no key.
        NoList: It answers something else; ``reason`` says what that means.
    """
    listing = _LISTINGS[host.type]
    require_key(host.type, host.base_url, api_key)
    address = address_of(host.type, host.base_url) + listing.path
    origins = origins_trusted_for(host.type, host.base_url, trusted=host.trusted_origin)
    contexts: dict[str, int | None] = {}
    query = dict(listing.query)
    for _ in range(MAX_PAGES):
        reply = await net.request(
            "GET",
            f"{address}?{urlencode(query)}" if query else address,
            headers=listing.headers(api_key),
            trusted_origins=origins,
            timeout_s=LIST_TIMEOUT_S,
            max_redirects=0,
        )
        body = reply.json()
        rows = rows_of(body) if reply.status == 200 else None
        if rows is None:
            raise NoList(reply.status, listing.error_of(reply.status, body))
        for name, tokens in map(listing.row, rows):
            contexts.setdefault(name, tokens)
        more = listing.next_page(as_object(body))
        if not more or not rows:
            break
        query |= more
    contexts.pop("", None)
    return ModelList(
        tuple(contexts), {name: size for name, size in contexts.items() if size}
    )


def rows_of(body: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a list in any of the known forms; ``None`` = it is none."""
    if isinstance(body, dict):
        body = body.get("data", body.get("models"))
    if not isinstance(body, list):
        return None
    return [row for row in body if isinstance(row, dict)]


def _name(value: Any) -> str:
    name = as_text(value)
    return name if len(name) <= MAX_NAME_CHARACTERS and name.isprintable() else ""


def openai_row(row: dict[str, Any]) -> tuple[str, int | None]:
    """Return name and context of a row of an OpenAI-compatible server, or Ollama."""
    return _name(row.get("id") or row.get("name")), as_count(row.get("max_model_len"))


def _anthropic_row(row: dict[str, Any]) -> tuple[str, int | None]:
    return _name(row.get("id")), as_count(row.get("max_input_tokens"))


def _anthropic_next(body: dict[str, Any]) -> dict[str, str]:
    last = as_text(body.get("last_id"))
    return {"after_id": last} if body.get("has_more") and last else {}


def _gemini_row(row: dict[str, Any]) -> tuple[str, int | None]:
    methods = as_list(row.get("supportedGenerationMethods"))
    if methods and "generateContent" not in methods:
        return "", None
    name = _name(row.get("name")).removeprefix("models/")
    return name, as_count(row.get("inputTokenLimit"))


def _gemini_next(body: dict[str, Any]) -> dict[str, str]:
    token = as_text(body.get("nextPageToken"))
    return {"pageToken": token} if token else {}


_LISTINGS: Final = {
    "local_openai": _Listing("/models", bearer, openai_error_of, openai_row),
    "anthropic_api": _Listing(
        "/v1/models",
        anthropic_api.headers_for,
        anthropic_error_of,
        _anthropic_row,
        {"limit": "1000"},
        _anthropic_next,
    ),
    "gemini_api": _Listing(
        "/v1beta/models",
        gemini_api.headers_for,
        gemini_error_of,
        _gemini_row,
        {"pageSize": "1000"},
        _gemini_next,
    ),
}
