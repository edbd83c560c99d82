"""Reads ``model_registry.json`` and ``local_llm.json`` of earlier versions.

A registry file has ``version``, ``hosts``, ``models`` (``type``, ``label``,
``model_name``, ``host_id``, ``context_k``, ``tags``) and ``roles`` (``primary``,
``backup_1`` to ``backup_4``). Hosts and models stand in an object by their ids or in a
list with an ``id``. A local file describes one server with one or several models, or
has the same parts. What our own export adds (tiers, prices and so on) is optional.

Names of fields vary between old versions, so several are accepted for one thing.
Nothing here touches the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from routing.registry_values import (
    context_of,
    count_of,
    prices_of,
    tags_of,
    text_in,
    tier_of,
)

REGISTRY_FILE: Final = "model_registry.json"
LOCAL_FILE: Final = "local_llm.json"
MAX_FILE_BYTES: Final = 5 * 1024 * 1024
KNOWN_VERSIONS: Final = {"", "1", "2"}
EXPORT_MARK: Final = "written_by"
WRITER: Final = "Cortex"
"""What our own export says of itself: its addresses are taken letter by letter."""
PLACES: Final = ("primary", "backup_1", "backup_2", "backup_3", "backup_4")
_TYPES: Final = {
    "": "local_openai", "local": "local_openai", "local_llm": "local_openai",
    "ollama": "local_openai", "openai": "local_openai", "open_webui": "local_openai",
    "openwebui": "local_openai", "openai_compatible": "local_openai",
    "claude": "claude_cli", "gemini": "gemini_api", "anthropic": "anthropic_api",
}  # fmt: skip
"""Names that old files use for a type."""


class UnusableFile(Exception):
    """The file cannot be read; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class FileHost:
    """A host as the file describes it."""

    id: str
    name: str
    type: str
    base_url: str = ""
    key: str = field(default="", repr=False)
    is_local: bool | None = None
    """``None`` = the file does not say."""
    credential: str = "key"
    enabled: bool = True
    exact: bool = False
    """Whether the file is our own export."""


@dataclass(frozen=True, slots=True)
class FileModel:
    """A model as the file describes it; ``host_id`` is empty for a vendor's."""

    id: str
    label: str
    name: str
    type: str
    host_id: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    tier: int | None = None
    tags: tuple[str, ...] = ()
    enabled: bool = True
    prices_nano_usd: dict[str, int] = field(default_factory=dict)
    """Of ``ledger.types.PRICE_NAMES`` those that the file has, per million tokens."""


@dataclass(slots=True)
class RegistryFile:
    """All that was understood, and sentences about what was not."""

    hosts: list[FileHost] = field(default_factory=list)
    models: list[FileModel] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)
    """Role → ids of models, first to last."""
    odd: list[str] = field(default_factory=list)


def read(path: Path) -> RegistryFile:
    """Read a file, or the known files of a folder.

    Raises:
        UnusableFile: There is none, it is too large, or it is not such a file.
    """
    if path.is_dir():
        names = (REGISTRY_FILE, LOCAL_FILE)
        paths = [path / name for name in names if (path / name).is_file()]
        if not paths:
            raise UnusableFile(f"The folder has no {REGISTRY_FILE} or {LOCAL_FILE}.")
    else:
        paths = [path]
    return read_texts({each.name: _load(each) for each in paths})


def read_texts(texts: Mapping[str, bytes]) -> RegistryFile:
    """Read files that are loaded already, by their names; raises ``UnusableFile``."""
    result = RegistryFile()
    for name, raw in texts.items():
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise UnusableFile(f"{name} is not JSON.") from None
        _read_into(result, body, name)
    return result


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise UnusableFile(f"{path.name}: {reason}.") from None
    if len(raw) > MAX_FILE_BYTES:
        raise UnusableFile(f"{path.name} is larger than 5 MB.")
    return raw


def _read_into(result: RegistryFile, body: Any, file_name: str) -> None:
    if isinstance(body, list):
        body = {"models": body}
    if not isinstance(body, dict):
        raise UnusableFile(f"{file_name} is not a registry of models.")
    version = str(body.get("version") or "")
    if version not in KNOWN_VERSIONS:
        raise UnusableFile(f"{file_name} has the unknown version {version[:20]}.")
    exact = body.get(EXPORT_MARK) == WRITER
    if not body.keys() & {"hosts", "models", "roles"}:
        if not _url_of(body):
            raise UnusableFile(f"{file_name} is not a registry of models.")
        body = _one_server(body)
    for key, row in _rows(body, "hosts", result, file_name):
        result.hosts.append(_host(key, row, exact=exact))
    for key, row in _rows(body, "models", result, file_name):
        result.models.extend(_model(key, row, result))
    roles = body.get("roles", {})
    if not isinstance(roles, dict):
        result.odd.append(f"{file_name}: “roles” is not an object.")
        return
    for role, chain in roles.items():
        result.roles[role] = [ref for ref in _chain(chain) if ref]


