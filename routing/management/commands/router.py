"""``manage.py router report``: what routing decided, what it cost and what it saved.

One aligned table, or with ``--json`` one JSON list; only sums, never a text.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts.commands import person_named
from routing import report

MAX_DAYS = 36_500


class Command(BaseCommand):
    """The verbs of ``manage.py router``."""

    help = "Show how requests were judged, what they cost and what was saved."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
        text = "show calls, redone answers, cost and savings by class of request"
        sub = verbs.add_parser("report", help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.add_argument("--user", help="one person's decisions instead of everybody's")
        sub.add_argument("--days", type=_days, help="only the last so many days")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report; there is one verb so far."""
        user = person_named(options["user"]) if options["user"] else None
        days = options["days"]
        since = timezone.now() - timedelta(days=days) if days else None
        rows = report.report(user, since=since)
        if options["json"]:
            self.stdout.write(json.dumps([row.as_json() for row in rows]))
        elif rows:
            self.stdout.write(report.table(rows))
        else:
            self.stdout.write("No request has been routed in this time.")


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= MAX_DAYS:
        raise ValueError(text)
    return days
