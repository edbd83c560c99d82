"""What the template of a message needs beside its fields."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django import template
from django.template import Context

from channels_app.doors import door_name
from ledger.money import write_amount
from personas.deletion import can_be_undeleted
from personas.memory.notes import Note
from personas.models import Message, TierPolicy
from routing.decisions import decision_for_turn
from routing.events import Notice

register = template.Library()
register.filter("door_name", door_name)
register.filter("can_be_undeleted", can_be_undeleted)


@dataclass(frozen=True, slots=True)
class SiblingPlace:
    """Where a message stands among the versions beside it, counted from 1."""

    number: int
    count: int
    previous: UUID | None
    next: UUID | None


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of an answer that one model wrote."""

    text: str
    model: str
    """Who went on with this part; empty for the first one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who wrote a message of a person, and by which door it came."""

    author: str
    """A name as the platform gave it, ``You``, or both; a guest is called one."""
    door: str
    """Empty for this page."""

    @property
    def is_plain(self) -> bool:
        """The reader wrote it here, so that nothing has to be said."""
        return self.author == "You" and not self.door

    def __str__(self) -> str:
        return f"{self.author}, by {self.door}" if self.door else self.author


@register.filter
def origin_of(message: Message | None) -> Origin:
    """Return who wrote a message, for its owner."""
    if not isinstance(message, Message):
        return Origin("You", "")
    name = message.author_name
    if message.from_guest:
        author = f"{name} (guest)" if name else "A guest"
    else:
        author = f"{name} (you)" if name else "You"
    return Origin(author, door_name(message.channel))


@register.filter
def cost_text(message: Message | None) -> str:
    """Return what an answer cost, in words where there is no amount.

    ``static/js/answer.js`` says the same for answers that end while one watches.
    """
    if not isinstance(message, Message):
        return ""
    if message.cost_nano_usd is None:
        return "cost unknown"
    if message.cost_nano_usd == 0:
        # Nothing was had, so that there is no price to tell.
        return "" if message.state == "failed" and not message.text else "free"
    amount = write_amount(message.cost_nano_usd)
    return f"{amount} (estimated)" if message.estimated else amount


@register.filter
def is_fallback(message: Message | None) -> bool:
    """Whether an answer came from another model than the first that was tried."""
    if not isinstance(message, Message) or not message.text or message.attempts < 2:
        return False
    decision = decision_for_turn(message.owner, message.pk)
    if decision is None or not decision.attempts:
        return True
    # The same model may have been tried twice, as when its host was busy.
    labels = [str(each.get("label")) for each in decision.attempts]
    return labels[0] != labels[-1]


@register.filter
def text_parts(message: Message | None) -> list[TextPart]:
    """Return the text of a message, cut where another model went on.

    Seams that do not fit the text, as after a crash, are moved to its end.
    """
    if not isinstance(message, Message):
        return []
    parts, begin, model = [], 0, ""
    for seam in sorted(message.seams, key=lambda seam: seam["at"]):
        parts.append(TextPart(message.text[begin : seam["at"]], model))
        begin, model = seam["at"], seam["model"]
    return [*parts, TextPart(message.text[begin:], model)]


@register.filter
def tier_name(tier: int | None) -> str:
    """Return the name of a tier as the picker calls it; empty for none."""
    return TierPolicy(tier).label if tier in (1, 2, 3) else ""


@register.simple_tag(takes_context=True)
def notes_beside(context: Context, message: Message | None) -> list[Notice]:
    """Return what stands beside an answer for good, from the page's ``notices``.

    That everybody was busy was true only until there was an answer.
    """
    notices = context.get("notices") or {}
    found = notices.get(message.pk, ()) if isinstance(message, Message) else ()
    return [notice for notice in found if notice.code != "busy"]


@register.simple_tag(takes_context=True)
def remembered_of(context: Context, message: Message | None) -> list[Note]:
    """Return which lines a message led to, from the page's ``memory_notes``."""
    notes = context.get("memory_notes") or {}
    return notes.get(message.pk, []) if isinstance(message, Message) else []


@register.simple_tag
def sibling_place(message: Message | None) -> SiblingPlace | None:
    """Return the place of a message among its siblings, ``None`` when it has none."""
    ids = message.sibling_ids if isinstance(message, Message) else ()
    if len(ids) < 2 or message is None or message.pk not in ids:
        return None
    index = ids.index(message.pk)
    return SiblingPlace(
        number=index + 1,
        count=len(ids),
        previous=ids[index - 1] if index else None,
        next=ids[index + 1] if index + 1 < len(ids) else None,
    )
