"""What every test may ask for, and what no test may do.

The cast is fixed: ``alice`` owns, ``bob`` is another member, ``charlie`` must get
nothing of theirs, ``admin_user`` administers. Servers for tests live in
``tests/support``; a program that is missing is named at the end of the run and
fails it when ``CI`` is true.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import channels.db
import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.cache import cache
from django.db import close_old_connections
from django.test import Client
from pytest_django import DjangoDbBlocker

from accounts.models import User
from accounts.roles import set_role
from personas.models import Persona
from personas.personas import create_persona
from routing.breakers import BREAKERS
from routing.db_pool import DB_POOL
from routing.models import Host
from tests.support import missing, programs, sockets
from tests.support.aimock import AIMock
from tests.support.environment import DATABASE_FOR_TESTS
from tests.support.flush import quick_flush
from tests.support.pools import close_all
from tests.support.postgres import PostgresServer
from tests.support.processes import ServerProcess
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream

PASSWORD = "correct horse battery staple"
"""The password of the whole cast."""

DATABASE_FIXTURES = {"db", "transactional_db", "django_db_reset_sequences"}
SLOW_FIXTURES = {
    "live_server_process",
    "start_server",
    "postgres_url",
    "redis_url",
    "claude_program",
    "gemini_program",
    "aimock",
}


# --- the run ---------------------------------------------------------------------


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark tests by the servers they ask for, so that nobody has to remember it."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        for fixture, mark in (
            ("postgres_url", "postgres"),
            ("redis_url", "redis"),
            ("chromium", "browser"),
        ):
            if fixture in names:
                item.add_marker(mark)
        if names & SLOW_FIXTURES:
            item.add_marker("slow")
    if DATABASE_FOR_TESTS in os.environ:
        _keep_database_tests(config, items)


def _keep_database_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another database cannot change."""
    kept, left = [], []
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        uses_database = names & DATABASE_FIXTURES or item.get_closest_marker(
            "django_db"
        )
        (kept if uses_database else left).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what could not run."""
    missing.report(terminalreporter)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run in which something could not run."""
    missing.fail_in_ci(session)


# --- guards ----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _local_sockets_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection and look-up that would leave this machine."""
    sockets.refuse_outside(monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_left_over() -> None:
    """Start without the rate limits, breakers and ledger file of an earlier test.

    Where two of Channels' communicators overlap, the closing of lost connections that
    each of them switches off meanwhile stays off.
    """
    channels.db.close_old_connections = close_old_connections
    cache.clear()
    BREAKERS.clear()
    (settings.DATA_DIR / "ledger.jsonl").unlink(missing_ok=True)


# --- database --------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """Empty the tables between tests in a way that the ledger allows."""
    with quick_flush():
        yield


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Begin without the seeded hosts, which a flush would remove anyway.

    At the end close what pool threads hold open, before the database is removed.
    """
    with django_db_blocker.unblock():
        Host.objects.all().delete()
    yield
    with django_db_blocker.unblock():
        close_all(DB_POOL)


# --- people and personas ---------------------------------------------------------


def make_person(username: str, *, admin: bool = False) -> User:
    """Create a person with the cast's password and a verified address."""
    email = f"{username}@example.org"
    user = User.objects.create_user(username, email, PASSWORD)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    set_role(user, is_admin=admin)
    return user


@pytest.fixture
def alice(db: None) -> User:
    """A member who owns what the test is about."""
    return make_person("alice")


@pytest.fixture
def bob(db: None) -> User:
    """Another member."""
    return make_person("bob")


@pytest.fixture
def charlie(db: None) -> User:
    """A member who has no business with anybody else's things."""
    return make_person("charlie")


@pytest.fixture
def admin_user(db: None) -> User:
    """A person who administers the installation."""
    return make_person("dora", admin=True)


@pytest.fixture
def persona(alice: User) -> Persona:
    """Alice's persona ``inara``."""
    return create_persona(
        alice, template="companion", name="inara", display_name="Inara"
    )


@pytest.fixture
def client_for() -> Callable[[User], Client]:
    """Return a browser-like client that is signed in as the person given."""

    def sign_in(user: User, **options: Any) -> Client:
        client = Client(**options)
        client.force_login(user)
        return client

    return sign_in


# --- servers ---------------------------------------------------------------------


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Run an OpenAI-compatible server on loopback for one test."""
    with Upstream() as server:
        yield server


@pytest.fixture
def vendors(upstream: Upstream, settings: Any) -> Upstream:
    """Let the mock answer at the fixed addresses of the vendors."""
    settings.CORTEX_ANTHROPIC_URL = settings.CORTEX_GEMINI_URL = upstream.url
    return upstream


@pytest.fixture
def claude_program(settings: Any) -> Path:
    """Let hosts of the type ``claude_cli`` start the real, pinned program."""
    settings.CORTEX_CLAUDE_CLI = str(programs.claude_program())
    return Path(settings.CORTEX_CLAUDE_CLI)


@pytest.fixture
def gemini_program(settings: Any) -> Path:
    """Let hosts of the type ``gemini_cli`` start the real, pinned program."""
    settings.CORTEX_GEMINI_CLI = str(programs.gemini_program())
    return Path(settings.CORTEX_GEMINI_CLI)


@pytest.fixture
def aimock() -> Iterator[AIMock]:
    """Run the vendors' mock with every kind of its chaos at 20 %."""
    with AIMock(chaos=0.2) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Run a real Redis server for this process's tests."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Run a real PostgreSQL server for this process's tests."""
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium to drive."""
    return missing.program("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Return a function that starts ``manage.py serve`` (or others) and waits for it.

    ``start_server("web", DATABASE_URL=…)`` runs another command with variables of
    its own; servers of one test share a data folder unless ``data_dir`` is given.
    With ``first_start=True`` the folder is empty; else its database is ready.
    """
    running: list[ServerProcess] = []

    def start(command: str = "serve", **options: Any) -> ServerProcess:
        server = ServerProcess(
            command,
            data_dir=options.pop("data_dir", tmp_path / "data"),
            first_start=options.pop("first_start", False),
            variables=options,
        )
        running.append(server)
        server.start()
        return server

    yield start
    for server in reversed(running):
        server.stop()


@pytest.fixture
def live_server_process(
    start_server: Callable[..., ServerProcess],
) -> ServerProcess:
    """Run the whole of Cortex on an empty data folder, as ``make run`` does."""
    return start_server()


def pytest_report_header() -> str:
    """Show which database the run uses."""
    return f"database: {os.environ.get('DATABASE_URL', 'sqlite').split(':')[0]}"
