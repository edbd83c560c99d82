"""What the queue keeps of an answer of a brief, when its person deletes the answer."""

from __future__ import annotations

import uuid

from channels_app.bots.endings import EMPTY
from channels_app.models import QueuedTask
from channels_app.turn_requests import OWN_ID
from personas.models import Message

_OF_A_TASK = f"{OWN_ID}task-"
_UUID_CHARS = 36


def forget_result(message: Message) -> None:
    """Take a deleted answer out of the run that has it as its result."""
    task = _task_of(message)
    if task is not None and task.result.startswith(message.text.strip() or EMPTY):
        QueuedTask.objects.filter(pk=task.pk).update(result="")


def restore_result(message: Message) -> None:
    """Give a run its result again, when its answer is brought back."""
    task = _task_of(message)
    if task is not None and not task.result:
        result = message.text.strip() or EMPTY
        QueuedTask.objects.filter(pk=task.pk, result="").update(result=result)


def _task_of(message: Message) -> QueuedTask | None:
    """Return the run that an answer was made for; see ``brief_turns``."""
    if message.role != Message.Role.ASSISTANT:
        return None
    if not message.client_id.startswith(_OF_A_TASK):
        return None
    try:
        key = uuid.UUID(message.client_id[len(_OF_A_TASK) :][:_UUID_CHARS])
    except ValueError:
        return None
    rows = QueuedTask.objects.filter(pk=key, owner=message.owner_id)
    return rows.filter(state=QueuedTask.State.DONE).first()