def _one_server(body: dict[str, Any]) -> dict[str, Any]:
    """Return a description of one server in the form of a registry."""
    models = body.get("model_names") or body.get("model") or body.get("model_name")
    names = models if isinstance(models, list) else [models]
    shared = {name: body[name] for name in ("context_k", "tags") if name in body}
    return {
        "hosts": [{**body, "id": "local"}],
        "models": [
            {**shared, **(row if isinstance(row, dict) else {"model_name": row})}
            | {"host_id": "local"}
            for row in names
            if row
        ],
    }


def _rows(
    body: dict[str, Any], part: str, result: RegistryFile, file_name: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield id and row of a list or an object; rows of another form are named."""
    rows = body.get(part) or {}
    if isinstance(rows, list):
        pairs = [(text_in(r, "id") if isinstance(r, dict) else "", r) for r in rows]
    elif isinstance(rows, dict):
        pairs = [(str(key), row) for key, row in rows.items()]
    else:
        pairs = [("", rows)]
    for number, (key, row) in enumerate(pairs, start=1):
        if isinstance(row, dict):
            yield key, row
        else:
            what = f"row {number} of “{part}”"
            result.odd.append(f"{file_name}: {what} is not an object.")


def _host(key: str, row: dict[str, Any], *, exact: bool = False) -> FileHost:
    type_ = _type(text_in(row, "type", "kind", "provider"))
    base_url = text_in(row, "base_url") if exact else _completed(_url_of(row), type_)
    name = text_in(row, "label", "name", "title") or key or base_url
    local = row.get("local", row.get("is_local"))
    return FileHost(
        id=key or name,
        name=name[:64].strip(),
        type=type_,
        base_url=base_url,
        key=text_in(row, "api_key", "key", "token", "bearer"),
        is_local=local if isinstance(local, bool) else None,
        credential=text_in(row, "credential") or "key",
        enabled=row.get("enabled") is not False,
        exact=exact,
    )


def _model(key: str, row: dict[str, Any], result: RegistryFile) -> list[FileModel]:
    name = text_in(row, "model_name", "model", "name")
    label = text_in(row, "label", "title") or name or key
    type_ = _type(text_in(row, "type", "kind", "provider"))
    if not label:
        result.odd.append("A model without a name.")
        return []
    host_id = text_in(row, "host_id", "host")
    if not host_id and _url_of(row):  # the host stands in the model's own row
        host_id = f"host of {key or label}"
        url = _completed(_url_of(row), type_)
        described = {**row, "label": "", "name": url}
        result.hosts.append(_host(host_id, described))
    tags = row.get("tags")
    return [
        FileModel(
            id=key or label,
            label=label[:100].strip(),
            name=name[:200],
            type=type_,
            host_id=host_id,
            context_tokens=context_of(row),
            max_output_tokens=count_of(row.get("max_output_tokens"), 16),
            tier=tier_of(row.get("tier")),
            tags=tags_of(tags),
            enabled=row.get("enabled") is not False,
            prices_nano_usd=prices_of(row.get("prices")),
        )
    ]


def _chain(chain: Any) -> list[str]:
    """Return the ids of a chain given as an object of places, a list or one id."""
    if isinstance(chain, dict):
        chain = [chain.get(place) for place in PLACES]
    rows = chain if isinstance(chain, list) else [chain]
    return [
        text_in(row, "model_id", "id", "model") if isinstance(row, dict) else str(row)
        for row in rows
        if row
    ]


def _type(name: str) -> str:
    name = name.lower().replace("-", "_").replace(" ", "_")
    return _TYPES.get(name, name)


def _url_of(row: dict[str, Any]) -> str:
    """Return the part of an address before ``/chat/completions``."""
    url = text_in(row, "base_url", "api_url", "api_base", "url", "endpoint", "host_url")
    url = url.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return f"http://{url}" if url and "://" not in url else url


def _completed(url: str, type_: str) -> str:
    """Return the address with the path that earlier versions left out.

    Only OpenAI-compatible servers have it in their address.
    """
    bare = type_ == "local_openai" and url.count("/") == 2
    return f"{url}/v1" if bare else url
