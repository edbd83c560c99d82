"""How long the choice of a model takes: rules and ``route()``, without a database."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from ledger.types import Prices
from routing.catalogue import Catalogue, HostInfo, ModelInfo
from routing.health import Health, key_of
from routing.router import RouteRequest, route
from routing.rules import features_of, judge

MODELS: Final = 300
HOSTS: Final = 60
ROUNDS: Final = 5_000
SENTENCE: Final = "It rained on the market, so we went home and wrote python code. "


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a budget."""

    fraction: float
    left_nano_usd: int


def catalogue() -> Catalogue:
    """Return a registry far larger than any household's."""
    dice = random.Random(1)
    hosts = [
        HostInfo(number, f"host {number}", "local_openai", is_local=number % 10 == 0)
        for number in range(HOSTS)
    ]
    models = []
    for number in range(MODELS):
        host = hosts[number % HOSTS]
        price = dice.randrange(10**8, 10**11)
        prices = Prices.local() if host.is_local else Prices(price, price * 4)
        models.append(
            ModelInfo(
                number, f"model {number}", f"name-{number}", host,
                dice.choice((8_000, 128_000, 1_000_000)), 4_000,
                dice.choice((1, 2, 3)), prices, dice.choice(((), ("tools", "images"))),
            )
        )  # fmt: skip
    return Catalogue(tuple(models), {"coder": tuple(models[:5])})


def times_ms() -> list[float]:
    """Return how long each decision took, over messages of all lengths."""
    offered = catalogue()
    health = Health({key_of(model): "failing" for model in offered.models[::15]})
    texts = [SENTENCE * count for count in (1, 3, 30, 120, 460)]
    requests = (
        RouteRequest(tier="auto"),
        RouteRequest(tier="auto", input_tokens=50_000, needs=frozenset({"tools"})),
        RouteRequest(tier=3, private=True),
        RouteRequest("coder"),
    )
    budgets = (None, Left(0.4, 10**9))
    taken = []
    choices = zip(cycle(texts), cycle(requests), cycle(budgets), range(ROUNDS))
    for text, request, budget, _ in choices:
        begun = time.perf_counter()
        judge(features_of(text))
        route(request, offered, budget, health)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken
