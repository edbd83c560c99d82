"""Making, finding, changing and deleting personas.

A persona belongs to one person; everybody else, administrators included, gets a 404.
"""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import Http404

from accounts import audit
from accounts.models import User
from personas.files import PRIVATE_BY_DEFAULT
from personas.models import Conversation, FileRevision, Persona, PersonaFile
from personas.starters import STARTERS_BY_KEY, starter_texts
from routing.decisions import forget_threads

MAX_PERSONAS = 100
"""Personas of one person."""
NAME_TAKEN = "You already have a persona with this name."


def personas_visible_to(user: User) -> QuerySet[Persona]:
    """Return the person's own personas, oldest first."""
    return Persona.objects.filter(owner=user)


def get_persona_for_user(user: User, name: str) -> Persona:
    """Return the person's persona of that name; raises ``Http404``."""
    persona = personas_visible_to(user).filter(name=name).first()
    if persona is None:
        raise Http404("There is no such persona.")
    return persona


def create_persona(
    user: User, *, template: str, name: str, display_name: str
) -> Persona:
    """Make a persona with the files of a starter.

    Args:
        template: A key of ``STARTERS``.
        name: By the rule of all names, once per person.
        display_name: What people and the persona itself call it.

    Raises:
        ValidationError: By field: ``template``, ``name`` or ``display_name``.
    """
    starter = STARTERS_BY_KEY.get(template)
    if starter is None:
        raise ValidationError({"template": "Choose one of the starter personas."})
    if personas_visible_to(user).count() >= MAX_PERSONAS:
        raise ValidationError(f"A person has at most {MAX_PERSONAS} personas.")
    persona = Persona(
        owner=user,
        name=name,
        display_name=display_name.strip(),
        color=starter.color,
    )
    persona.full_clean(validate_constraints=False)
    if personas_visible_to(user).filter(name=name).exists():
        raise ValidationError({"name": NAME_TAKEN})
    try:
        with transaction.atomic():
            persona.save()
            _write_starter_files(persona, template)
    except IntegrityError:
        raise ValidationError({"name": NAME_TAKEN}) from None
    return persona


def _write_starter_files(persona: Persona, template: str) -> None:
    """Write all files and their first revisions with two statements."""
    files = PersonaFile.objects.bulk_create(
        PersonaFile(
            persona=persona,
            name=name,
            text=text,
            private=name in PRIVATE_BY_DEFAULT,
            revision=1,
        )
        for name, text in starter_texts(template).items()
    )
    FileRevision.objects.bulk_create(
        FileRevision(
            file=file,
            number=1,
            text=file.text,
            author=persona.owner,
            reason=f"From the starter “{template}”",
        )
        for file in files
    )


def delete_persona(persona: Persona, *, actor: User) -> None:
    """Remove a persona with its files, their history and all its conversations."""
    with transaction.atomic():
        audit.record("persona.deleted", actor=actor, subject=persona.name)
        threads = Conversation.objects.filter(persona=persona)
        forget_threads(list(threads.values_list("pk", flat=True)))
        persona.delete()
