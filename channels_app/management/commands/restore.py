"""``manage.py restore FILE``: put this installation back to what a backup holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_app.care import pending
from channels_app.care.errors import CareError
from channels_app.care.restore import RestoreReport, restore


class Command(BaseCommand):
    """Restore a backup while Cortex is stopped."""

    help = "Put this installation back to what a backup holds; Cortex must be stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file."""
        parser.add_argument("file", metavar="FILE", type=Path, help="the backup")
        parser.add_argument(
            "--force",
            action="store_true",
            help="also over an installation in use, which is put aside first",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore, and say what there is now and what to do next."""
        try:
            report = restore(options["file"], force=options["force"])
        except (CareError, OSError) as error:
            state = pending.sentence() or "Nothing was changed."
            raise CommandError(f"{error} {state}") from None
        if options["json"]:
            self.stdout.write(json.dumps(_record(report)))
        else:
            for line in _lines(report):
                self.stdout.write(line)
        if not report.ledger.ok:
            sys.exit(1)


def _record(report: RestoreReport) -> dict[str, Any]:
    return {
        "created_at": report.manifest.created_at,
        "version": report.manifest.version,
        "put_aside": str(report.aside) if report.aside else None,
        "migrations": report.migrated,
        "ledger_ok": report.ledger.ok,
        "ledger_rows": report.ledger.rows,
        "ledger_head": report.ledger.head,
        "ledger_fault": report.ledger.fault,
        "notes": report.notes,
    }


def _lines(report: RestoreReport) -> list[str]:
    manifest = report.manifest
    lines = [
        f"Restored: the backup of {manifest.created_at}, by Cortex {manifest.version}."
    ]
    if report.aside:
        lines.append(f"What was here before is kept in {report.aside}.")
    if report.migrated:
        lines.append(f"It was brought up to date: {report.migrated} migrations.")
    lines += report.notes
    if report.ledger.ok:
        lines.append("Next: start Cortex, then look it over: manage.py doctor.")
    return [*lines, f"Ledger: {report.ledger.summary}"]
