"""How the installation is, in the digest of its administrators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from channels_app.care import nightly
from channels_app.jobs import beat_rows
from channels_app.models import MailDelivery, OutboundReply, WebhookDelivery
from routing.models import Host


@dataclass(frozen=True, slots=True)
class Care:
    """What administrators hear of beside their own day."""

    hosts: list[Host]
    """In use, and something is wrong with them."""
    failed_deliveries: int
    """Answers, webhooks and mails of everybody that were given up that day."""
    backup_at: datetime | None
    """When the newest nightly backup was begun; ``None`` = there is none."""
    beat_at: datetime | None
    """When the newest heartbeat ended; ``None`` = none ever did."""

    @property
    def is_troubled(self) -> bool:
        """Whether somebody has to look after something."""
        return bool(self.hosts or self.failed_deliveries)


def care_of(within: Callable[[str], Q]) -> Care:
    """Return how the installation is; ``within`` limits a moment to the day."""
    failed = Q(state__in=["failed", "unknown"]) & within("created_at")
    beat = beat_rows.newest_finished()
    return Care(
        hosts=list(
            Host.objects.filter(enabled=True).exclude(flagged="").order_by("name")
        ),
        failed_deliveries=sum(
            model._default_manager.filter(failed).count()
            for model in (OutboundReply, WebhookDelivery, MailDelivery)
        ),
        backup_at=nightly.last_written_at(),
        beat_at=None if beat is None else beat.finished_at,
    )
