"""``manage.py prepare``: bring tables and static files up to date before serving."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_app.care.errors import BackupFailed
from channels_app.server.prepare import (
    DatabaseTooNew,
    NotPrepared,
    collect_static,
    prepare,
)


class Command(BaseCommand):
    """Migrate after a backup, collect static files, renew the first link."""

    help = "Bring tables and static files up to date; serve runs this by itself."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--json`` and ``--static``."""
        parser.add_argument("--json", action="store_true", help="Report as JSON.")
        parser.add_argument(
            "--static",
            action="store_true",
            help="Collect the static files alone, without a database: for images.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare and say what was done."""
        if options["static"]:
            collect_static()
            return
        for found in checks.run_checks():
            if found.is_serious():
                raise CommandError(str(found.msg))
        try:
            report = prepare()
        except (DatabaseTooNew, NotPrepared, BackupFailed) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(dataclasses.asdict(report)))
            return
        for note in report.notes:
            self.stdout.write(note)
        if report.setup_link:
            self.stdout.write(f"Open {report.setup_link} to set up Cortex")
