"""Reads a leaving bundle in again: the person, their personas, briefs and ledger rows.

A persona is taken whole or not at all, and so are the rows of the ledger. What is here
already stays as it is, so importing a bundle twice changes nothing.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Final

from django.db import DataError, IntegrityError, transaction

from accounts import audit
from accounts.models import User
from channels_app.homes import bundle_person
from channels_app.homes.bundle_briefs import take_briefs
from channels_app.homes.bundle_shapes import PersonShape
from channels_app.homes.report import Report
from ledger import moving_in
from ledger.money import format_usd
from personas.conversations import messages_visible_to
from personas.home.bundle_ids import Ids
from personas.home.bundle_import import persona_names, take_persona
from personas.home.bundle_reader import BadEntry, BundleReader, open_bundle
from personas.home.disk import Unreadable
from personas.personas import personas_visible_to

AUDIT_EVENT: Final = "home.bundle_imported"
LEDGER: Final = "ledger.jsonl"


def take_bundle(path: Path, user_name: str = "", *, dry_run: bool) -> Report:
    """Import a bundle and tell what became of each part.

    Args:
        path: The zip.
        user_name: For whom, where it is not the name in the bundle.
        dry_run: Do everything and take it back at the end.

    Raises:
        Unreadable: It is no bundle, or one that cannot be trusted.
    """
    report = Report()
    with open_bundle(path) as bundle:
        if not dry_run:
            _take(bundle, user_name, report, book=True)
            return report
        with transaction.atomic():
            _take(bundle, user_name, report, book=False)
            transaction.set_rollback(True)
    return report


def _take(bundle: BundleReader, user_name: str, report: Report, *, book: bool) -> None:
    try:
        shape = bundle.object(bundle_person.ENTRY, PersonShape)
    except BadEntry as error:
        raise Unreadable(str(error)) from None
    with transaction.atomic():
        user = bundle_person.person_for(shape, user_name, report)
    ids = Ids(user.username)
    totals: Counter[str] = Counter()
    for name in persona_names(bundle):
        totals.update(_persona(bundle, user, name, ids, report))
    _briefs(bundle, user, ids, report)
    _ledger(bundle, user, ids, report, book=book)
    if report.changed:
        audit.record(AUDIT_EVENT, subject=user.username, counts=dict(totals))


def _persona(
    bundle: BundleReader, user: User, name: str, ids: Ids, report: Report
) -> Counter[str]:
    """Take a persona whole or not at all; return how much there was."""
    where = f"{user.username}/personas/{name}"
    changed: dict[uuid.UUID, uuid.UUID] = dict(ids.changed)
    try:
        with transaction.atomic():
            counts = take_persona(bundle, user, name, ids)
    except BadEntry as error:
        report.left(where, f"was not taken: {error}")
    except (IntegrityError, DataError):
        report.left(where, "was not taken: the database refuses what stands in it.")
    else:
        if counts is None:
            report.kept(where, "is here already and stays as it is.")
            return Counter()
        report.taken(where, _sizes(counts))
        return counts
    ids.changed = changed
    return Counter()


def _sizes(counts: Counter[str]) -> str:
    return (
        f"{counts['files']} files in {counts['revisions']} versions, "
        f"{counts['conversations']} conversations with {counts['messages']:,} "
        f"messages, {counts['memory_runs']} changes of its memory."
    )


def _briefs(bundle: BundleReader, user: User, ids: Ids, report: Report) -> None:
    try:
        take_briefs(bundle, user, ids, report)
    except BadEntry as error:
        report.left(f"{user.username}/schedules.json", f"was not taken: {error}")


def _ledger(
    bundle: BundleReader, user: User, ids: Ids, report: Report, *, book: bool
) -> None:
    where = f"{user.username}/{LEDGER}"
    mine = personas_visible_to(user)
    try:
        moved = moving_in.import_lines(
            lambda: bundle.lines(LEDGER),
            user,
            turns=lambda named: _own_turns(user, ids, named),
            personas=dict(mine.values_list("name", "pk")),
            book=book,
        )
    except (moving_in.BadRow, BadEntry) as error:
        report.left(where, f"was not taken: {error}")
    except (IntegrityError, DataError):
        report.left(where, "was not all taken: the database refuses some of it.")
    else:
        if moved.imported:
            cost = format_usd(moved.cost_nano_usd)
            report.taken(where, f"{moved.imported:,} rows, {cost} USD.")
        if moved.already:
            report.kept(where, f"{moved.already:,} rows are here already.")


def _own_turns(
    user: User, ids: Ids, named: Collection[uuid.UUID]
) -> dict[uuid.UUID, uuid.UUID]:
    """Return which answers of the ledger's rows are the person's, by their old ids.

    What a file says was spent for an answer of somebody else must not count there.
    """
    here = {id: ids.of(id) for id in named}
    rows = messages_visible_to(user).filter(pk__in=here.values())
    own = set(rows.values_list("pk", flat=True))
    return {id: new for id, new in here.items() if new in own}
