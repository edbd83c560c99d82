"""``manage.py heartbeat``: one heartbeat now, without waiting for the worker's."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels_app.jobs.heartbeat import BeatReport, beat
from ledger.money import write_amount
from routing import net


class Command(BaseCommand):
    """Run one heartbeat."""

    help = "Run one heartbeat now and say what it found, did and cost."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--json``."""
        parser.add_argument("--json", action="store_true", help="Report as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Beat; a failed step makes the command fail."""
        report = asyncio.run(_beat())
        if options["json"]:
            self.stdout.write(json.dumps(dataclasses.asdict(report)))
        elif not report.ran:
            self.stdout.write("Another heartbeat is running; nothing was done.")
        else:
            self._tell(report)
        if report.failed:
            raise CommandError(f"These steps failed: {', '.join(report.failed)}.")

    def _tell(self, report: BeatReport) -> None:
        for name, found in report.found.items():
            done = f", {report.done[name]} done" if name in report.done else ""
            self.stdout.write(f"{name}: {found} found{done}")
        for name, sentence in report.failed.items():
            self.stdout.write(f"{name} failed: {sentence}")
        cost = write_amount(report.cost_nano_usd)
        self.stdout.write(
            f"{report.model_calls} model calls, {cost}, {report.seconds:.1f} s"
        )


async def _beat() -> BeatReport:
    try:
        return await beat(by_hand=True)
    finally:
        await net.close()
