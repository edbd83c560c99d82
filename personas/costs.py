"""Which of a person's own conversations cost most; titles are for their owner alone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Q, Sum

from accounts.models import User
from personas.conversations import messages_with_deleted
from personas.models import Conversation, Message

_SUMS = {
    "count": Count("id"),
    "cost": Sum("cost_nano_usd", default=0),
    "unknown": Count("id", filter=Q(cost_nano_usd=None) & ~Q(state="generating")),
}


@dataclass(frozen=True, slots=True)
class ConversationCost:
    """The sums of one conversation's answers, all branches included."""

    id: uuid.UUID
    title: str
    persona_name: str
    """The name that the persona is shown by."""
    answers: int
    cost_nano_usd: int
    """Sum of the known costs."""
    unknown_cost_answers: int
    """Answers of unknown cost; they are missing from ``cost_nano_usd``."""

    @property
    def is_unknown(self) -> bool:
        """Whether no cost at all is known."""
        return self.unknown_cost_answers == self.answers


def costliest_conversations(
    user: User, *, since: datetime | None = None, limit: int = 10
) -> list[ConversationCost]:
    """Return the person's conversations with what their answers cost, dearest first.

    Deleted ones are left out, and so are those whose answers cost nothing. Only
    answers begun at ``since`` or later count.
    """
    answers = messages_with_deleted(user).filter(
        role=Message.Role.ASSISTANT, attempts__gt=0
    )
    if since is not None:
        answers = answers.filter(created_at__gte=since)
    rows = (
        answers.order_by()
        .values(
            "conversation_id",
            title=F("conversation__title"),
            persona_name=F("conversation__persona__display_name"),
        )
        .annotate(**_SUMS)
        .filter(Q(cost__gt=0) | Q(unknown__gt=0))
        .order_by("-cost", "-unknown", "conversation_id")[:limit]
    )
    return [
        ConversationCost(
            id=row["conversation_id"],
            title=row["title"],
            persona_name=row["persona_name"],
            answers=row["count"],
            cost_nano_usd=row["cost"],
            unknown_cost_answers=row["unknown"],
        )
        for row in rows
    ]


def cost_of_conversation(conversation: Conversation) -> ConversationCost:
    """Return what the answers of one conversation cost; needs its persona."""
    row = (
        conversation.messages.filter(role=Message.Role.ASSISTANT, attempts__gt=0)
        .order_by()
        .aggregate(**_SUMS)
    )
    return ConversationCost(
        id=conversation.pk,
        title=conversation.title,
        persona_name=conversation.persona.display_name,
        answers=row["count"],
        cost_nano_usd=row["cost"],
        unknown_cost_answers=row["unknown"],
    )
