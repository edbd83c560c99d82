"""A real Chromium for tests: what it saw, asked for and refused is written down.

Servers and people are made outside the test's process, because Playwright's loop and
Django's ORM do not share a thread.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery staple"
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
NOTE_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  const where = event.target?.outerHTML?.slice(0, 200) ?? "";
  console.warn("CSP", event.violatedDirective, event.blockedURI, where);
});
"""


@dataclass(slots=True)
class Seen:
    """What went on in the pages of one context."""

    origin: str
    violations: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def foreign_requests(self) -> list[str]:
        """Addresses outside the server that the browser asked for."""
        own = (self.origin, self.origin.replace("http", "ws", 1), "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]

    def assert_clean(self) -> None:
        """Fail when a policy was violated or a script failed or a dialog opened."""
        assert self.violations == []
        assert self.errors == []
        assert self.dialogs == []
        assert self.foreign_requests == []


def watch(context: BrowserContext, origin: str) -> Seen:
    """Write down what happens in all pages of a context from now on."""
    seen = Seen(origin)
    context.add_init_script(NOTE_VIOLATIONS)

    def on_page(page: Page) -> None:
        def on_console(message: object) -> None:
            text = getattr(message, "text", "")
            if text.startswith("CSP ") or "Content Security Policy" in text:
                seen.violations.append(text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("dialog", lambda dialog: _dismiss(dialog, seen))

    context.on("page", on_page)
    return seen


def _dismiss(dialog: object, seen: Seen) -> None:
    seen.dialogs.append(getattr(dialog, "message", ""))
    dialog.dismiss()  # type: ignore[attr-defined]


@contextmanager
def launched(chromium: str) -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


def sign_in(page: Page, origin: str, username: str) -> None:
    """Sign in with the form, as a person does."""
    page.goto(f"{origin}/account/login/")
    page.fill("[name=login]", username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/account/login/" not in url)


def send(page: Page, text: str) -> None:
    """Write a message and press Enter."""
    page.fill("#composer-text", text)
    page.press("#composer-text", "Enter")


def wait_for_answer(
    page: Page, number: int = 1, *states: str, within_s: float = 20
) -> None:
    """Wait until so many answers have ended in one of ``states`` (else complete)."""
    selector = ", ".join(
        f".answer[data-state={state}]" for state in states or ("complete",)
    )
    page.wait_for_function(
        "([selector, number]) => document.querySelectorAll(selector).length >= number",
        arg=[selector, number],
        timeout=within_s * 1000,
    )


class Canary:
    """A loopback port that notes every connection; nobody should ever come."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.visits = 0
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
