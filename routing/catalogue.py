"""What a person may call, as plain frozen values: hosts, models, chains.

``registry.catalogue_for`` fills it from the database; ``router.route`` chooses from
it without one. Keys stay encrypted here until an attempt needs one.

A chain names models, or types of host by their plain id (``claude_cli``): then the
type's model of the tier that the router decides is meant. Plain ids always resolve,
if only to "not set up".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ledger.types import Billing, Prices
from routing.addresses import origin_of

BUILTIN_LABEL = "builtin"
PLAIN_IDS = {
    BUILTIN_LABEL: "Built-in model",
    "claude_cli": "Claude CLI",
    "gemini_cli": "Gemini CLI",
    "gemini_api": "Gemini API",
}
"""Plain id → what people call it."""
PROGRAM_TYPES = frozenset({"claude_cli", "gemini_cli"})
"""Types of host that are a program on this machine."""
VENDOR_TYPES = PROGRAM_TYPES | {"gemini_api", "anthropic_api"}
"""Types whose texts go to a vendor's fixed address unless another one is typed."""
TOOL_TYPES = frozenset({"anthropic_api", "gemini_api"})
"""Types whose models all can call tools; of other servers' models their tags say it."""
ABILITIES = {"tools": "Can call tools", "images": "Can read images"}
"""Tag of a model → what it says; other tags are only words."""
BUILTIN_INPUT_TOKENS = 900
"""Its prompts stay short, because it reads only some 270 tokens a second."""
BUILTIN_OUTPUT_TOKENS = 512
TOO_SMALL = "The built-in model is too small for this; set up another one for the role."
"""Why the built-in model does not answer for a role that its chain names it for."""


@dataclass(frozen=True, slots=True)
class HostInfo:
    """One host; ``id`` is ``None`` for the built-in one."""

    id: int | None
    name: str
    type: str
    base_url: str = ""
    key_encrypted: str = field(default="", repr=False)
    is_local: bool = False
    flagged: str = ""
    """Why the host needs attention, such as a refused key."""
    owner_id: int | None = None
    """``None`` = shared with everybody."""
    trusted_origin: bool = False
    """An administrator saved this address, so it may be private or loopback."""
    credential: str = "key"
    """What the key is, one of ``routing.models.Host.Credential``."""
    cooling_until: datetime | None = None
    """It asked to be left alone until then."""

    @property
    def billing(self) -> Billing:
        """How its calls are paid: a program with a login is paid by subscription."""
        if self.is_local:
            return "local"
        return "metered" if self.credential == "key" else "notional"

    @property
    def trusted_origins(self) -> frozenset[str]:
        """The host's own origin if it is trusted."""
        trusted = self.trusted_origin and bool(self.base_url)
        return frozenset({origin_of(self.base_url)} if trusted else ())


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that may be called; ``label`` is the id by which people name it."""

    id: int | None
    label: str
    name: str
    host: HostInfo
    context_tokens: int
    max_output_tokens: int
    tier: int
    prices: Prices
    tags: tuple[str, ...] = ()

    @property
    def output_tokens(self) -> int:
        """The most that an answer may have: at most half of the context."""
        return min(self.max_output_tokens, self.context_tokens // 2)

    @property
    def input_tokens(self) -> int:
        """The room for a prompt beside the longest answer."""
        return self.context_tokens - self.output_tokens

    @property
    def abilities(self) -> frozenset[str]:
        """What it can do of ``ABILITIES``; programs are run without any tools."""
        if self.host.type in PROGRAM_TYPES:
            return frozenset()
        known = {"tools"} if self.host.type in TOOL_TYPES else set()
        return frozenset(self.tags) & ABILITIES.keys() | known

    @property
    def typical_cost_nano_usd(self) -> int | None:
        """What 1,000 tokens in and 500 out cost, to compare models; None = unknown."""
        if self.prices.input is None or self.prices.output is None:
            return None
        return (self.prices.input * 1000 + self.prices.output * 500) // 1_000_000


BUILTIN = ModelInfo(
    id=None,
    label=BUILTIN_LABEL,
    name="SmolLM2-135M",
    host=HostInfo(id=None, name="Built-in model", type="builtin", is_local=True),
    context_tokens=BUILTIN_INPUT_TOKENS + BUILTIN_OUTPUT_TOKENS,
    max_output_tokens=BUILTIN_OUTPUT_TOKENS,
    tier=1,
    prices=Prices.local(),
)


ChainEntry = ModelInfo | str
"""A model, or the plain id of a type of host."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All enabled models of a person, their own before the shared ones."""

    models: tuple[ModelInfo, ...] = ()
    own_chains: Mapping[str, tuple[ChainEntry, ...]] = field(default_factory=dict)
    shared_chains: Mapping[str, tuple[ChainEntry, ...]] = field(default_factory=dict)
    role_settings: Mapping[str, str] = field(default_factory=dict)
    """Labels or plain ids from ``CORTEX_ROLE_<NAME>``, for roles without a chain."""
    default_tier: int = 1
    too_much_for_builtin: frozenset[str] = frozenset()
    """Roles that the built-in model never answers for, whatever a chain says."""

    def find(self, name: str, tier: int | None = None) -> ModelInfo | None:
        """Return the model that people mean by ``name``: its label, or host and label.

        One's own model wins over a shared one with the same label; ``<host>:<label>``
        tells several apart. A plain id means its type's model of ``tier``, by default
        the default tier; ``builtin`` is always there.
        """
        if name in PLAIN_IDS:
            return self.plain(name, tier or self.default_tier)
        for model in self.models:
            if model.label == name:
                return model
        for model in self.models:
            if name in {f"{model.host.name}:{model.label}", model.name}:
                return model
        return None

    def plain(self, plain_id: str, tier: int) -> ModelInfo | None:
        """Return the model that a plain id means for a tier; ``None`` = not set up.

        The one of that tier, else the nearest above, else the nearest below; of
        several one's own, then the one whose host has no complaint.
        """
        if plain_id == BUILTIN_LABEL:
            return BUILTIN
        return min(
            (model for model in self.models if model.host.type == plain_id),
            key=lambda model: (
                model.tier < tier,
                abs(model.tier - tier),
                model.host.owner_id is None,
                bool(model.host.flagged),
            ),
            default=None,
        )


def not_set_up(plain_id: str) -> str:
    """Return the sentence for a plain id with nothing behind it."""
    name = PLAIN_IDS.get(plain_id, plain_id)
    return f"{name} is not set up: no host of this kind with a model is in use."
