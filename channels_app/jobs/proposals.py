"""Briefs that a person asked for in a chat, and that exist only after their yes.

A proposal is a ``Schedule`` with an hour to live: it never runs and stands in no list
of briefs. There is at most one in each place – a room, a conversation, or what is to
become one –, and the newest counts. Synchronous.
"""

from __future__ import annotations

import uuid
import zoneinfo
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import cron, schedules
from channels_app.jobs.price_words import price_in_words
from channels_app.jobs.prices import price_of
from channels_app.jobs.spoken_times import Wish
from channels_app.models import ChannelRoom, Schedule
from personas.conversations import title_from
from personas.models import Conversation, Persona

KEPT: Final = timedelta(hours=1)
"""A yes that comes later is a message like any other."""
NO_PROPOSAL: Final = "There is no such proposal; it may have run out after an hour."


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a brief is talked about."""

    user: User
    persona: Persona
    conversation: Conversation | None
    room: ChannelRoom | None = None
    """The room of a bot."""


def proposals_visible_to(user: User) -> QuerySet[Schedule]:
    """Return what waits for the person's yes."""
    return Schedule.objects.filter(
        owner=user, proposed_until__gt=timezone.now()
    ).select_related("owner", "persona", "room__channel")


def get_proposal_for_user(user: User, id: uuid.UUID) -> Schedule:
    """Return a proposal of the person; raises ``Http404``."""
    found = proposals_visible_to(user).filter(pk=id).first()
    if found is None:
        raise Http404(NO_PROPOSAL)
    return found


def waiting_at(spot: Spot) -> Schedule | None:
    """Return what waits for a yes in a place."""
    return _at(spot, proposals_visible_to(spot.user)).last()


def is_last_word(spot: Spot) -> bool:
    """Say whether something waits for a yes in a place and nothing was said since."""
    proposal = waiting_at(spot)
    if proposal is None or proposal.proposed_until is None:
        return False
    if spot.conversation is None:
        return True
    said = spot.conversation.messages.filter(
        created_at__gt=proposal.proposed_until - KEPT
    )
    return not said.exists()


def propose(spot: Spot, wish: Wish) -> Schedule:
    """Keep a wish until it is confirmed; an earlier one of the place is dropped.

    Raises:
        ValidationError: It could not become a brief; sentences by field.
    """
    conversation = spot.conversation
    if conversation is not None and conversation.temporary:
        conversation = None
    proposal = Schedule(
        owner=spot.user,
        persona=spot.persona,
        name=title_from(wish.prompt)[:80],
        prompt=wish.prompt,
        cron=wish.cron,
        time_zone=spot.user.time_zone,
        proposed_until=timezone.now() + KEPT,
        proposed_in=spot.conversation,
    )
    if spot.room is None:
        proposal.conversation = conversation
    else:
        proposal.delivery, proposal.room = spot.room.channel.kind, spot.room
    with transaction.atomic():
        _at(spot, Schedule.objects.filter(owner=spot.user)).exclude(
            proposed_until=None
        ).delete()
        return schedules.save(proposal)


def confirm(proposal: Schedule) -> Schedule:
    """Make a proposal a brief; raises ``ValidationError`` where it cannot be one."""
    proposal.proposed_until = proposal.proposed_in = None
    return schedules.save(proposal)


def drop(proposal: Schedule) -> None:
    """Forget a proposal."""
    Schedule.objects.filter(pk=proposal.pk).exclude(proposed_until=None).delete()


def ended() -> QuerySet[Schedule]:
    """Return proposals to which nobody said yes in time."""
    return Schedule.objects.filter(proposed_until__lt=timezone.now() - KEPT)


def _at(spot: Spot, rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    rows = rows.filter(room=spot.room).order_by("proposed_until")
    if spot.room is not None:
        return rows
    return rows.filter(proposed_in=spot.conversation, persona=spot.persona)


# --- in words -------------------------------------------------------------------


def question(proposal: Schedule, *, assumed: bool) -> str:
    """Return Markdown that says what would be set up and asks for a yes.

    ``assumed``: the person named no hour.
    """
    hour = "\nYou named no hour; say it with the day to have another one.\n"
    return (
        "Shall I set up this brief?\n\n"
        f"- **{cron.in_words(proposal.cron, proposal.time_zone)}**, for the first time "
        f"{_first_time(proposal)}\n"
        f"- {proposal.persona.display_name} is asked: “{_quoted(proposal.prompt)}”\n"
        f"- The answer comes {_where(proposal)}\n"
        f"- {price_in_words(price_of(proposal, timezone.now()))}\n"
        f"{hour if assumed else ''}\n"
        "Answer **yes** or **no**. (A message that begins with `//` is sent as it is.)"
    )


def agreement(brief: Schedule) -> str:
    """Return what is said when a brief has been confirmed."""
    return (
        f"Done: “{brief.name}” comes "
        f"{_lower(cron.in_words(brief.cron, brief.time_zone))}, for the first time "
        f"{_first_time(brief)}. It can be changed and switched off under Jobs, Briefs."
    )


def objections(error: ValidationError) -> str:
    """Return the sentences of what stands in the way of a brief."""
    return " ".join(["This cannot become a brief.", *error.messages])


def _first_time(schedule: Schedule) -> str:
    moment = schedule.next_at or schedules.next_after(schedule, timezone.now())
    if moment is None:
        return "never"
    local = moment.astimezone(zoneinfo.ZoneInfo(schedule.time_zone))
    return f"{local:%A}, {local.day} {local:%B %Y, %H:%M}"


def _where(proposal: Schedule) -> str:
    if proposal.room is not None:
        return "into this room"
    if proposal.conversation is not None:
        return "into this conversation"
    return "in a conversation of its own"


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 200 else f"{words[:199]}…"


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]
