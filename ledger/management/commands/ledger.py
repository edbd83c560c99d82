"""``manage.py ledger …``: check, export and sum up the ledger.

``verify`` ends with ``ok N rows head …`` (exit 0) or the first fault (exit 1);
``export`` writes nothing but the rows to standard output.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import audit
from accounts.models import User
from ledger import export, journal, statistics, verify
from ledger.money import format_usd


class Command(BaseCommand):
    """The verbs of ``manage.py ledger``."""

    help = "Verify, export and sum up the ledger of model calls."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--json", action="store_true", help="print JSON")
            return sub

        verb("verify", "recompute everything and name the first fault")
        sub = verb("export", "write the closing rows to standard output")
        sub.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
        sub.add_argument(
            "--user", help="one person's rows, with their previews: their own copy"
        )
        sub = verb("stats", "show calls and costs by model and day")
        sub.add_argument("--user", help="one person's figures")
        verb("restored", "note that the database was lawfully put back to a backup")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        getattr(self, f"_{options['verb']}")(options)

    def _verify(self, options: dict[str, Any]) -> None:
        result = verify.verify()
        if options["json"]:
            fields = ("ok", "rows", "head", "fault")
            self.stdout.write(
                json.dumps({name: getattr(result, name) for name in fields})
            )
        else:
            self.stdout.write(result.summary)
        if not result.ok:
            sys.exit(1)

    def _export(self, options: dict[str, Any]) -> None:
        user = _person(options["user"])
        form: export.Format = "jsonl" if options["json"] else options["format"]
        audit.record("ledger.exported", subject=user.username if user else "everybody")
        try:
            for line in export.lines(form, user, owner=user):
                self.stdout.write(line, ending="")
            self.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough; nothing more can be written, not even an end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _stats(self, options: dict[str, Any]) -> None:
        user = _person(options["user"])
        if options["json"]:
            self.stdout.write(json.dumps(statistics.summary(user)))
            return
        self.stdout.write(_sentence("all", statistics.totals(user)))
        for name, sums in statistics.by_model(user).items():
            self.stdout.write(_sentence(name, sums))
        for day, sums in statistics.by_date(user).items():
            self.stdout.write(_sentence(day.isoformat(), sums))

    def _restored(self, options: dict[str, Any]) -> None:
        line = journal.mark_restore()
        if options["json"]:
            self.stdout.write(json.dumps(line))
        else:
            self.stdout.write(f"ledger.jsonl now says: restored to row {line['id']}.")


def _sentence(name: str, sums: statistics.Totals) -> str:
    cost = "unknown" if sums.is_unknown else f"{format_usd(sums.cost_nano_usd)} USD"
    more = f", {sums.unknown_cost_calls} of unknown cost"
    rest = more if sums.unknown_cost_calls and not sums.is_unknown else ""
    calls = "1 call" if sums.calls == 1 else f"{sums.calls} calls"
    return f"{name}: {calls}, {cost}{rest}"


def _person(username: str | None) -> User | None:
    if username is None:
        return None
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist:
        raise CommandError(f"There is no person named “{username}”.") from None
