"""From a job to its plan: read what counts, decide the tier, route.

Everything is read in one crossing into the database: what the person may call, what is
left of their budget and, only where somebody has to judge the tier, their switches and
the tier of the conversation so far. Where the classifier has to be asked, ``question``
is set; the dispatcher asks it and comes back with the verdict.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from accounts.models import User
from ledger import budgets
from ledger.types import Caller, Prices
from routing import classifier, decisions, tiers
from routing.attempt import prompt_tokens
from routing.backends.base import BackendError, Prompt
from routing.breakers import Breakers
from routing.catalogue import Catalogue, ModelInfo
from routing.classifier import Verdict
from routing.errors import RoutingError
from routing.events import Notice
from routing.preferences import preferences_of
from routing.registry import catalogue_for, catalogue_of_host
from routing.router import RoutePlan, RouteRequest, needs_judgement, route
from routing.rules import Features, features_of, kind_of
from routing.tiers import Switches, TierDecision

PromptBuilder = Callable[[int], Prompt]
"""Builds the prompt for a candidate; the argument is its room in tokens."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one dispatch is asked to do."""

    prompt: Prompt | PromptBuilder
    caller: Caller
    user: User
    request: RouteRequest
    preview: bool
    max_output_tokens: int | None
    only_host: int | None = None
    """A host to test: nothing but its models."""
    thread_id: uuid.UUID | None = None
    attachments: int = 0
    redo_of: uuid.UUID | None = None
    background: bool = False
    max_cost_nano_usd: int | None = None
    """What all its attempts together may cost; ``None`` = as much as budgets let."""

    def catalogue(self) -> Catalogue:
        """Read what may be called."""
        if self.only_host is not None:
            return catalogue_of_host(self.user, self.only_host)
        return catalogue_for(self.user)

    def prompt_for(self, room: int) -> Prompt:
        """Return the prompt for a model with so much room in tokens."""
        return self.prompt if isinstance(self.prompt, Prompt) else self.prompt(room)


@dataclass(frozen=True, slots=True)
class Question:
    """What the classifier is to judge."""

    text: str
    kind: str


class Planning:
    """How the plan of one job comes about."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.catalogue = Catalogue()
        self.decision: TierDecision | None = None
        self.question: Question | None = None
        """Set = the classifier has to be asked before there can be a plan."""
        self.undecided = False
        """The classifier was asked in vain."""
        self._budget: budgets.BudgetLeft | None = None
        self._features = Features()

    def read(self) -> None:
        """Read what counts, and decide the tier if that costs nothing."""
        job = self.job
        self.catalogue = job.catalogue()
        self._budget = budgets.left_for(job.user, background=job.background)
        if not needs_judgement(job.request, self.catalogue):
            return
        text = self._text()
        self._features = features_of(text, job.attachments)
        preferences = preferences_of(job.user)
        switches = Switches(preferences.use_rules, preferences.use_classifier)
        sticky = decisions.sticky_tier(job.user, job.thread_id)
        self.decision = tiers.by_rules(self._features, switches, sticky)
        if self.decision is None:
            why = self._why_nobody_is_asked(switches)
            if why is None:
                self.question = Question(text, kind_of(self._features))
            else:
                default_tier = self.catalogue.default_tier
                self.decision = tiers.by_default(why, self._features, default_tier)

    def hear(self, verdict: Verdict) -> None:
        """Take what the classifier said."""
        self.question = None
        self.undecided = verdict.judgement is None
        judgement = verdict.judgement
        if judgement is not None and not self.job.preview:
            # Its words tell what the message is about, and they would be stored.
            judgement = replace(judgement, reason=classifier.WITHOUT_WORDS)
        self.decision = tiers.by_classifier(
            judgement,
            verdict.failure,
            self._features,
            self.catalogue.default_tier,
        )

    def plan(self, breakers: Breakers) -> RoutePlan:
        """Return the plan.

        Raises:
            RoutingError: No call is possible.
        """
        request = self.job.request
        if isinstance(self.job.prompt, Prompt) and not request.input_tokens:
            request = replace(request, input_tokens=prompt_tokens(self.job.prompt))
        if self.decision is not None:
            request = replace(
                request,
                judged=self.decision.tier,
                asked_by=self.decision.decided_by,
                why=self.decision.reason,
            )
        health = breakers.health(self._models())
        plan = route(request, self.catalogue, self._budget, health)
        return replace(plan, notices=self._news(plan.notices))

    def _news(self, notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
        """Leave out what was told in this conversation a moment ago."""
        if not notices:
            return ()
        told = decisions.recently_told(self.job.user, self.job.thread_id)
        return tuple(each for each in notices if each not in told)

    def decision_for(self, prompt: Prompt) -> TierDecision:
        """Return the decision; features of what nobody judged come from the prompt."""
        if self.decision is not None:
            return self.decision
        features = features_of(last_message(prompt), self.job.attachments)
        return tiers.given(self.job.request, features)

    def stand_in_prices(self) -> Prices | None:
        """Return the dearest metered prices that are known, each by itself."""
        known = [m.prices for m in self._models() if m.host.billing == "metered"]
        inputs = [prices.input for prices in known if prices.input is not None]
        outputs = [prices.output for prices in known if prices.output is not None]
        if not inputs and not outputs:
            return None
        return Prices(max(inputs, default=None), max(outputs, default=None))

    def _models(self) -> tuple[ModelInfo, ...]:
        return self.catalogue.models

    def _text(self) -> str:
        """Return the message that is to be answered."""
        room = max((m.input_tokens for m in self._models()), default=0)
        try:
            return last_message(self.job.prompt_for(room))
        except BackendError:
            return ""

    def _why_nobody_is_asked(self, switches: Switches) -> str | None:
        """Return why the classifier is not asked; ``None`` = it is."""
        job = self.job
        if job.background or job.request.role == classifier.ROLE:
            return "this is work in the background"
        if not switches.classifier:
            return "the rules were undecided"
        if len({model.tier for model in self._models()}) < 2:
            return "all models are of one tier"
        try:
            route(
                RouteRequest(classifier.ROLE, private=job.request.private),
                self.catalogue,
            )
        except RoutingError:
            return "the rules were undecided and no model classifies"
        return None


def last_message(prompt: Prompt) -> str:
    """Return the newest message of the person, as they wrote it."""
    if prompt.asked:
        return prompt.asked
    for message in reversed(prompt.messages):
        if message.role == "user":
            return message.text
    return ""
