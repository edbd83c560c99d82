"""``manage.py ledger …``: check, export, import and sum up the ledger; set budgets.

``verify`` names the lawful restores and ends with ``ok N rows head …`` (exit 0) or the
first fault (exit 1); ``export`` writes nothing but the rows to standard output.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import audit
from accounts.models import User
from ledger import export, journal_reader, restores, statistics, symbiont, verify
from ledger.management.commands import _budgets
from ledger.money import format_usd

SECONDS_PER_CALL = 0.000_15
"""How long an import keeps other writers waiting; measured with 16,000 calls."""
FAULTS_SHOWN = 20
"""Lines that an import names; ``--json`` has them all."""


class Command(BaseCommand):
    """The verbs of ``manage.py ledger``."""

    help = "Verify, export, import and sum up the ledger of model calls; set budgets."

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
        sub = verb("import", "book the old ledger.jsonl of Symbiont, all of it or none")
        sub.add_argument("file", metavar="FILE")
        sub.add_argument("--user", help="whose calls they were; else nobody's")
        sub.add_argument(
            "--dry-run", action="store_true", help="only say what would happen"
        )
        text = "show and set what may be spent, grant more"
        _budgets.add_verbs(verbs.add_parser("budget", help=text, description=text))
        verb("restored", "note that the database was lawfully put back to a backup")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        getattr(self, f"_{options['verb']}")(options)

    def _verify(self, options: dict[str, Any]) -> None:
        result = verify.verify()
        try:
            lines = restores.sentences()
        except journal_reader.JournalFault:
            lines = []  # the result names that fault or an earlier one
        if options["json"]:
            fields = ("ok", "rows", "head", "fault")
            record: dict[str, Any] = {name: getattr(result, name) for name in fields}
            self.stdout.write(json.dumps(record | {"restores": lines}))
        else:
            for line in [*lines, result.summary]:
                self.stdout.write(line)
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

    def _import(self, options: dict[str, Any]) -> None:
        user = _person(options["user"])
        try:
            with open(options["file"], "rb") as file:
                report = symbiont.import_file(file, user, dry_run=options["dry_run"])
        except OSError as error:
            raise CommandError(f"The file cannot be read: {error.strerror}.") from None
        if options["json"]:
            record = asdict(report) | {"dry_run": options["dry_run"]}
            self.stdout.write(json.dumps(record))
        else:
            for line in _import_lines(report, options["dry_run"], user):
                self.stdout.write(line)
        if report.faults:
            sys.exit(1)

    def _budget(self, options: dict[str, Any]) -> None:
        record, lines = _budgets.run(options)
        if options["json"]:
            lines = [json.dumps(record)]
        for line in lines:
            self.stdout.write(line)

    def _restored(self, options: dict[str, Any]) -> None:
        try:
            line = restores.mark()
        except (journal_reader.JournalFault, ValueError) as fault:
            raise CommandError(str(fault)) from None
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


def _import_lines(
    report: symbiont.ImportReport, dry_run: bool, user: User | None
) -> list[str]:
    """Say what an import did, and of each line that it could not take why."""
    if report.faults:
        shown = report.faults[:FAULTS_SHOWN]
        lines = [f"Line {each.line}: {each.why}" for each in shown]
        if more := len(report.faults) - len(shown):
            lines.append(f"… and {more:,} more.")
        return [*lines, "Nothing was imported."]
    whose = user.username if user else "nobody"
    did = "would be booked" if dry_run else "booked"
    unknown = report.unknown_cost
    return [
        *_waiting(report.imported, dry_run),
        f"{report.imported} calls {did} for {whose}: "
        f"{format_usd(report.cost_nano_usd)} USD, {unknown} of unknown cost.",
        f"{report.already} lines were imported before.",
        f"{report.previews} previews {'would be kept' if dry_run else 'kept'}, "
        f"encrypted{'' if user else '; name the person with --user to keep them'}.",
    ]


def _waiting(calls: int, dry_run: bool) -> list[str]:
    """Say before an import how long it keeps everybody from writing."""
    seconds = calls * SECONDS_PER_CALL
    if not dry_run or seconds < 1:
        return []
    return [
        f"Chats would wait for about {seconds:.0f} s while it is written; "
        "do it while nobody chats."
    ]


def _person(username: str | None) -> User | None:
    return None if username is None else _budgets.person(username)
