"""Budgets: new periods begin, and people hear of what background work has used.

A turn tells its person how far a budget is used. What is spent while nobody reads an
answer – a brief, a task, a booking after a crash – is told here: by webhook to those
who asked for it, and by mail.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction

from accounts.models import User
from channels_app import mails
from channels_app.jobs.beat_step import BeatStep
from channels_app.models import WebhookEndpoint
from channels_app.webhooks import budget_news, sending
from ledger import budget_warnings, person_periods
from routing.db_pool import run_in_db_pool

WORTH_A_MAIL: Final = 100
"""Percent; a mail for less would be one more every day."""
SUBJECT: Final = "A budget in Cortex is used up"


def find() -> int:
    """Count periods that are over and people who have to be told something."""
    return person_periods.ended().count() + len(_people_to_tell())


async def work() -> int:
    """Begin periods and tell people; return how many of both."""
    done = await run_in_db_pool(person_periods.begin_new)
    for user_id, least in (await run_in_db_pool(_people_to_tell)).items():
        done += await run_in_db_pool(_tell, user_id, least)
    await sending.wake_due()
    await mails.wake_due()
    return done


def _people_to_tell() -> dict[int, int]:
    """Return whom to tell, and from which threshold on.

    Others hear of it with their next answer.
    """
    percent_of = budget_warnings.untold()
    if not percent_of:
        return {}
    hooks = WebhookEndpoint.objects.filter(owner__in=percent_of, enabled=True)
    hearing = {
        owner
        for owner, events in hooks.values_list("owner_id", "events")
        if budget_news.EVENT in events
    }
    people = User.objects.filter(pk__in=percent_of).exclude(email="")
    reached = set(people.values_list("pk", flat=True)) if mails.is_set_up() else set()
    least = dict.fromkeys(reached, WORTH_A_MAIL) | dict.fromkeys(hearing, 0)
    return {
        user_id: least[user_id]
        for user_id, percent in percent_of.items()
        if user_id in least and percent >= least[user_id]
    }


def _tell(user_id: int, least: int) -> int:
    """Mark what a person has to be told and store it in one; return how much it is."""
    with transaction.atomic():
        user = User.objects.get(pk=user_id)
        due = budget_warnings.warnings_due(user, least=least)
        for warning in due:
            budget_news.store(user_id, warning)
            if user.email and mails.is_set_up() and warning.percent >= WORTH_A_MAIL:
                key = f"budget:{user_id}:{warning.budget}:{warning.renews_at:%Y%m%d%H}"
                mails.store(user, key, SUBJECT, f"{warning.text}\n")
    return len(due)


STEP: Final = BeatStep("budgets", "Budget periods and warnings", find, work)
