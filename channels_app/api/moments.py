"""Points in time as callers write them.

Source: RFC 3339, section 5.6.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from django.utils import timezone
from pydantic import BeforeValidator, WithJsonSchema

FARTHEST: Final = timedelta(days=3660)
"""How far ahead something may be put off."""
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d{1,6})\d*)?"
    r"([Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)


def read_moment(value: object) -> datetime:
    """Return a point in time from its RFC 3339 form, in UTC.

    What lies before the time that can be told becomes its beginning.

    Raises:
        ValueError: It is none, names no time zone, or is too far away; the text goes
            after the name of the field.
    """
    found = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a time such as 2030-01-31T07:00:00+01:00")
    day, minute, second, part, zone = found.groups()
    if zone is None:
        raise ValueError("needs a time zone, such as 2030-01-31T07:00:00+01:00")
    if day.startswith("0000"):
        return datetime.min.replace(tzinfo=UTC)
    leap = second == "60"
    text = f"{day}T{minute}:{'59' if leap else second}.{part or 0}{zone.upper()}"
    try:
        moment = datetime.fromisoformat(text) + timedelta(seconds=int(leap))
    except ValueError:
        raise ValueError("is a time that does not exist") from None
    except OverflowError:
        raise ValueError("lies too far in the future") from None
    return _in_utc(moment)


def _in_utc(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year == 1 else datetime.max
        moment = edge.replace(tzinfo=UTC)
    if moment > timezone.now() + FARTHEST:
        raise ValueError("lies more than ten years ahead")
    return moment


Moment = Annotated[
    datetime,
    BeforeValidator(read_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A field with a point in time."""
