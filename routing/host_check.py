"""“Test this host”: finds out step by step whether a host can be used.

For hosts with an address the steps are address, connection, key and list of models;
for programs the program, its key or login, and the names it takes. Then comes one
short call to a registered model, which goes through the dispatcher and is booked like
any other at the list prices, which are filled in first where they are open. Last, where
a server says how much it reads, whether that is what is registered. The first step that
fails ends the test, except that a host without a list of models may still answer. No
detail holds a host's own words or its key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from accounts.models import User
from ledger.money import format_usd
from ledger.types import Caller
from routing import dispatcher, hosts
from routing.attempt import AT_THE_LIMIT
from routing.backends.base import (
    AuthenticationFailed,
    Prompt,
    PromptMessage,
)
from routing.backends.programs import (
    find_program,
    forget_programs,
    is_logged_in,
    not_found_sentence,
    version_of,
)
from routing.catalogue import PROGRAM_TYPES, HostInfo, ModelInfo
from routing.db_pool import run_in_db_pool
from routing.errors import BadAddress, BlockedAddress, NetError
from routing.events import DispatchResult
from routing.keys import key_of
from routing.model_lists import ModelList, NoList, can_list, fetch_models, known_models
from routing.models import Host
from routing.registry import NO_PERMISSION, catalogue_of_host, may_call
from routing.server_context import context_said_by

ANSWER_TOKENS = 16
UNKNOWN_COST = "unknown"
_HELLO = Prompt("", (PromptMessage("user", "Say OK."),))
_NO_KEY = "The host has no key; enter one."
_WANTS_KEY = "The host wants a key and none is stored; enter one."
_NONE_NEEDED = "No key is stored; none was asked for."


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a test; ``ok`` is ``None`` when it could not be tried."""

    name: str
    ok: bool | None
    detail: str
    elapsed_ms: int = 0
    cost_usd: str = ""
    """What a call cost, ``unknown`` without a price; empty = nothing was called."""


@dataclass(frozen=True, slots=True)
class HostReport:
    """What a test found out, in the order of the steps."""

    steps: tuple[Step, ...]
    models: tuple[str, ...] = ()
    """Names the host offers, in its order."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Name → tokens that the model takes, where the host says so."""

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return all(step.ok is not False for step in self.steps)

    @property
    def failed_step(self) -> str:
        """The name of the step that failed, empty if none did."""
        return next((step.name for step in self.steps if step.ok is False), "")


async def test_host(
    user: User, host: HostInfo, *, caller: Caller | None = None
) -> HostReport:
    """Try a host for a person and report each step; never raises for a bad host.

    ``caller`` is who the call is booked for, if not the person.
    """
    forget_programs()  # perhaps somebody has just installed one
    steps, offered = await _first_steps(user, host)
    if all(step.ok for step in steps if step.name != "model list"):
        steps = await _call_steps(steps, offered, user, host, caller)
    return HostReport(tuple(steps), offered.names, offered.contexts)


test_host.__test__ = False  # type: ignore[attr-defined]


async def list_models(user: User, host: HostInfo) -> HostReport:
    """Ask a host for the names of its models, without any call."""
    steps, offered = await _first_steps(user, host)
    return HostReport(tuple(steps), offered.names, offered.contexts)


async def _first_steps(user: User, host: HostInfo) -> tuple[list[Step], ModelList]:
    if not await run_in_db_pool(may_call, user, host):
        return [Step("address", False, NO_PERMISSION)], ModelList()
    if host.type in PROGRAM_TYPES:
        return await _program_steps(host)
    if can_list(host.type):
        return await _address_steps(host)
    return [], ModelList()


async def _program_steps(host: HostInfo) -> tuple[list[Step], ModelList]:
    started = time.monotonic()
    path = await asyncio.to_thread(find_program, host.type)
    if path is None:
        return [Step("program", False, not_found_sentence(host.type))], ModelList()
    found = f"{path.name} {await version_of(path)}".strip()
    steps = [Step("program", True, f"{found} is there.", _since(started))]
    ok, detail = await asyncio.to_thread(_credential_of, host)
    steps.append(Step("key", ok, detail))
    if not ok:
        return steps, ModelList()
    offered = known_models(host.type)
    text = f"{len(offered.names)} names that the program takes."
    return [*steps, Step("model list", True, text)], offered


def _credential_of(host: HostInfo) -> tuple[bool, str]:
    """Say whether a program has something to sign in with; a call shows if it works."""
    if host.credential == Host.Credential.LOGIN:
        if host.id is not None and is_logged_in(host.type, host.id):
            return True, "The program is logged in."
        return False, "Nobody has logged the program in for this host."
    try:
        return (True, "A key is stored.") if key_of(host) else (False, _NO_KEY)
    except AuthenticationFailed as error:
        return False, str(error)


