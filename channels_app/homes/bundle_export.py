"""Writes a leaving bundle: one zip with everything of a person that they may take.

The person's own rows alone are read, each kind by the query that also their pages use.
Nothing that is a secret is in it: no password, token, key or address with a secret.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.snapshots import one_moment
from channels_app.care.version import cortex_version
from channels_app.homes.bundle_shapes import (
    BriefShape,
    BriefsHead,
    PersonShape,
    RoutingShape,
)
from channels_app.jobs.schedules import schedules_visible_to
from channels_app.models import Schedule
from ledger import export, moving
from personas.home.bundle_export import filled, write_personas
from personas.home.bundle_zip import BundleWriter
from personas.home.disk import Unreadable
from routing.models import RoutingPreferences

AUDIT_EVENT = "home.bundle_exported"


def write_bundle(user: User, file: IO[bytes]) -> dict[str, int]:
    """Write a person's bundle into a binary file; return what is in it, by kind."""
    writer = BundleWriter(file, now=timezone.now())
    try:
        with one_moment():
            _write_parts(writer, user)
        writer.finish(version=cortex_version(), user_name=user.username)
    except BaseException:
        writer.abandon()
        raise
    return dict(writer.counts)


def _write_parts(writer: BundleWriter, user: User) -> None:
    writer.put_object("person.json", _person(user))
    write_personas(writer, user)
    writer.counts["schedules"] = writer.put_list(
        "schedules.json",
        head=("person", BriefsHead(user_name=user.username)),
        items=("schedules", _briefs(user)),
    )
    for name, lines in (
        ("ledger.csv", export.lines("csv", user, owner=user)),
        ("ledger.jsonl", moving.lines_of(user)),
    ):
        writer.counts["ledger_rows"] = _write_lines(writer, name, lines)


def write_file(user: User, path: Path, *, actor: User | None = None) -> dict[str, int]:
    """Write a bundle into a new file that only its owner reads; return the counts.

    Raises:
        Unreadable: The file exists already, or cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w+b") as file:
            try:
                counts = write_bundle(user, file)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise Unreadable(f"{path} exists already; nothing was written.") from None
    except OSError as error:
        why = error.strerror or error
        raise Unreadable(f"{path} cannot be written: {why}.") from None
    record(user, counts, actor=actor)
    return counts


def temporary_bundle(user: User) -> tuple[IO[bytes], dict[str, int]]:
    """Write a bundle into a file without a name, which goes when it is closed."""
    file = tempfile.TemporaryFile(dir=settings.DATA_DIR)  # noqa: SIM115
    try:
        counts = write_bundle(user, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file, counts


def record(user: User, counts: dict[str, int], *, actor: User | None) -> None:
    """Note in the audit log who took a bundle of whom."""
    audit.record(AUDIT_EVENT, actor=actor, subject=user.username, counts=counts)


def _person(user: User) -> PersonShape:
    routing = RoutingPreferences.objects.filter(owner=user).first()
    return filled(
        PersonShape,
        user,
        user_name=user.username,
        routing=routing and filled(RoutingShape, routing),
    )


def _briefs(user: User) -> Iterator[BriefShape]:
    rows = schedules_visible_to(user).select_related("room")
    for row in rows.order_by("created_at", "id"):
        yield filled(
            BriefShape,
            row,
            persona=row.persona.name,
            room=row.room.external_id if row.room else None,
            conversation=_kept_conversation(row),
        )


def _kept_conversation(row: Schedule) -> UUID | None:
    """Return the id of a brief's conversation, unless that stays behind."""
    chat = row.conversation
    return None if chat is None or chat.deleted_at or chat.temporary else chat.pk


def _write_lines(writer: BundleWriter, name: str, lines: Iterator[str]) -> int:
    count = 0
    with writer.entry(name) as entry:
        for line in lines:
            entry.write(line.encode())
            count += 1
    return count
