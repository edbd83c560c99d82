"""Who calls the API: one function for tokens in either header, and for the session.

A header that holds anything decides alone: a wrong token is refused even where a
session would do. A caller who was recognised by a cookie must show the CSRF token with
everything that changes something, because a browser sends cookies on behalf of any
page. Recognising and counting is one step in the database pool.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, QueryDict
from django.middleware.csrf import CsrfViewMiddleware

from accounts import tokens
from accounts.models import User
from channels_app.api.limits import count_request
from channels_app.errors import TurnError
from channels_app.web.identity import user_of_cookies
from routing.db_pool import run_in_db_pool

TOKENS_AT_ONCE = 5
"""All tokens of a person together may ask so many times as often as one alone."""
_CSRF = CsrfViewMiddleware(lambda request: HttpResponse())


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """Who asks, and what they may."""

    user: User
    scopes: frozenset[str]
    token_id: uuid.UUID | None = None
    """``None`` = recognised by the session."""

    @property
    def sees_everybody(self) -> bool:
        """Whether amounts of other people may be shown (never their texts)."""
        return tokens.ADMIN_SCOPE in self.scopes

    def demand(self, scope: str) -> None:
        """Refuse who lacks a scope; raises ``TurnError`` (forbidden)."""
        if scope not in self.scopes:
            raise TurnError("forbidden", f"This token lacks the scope {scope}.")


class Auth:
    """Lets callers in who have at least one of some scopes; for ``auth=`` of a route.

    Raises ``TurnError`` (unauthenticated, forbidden, too_many).
    """

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes

    async def __call__(self, request: HttpRequest) -> ApiCaller:
        """Return the caller; the framework keeps it as ``request.auth``."""
        return await authenticate(request, *self.scopes)


def caller_of(request: HttpRequest) -> ApiCaller:
    """Return whom ``Auth`` let in."""
    caller: ApiCaller = request.auth  # type: ignore[attr-defined]
    return caller


async def authenticate(request: HttpRequest, *scopes: str) -> ApiCaller:
    """Return who calls; they have at least one of ``scopes``.

    Raises ``TurnError``: ``unauthenticated``, ``forbidden`` (no such scope, or a
    session without the CSRF token), ``too_many``.
    """
    raw = tokens.presented_token(request.headers)
    caller = await run_in_db_pool(_recognise, raw, request.COOKIES)
    if caller is None:
        raise TurnError("unauthenticated", _NOT_RECOGNISED[raw is None])
    if caller.token_id is None:
        _check_csrf(request)
    if caller.scopes.isdisjoint(scopes):
        raise TurnError("forbidden", f"This token lacks the scope {scopes[0]}.")
    return caller


_NOT_RECOGNISED = {
    True: "This needs a token: Authorization: Bearer ctx_…",
    False: "This token is unknown, revoked or expired.",
}


def _recognise(raw: str | None, cookies: dict[str, str]) -> ApiCaller | None:
    """Recognise and count the caller, in one crossing."""
    if raw is None:
        user = user_of_cookies(cookies)
        if user is None:
            return None
        caller = ApiCaller(user, frozenset(tokens.scopes_for(user)))
        count_request(f"person:{user.pk}")
        return caller
    grant = tokens.grant_of(raw)
    if grant is None:
        return None
    count_request(f"token:{grant.token_id.hex}")
    count_request(f"tokens-of:{grant.user.pk}", times=TOKENS_AT_ONCE)
    return ApiCaller(grant.user, grant.scopes, grant.token_id)


def _check_csrf(request: HttpRequest) -> None:
    """Demand the CSRF token of a request that changes something."""
    # Django looks for the token in a form too. The header is the only way in here, and
    # a body that calls itself a form may be none, which only reading it would show.
    request.POST = QueryDict()
    _CSRF.process_request(request)
    if _CSRF.process_view(request, _no_view, (), {}) is not None:
        raise TurnError(
            "forbidden", "A session needs the CSRF token in the header X-CSRFToken."
        )


def _no_view(request: HttpRequest) -> HttpResponse:
    """Stand in for the view: nothing exempts it."""
    return HttpResponse()
