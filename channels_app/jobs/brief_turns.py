"""Which stored turns belong to a run of a brief: what lets an attempt find them again.

A run's first answer has a client id made of the task; each further answer to the same
message has the number of the attempt that asked for it, too.
"""

from __future__ import annotations

from channels_app.models import QueuedTask
from channels_app.turn_requests import OWN_ID
from personas.models import Message


def first_id(task: QueuedTask) -> str:
    """Return the client id of the turn that a run begins."""
    return f"{OWN_ID}task-{task.pk}"


def again_id(task: QueuedTask) -> str:
    """Return that of another answer, asked for by the attempt that runs."""
    return f"{first_id(task)}-{task.attempts}"


def answers_of(task: QueuedTask) -> list[Message]:
    """Return the answers of all attempts, oldest first, also in a deleted chat."""
    numbers = range(1, task.attempts + 1)
    ids = [first_id(task), *(f"{first_id(task)}-{number}" for number in numbers)]
    answers = Message.objects.filter(
        owner=task.owner_id, role=Message.Role.ASSISTANT, client_id__in=ids
    )
    return list(answers.select_related("conversation").order_by("created_at"))
