"""Days in templates: ``{{ moment|day:zone }}``."""

from __future__ import annotations

import datetime

from django import template
from django.utils import formats, timezone

from accounts.zones import zone_named

register = template.Library()


@register.filter
def day(moment: datetime.datetime, zone: str | datetime.tzinfo) -> str:
    """Write the day of a moment in a time zone, with its year where that is another."""
    info = zone_named(zone) if isinstance(zone, str) else zone
    there = moment.astimezone(info)
    is_this_year = there.year == timezone.now().astimezone(info).year
    return formats.date_format(there, "j M" if is_this_year else "j M Y")
