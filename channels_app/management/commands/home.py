"""``manage.py home …``: old homes come in and go out again.

Prints what was taken, what was there already and what was left, or one JSON value with
``--json``. Exit code 0: everything; 1: something was left behind and is named, the
rest is done; 2: nothing could be read or written at all.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from channels_app.homes.bundle_import import take_bundle
from channels_app.homes.bundle_verbs import export_bundle
from channels_app.homes.giving import export_home
from channels_app.homes.report import Report, as_text, as_value, exit_code
from channels_app.homes.taking import take_home
from personas.home.bundle_reader import is_bundle
from personas.home.disk import Unreadable

UNREADABLE = 2


class Command(BaseCommand):
    """The verbs of ``manage.py home``."""

    help = "Take over the folders of an earlier Cortex, and write them back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--json", action="store_true", help="print JSON")
            sub.add_argument("--user", default="", help="only this person's")
            return sub

        sub = verb("import", "take over the folder “home”, or one person's folder")
        sub.add_argument("path", type=Path)
        sub.add_argument(
            "--dry-run", action="store_true", help="tell what would happen"
        )
        sub.add_argument(
            "--overwrite",
            action="store_true",
            help="files that differ become a new version instead of being left",
        )
        sub = verb("export", "write such a folder, or what somebody takes along")
        sub.add_argument("path", type=Path, nargs="?", help="a new or empty folder")
        sub.add_argument(
            "--with-secrets",
            action="store_true",
            help='into the folder: keys and tokens too, which are "" otherwise',
        )
        sub.add_argument(
            "--bundle",
            type=Path,
            metavar="FILE.zip",
            help="instead of a folder: all of one person, into this new file",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb; what cannot be read at all is one sentence and exit code 2."""
        try:
            report = self._run(options)
        except Unreadable as error:
            raise CommandError(str(error), returncode=UNREADABLE) from None
        dry_run = options.get("dry_run", False)
        self.stdout.write(
            json.dumps(as_value(report, dry_run=dry_run), ensure_ascii=False)
            if options["json"]
            else as_text(report, dry_run=dry_run)
        )
        if code := exit_code(report):
            sys.exit(code)

    def _run(self, options: dict[str, Any]) -> Report:
        if options["verb"] == "export":
            return self._export(options)
        path: Path = options["path"]
        if is_bundle(path):
            return take_bundle(path, options["user"], dry_run=options["dry_run"])
        return take_home(
            path,
            options["user"],
            dry_run=options["dry_run"],
            overwrite=options["overwrite"],
        )

    def _export(self, options: dict[str, Any]) -> Report:
        path, bundle = options["path"], options["bundle"]
        if (path is None) == (bundle is None):
            raise Unreadable(
                "Name either a folder to write into, or --bundle FILE.zip."
            )
        if bundle is None:
            with_secrets = options["with_secrets"]
            return export_home(path, options["user"], with_secrets=with_secrets)
        if options["with_secrets"]:
            raise Unreadable("A bundle never holds keys; leave --with-secrets out.")
        return export_bundle(options["user"], bundle)
