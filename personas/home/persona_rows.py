"""Stores what a persona's folder holds: all of it or nothing, and never twice.

What is in Cortex already stays as it is. A file that differs is named and left, unless
it is to become a new version; a session is recognised by its name and is taken once,
also when its person has deleted it since.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction

from accounts.models import User
from personas.errors import FileRefused
from personas.files import MAX_FILES, PRIVATE_BY_DEFAULT, save_file
from personas.home.disk import Refused
from personas.home.naming import check_file_name
from personas.home.persona_folder import SESSIONS, OldPersona, OldSession
from personas.home.report import Report
from personas.home.session_rows import store_session
from personas.home.session_spool import SessionSpool
from personas.home.session_text import own_id
from personas.models import FileRevision, HomeSession, Persona, PersonaFile
from personas.personas import MAX_PERSONAS, personas_visible_to

REASON: Final = "From the old home"
DISTILLED: Final = "counted as distilled, as the old home did it"
NO_MESSAGE: Final = "holds no message, so no conversation was made of it."


def store_persona(
    user: User,
    old: OldPersona,
    where: str,
    *,
    overwrite: bool,
    spool: SessionSpool | None,
) -> Report:
    """Store one persona in one transaction and say what became of each part.

    Args:
        spool: Has the sessions; ``None`` = it is a trial, which says the same of them
            and does not store them, as that takes long and others would wait.

    Raises:
        Refused: The person has too many personas.
    """
    with transaction.atomic():
        taking = _Taking(_persona(user, old.name), user, where, overwrite, spool)
        if taking.persona.pk is None:
            taking.persona.save()
            taking.report.taken(where, "became a persona.")
        for name, text in old.files.items():
            taking.file(name, text)
        for name, session in old.sessions.items():
            taking.session(name, session)
    return taking.report


def _persona(user: User, name: str) -> Persona:
    """Return the person's persona under a lock, or a new one that is not saved."""
    found = personas_visible_to(user).select_for_update(no_key=True)
    persona = found.filter(name=name).first()
    if persona is not None:
        return persona
    if personas_visible_to(user).count() >= MAX_PERSONAS:
        raise Refused(f"is one too many: a person has at most {MAX_PERSONAS} personas.")
    display_name = name.replace("_", " ").replace("-", " ").strip().title() or name
    return Persona(owner=user, name=name, display_name=display_name)


class _Taking:
    """One persona on its way into the database."""

    def __init__(
        self,
        persona: Persona,
        user: User,
        where: str,
        overwrite: bool,
        spool: SessionSpool | None,
    ) -> None:
        self.persona = persona
        self.user = user
        self.where = where
        self.overwrite = overwrite
        self.spool = spool
        self.report = Report()

    def file(self, name: str, text: str) -> None:
        """Take one file, or say why not."""
        place = f"{self.where}/{name}"
        file = self.persona.files.filter(name=name).first()
        try:
            if file is None:
                self._new_file(name, text)
                self.report.taken(place, "is a file of the persona now.")
            elif file.text == text:
                self.report.kept(place, "is the same here.")
            elif self.overwrite:
                save_file(self.persona, name, text, author=self.user, reason=REASON)
                self.report.taken(place, "is a new version of the file.")
            else:
                raise Refused(
                    "differs from the file in Cortex, which stays as it is; "
                    "--overwrite makes a new version of it."
                )
        except (Refused, FileRefused) as error:
            self.report.left(place, str(error))

    def _new_file(self, name: str, text: str) -> None:
        """Make a file with its first version, also of an empty text."""
        names = list(self.persona.files.values_list("name", flat=True))
        check_file_name(name, names)
        if len(names) >= MAX_FILES:
            raise Refused(f"is one too many: a persona has at most {MAX_FILES} files.")
        file = PersonaFile.objects.create(
            persona=self.persona,
            name=name,
            text=text,
            private=name in PRIVATE_BY_DEFAULT,
            revision=1,
        )
        FileRevision.objects.create(
            file=file, number=1, text=text, author=self.user, reason=REASON
        )

    def session(self, name: str, old: OldSession) -> None:
        """Take one session, or say why not."""
        place = f"{self.where}/{SESSIONS}/{name}"
        if not self._is_new(name, old, place):
            return
        if not old.messages:
            self.report.left(place, NO_MESSAGE)
            self._tell_odd(place, old)
            return
        if self.spool is not None and old.place is not None:
            session = self.spool.get(old.place)
            store_session(self.persona, name, old.digest, session, old.changed_at)
        count = old.messages
        self.report.taken(
            place,
            f"became a conversation of {count:,} "
            f"message{'' if count == 1 else 's'}, {DISTILLED}.",
        )
        self._tell_odd(place, old)

    def _tell_odd(self, place: str, old: OldSession) -> None:
        for odd in old.odd:
            self.report.left(place, odd)

    def _is_new(self, name: str, old: OldSession, place: str) -> bool:
        known = HomeSession.objects.filter(persona=self.persona, name=name).first()
        if known is not None:
            self._known(known, old, place)
            return False
        own = own_id(name)
        if own and self.persona.conversations.filter(pk=own).exists():
            self.report.kept(place, "is a conversation of this persona already.")
            return False
        return True

    def _known(self, known: HomeSession, old: OldSession, place: str) -> None:
        conversation = known.conversation
        if conversation is None or conversation.deleted_at is not None:
            self.report.kept(place, "was deleted in Cortex since and stays deleted.")
        elif known.digest == old.digest:
            self.report.kept(place, "is the same conversation here.")
        else:
            self.report.left(
                place,
                "has changed since it was taken over; the conversation in Cortex stays "
                "as it is. Give the file another name to have it taken as a new one.",
            )
