"""Writes homes in the form of the old tree."""

from __future__ import annotations

from pathlib import Path

from accounts import audit, people
from accounts.models import User
from channels_app.homes.person_files import files_to_write
from channels_app.homes.report import Report
from channels_app.homes.taking import PERSONAS
from personas.home.disk import Folder, Unreadable, make_root, opened
from personas.home.persona_out import write_persona
from personas.personas import personas_visible_to


def export_home(path: Path, user: str, *, with_secrets: bool) -> Report:
    """Write people's homes into a new or empty folder, as the folder ``home``.

    Everything is for whoever runs the command alone: folders 0700, files 0600.

    Args:
        user: Only this person's; empty = everybody's.
        with_secrets: Write keys and tokens too, which are ``""`` otherwise.

    Raises:
        Unreadable: There is no such person, the folder is not empty, or the disk
            refuses something.
    """
    users = list(people.list_people())
    if user:
        users = [person for person in users if person.username == user]
        if not users:
            raise Unreadable(f"There is no person named “{user}”.")
    report = Report()
    with opened(make_root(path)) as root:
        for person in users:
            audit.record(
                "home.exported", subject=person.username, with_secrets=with_secrets
            )
            _give(root, person, report, with_secrets)
    return report


def _give(root: Folder, user: User, report: Report, with_secrets: bool) -> None:
    texts = files_to_write(user, report, with_secrets=with_secrets)
    personas = list(personas_visible_to(user))
    if not texts and not personas:
        report.kept(user.username, "has nothing to write.")
        return
    with opened(root.make_folder(user.username)) as folder:
        for name, text in texts.items():
            folder.write(name, text.encode())
            report.taken(f"{user.username}/{name}", "is written.")
        if not personas:
            return
        with opened(folder.make_folder(PERSONAS)) as above:
            for persona in personas:
                where = f"{user.username}/{PERSONAS}/{persona.name}"
                with opened(above.make_folder(persona.name)) as own:
                    write_persona(persona, own, where, report)
