"""Static files under addresses that change with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from channels_app.web import static_versions
from channels_app.web.static_versions import (
    FOREVER,
    VersionedStaticMiddleware,
    VersionedStorage,
)

NOW, BEFORE = "a" * 12, "b" * 12


@pytest.fixture(autouse=True)
def stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this version be the one that was collected."""
    path = tmp_path / "static"
    path.write_text("a" * 64)
    monkeypatch.setattr(static_versions, "stamp_path", lambda: path)
    return path


def not_found(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=404)


def get(path: str) -> tuple[int, str]:
    """Return status and ``Cache-Control`` of an address."""
    middleware = VersionedStaticMiddleware(not_found)
    response = middleware(RequestFactory().get(path))
    response.close()
    return response.status_code, response.headers.get("Cache-Control", "")


def test_addresses_carry_the_version() -> None:
    url = VersionedStorage().url("js/chat.js")
    assert url == f"/static/v-{NOW}/js/chat.js"
    assert get(url) == (200, FOREVER)


def test_without_collected_files_addresses_are_plain(stamp: Path) -> None:
    stamp.unlink()
    assert VersionedStorage().url("js/chat.js") == "/static/js/chat.js"


def test_plain_and_earlier_addresses_are_not_kept_for_long() -> None:
    for path in ("/static/js/chat.js", f"/static/v-{BEFORE}/js/chat.js"):
        status, cache = get(path)
        assert status == 200
        assert cache != FOREVER


@pytest.mark.parametrize(
    "path",
    [
        f"/static/v-{NOW}/js/nowhere.js",
        f"/static/v-{NOW}/../../manage.py",
        f"/static/v-{NOW}/v-{NOW}/js/chat.js",
        "/static/v-short/js/chat.js",
        f"/v-{NOW}/js/chat.js",
    ],
)
def test_nothing_else_is_served(path: str) -> None:
    assert get(path) == (404, "")


def test_modules_name_each_other_by_relative_paths() -> None:
    scripts = Path(__file__).parents[3] / "static" / "js"
    for script in scripts.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert 'from "/' not in text and 'import("/' not in text, script.name
