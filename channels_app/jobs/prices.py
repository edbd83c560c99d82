"""What a brief will cost, told before it runs; nothing is called and nothing is stored.

Where the same brief ran before, its last runs are the price. Otherwise it is rehearsed:
the prompt is built as a run would build it, the router says who would answer, and that
model's prices and an answer of usual length make the amount. A price that is not known
stays unknown.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Final, Literal

from channels_app.job_models import QueuedTask, Schedule
from channels_app.jobs.cron import next_runs
from channels_app.turn_start import tier_of
from ledger.money import reserved_for
from ledger.types import Caller
from personas.context import load_material, persona_material
from personas.conversations import conversations_visible_to
from personas.models import Conversation, Message
from personas.prompts import HistoryMessage, Material, build_prompt
from routing.attempt import prompt_tokens
from routing.backends.base import BackendError
from routing.breakers import BREAKERS
from routing.catalogue import ModelInfo
from routing.errors import RoutingError
from routing.planning import Job, Planning
from routing.router import RouteRequest
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens

LAST_RUNS: Final = 10
"""So many runs make the price of a brief that ran before."""
USUAL_OUTPUT_TOKENS: Final = 500
"""Length of an answer while nothing is known of the person's own."""
_LOOKS: Final = (5, 40, 400)
"""So many times are looked at, more of them until they reach over a year."""
_YEAR: Final = timedelta(days=365)
_MONTHS_OF_YEAR: Final = 12
Kind = Literal["amount", "free", "covered", "unknown", "refused"]


@dataclass(frozen=True, slots=True)
class PriceTag:
    """What one run of a brief costs, and a month of them."""

    kind: Kind
    """``covered`` = by a subscription; ``refused`` = nobody would answer."""
    model: str = ""
    """Label of the model that answers."""
    in_house: bool = False
    """Nothing leaves the house."""
    run_nano_usd: int | None = None
    """The middle of its last runs, or what the rehearsal gave."""
    low_nano_usd: int | None = None
    high_nano_usd: int | None = None
    runs: int = 0
    """How many runs it was taken from; 0 = it was rehearsed."""
    unknown_runs: int = 0
    """Runs beside them whose cost is unknown."""
    why: str = ""
    """Why nobody would answer, as a sentence."""
    runs_a_month: float = 0.0

    @property
    def month_nano_usd(self) -> int | None:
        """What a month costs; ``None`` = unknown."""
        if self.run_nano_usd is None:
            return None
        return round(self.run_nano_usd * self.runs_a_month)

    @property
    def varies(self) -> bool:
        """Whether its runs cost different amounts."""
        return self.low_nano_usd != self.high_nano_usd


def price_of(schedule: Schedule, now: datetime) -> PriceTag:
    """Return the price of a brief as it stands in ``schedule``, saved or not.

    Needs its owner and persona; what it did before counts only if the schedule in the
    database asks the same of the same persona.
    """
    tag = _of_last_runs(schedule) or rehearse(schedule)
    return replace(tag, runs_a_month=runs_a_month(schedule, now))


def runs_a_month(schedule: Schedule, now: datetime) -> float:
    """Return how often a brief comes in a month, on average; 0 for no valid time."""
    try:
        for many in _LOOKS:
            runs = next_runs(schedule.cron, schedule.time_zone, now, many)
            if len(runs) < many or runs[-1] - now > _YEAR:
                break
    except ValueError:
        return 0.0
    within = [run for run in runs if run - now <= _YEAR]
    if len(within) < _LOOKS[-1]:
        return len(within) / _MONTHS_OF_YEAR
    span = within[-1] - within[0]
    return (len(within) - 1) * (_YEAR / span) / _MONTHS_OF_YEAR


# --- from what it did ---------------------------------------------------------


