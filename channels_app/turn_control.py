"""Stops and resumes turns, wherever they run. ``channels_app.turns`` is the door.

Turns of this process are found at once; others are asked for over the hub, and a stop
is noted in the answer's row, which its process reads every second.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable

from channels_app import turn_rows
from channels_app.errors import TurnError
from channels_app.live_turns import RUNNING, hub
from channels_app.streams import TurnStream
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)


async def stop_turn(user_id: int, turn: uuid.UUID) -> None:
    """Stop a person's turn wherever it runs; one that is over stays as it is.

    Raises ``TurnError``: ``not_found``, or ``turn_gone`` when its process has died.
    """
    live = RUNNING.get(turn)
    if live is not None and live.user_id == user_id:
        live.stop()
        return
    alive = await run_in_db_pool(turn_rows.ask_to_stop_for_user, user_id, turn)
    if alive is None:
        return
    try:
        is_told = await hub().request_stop(turn)
    except TurnError as error:
        logger.warning("Turn %s will read that it is stopped: %s", turn, error)
        is_told = False
    if not (is_told or alive):
        raise TurnError(
            "turn_gone",
            "The process that wrote this answer is gone.",
            turn=str(turn),
        )


async def stop_all(ids: Iterable[uuid.UUID]) -> None:
    """Stop turns whose conversation goes, wherever they run; never fails.

    One that cannot be told now is found by the keeper of its process, by its row.
    """
    for turn in ids:
        if live := RUNNING.get(turn):
            live.stop()
            continue
        try:
            await hub().request_stop(turn)
        except TurnError as error:
            logger.warning("Turn %s was not told to stop: %s", turn, error)


async def resume(user_id: int, turn: uuid.UUID) -> TurnStream:
    """Return the stream of a person's turn, to be read from any number on.

    Raises ``TurnError``: ``not_found``, or ``turn_gone`` when it is kept no longer;
    then the message itself has the text. ``turn_gone`` is retryable while the row says
    that the answer is being written: its process begins it right now, or has died and
    the tick will soon interrupt it.
    """
    stream = hub().local(turn)
    if stream is not None and stream.owner_id == user_id:
        return stream
    state = await run_in_db_pool(turn_rows.state_for_user, user_id, turn)
    stream = await hub().find(turn, user_id)
    if stream is None:
        raise TurnError(
            "turn_gone",
            "This answer can no longer be replayed; the message has its text.",
            retryable=state == "generating",
            turn=str(turn),
        )
    return stream