async def _address_steps(host: HostInfo) -> tuple[list[Step], ModelList]:
    started = time.monotonic()
    connected = "The host answers."
    try:
        offered = await fetch_models(host, key_of(host))
    except (BadAddress, BlockedAddress) as error:
        return [Step("address", False, str(error), _since(started))], ModelList()
    except AuthenticationFailed as error:
        return [Step("key", False, str(error), _since(started))], ModelList()
    except NetError as error:
        return [Step("connection", False, str(error), _since(started))], ModelList()
    except NoList as error:
        steps = [Step("connection", True, connected, _since(started))]
        if isinstance(error.reason, AuthenticationFailed):
            text = str(error.reason) if host.key_encrypted else _WANTS_KEY
            return [*steps, Step("key", False, text)], ModelList()
        steps.append(_key_step(host, "The host does not refuse the key."))
        return [*steps, Step("model list", False, str(error))], ModelList()
    return [
        Step("connection", True, connected, _since(started)),
        _key_step(host, "The host accepts the key."),
        Step("model list", True, f"{len(offered.names)} models."),
    ], offered


def _key_step(host: HostInfo, accepted: str) -> Step:
    return Step("key", True, accepted if host.key_encrypted else _NONE_NEEDED)


async def _call_steps(
    steps: list[Step],
    offered: ModelList,
    user: User,
    host: HostInfo,
    caller: Caller | None,
) -> list[Step]:
    """Return all steps, with those of one short call."""
    model, others = await run_in_db_pool(_first_model, user, host)
    if model is None:
        return [*steps, Step("answer", None, "Add and enable a model to try a call.")]
    answer = await _answer_step(user, host, model, caller)
    if others and answer.name == "answer":
        answer = replace(answer, detail=f"{answer.detail} {_not_called(others)}")
    if answer.name == "key":
        steps = [step for step in steps if step.name != "key"]
    steps = [*steps, answer]
    if answer.ok:
        steps += await _context_steps(host, model, offered)
    return steps


async def _answer_step(
    user: User, host: HostInfo, model: ModelInfo, caller: Caller | None
) -> Step:
    started = time.monotonic()
    async with dispatcher.stream(
        _HELLO,
        caller=caller or Caller(user.id, user.username),
        user=user,
        role="test",
        model=f"{host.name}:{model.label}",
        preview=False,
        max_output_tokens=ANSWER_TOKENS,
        only_host=host.id,
    ) as dispatch:
        async for _ in dispatch:
            pass  # what it says does not matter, only how it ends
    result, elapsed_ms = dispatch.result, _since(started)
    error = result.error
    cost = _cost_of(result)
    if error is None or error.message in AT_THE_LIMIT:
        price = f"Price: {cost}{'' if cost == UNKNOWN_COST else ' USD'}."
        text = f"{model.label} was called and answers. {price}"
        return Step("answer", True, text, elapsed_ms, cost)
    is_key = error.code == AuthenticationFailed.code
    keyless = is_key and not host.key_encrypted and host.type not in PROGRAM_TYPES
    text = f"{model.label}: {_WANTS_KEY if keyless else error.message}"
    return Step("key" if is_key else "answer", False, text, elapsed_ms, cost)


def _not_called(others: int) -> str:
    if others == 1:
        return "Its other model was not called."
    return f"Its {others} other models were not called."


def _cost_of(result: DispatchResult) -> str:
    """Return what was booked, in dollars; empty when no attempt was made."""
    if not result.attempts:
        return ""
    return format_usd(result.cost_nano_usd) or UNKNOWN_COST


async def _context_steps(
    host: HostInfo, model: ModelInfo, offered: ModelList
) -> list[Step]:
    """Compare what a server reads with what is registered; nothing if it is silent."""
    started = time.monotonic()
    room = offered.contexts.get(model.name) if host.type == "local_openai" else None
    room = room or await context_said_by(host, model.name, key_of(host))
    if room is None:
        return []
    text = f"The server reads {room:,} tokens of {model.label}"
    if room >= model.context_tokens:
        return [Step("context", True, f"{text}.", _since(started))]
    text += (
        f", but {model.context_tokens:,} are registered: longer prompts would be cut. "
        "Register the smaller number."
    )
    return [Step("context", False, text, _since(started))]


def _first_model(user: User, host: HostInfo) -> tuple[ModelInfo | None, int]:
    """Return the host's cheapest kind of model, and how many others it has.

    Also of a host not in use yet. Its models get their list prices before, for a call
    that was booked without a price stays so.
    """
    if host.id is None:
        return None, 0
    hosts.fill_prices(host.id)
    models = catalogue_of_host(user, host.id).models
    first = min(models, key=lambda model: model.tier, default=None)
    return first, max(0, len(models) - 1)


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
