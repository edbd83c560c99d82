"""Who answers in a conversation when a message itself asks for nobody."""

from __future__ import annotations

from dataclasses import dataclass

from personas.models import Conversation


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """A model by its label, else a tier, else the chain of the persona's model role."""

    tier: int | None = None
    """One of ``TierPolicy``: 0 = judged for each message; ``None`` = the chain."""
    model_label: str = ""

    @classmethod
    def of(cls, conversation: Conversation) -> AnswerPolicy:
        """Return the policy of a conversation."""
        return cls(conversation.tier, conversation.model_label)


def set_policy(conversation: Conversation, policy: AnswerPolicy) -> None:
    """Let later messages of a conversation be answered as ``policy`` says."""
    conversation.tier = policy.tier
    conversation.model_label = policy.model_label
    conversation.save(update_fields=["tier", "model_label"])
