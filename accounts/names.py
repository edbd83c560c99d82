"""The one rule for the names of people and personas."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

NAME_PATTERN = r"\A[a-z_][a-z0-9_-]{0,31}\Z"
RESERVED_NAMES = frozenset({"admin", "api", "me", "system"})


def validate_name(value: str) -> None:
    """Refuse a name that breaks the pattern or is reserved."""
    if not re.match(NAME_PATTERN, value):
        raise ValidationError(
            "Use 1 to 32 lower-case letters, digits, “_” or “-”, "
            "and begin with a letter or “_”.",
            code="bad_name",
        )
    if value in RESERVED_NAMES:
        raise ValidationError(f"The name “{value}” is reserved.", code="reserved_name")
