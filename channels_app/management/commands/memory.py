"""``manage.py memory …``: what personas remember by themselves, from the command line.

Each verb prints sentences, or one JSON value with ``--json``; never a text of a message
or of a memory.
"""

from __future__ import annotations

import asyncio
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.commands import person_named
from channels_app.jobs.beat_steps.memory import alone
from ledger.money import format_usd
from ledger.records import timestamp
from personas.memory import triggers
from personas.memory.distilling import distil
from personas.memory.files import memory_of, settings_of
from personas.memory.sources import undistilled
from personas.memory.tiers import filled
from personas.models import MemoryRun, Persona
from routing import net

SHOWN = 20


class Command(BaseCommand):
    """The verbs of ``manage.py memory``."""

    help = "Show how the memories of personas stand, distil now, list what was done."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--persona", help="only the persona with this name")
            sub.add_argument("--user", help="only this person's")
            sub.add_argument("--json", action="store_true", help="print JSON")
            return sub

        verb("status", "say what waits, how full the files are and why one is off")
        verb("distil", "distil now what waits, without waiting for its moment")
        sub = verb("runs", "list the newest distillations, without their texts")
        sub.add_argument("--limit", type=int, default=SHOWN, help="how many at most")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        self.as_json: bool = options["json"]
        getattr(self, f"_{options['verb']}")(options, _personas(options))

    def _status(self, options: dict[str, Any], personas: list[Persona]) -> None:
        due = set(triggers.due(timezone.now()))
        records = [_status(persona, due) for persona in personas]
        lines = [_status_line(each) for each in records] or ["No personas."]
        self._print(records, lines)

    def _runs(self, options: dict[str, Any], personas: list[Persona]) -> None:
        found = MemoryRun.objects.filter(persona__in=personas).select_related(
            "persona__owner"
        )
        records = [_run(run) for run in found[: max(options["limit"], 1)]]
        self._print(records, [_run_line(each) for each in records] or ["No runs."])

    def _distil(self, options: dict[str, Any], personas: list[Persona]) -> None:
        runs = asyncio.run(_distil_all(personas))
        if runs is None:
            raise CommandError("Another process distils at this moment; try again.")
        records = [_run(run) for run in runs]
        lines = [_run_line(each) for each in records] or ["There was nothing to do."]
        self._print(records, lines)
        if any(run.state == MemoryRun.State.FAILED for run in runs):
            raise CommandError("Not everything could be distilled.")

    def _print(self, value: Any, lines: list[str]) -> None:
        self.stdout.write(json.dumps(value) if self.as_json else "\n".join(lines))


def _personas(options: dict[str, Any]) -> list[Persona]:
    found = Persona.objects.select_related("owner").order_by("owner__username", "name")
    if options["user"]:
        found = found.filter(owner=person_named(options["user"]))
    if options["persona"]:
        found = found.filter(name=options["persona"])
    personas = list(found)
    if not personas and (options["user"] or options["persona"]):
        raise CommandError("There is no such persona.")
    return personas


async def _distil_all(personas: list[Persona]) -> list[MemoryRun] | None:
    """Distil one after the other; ``None`` = somebody else does."""
    try:
        async with alone() as mine:
            if not mine:
                return None
            runs = []
            for persona in personas:
                runs += await distil(persona.pk, by_hand=True)
            return runs
    finally:
        await net.close()


def _status(persona: Persona, due: set[int]) -> dict[str, Any]:
    settings = settings_of(persona)
    waiting = persona.memory_runs.filter(state=MemoryRun.State.WAITING)
    return {
        "user": persona.owner.username,
        "persona": persona.name,
        "enabled": settings.enabled,
        "why_off": triggers.why_off(persona.owner, private=persona.private),
        "undistilled": undistilled(persona).count(),
        "due": persona.pk in due,
        "waiting_for_review": waiting.count(),
        "failures": settings.failures,
        "tried_at": timestamp(settings.tried_at) if settings.tried_at else None,
        "filled_percent": {
            name: round(filled(file) * 100) for name, file in memory_of(persona).items()
        },
    }


def _status_line(record: dict[str, Any]) -> str:
    files = ", ".join(
        f"{name} {percent} %" for name, percent in record["filled_percent"].items()
    )
    parts = [
        f"{record['user']}/{record['persona']}: {record['undistilled']} to distil",
        "due" if record["due"] else "not due",
        f"{record['waiting_for_review']} wait for a review",
        files,
    ]
    if not record["enabled"]:
        parts.append("switched off")
    if record["failures"]:
        parts.append(f"{record['failures']} failures in a row")
    return ", ".join(parts) + (f". {record['why_off']}" if record["why_off"] else "")


def _run(run: MemoryRun) -> dict[str, Any]:
    """Return a run without the lines that it changes."""
    return {
        "id": str(run.pk),
        "user": run.persona.owner.username,
        "persona": run.persona.name,
        "step": run.step,
        "state": run.state,
        "added": sum(len(change["add"]) for change in run.changes),
        "removed": sum(len(change["remove"]) for change in run.changes),
        "appended": run.appended,
        "messages": run.messages,
        "explanation": run.explanation,
        "model": run.model,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "cost_usd": format_usd(run.cost_nano_usd),
        "created_at": timestamp(run.created_at),
    }


def _run_line(record: dict[str, Any]) -> str:
    """Return one line about a run."""
    parts = [
        f"{record['created_at'][:19]}Z {record['user']}/{record['persona']}",
        f"{record['step']} {record['state']}",
        f"{record['messages']} messages",
        f"+{record['added']} −{record['removed']} lines",
        record["model"] or "no model",
    ]
    why = record["explanation"]
    return ", ".join(parts) + (f": {why}" if why else "")
