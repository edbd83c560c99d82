"""The page on which a person searches what was said and what is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.requests import AuthenticatedHttpRequest
from accounts.zones import zone_of
from channels_app.doors import door_name
from channels_app.models import Channel
from personas.search.finding import Found, search
from personas.search.queries import MAX_QUERY, BadFilter
from personas.search.words import fold

PAGE_SIZE: Final = 20
LAST_PAGE: Final = 25
_OTHER_DOORS: Final = ("web", "api", "openai", "schedule", "queue")


def _named() -> Iterable[tuple[str, str]]:
    """Yield what people may call a door behind ``in:``, and what messages say of it."""
    for channel in (*_OTHER_DOORS, *Channel.Kind.values):
        yield fold(channel), channel
        yield fold(door_name(channel)), channel
    yield "talk", Channel.Kind.NEXTCLOUD_TALK
    yield "nextcloud", Channel.Kind.NEXTCLOUD_TALK
    yield "google", Channel.Kind.GOOGLE_CHAT
    yield "brief", "schedule"
    yield "briefs", "schedule"


DOORS: Final = {name: channel for name, channel in _named() if name}


@never_cache
@login_required
@require_safe
def search_page(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show the hits for ``?q=``, page by page; without it, how to search.

    htmx asks for the hits alone while somebody types.
    """
    query = request.GET.get("q", "").replace("\0", " ")[:MAX_QUERY]
    page = _page_number(request.GET.get("page", ""))
    found, problem = Found(), ""
    try:
        found = search(
            request.user,
            query,
            limit=PAGE_SIZE,
            offset=(page - 1) * PAGE_SIZE,
            doors=DOORS,
        )
    except BadFilter as error:
        problem = str(error)
    context: dict[str, Any] = {
        "query": query,
        "found": found,
        "problem": problem,
        "page": page,
        "previous": page - 1,
        "next": page + 1 if found.more and page < LAST_PAGE else None,
        "zone": zone_of(request.user),
    }
    is_live = request.headers.get("HX-Request") == "true"
    template = "search/hits.html" if is_live else "search/search.html"
    # A sentence about a filter is swapped in by htmx only with a good status.
    status = 400 if problem and not is_live else 200
    response = render(request, template, context, status=status)
    response.headers["Vary"] = "HX-Request, Cookie"
    return response


def _page_number(text: str) -> int:
    """Return the page asked for; the first for anything that is none."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        return min(max(int(text), 1), LAST_PAGE)
    return 1
