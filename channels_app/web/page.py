"""What every page of the shell needs: theme, nonce, the rail's personas and links.

A context processor; it asks the database nothing until a template looks at
``my_personas``, so that pages without the rail (sign-in, errors) stay free of queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import User
from ledger.budget_requests import open_request_count
from personas.models import Persona
from personas.personas import personas_visible_to

THEMES = ("light", "dark")
THEME_COOKIE = "theme"


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the navigation; ``current`` marks the section that is shown."""

    href: str
    label: str
    icon: str
    current: bool = False
    waiting: int = 0
    """How many things wait there for whoever looks."""
    also: tuple[str, ...] = ()
    """Other addresses of the same section."""


_RAIL = (
    Link("/search/", "Search", "search"),
    Link("/personas/", "Personas", "personas"),
    Link("/settings/models/", "Models", "models"),
    Link("/money/", "Money", "money"),
    Link("/jobs/", "Jobs", "jobs"),
    Link(
        "/settings/channels/",
        "Channels",
        "channels",
        also=("/settings/tokens/", "/settings/webhooks/"),
    ),
    Link("/people/", "People", "people"),
    Link(
        "/settings/profile/",
        "Settings",
        "settings",
        also=("/settings/routing/", "/account/"),
    ),
)
_MENU = (
    Link("/settings/profile/", "Profile", "settings"),
    Link("/settings/routing/", "Routing", "models"),
    Link("/account/email/", "E-mail address", "user"),
    Link("/account/password/change/", "Password", "key"),
    Link("/account/2fa/", "Two-step sign-in", "shield"),
    Link("/settings/tokens/", "Access tokens", "key"),
    Link("/account/sessions/", "Sessions", "lock"),
    Link("/admin/", "Administration", "models"),
)
_FOR_ADMINS = {"/people/", "/admin/"}


def chosen_theme(request: HttpRequest) -> str:
    """Return ``light`` or ``dark``, or "" when the system decides."""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return theme if theme in THEMES else ""


def page(request: HttpRequest) -> dict[str, Any]:
    """Return the variables that ``base.html`` and its components use."""

    def personas() -> list[Persona]:
        return list(personas_visible_to(cast("User", request.user)))

    return {
        "theme": chosen_theme(request),
        "csp_nonce": getattr(request, "csp_nonce", ""),
        "my_personas": SimpleLazyObject(personas),
        "rail_links": SimpleLazyObject(lambda: _links(request, _RAIL)),
        "menu_links": SimpleLazyObject(lambda: _links(request, _MENU)),
    }


def _links(request: HttpRequest, links: tuple[Link, ...]) -> list[Link]:
    is_admin = bool(getattr(request.user, "is_admin", False))
    return [
        Link(
            link.href,
            link.label,
            link.icon,
            request.path.startswith((link.href, *link.also)),
            open_request_count() if is_admin and link.href == "/money/" else 0,
        )
        for link in links
        if is_admin or link.href not in _FOR_ADMINS
    ]
