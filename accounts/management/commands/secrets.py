"""``manage.py secrets rotate``: a new secret key, and every stored secret under it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import audit, keyfile, secrets


class Command(BaseCommand):
    """The verbs of ``manage.py secrets``."""

    help = "Make a new secret key and re-encrypt every stored secret with it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the one verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
        text = "make a new secret key and re-encrypt every stored secret with it"
        sub = verbs.add_parser("rotate", help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate; old keys stay in the list, so that nothing becomes unreadable.

        The key file is written first: should the machine stop in between, old texts
        open with the old key and the command can simply be run again.
        """
        if keyfile.cortex_is_running():
            raise CommandError("Stop Cortex first: its processes hold the old key.")
        keys = list(secrets.current_keys())
        path = keyfile.key_file()
        if path is not None:
            keys.insert(0, keyfile.new_key())
            keyfile.write_keys(path, keys)
        try:
            count = secrets.reencrypt_all(keys)
        except secrets.Undecryptable as error:
            raise CommandError(str(error)) from None
        audit.record("key.rotated", count=count)
        if options["json"]:
            value = {"reencrypted": count, "new_key": path is not None}
            self.stdout.write(json.dumps(value))
            return
        source = "a new key" if path else "the first key of CORTEX_SECRET_KEY"
        self.stdout.write(f"{count} stored secrets are encrypted with {source}.")
