"""``manage.py backup FILE``: everything that this installation is, in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit
from channels_app.care import backup
from channels_app.care.errors import BackupFailed


class Command(BaseCommand):
    """Write a backup, also while Cortex runs."""

    help = "Write a backup of the database, media and ledger.jsonl, also while in use."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file and what goes into it."""
        parser.add_argument(
            "file", metavar="FILE", type=Path, help="a .tar.gz to write"
        )
        parser.add_argument(
            "--with-key",
            action="store_true",
            help="put the key file inside; keep the backup as safe as the key then",
        )
        parser.add_argument("--force", action="store_true", help="replace the file")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it and say what is inside."""
        try:
            report = backup.write(
                options["file"],
                with_key=options["with_key"],
                overwrite=options["force"],
            )
        except BackupFailed as error:
            raise CommandError(str(error)) from None
        manifest = report.manifest
        audit.record("backup.written", with_key=manifest.with_key)
        if options["json"]:
            record = {
                "file": str(report.path),
                "bytes": report.size,
                "database": manifest.database,
                "ledger_rows": manifest.ledger_rows,
                "ledger_head": manifest.ledger_head,
                "members": len(manifest.members),
                "with_key": manifest.with_key,
                "key": report.key,
                "notes": list(report.notes),
            }
            self.stdout.write(json.dumps(record))
            return
        self.stdout.write(
            f"The backup {report.path} is written: {report.size:,} bytes, "
            f"{len(manifest.members)} files, ledger of {manifest.ledger_rows} rows, "
            f"head {manifest.ledger_head}."
        )
        for sentence in (report.key, *report.notes):
            self.stdout.write(sentence)
