"""“Test this host”: finds out step by step whether a host can be used.

The steps are the address, the connection, the key, the list of models, and one short
call to a registered model, which goes through the dispatcher and is booked like any
other. The first step that fails ends the test, except that a host without a list of
models may still answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from accounts.models import User
from ledger.types import Caller
from routing import dispatcher, net
from routing.backends.base import (
    AuthenticationFailed,
    Prompt,
    PromptMessage,
    TextDelta,
    ThinkingDelta,
)
from routing.backends.local_openai import bearer
from routing.catalogue import HostInfo, ModelInfo
from routing.db_pool import run_in_db_pool
from routing.errors import BadAddress, BlockedAddress, NetError
from routing.keys import key_of
from routing.registry import NO_PERMISSION, catalogue_for, may_call

LIST_TIMEOUT_S = 10.0
ANSWER_TOKENS = 16
_HELLO = Prompt("", (PromptMessage("user", "Say OK."),))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a test; ``ok`` is ``None`` when it could not be tried."""

    name: str
    ok: bool | None
    detail: str
    elapsed_ms: int = 0


@dataclass(frozen=True, slots=True)
class HostReport:
    """What a test found out, in the order of the steps."""

    steps: tuple[Step, ...]
    models: tuple[str, ...] = ()
    """Names the host offers, in its order."""

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return all(step.ok is not False for step in self.steps)

    @property
    def failed_step(self) -> str:
        """The name of the step that failed, empty if none did."""
        return next((step.name for step in self.steps if step.ok is False), "")


async def test_host(user: User, host: HostInfo) -> HostReport:
    """Try a host for a person and report each step; never raises for a bad host."""
    steps, models = await _list_steps(user, host)
    if all(step.ok for step in steps if step.name != "model list"):
        steps.append(await _answer_step(user, host))
    return HostReport(tuple(steps), tuple(models))


test_host.__test__ = False  # type: ignore[attr-defined]


async def list_models(user: User, host: HostInfo) -> HostReport:
    """Ask a host for the names of its models, without any call."""
    steps, models = await _list_steps(user, host)
    return HostReport(tuple(steps), tuple(models))


async def _list_steps(user: User, host: HostInfo) -> tuple[list[Step], list[str]]:
    if not await run_in_db_pool(may_call, user, host):
        return [Step("address", False, NO_PERMISSION)], []
    started = time.monotonic()
    try:
        reply = await net.request(
            "GET",
            host.base_url.rstrip("/") + "/models",
            headers=bearer(key_of(host)),
            trusted_origins=host.trusted_origins,
            timeout_s=LIST_TIMEOUT_S,
            max_redirects=0,
        )
    except (BadAddress, BlockedAddress) as error:
        return [Step("address", False, str(error), _since(started))], []
    except AuthenticationFailed as error:
        return [Step("key", False, str(error), _since(started))], []
    except NetError as error:
        return [Step("connection", False, str(error), _since(started))], []
    steps = [Step("connection", True, "The host answers.", _since(started))]
    if reply.status in {401, 403}:
        text = "The host refuses the key." if host.key_encrypted else "It wants a key."
        return [*steps, Step("key", False, text)], []
    steps.append(Step("key", True, "The host accepts the key."))
    models = _names(reply.json()) if reply.status == 200 else None
    if models is None:
        text = f"The host lists no models (status {reply.status}); check its address."
        return [*steps, Step("model list", False, text)], []
    return [*steps, Step("model list", True, f"{len(models)} models.")], models


async def _answer_step(user: User, host: HostInfo) -> Step:
    model = await run_in_db_pool(_first_model, user, host)
    if model is None:
        return Step("answer", None, "Add and enable a model to try a call.")
    started, heard = time.monotonic(), False
    async with dispatcher.stream(
        _HELLO,
        caller=Caller(user.id, user.username, channel="web"),
        user=user,
        role="test",
        model=f"{host.name}:{model.label}",
        preview=False,
        max_output_tokens=ANSWER_TOKENS,
    ) as dispatch:
        async for event in dispatch:
            heard = heard or isinstance(event, (TextDelta, ThinkingDelta))
    error = dispatch.result.error
    if heard or error is None:
        return Step("answer", True, f"{model.label} answers.", _since(started))
    return Step("answer", False, f"{model.label}: {error.message}", _since(started))


def _first_model(user: User, host: HostInfo) -> ModelInfo | None:
    models = catalogue_for(user).models
    return next((model for model in models if model.host.id == host.id), None)


def _names(body: Any) -> list[str] | None:
    """Return the model names of a list in OpenAI's or Ollama's form."""
    rows = body.get("data", body.get("models")) if isinstance(body, dict) else body
    if not isinstance(rows, list):
        return None
    names = [
        str(row.get("id") or row.get("name") or "")
        for row in rows
        if isinstance(row, dict)
    ]
    return [name for name in names if name]


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