def _of_last_runs(schedule: Schedule) -> PriceTag | None:
    """Return the price by the last runs; ``None`` = there are none to go by."""
    asked_before = Schedule.objects.filter(
        pk=schedule.pk,
        prompt=schedule.prompt,
        persona=schedule.persona_id,
        tier=schedule.tier,
    )
    if not asked_before.exists():
        return None
    rows = QueuedTask.objects.filter(
        schedule=schedule.pk, state=QueuedTask.State.DONE, text=schedule.prompt
    ).order_by("-created_at")
    last = list(rows.values_list("cost_nano_usd", "model")[:LAST_RUNS])
    if not last:
        return None
    costs = [cost for cost, _ in last if cost is not None]
    model = last[0][1]
    if not costs:
        return PriceTag("unknown", model, unknown_runs=len(last))
    return PriceTag(
        kind="amount" if any(costs) else "free",
        model=model,
        run_nano_usd=round(median(costs)),
        low_nano_usd=min(costs),
        high_nano_usd=max(costs),
        runs=len(costs),
        unknown_runs=len(last) - len(costs),
    )


# --- by a rehearsal -----------------------------------------------------------


def rehearse(schedule: Schedule) -> PriceTag:
    """Build and route a brief's prompt without a call, and price what would answer."""
    job = _job(schedule)
    planning = Planning(job)
    try:
        planning.read()
        model = planning.plan(BREAKERS).candidates[0].model
        prompt = job.prompt_for(model.input_tokens)
    except (RoutingError, BackendError) as error:
        return PriceTag("refused", why=str(error))
    length = min(_usual_output(schedule), model.output_tokens)
    cost = reserved_for(model.prices, prompt_tokens(prompt), length)
    return PriceTag(
        kind=_kind_of(model, cost),
        model=model.label,
        in_house=model.host.is_local,
        run_nano_usd=cost,
        low_nano_usd=cost,
        high_nano_usd=cost,
    )


def _kind_of(model: ModelInfo, cost: int | None) -> Kind:
    if model.host.billing == "notional":
        return "covered"
    if cost is None:
        return "unknown"
    return "amount" if cost else "free"


def _job(schedule: Schedule) -> Job:
    """Return what a run would ask of the router."""
    owner, persona = schedule.owner, schedule.persona
    chat = _conversation_of(schedule)
    model, tier = None, tier_of(schedule.tier)
    if tier is None:
        model = (chat.model_label if chat else "") or None
        tier = tier_of(chat.tier if chat else persona.tier)
    return Job(
        prompt=functools.partial(build_prompt, _material(schedule, chat)),
        caller=Caller(owner.pk, owner.username, channel="schedule"),
        user=owner,
        request=RouteRequest(
            role=persona.model_role,
            model=model,
            tier=tier,
            private=chat.is_private if chat else persona.private,
            asked_by="explicit" if schedule.tier is not None else "policy",
        ),
        preview=False,
        max_output_tokens=None,
        background=True,
    )


def _conversation_of(schedule: Schedule) -> Conversation | None:
    """Return the conversation that a run would go on with."""
    if schedule.conversation_id is None:
        return None
    mine = conversations_visible_to(schedule.owner)
    return mine.filter(pk=schedule.conversation_id, persona=schedule.persona_id).first()


def _material(schedule: Schedule, chat: Conversation | None) -> Material:
    """Return what the prompt is made of: the persona, the conversation, the brief."""
    text = schedule.prompt
    asked = HistoryMessage(
        "user", text, estimate_tokens(text) + MESSAGE_OVERHEAD_TOKENS
    )
    alone = schedule.room is None or schedule.room.alone
    if chat is None or chat.current_message_id is None:
        return replace(persona_material(schedule.persona, alone=alone), current=asked)
    end = Message(pk=chat.current_message_id)
    before = load_material(chat, upto=end, alone=alone)
    said = () if before.current is None else (before.current,)
    return replace(before, history=(*before.history, *said), current=asked)


def _usual_output(schedule: Schedule) -> int:
    """Return how long the person's answers to briefs are, in tokens."""
    rows = QueuedTask.objects.filter(
        owner=schedule.owner,
        kind="brief",
        state=QueuedTask.State.DONE,
        output_tokens__isnull=False,
    ).order_by("-created_at")
    lengths = rows.values_list("output_tokens", flat=True)[:LAST_RUNS]
    known = [length for length in lengths if length]
    return round(median(known)) if known else USUAL_OUTPUT_TOKENS
