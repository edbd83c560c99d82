"""The verbs ``import``, ``export`` and ``drill`` of ``manage.py registry``.

Each returns a value for ``--json`` and sentences for people. A key that comes with a
file is stored encrypted and never printed; an export holds keys only on demand, and
then only in a new file that nobody else may read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from accounts import audit
from accounts.models import User
from ledger.money import format_usd
from routing.backends.base import AuthenticationFailed
from routing.catalogue import ModelInfo
from routing.registry import catalogue_for, hosts_visible_to
from routing.registry_export import registry_json
from routing.registry_file import UnusableFile, read
from routing.registry_import import take_over
from routing.role_answers import DrillRow, drill, price_of

Said = tuple[Any, str]
NOTHING_CHANGED = "Nothing was changed."
MOST_SAID = 20
"""Refusals that are named; ``--json`` has them all."""
NOTHING_NEW = "Everything is there already; nothing was changed."


def import_verb(owner: User | None, options: dict[str, Any]) -> Said:
    """Take a registry file over and tell what came of it."""
    dry_run = options["dry_run"]
    try:
        file = read(options["path"])
    except UnusableFile as error:
        raise CommandError(f"{error} Nothing was changed.") from None
    report = take_over(file, owner, share_hosts=options["share_hosts"], dry_run=dry_run)
    value = {
        "changed": bool(report.did) and not dry_run,
        "dry_run": dry_run,
        "did": report.did,
        "kept": report.kept,
        "could_not": report.could_not,
    }
    if report.could_not and not (report.did or report.kept):
        value |= {"ok": False, "error": "Nothing of the file could be taken over."}
    lines = [*report.did, *report.kept]
    lines += _some([f"Could not: {text}" for text in report.could_not])
    if not report.did:
        lines.append(NOTHING_CHANGED if report.could_not else NOTHING_NEW)
    elif dry_run:
        lines.append("This was a trial; nothing was changed.")
    return value, "\n".join(lines)


def _some(sentences: list[str]) -> list[str]:
    """Return the first sentences, and how many more there are."""
    rest = len(sentences) - MOST_SAID
    more = [f"… and {rest:,} more."] if rest > 0 else []
    return [*sentences[:MOST_SAID], *more]


def export_verb(owner: User | None, options: dict[str, Any]) -> Said:
    """Write a registry to standard output or to a new file."""
    output: Path | None = options["output"]
    with_secrets = options["with_secrets"]
    if with_secrets and output is None:
        raise CommandError("Keys are written to a file only; name it with --output.")
    try:
        text = registry_json(owner, with_secrets=with_secrets)
    except AuthenticationFailed as error:
        raise CommandError(str(error)) from None
    if output is not None:
        _write(output, text)
    audit.record(
        "registry.exported",
        subject=owner.username if owner else "",
        with_secrets=with_secrets,
    )
    if output is None:
        return json.loads(text), text.rstrip("\n")
    return {"file": str(output)}, f"Written to {output}."


def _write(path: Path, text: str) -> None:
    """Write a new file for its owner alone; an existing one is left alone."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = (error.strerror or "it cannot be written").lower()
        raise CommandError(f"{path.name}: {reason}.") from None


def drill_verb(owner: User | None, options: dict[str, Any]) -> Said:
    """Say for each role what would answer if hosts were down."""
    # Without a person: what somebody without anything of their own may call.
    person = owner or User(id=0, username="nobody")
    catalogue = catalogue_for(person)
    ids = {host.name: host.id for host in reversed(hosts_visible_to(person))}
    for name in options["down"]:
        if name not in ids:
            raise CommandError(f"There is no host “{name}”.")
    down = {ids[name] for name in options["down"]}
    rows = drill(catalogue, down, settings.MODEL_ROLES)
    value = {
        "down": options["down"],
        "roles": {row.role: _row(row) for row in rows},
        "empty": [row.role for row in rows if row.after.first is None],
    }
    return value, "\n".join(_line(row) for row in rows)


def _row(row: DrillRow) -> dict[str, Any]:
    before, after = row.before.first, row.after
    return {
        "before": before.label if before else None,
        "answers": [_model(model) for model in after.models],
        "reason": after.reason,
        "changes": row.changes,
    }


def _model(model: ModelInfo) -> dict[str, Any]:
    return {
        "model": model.label,
        "host": model.host.name,
        "typical_cost_usd": format_usd(model.typical_cost_nano_usd),
        "billing": model.host.billing,
    }


def _line(row: DrillRow) -> str:
    if not row.after.models:
        return f"{row.role}: nobody ({row.after.reason})"
    answers = [f"{model.label} ({price_of(model)})" for model in row.after.models]
    before = row.before.first
    instead = f", instead of {before.label}" if before and row.changes else ""
    return f"{row.role}: {' → '.join(answers)}{instead}"
