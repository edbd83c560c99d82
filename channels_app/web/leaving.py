"""“Take everything with you”: one's own leaving bundle as a download.

The bundle is written to a file without a name first, so that what cannot be written is
a page with a sentence and not half a zip, and sent from there piece by piece.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import IO, Final, TypeVar, cast

from allauth.account.decorators import reauthentication_required
from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import AuditEvent, User
from accounts.requests import AuthenticatedHttpRequest
from channels_app.homes.bundle_export import AUDIT_EVENT, record, temporary_bundle
from channels_app.jobs.exclusive import only_one

MOST_IN_AN_HOUR: Final = 5
TOO_MANY: Final = (
    f"You have taken {MOST_IN_AN_HOUR} files within the last hour. "
    "Wait an hour, then take the next one."
)
AT_WORK: Final = "One file is being written already. Wait until it has arrived."
NO_ROOM: Final = "The file could not be written: there may be no room on the disk."
_PIECE: Final = 256 * 1024
_View = TypeVar("_View", bound=Callable[..., HttpResponseBase])
_asks_who_it_is = cast(
    Callable[[_View], _View], reauthentication_required(allow_get=True)
)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
@_asks_who_it_is
def leaving(request: AuthenticatedHttpRequest) -> HttpResponseBase:
    """Say what is inside (GET), or send it (POST); asks who it is before it sends."""
    if request.method == "GET":
        return _page(request)
    if _taken_lately(request.user) >= MOST_IN_AN_HOUR:
        return _page(request, TOO_MANY, 429)
    with only_one(f"leaving-{request.user.pk}") as mine:
        if not mine:
            return _page(request, AT_WORK, 409)
        try:
            file, counts = temporary_bundle(request.user)
        except OSError:
            return _page(request, NO_ROOM, 507)
        record(request.user, counts, actor=request.user)
    return _download(request, file)


def _page(
    request: AuthenticatedHttpRequest, problem: str = "", status: int = 200
) -> HttpResponse:
    return render(request, "settings/leaving.html", {"problem": problem}, status=status)


def _taken_lately(user: User) -> int:
    hour_ago = timezone.now() - timedelta(hours=1)
    mine = AuditEvent.objects.filter(event=AUDIT_EVENT, actor_id=user.pk)
    return mine.filter(created_at__gte=hour_ago).count()


def _download(
    request: AuthenticatedHttpRequest, file: IO[bytes]
) -> StreamingHttpResponse:
    size = file.seek(0, 2)
    file.seek(0)
    pieces = _AsyncPieces if isinstance(request, ASGIRequest) else _Pieces
    response = StreamingHttpResponse(pieces(file), content_type="application/zip")
    name = f"cortex-{request.user.username}-{timezone.localdate():%Y-%m-%d}.zip"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Content-Length"] = str(size)
    return response


class _Sent:
    """A file on its way out; Django closes it with the response, whatever happens."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def close(self) -> None:
        """Close the file, which removes it."""
        self._file.close()


class _Pieces(_Sent):
    """The pieces of a file."""

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(_PIECE):
            yield piece


class _AsyncPieces(_Sent):
    """The pieces of a file, read in the thread of the request."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await sync_to_async(self._file.read)(_PIECE):
            yield piece
