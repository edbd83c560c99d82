"""The door to every model: ``stream`` and ``complete`` make a dispatch of a request.

Every call of the project goes through here: route, reserve, call, fall back, settle.
``routing.dispatch`` does the work.
"""

from __future__ import annotations

import uuid
from typing import Literal

from accounts.models import User
from ledger.types import Caller
from routing.backends.base import Prompt, PromptMessage, TextDelta, Timeouts
from routing.dispatch import Dispatch
from routing.events import Completion, DispatchEvent, DispatchResult, Notice, Routed
from routing.planning import Job, PromptBuilder
from routing.router import AskedBy, RouteRequest, Tier

__all__ = [
    "Completion",
    "Dispatch",
    "DispatchEvent",
    "DispatchResult",
    "Notice",
    "PromptBuilder",
    "Routed",
    "complete",
    "stream",
]

TierSource = Literal["asked", "policy"]


def stream(
    prompt: Prompt | PromptBuilder,
    *,
    caller: Caller,
    user: User,
    role: str = "chat",
    model: str | None = None,
    tier: Tier = None,
    private: bool = False,
    preview: bool = True,
    max_output_tokens: int | None = None,
    timeouts: Timeouts | None = None,
    only_host: int | None = None,
    thread_id: uuid.UUID | None = None,
    attachments: int = 0,
    needs: frozenset[str] = frozenset(),
    policy: TierSource = "asked",
    redo_of: uuid.UUID | None = None,
    background: bool = False,
    max_cost_nano_usd: int | None = None,
) -> Dispatch:
    """Return one dispatch: ``async with``, iterate it, then read its ``result``.

    Args:
        prompt: The prompt, or a function that builds it for a room in tokens; it is
            called for each attempt, on a thread, and must be pure.
        caller: On whose behalf the ledger books.
        user: Whose models, chains and budget count.
        model: A label; strict, without fallback.
        tier: 1, 2, 3 or ``"auto"``; ``None`` = the role's chain.
        private: Only hosts marked local.
        preview: Whether the start of the last message, and what the classifier says of
            it, are kept for the owner.
        max_output_tokens: Below the model's own limit.
        timeouts: Instead of those of ``routing.deadline``; ``total_s`` is for the whole
            dispatch.
        only_host: Id of a host to test: its models alone count, also while it is not
            in use.
        thread_id: The conversation; its tier stays the same for some minutes.
        attachments: How many files came with the message, for the rules.
        needs: Abilities that the model must have: ``tools``, ``images``.
        policy: Who set ``model`` or ``tier``: the person for this message (``asked``),
            or the persona or conversation (``policy``).
        redo_of: The answer that this one is asked to better; kept as a label.
        background: Nobody waits for it; it counts against its own daily amount.
        max_cost_nano_usd: What all its attempts together may cost.
    """
    asked_by: AskedBy = "policy" if policy == "policy" else "explicit"
    job = Job(
        prompt=prompt,
        caller=caller,
        user=user,
        request=RouteRequest(
            role, model, tier, private, needs=needs, asked_by=asked_by
        ),
        preview=preview,
        max_output_tokens=max_output_tokens,
        only_host=only_host,
        thread_id=thread_id,
        attachments=attachments,
        redo_of=redo_of,
        background=background,
        max_cost_nano_usd=max_cost_nano_usd,
    )
    return Dispatch(job, timeouts, ask=complete)


async def complete(
    prompt: Prompt | PromptBuilder | str,
    *,
    user: User,
    role: str = "chat",
    model: str | None = None,
    tier: Tier = None,
    private: bool = False,
    preview: bool = True,
    caller: Caller | None = None,
    channel: str = "api",
    max_output_tokens: int | None = None,
    timeouts: Timeouts | None = None,
    background: bool = False,
) -> Completion:
    """Ask and return the whole answer; arguments as for ``stream``.

    A failed call gives what text there was and an error in ``result``.
    """
    if isinstance(prompt, str):
        prompt = Prompt("", (PromptMessage("user", prompt),))
    text: list[str] = []
    async with stream(
        prompt,
        caller=caller or Caller(user.id, user.username, channel=channel),
        user=user,
        role=role,
        model=model,
        tier=tier,
        private=private,
        preview=preview,
        max_output_tokens=max_output_tokens,
        timeouts=timeouts,
        background=background,
    ) as dispatch:
        async for event in dispatch:
            if isinstance(event, TextDelta):
                text.append(event.text)
    return Completion("".join(text), dispatch.result)
