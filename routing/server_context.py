"""How much a server in the house really reads of a prompt, where it says so.

Ollama and llama.cpp give a model less room than it could take, and Ollama drops what
is over without a word. Both tell the room at addresses of their own, beside the
OpenAI-compatible ones.

Source: Ollama API reference, "List running models" and "Show model details";
llama.cpp server README, ``GET /props``.
"""

from __future__ import annotations

import re
from typing import Any, Final

from routing import net
from routing.backends.local_openai import bearer
from routing.backends.wire import as_count, as_list, as_object, as_text
from routing.catalogue import HostInfo
from routing.errors import NetError

ASK_TIMEOUT_S: Final = 3.0
OPENAI_PATH: Final = "/v1"
_NUM_CTX: Final = re.compile(r"^\s*num_ctx\s+(\d+)\s*$", re.MULTILINE)


async def context_said_by(
    host: HostInfo, model_name: str, api_key: str = ""
) -> int | None:
    """Return the room in tokens that a server gives a model; ``None`` = it is silent.

    Ask after a call: a model that is loaded is known best. Never raises for a server
    that answers something else.
    """
    address = host.base_url.rstrip("/")
    if host.type != "local_openai" or not address.endswith(OPENAI_PATH):
        return None
    root = address.removesuffix(OPENAI_PATH)

    async def ask(path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            reply = await net.request(
                "GET" if body is None else "POST",
                root + path,
                headers=bearer(api_key),
                json_body=body,
                trusted_origins=host.trusted_origins,
                timeout_s=ASK_TIMEOUT_S,
                max_redirects=0,
            )
        except NetError:
            return {}
        return as_object(reply.json()) if reply.status == 200 else {}

    return (
        loaded_context(await ask("/api/ps"), model_name)
        or slot_context(await ask("/props"))
        or saved_context(await ask("/api/show", {"model": model_name}))
    )


def loaded_context(body: dict[str, Any], model_name: str) -> int | None:
    """Return what Ollama says of a model that is loaded."""
    wanted = {model_name, f"{model_name}:latest"}
    for row in map(as_object, as_list(body.get("models"))):
        if wanted & {row.get("name"), row.get("model")}:
            return as_count(row.get("context_length")) or None
    return None


def slot_context(body: dict[str, Any]) -> int | None:
    """Return what llama.cpp gives each of its slots."""
    defaults = as_object(body.get("default_generation_settings"))
    return as_count(defaults.get("n_ctx")) or None


def saved_context(body: dict[str, Any]) -> int | None:
    """Return what Ollama's description of a model fixes, if it does."""
    match = _NUM_CTX.search(as_text(body.get("parameters")))
    return int(match[1]) or None if match else None
