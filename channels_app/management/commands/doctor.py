"""``manage.py doctor``: one line for each check, and for each fault its cure."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from channels_app.care.doctor import examine


class Command(BaseCommand):
    """Look whether everything is as it should be."""

    help = "Check the installation; exit 1 when something does not work."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--json``."""
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine everything and print what was found."""
        found = examine()
        failed = any(each.status == "fail" for each in found)
        if options["json"]:
            record = {"ok": not failed, "checks": [asdict(each) for each in found]}
            self.stdout.write(json.dumps(record, ensure_ascii=False))
        else:
            for each in found:
                self.stdout.write(f"{each.status:<4}  {each.name:<16}  {each.sentence}")
                if each.cure:
                    self.stdout.write(f"      {'':<16}  → {each.cure}")
        if failed:
            sys.exit(1)
