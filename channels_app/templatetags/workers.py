"""Whether somebody works, for pages where people wait for it."""

from __future__ import annotations

from django import template

from channels_app.jobs.signs import signs

register = template.Library()


@register.simple_tag
def nobody_works() -> bool:
    """Say whether no worker has ticked for a while, so that nothing here goes on."""
    return signs().is_silent
