"""Addresses of static files that change with the files, so that browsers may keep them.

All files share one version, which stands before the path: ``/static/v-1a2b…/js/a.js``.
Modules and style sheets name each other by relative paths and so stay within one
version: after an upgrade no browser mixes old and new ones. The plain address works
too, for a minute's caching.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import cached_property
from whitenoise.middleware import (  # type: ignore[import-untyped]
    WhiteNoiseFileResponse,
    WhiteNoiseMiddleware,
)

VERSION_DIGITS = 12
FOREVER = "max-age=31536000, public, immutable"
_VERSION = re.compile(r"\Av-([0-9a-f]{12})/")


def stamp_path() -> Path:
    """Return the file in which ``prepare`` writes the digest of all static files."""
    return Path(settings.BASE_DIR) / ".stamps" / "static"


def read_version() -> str:
    """Return the version of the collected files; empty when none were collected."""
    try:
        return stamp_path().read_text(encoding="ascii")[:VERSION_DIGITS]
    except FileNotFoundError:
        return ""


class VersionedStorage(StaticFilesStorage):
    """Static files as they are, under addresses that carry their version."""

    @cached_property
    def version(self) -> str:
        """The version that this process found when it first asked."""
        return read_version()

    def url(self, name: str | None) -> str:
        """Return the address of a file."""
        plain = super().url(name)
        prefix = str(self.base_url)
        if not self.version or not plain.startswith(prefix):
            return plain
        return f"{prefix}v-{self.version}/{plain.removeprefix(prefix)}"


class VersionedStaticMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves static files with or without a version in their address.

    An address of another version, from a page opened before an upgrade, gives the
    file of today and is kept as shortly as a plain one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.version = read_version()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with a file, or pass the request on."""
        prefix, path = self.static_prefix, request.path_info
        given = None
        if path.startswith(prefix):
            given = _VERSION.match(path.removeprefix(prefix))
        if given is not None:
            request.path_info = prefix + path[len(prefix) + given.end() :]
        response: HttpResponseBase = super().__call__(request)
        is_file = isinstance(response, WhiteNoiseFileResponse)
        if is_file and given is not None and given[1] == self.version:
            response["Cache-Control"] = FOREVER
        return response
