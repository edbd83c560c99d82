"""``manage.py tick``: one tick by hand, for a look at what it would put right."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_app.jobs.tick import tick


class Command(BaseCommand):
    """Run the worker's tick once."""

    help = "Run the worker's tick once and say what it did."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--json``."""
        parser.add_argument("--json", action="store_true", help="Report as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Tick; a failed step makes the command fail."""
        report = tick()
        if options["json"]:
            self.stdout.write(json.dumps(dataclasses.asdict(report)))
        elif not report.ran:
            self.stdout.write("Another process is ticking; nothing was done.")
        else:
            for name, count in report.counts.items():
                self.stdout.write(f"{name.replace('_', ' ')}: {count}")
        if report.failed:
            raise CommandError(f"These steps failed: {', '.join(report.failed)}.")
