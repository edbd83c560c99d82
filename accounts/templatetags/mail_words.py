"""What pages say about mails."""

from __future__ import annotations

from django import template

from accounts import mails

register = template.Library()


@register.simple_tag
def mails_are_printed() -> bool:
    """Say whether mails are printed in the server's output instead of sent."""
    return mails.printed()
