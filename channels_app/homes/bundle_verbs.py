"""What ``manage.py home`` does with leaving bundles."""

from __future__ import annotations

from pathlib import Path

from accounts.people import find_person
from channels_app.homes.bundle_export import write_file
from channels_app.homes.report import Report
from personas.home.disk import Unreadable


def export_bundle(user_name: str, path: Path) -> Report:
    """Write a person's bundle into a new file.

    Raises:
        Unreadable: There is no such person, or the file cannot be written.
    """
    if not user_name:
        raise Unreadable("Say whose bundle it is, with --user NAME.")
    user = find_person(user_name)
    if user is None:
        raise Unreadable(f"There is no person named “{user_name}”.")
    counts = write_file(user, path)
    report = Report()
    sizes = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    report.taken(str(path), f"everything of {user_name}: {sizes}.".replace("_", " "))
    return report
