"""Reads a leaving bundle in again: the person, their personas, briefs and ledger rows.

A persona is taken whole or not at all, and so are the rows of the ledger. What is here
already stays as it is, so importing a bundle twice changes nothing.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import DataError, IntegrityError, transaction

from accounts import audit
from accounts.models import User
from accounts.people import find_person
from channels_app.homes import bundle_person
from channels_app.homes.bundle_briefs import take_briefs
from channels_app.homes.bundle_shapes import PersonShape
from channels_app.homes.report import Report
from ledger import moving_in
from ledger.money import format_usd
from personas.conversations import messages_visible_to
from personas.home.bundle_ids import Ids
from personas.home.bundle_import import persona_names, store_persona
from personas.home.bundle_plan import Plan, read_persona
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
        shape = _shape(bundle)
        name = user_name or shape.user_name
        ids = Ids(name)
        plans = _plans(bundle, name, ids, report)
        taking = _Taking(bundle, shape, user_name, ids, report)
        if not dry_run:
            taking.take(plans, book=True)
            return report
        with transaction.atomic():
            taking.take(plans, book=False)
            transaction.set_rollback(True)
    return report


def _shape(bundle: BundleReader) -> PersonShape:
    try:
        shape = bundle.object(bundle_person.ENTRY, PersonShape)
    except BadEntry as error:
        raise Unreadable(str(error)) from None
    if shape.user_name != bundle.manifest.user_name:
        raise Unreadable(f"{bundle_person.ENTRY} is about somebody else.")
    return shape


def _plans(
    bundle: BundleReader, user_name: str, ids: Ids, report: Report
) -> list[Plan]:
    """Read all personas that are to be stored, while nobody has to wait for it."""
    user = find_person(user_name)
    here: set[str] = set()
    if user is not None:
        here.update(personas_visible_to(user).values_list("name", flat=True))
    plans = []
    for name in persona_names(bundle):
        where = f"{user_name}/personas/{name}"
        if name in here:
            report.kept(where, "is here already and stays as it is.")
            continue
        changed = dict(ids.changed)
        try:
            plans.append(read_persona(bundle, name, ids))
        except BadEntry as error:
            ids.changed = changed
            report.left(where, f"was not taken: {error}")
    return plans


@dataclass(frozen=True, slots=True)
class _Taking:
    """An import at work: each part is stored in its own transaction."""

    bundle: BundleReader
    shape: PersonShape
    user_name: str
    """As it was asked for; empty = that of the bundle."""
    ids: Ids
    report: Report

    def take(self, plans: Sequence[Plan], *, book: bool) -> None:
        with transaction.atomic():
            user = bundle_person.person_for(self.shape, self.user_name, self.report)
        for plan in plans:
            self._persona(user, plan)
        _briefs(self.bundle, user, self.ids, self.report)
        _ledger(self.bundle, user, self.ids, self.report, book=book)

    def _persona(self, user: User, plan: Plan) -> None:
        """Store a persona whole or not at all."""
        where = f"{user.username}/{plan.folder}"
        try:
            with transaction.atomic():
                counts = store_persona(self.bundle, user, plan, self.ids)
                _record(user, plan.folder, **counts)
        except BadEntry as error:
            self.report.left(where, f"was not taken: {error}")
        except (IntegrityError, DataError):
            self.report.left(
                where, "was not taken: the database refuses what stands in it."
            )
        else:
            self.report.taken(where, _sizes(counts))


def _record(user: User, part: str, **counts: int) -> None:
    """Note in the audit log what came in; with it, so that neither is without."""
    audit.record(AUDIT_EVENT, subject=user.username, part=part, counts=counts)


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
            _record(user, LEDGER, rows=moved.imported)
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
