"""Which names of an old home's files are taken.

Names are compared by people's eyes and written to disks that may not tell capitals
from small letters, so a name must be its own normal form and may not look like
another one.

Source: Unicode Standard Annex #15 (normal forms), Technical Standard #39 (mixed
scripts).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from django.core.exceptions import ValidationError

from accounts.names import validate_name
from personas.errors import FileRefused
from personas.files import STANDARD_FILES, clean_name
from personas.home.disk import Refused

MAX_SESSION_NAME = 64
_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"})
"""Scripts whose letters are easily taken for one another."""


def check_person_name(name: str) -> None:
    """Refuse the name of a person or persona that breaks the rule; ``Refused``."""
    try:
        validate_name(name)
    except ValidationError as error:
        raise Refused(f"has a name that is not allowed: {error.messages[0]}") from None


def check_file_name(name: str, taken: Iterable[str]) -> None:
    """Refuse the name of a persona's file; raises ``Refused``.

    Args:
        taken: Names of the persona's files, here and in Cortex.
    """
    _check_letters(name)
    try:
        clean = clean_name(name)
    except FileRefused as error:
        raise Refused(f"has a name that is not allowed: {error}") from None
    if clean != name:
        raise Refused("has a name that begins or ends with a blank.")
    _check_alike(name, {*STANDARD_FILES, *taken})


def check_session_name(name: str, taken: Iterable[str]) -> None:
    """Refuse the name of a session's file; raises ``Refused``."""
    _check_letters(name)
    if not name.endswith((".json", ".jsonl")):
        raise Refused("is no session: those end with .json or .jsonl.")
    if len(name) > MAX_SESSION_NAME:
        raise Refused(f"has a name of more than {MAX_SESSION_NAME} characters.")
    if name.startswith(".") or ".." in name or "\\" in name:
        raise Refused("has a name that is not allowed for a session.")
    _check_alike(name, taken)


def is_text_name(name: str) -> bool:
    """Say whether a name is free of bytes that are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_letters(name: str) -> None:
    if not is_text_name(name):
        raise Refused("has a name that is not UTF-8.")
    if not name.isprintable():
        raise Refused("has a name with characters that cannot be seen.")
    if unicodedata.normalize("NFKC", name) != name:
        raise Refused("has a name with letters that only look like others.")
    stem = name.rsplit(".", 1)[0]
    scripts = {
        unicodedata.name(char, "").split(" ")[0] for char in stem if char.isalpha()
    }
    if len(scripts & _SCRIPTS) > 1:
        raise Refused("has a name that mixes alphabets, which only looks like another.")


def _check_alike(name: str, taken: Iterable[str]) -> None:
    for other in sorted(taken):
        if other != name and other.casefold() == name.casefold():
            raise Refused(f"has a name too close to {other}, which is taken.")
