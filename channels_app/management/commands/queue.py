"""``manage.py queue …``: everybody's tasks from the command line.

Each verb prints sentences, or one JSON value with ``--json``. What a task says and what
came of it is printed by ``show --texts`` alone.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.commands import person_named
from accounts.models import User
from channels_app.jobs import old_queue
from channels_app.jobs import queue as tasks
from channels_app.jobs.queue import QueueRefused
from channels_app.jobs.shown_costs import noted_cost, shown_cost
from channels_app.jobs.task_ids import read_id, shown_id
from channels_app.models import QueuedTask
from ledger.money import format_usd
from ledger.records import timestamp

SHOWN = 50
FAULTS_SHOWN = 20
"""Lines that an import names; ``--json`` has them all."""


class Command(BaseCommand):
    """The verbs of ``manage.py queue``."""

    help = "List, show, cancel and retry queued tasks; import those of Symbiont."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--json", action="store_true", help="print JSON")
            return sub

        sub = verb("list", "list the newest tasks, without their texts")
        sub.add_argument("--user", help="only this person's")
        sub.add_argument(
            "--state", action="append", choices=QueuedTask.State.values, default=[]
        )
        sub.add_argument("--limit", type=int, default=SHOWN, help="how many at most")
        sub = verb("show", "show one task")
        sub.add_argument("id", metavar="ID")
        sub.add_argument(
            "--texts", action="store_true", help="also what it says and its result"
        )
        for name, text in (
            ("cancel", "cancel a task that waits or runs"),
            ("retry", "queue a task again that failed, was given up or cancelled"),
        ):
            verb(name, text).add_argument("id", metavar="ID")
        sub = verb("import", "take over the queue.jsonl of Symbiont")
        sub.add_argument("file", metavar="FILE")
        sub.add_argument("--user", help="whose tasks they are; else an administrator's")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        self.as_json: bool = options["json"]
        try:
            getattr(self, f"_{options['verb']}")(options)
        except QueueRefused as error:
            raise CommandError(error.message) from None

    def _list(self, options: dict[str, Any]) -> None:
        found = QueuedTask.objects.select_related("owner", "schedule", "persona")
        if options["user"]:
            found = found.filter(owner=person_named(options["user"]))
        if options["state"]:
            found = found.filter(state__in=options["state"])
        rows = found.defer("text", "result")[: max(options["limit"], 1)]
        records = [_record(task) for task in rows]
        self._print(records, [_line(each) for each in records] or ["No tasks."])

    def _show(self, options: dict[str, Any]) -> None:
        task = _task(options["id"])
        record = _record(task) | {
            "position": tasks.position_of(task) or None,
            "cost_usd": format_usd(shown_cost(task)),
        }
        if options["texts"]:
            record |= {"task": task.text, "result": task.result}
        lines = [
            f"{name.replace('_', ' ')}: {value}"
            for name, value in record.items()
            if value not in (None, "")
        ]
        self._print(record, lines)

    def _cancel(self, options: dict[str, Any]) -> None:
        task = tasks.cancel(_task(options["id"]))
        runs = task.state == QueuedTask.State.PROCESSING
        said = "Its worker ends it within seconds." if runs else "It is cancelled."
        self._print(_record(task), [said])

    def _retry(self, options: dict[str, Any]) -> None:
        task = tasks.retry(_task(options["id"]))
        self._print(_record(task), [f"It waits, number {tasks.position_of(task)}."])

    def _import(self, options: dict[str, Any]) -> None:
        owner = person_named(options["user"]) if options["user"] else _administrator()
        try:
            with open(options["file"], "rb") as file:
                report = old_queue.import_file(file, owner)
        except OSError as error:
            raise CommandError(f"The file cannot be read: {error.strerror}.") from None
        record = asdict(report) | {"user": owner.username}
        self._print(record, _import_lines(report, owner))
        if report.faults and not (report.queued or report.kept or report.already):
            raise CommandError("Nothing of the file could be taken over.")

    def _print(self, value: Any, lines: list[str]) -> None:
        self.stdout.write(json.dumps(value) if self.as_json else "\n".join(lines))


def _task(given: str) -> QueuedTask:
    task_id = read_id(given)
    found = QueuedTask.objects.select_related("owner", "schedule", "persona")
    task = None if task_id is None else found.filter(pk=task_id).first()
    if task is None:
        raise CommandError(f"There is no task “{given}”.")
    return task


def _administrator() -> User:
    """Return the administrator who has been here longest."""
    admins = User.objects.filter(is_active=True, is_superuser=True)
    found = admins.order_by("pk").first()
    if found is None:
        raise CommandError("There is no administrator; name a person with --user.")
    return found


def _record(task: QueuedTask) -> dict[str, Any]:
    """Return a task without its texts."""
    moments = {
        name: timestamp(moment) if (moment := getattr(task, name)) else None
        for name in ("not_before", "created_at", "started_at", "finished_at")
    }
    return {
        "id": shown_id(task.pk),
        "user": task.owner.username,
        "kind": task.kind,
        "state": task.state,
        "persona": task.persona.name if task.persona else None,
        "brief": str(task.schedule_id) if task.schedule_id else None,
        "tier": task.tier,
        "source": task.source,
        "attempts": task.attempts,
        "cancel_asked": task.cancel_asked,
        **moments,
        "worker": task.worker,
        "error_code": task.error_code,
        "error": task.error,
        "model": task.model,
        "input_tokens": task.input_tokens,
        "output_tokens": task.output_tokens,
        "cost_usd": format_usd(noted_cost(task)),
    }


def _line(record: dict[str, Any]) -> str:
    """Return one line about a task."""
    tries = record["attempts"]
    parts = [
        f"{record['id']} {record['state']}",
        record["user"],
        record["kind"],
        f"queued {record['created_at'][:19]}Z",
        f"{tries} attempt{'' if tries == 1 else 's'}",
    ]
    return ", ".join(parts) + (f": {record['error']}" if record["error"] else "")


def _import_lines(report: old_queue.ImportReport, owner: User) -> list[str]:
    shown = report.faults[:FAULTS_SHOWN]
    lines = [f"Line {each.line} is left: {each.why}" for each in shown]
    if more := len(report.faults) - len(shown):
        lines.append(f"… and {more:,} more.")
    kept = ", ".join(f"{count} {state}" for state, count in report.kept.items())
    return [
        *lines,
        f"{_waiting(report.queued)} now, for {owner.username}.",
        f"Kept as history: {kept or 'none'}.",
        f"{report.already} were imported before.",
    ]


def _waiting(count: int) -> str:
    return "1 task waits" if count == 1 else f"{count:,} tasks wait"
