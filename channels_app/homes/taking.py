"""Takes old homes over: people, their personas, their models, their channels."""

from __future__ import annotations

from pathlib import Path

from channels_app.homes.report import Report
from personas.home.disk import open_root, opened


def take_home(path: Path, user: str, *, dry_run: bool, overwrite: bool) -> Report:
    """Take over the folder ``home``, its parent, or one person's folder."""
    report = Report()
    with opened(open_root(path)) as root:
        for name in root.names():
            report.left(name, "is no person's folder.")
    return report
