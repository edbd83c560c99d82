"""The ledger as a file: one's own rows with their previews, for administrators all.

The rows of everybody hold amounts and never the start of a prompt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import islice

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, StreamingHttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.models import User
from accounts.requests import AuthenticatedHttpRequest
from ledger import export

_CHUNK_LINES = 500
_CONTENT_TYPES: dict[export.Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson; charset=utf-8",
}


@never_cache
@login_required
@require_safe
def own_rows(
    request: AuthenticatedHttpRequest, form: export.Format
) -> StreamingHttpResponse:
    """Send all of one's own calls."""
    return _file(request, form, request.user)


@never_cache
@login_required
@require_safe
def all_rows(
    request: AuthenticatedHttpRequest, form: export.Format
) -> StreamingHttpResponse:
    """Send everybody's calls without a text; members learn of no such page."""
    if not request.user.is_admin:
        raise Http404("There is no such page.")
    return _file(request, form, None)


def _file(
    request: AuthenticatedHttpRequest, form: export.Format, owner: User | None
) -> StreamingHttpResponse:
    if request.method == "GET":
        subject = owner.username if owner else "everybody"
        audit.record("ledger.exported", actor=request.user, subject=subject)
    lines = export.lines(form, owner, owner=owner)
    response = StreamingHttpResponse(
        _chunks_async(lines) if isinstance(request, ASGIRequest) else lines,
        content_type=_CONTENT_TYPES[form],
    )
    name = "cortex-ledger" if owner else "cortex-ledger-everybody"
    response["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return response


async def _chunks_async(lines: Iterator[str]) -> AsyncIterator[str]:
    """Read the lines in the thread of the request, some hundred at a time."""
    while chunk := await sync_to_async(lambda: "".join(islice(lines, _CHUNK_LINES)))():
        yield chunk
