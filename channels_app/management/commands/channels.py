"""``manage.py channels …``: the bots' channels from the command line.

Each verb prints sentences, or one JSON value with ``--json``. Secrets are never
printed. Whatever cannot be done is one sentence on standard error and exit code 1.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from accounts.commands import person_named
from accounts.models import User
from channels_app.bots.channels import is_set_up, public_address
from channels_app.management import channel_file, channel_import
from channels_app.models import Channel, ChannelRoom

NOTHING_NEW = "Everything is there already; nothing was changed."
NOTHING_CHANGED = "Nothing was changed."
TRIAL = "This was a trial; nothing was changed."


class Command(BaseCommand):
    """The verbs of ``manage.py channels``."""

    help = "List channels, and take over the channels.json of an earlier Cortex."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--json", action="store_true", help="print JSON")
            sub.add_argument("--user", help="only this person's")
            return sub

        verb("list", "list channels with their addresses")
        sub = verb("import", "take over a channels.json")
        sub.add_argument("path", type=Path)
        sub.add_argument(
            "--dry-run", action="store_true", help="tell what would happen"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        self.as_json: bool = options["json"]
        user = person_named(options["user"]) if options["user"] else None
        if options["verb"] == "list":
            self._list(user)
        else:
            self._import(options["path"], user, dry_run=options["dry_run"])

    def _list(self, user: User | None) -> None:
        channels = Channel.objects.select_related("owner", "persona")
        if user is not None:
            channels = channels.filter(owner=user)
        rows = [_row(channel) for channel in channels]
        lines = [
            f"{row['user']} · {row['channel']}: {row['state']}, "
            f"persona {row['persona'] or 'none'}, {row['address']}, "
            f"{row['rooms_allowed']} rooms allowed, {row['rooms_waiting']} waiting"
            + (f"; {row['fault']}" if row["fault"] else "")
            for row in rows
        ]
        self._print(rows, lines or ["No channels yet."])

    def _import(self, path: Path, user: User | None, *, dry_run: bool) -> None:
        try:
            found = channel_file.read(path)
        except channel_file.UnusableChannelFile as error:
            raise CommandError(f"{error} {NOTHING_CHANGED}") from None
        report = channel_import.take_over(
            found,
            read_key=channel_import.keys_in(path.resolve().parent),
            only=user,
            dry_run=dry_run,
        )
        lines = [f"taken: {text}" for text in report.taken]
        lines += [f"there already: {text}" for text in report.kept]
        lines += [f"not taken: {text}" for text in report.not_taken]
        if not report.taken:
            lines.append(NOTHING_CHANGED if report.not_taken else NOTHING_NEW)
        elif dry_run:
            lines.append(TRIAL)
        value = {
            "changed": bool(report.taken) and not dry_run,
            "dry_run": dry_run,
            "taken": report.taken,
            "kept": report.kept,
            "not_taken": report.not_taken,
        }
        self._print(value, lines)
        if report.not_taken and not (report.taken or report.kept):
            raise CommandError("Nothing of the file could be taken over.")

    def _print(self, value: Any, lines: list[str]) -> None:
        self.stdout.write(json.dumps(value) if self.as_json else "\n".join(lines))


def _by_state(rows: Any) -> dict[str, int]:
    """Return how many there are of each state."""
    return dict(rows.order_by().values_list("state").annotate(Count("pk")))


def _row(channel: Channel) -> dict[str, Any]:
    """Return a channel without secrets and without texts."""
    rooms = list(channel.rooms.values_list("state", flat=True))
    return {
        "user": channel.owner.username,
        "channel": channel.kind,
        "persona": channel.persona.name if channel.persona else None,
        "state": _state(channel),
        "address": public_address(channel),
        "server": channel.settings.get("url"),
        "rooms_allowed": rooms.count(ChannelRoom.State.ALLOWED),
        "rooms_waiting": rooms.count(ChannelRoom.State.WAITING),
        "linked": list(channel.identities.values_list("external_id", flat=True)),
        "events": _by_state(channel.events),
        "replies": _by_state(channel.replies),
        "last_event_at": _timestamp(channel.last_event_at),
        "last_reply_at": _timestamp(channel.last_reply_at),
        "fault": channel.fault,
    }


def _state(channel: Channel) -> str:
    if not channel.enabled:
        return "off"
    return "on" if is_set_up(channel) and channel.persona else "not complete"


def _timestamp(moment: Any) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
