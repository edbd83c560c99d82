"""Whether what happens without a request still happens: ticks and heartbeats."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from channels_app.jobs import beat_rows, clock, tick
from channels_app.models import Beat

SILENT_AFTER: Final = timedelta(seconds=60)
"""Workers tick every ten seconds; after so long they are taken for dead."""
LATE_AFTER: Final = 3
"""So many intervals without a heartbeat are too long."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The last signs of life of all workers."""

    now: datetime
    first_ticked_at: datetime | None
    """When the installation first ticked."""
    ticked_at: datetime | None
    """When the last tick began; ``None`` = there never was one."""
    beat_at: datetime | None
    """When the last heartbeat got to its end; ``None`` = none ever did."""
    is_beating: bool
    """A heartbeat is running, and alive."""

    @property
    def is_silent(self) -> bool:
        """Whether no worker has ticked for a while."""
        return self.ticked_at is None or self.ticked_at < self.now - SILENT_AFTER

    @property
    def is_late(self) -> bool:
        """Whether a heartbeat is missing.

        A new installation has as long for its first one as there may be between two.
        One that is running takes the time that it needs, as for a backup.
        """
        since = self.beat_at or self.first_ticked_at
        late = timedelta(seconds=LATE_AFTER * beat_rows.every())
        return not self.is_beating and (since is None or since < self.now - late)

    @property
    def is_healthy(self) -> bool:
        """Whether ticks and heartbeats come as they should."""
        return not (self.is_silent or self.is_late)


def signs() -> Signs:
    """Return the signs of life as they are now; three cheap queries."""
    now = clock.now()
    finished = beat_rows.newest_finished()
    first, last = tick.began_at()
    return Signs(
        now=now,
        first_ticked_at=first,
        ticked_at=last,
        beat_at=None if finished is None else finished.finished_at,
        is_beating=Beat.objects.filter(
            running=True, alive_at__gt=now - beat_rows.DEAD_AFTER
        ).exists(),
    )
