"""The page “Take everything with you”: one's own file alone, asked for by POST."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import AsyncClient, Client

from accounts.models import AuditEvent, User
from channels_app.homes.bundle_export import AUDIT_EVENT
from channels_app.jobs.exclusive import only_one
from channels_app.web import leaving
from personas.models import Persona
from tests.channels_app.homes.bundles import fill
from tests.conftest import PASSWORD

PAGE = "/settings/leaving/"


@pytest.fixture
def client_of_alice(persona: Persona) -> Client:
    """A browser in which alice has just given her password."""
    fill(persona)
    client = Client()
    client.post("/account/login/", {"login": "alice", "password": PASSWORD})
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    return client


def whole(answer: Any) -> bytes:
    """Read a download to its end, which closes the file."""
    return b"".join(answer)


def taken() -> int:
    """Return how many files were taken."""
    return AuditEvent.objects.filter(event=AUDIT_EVENT).count()


def test_the_page_says_what_is_inside_and_starts_nothing(
    client_of_alice: Client,
) -> None:
    for method in (client_of_alice.get, client_of_alice.head):
        method(PAGE)
    page = client_of_alice.get(PAGE)
    assert page.status_code == 200
    assert b"Passwords" in page.content
    assert b"asked to forget still stands" in page.content
    assert b'method="post"' in page.content
    assert b"cello" not in page.content
    assert taken() == 0
    assert PAGE.encode() in client_of_alice.get("/settings/profile/").content


def test_a_post_sends_ones_own_file(client_of_alice: Client, bob: User) -> None:
    answer = client_of_alice.post(PAGE)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Disposition"].startswith(
        'attachment; filename="cortex-alice-20'
    )
    data = whole(answer)
    assert len(data) == int(answer.headers["Content-Length"])
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        assert zipped.testzip() is None
        assert b'"alice"' in zipped.read("person.json")
    event = AuditEvent.objects.get(event=AUDIT_EVENT)
    assert (event.actor_name, event.subject) == ("alice", "alice")
    assert "cello" not in str(event.detail)
    assert list(Path(settings.DATA_DIR).glob("*.zip")) == []


async def test_it_is_sent_piece_by_piece_over_asgi(
    transactional_db: None, client_of_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "_PIECE", 1000)
    client = AsyncClient()
    client.cookies = client_of_alice.cookies
    answer: Any = await client.post(PAGE)
    pieces = [piece async for piece in answer.streaming_content]
    assert len(pieces) > 3
    assert zipfile.is_zipfile(io.BytesIO(b"".join(pieces)))


def test_who_it_is_is_asked_again_first(
    alice: User, client_for: Callable[[User], Client]
) -> None:
    client = client_for(alice)
    assert client.get(PAGE).status_code == 200
    answer = client.post(PAGE)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/account/reauthenticate/")
    assert taken() == 0
    sent = client.post(answer.headers["Location"], {"password": PASSWORD})
    assert sent.headers["Content-Type"] == "application/zip"
    assert zipfile.is_zipfile(io.BytesIO(whole(sent)))
    assert taken() == 1


def test_strangers_and_forged_forms_get_nothing(alice: User) -> None:
    answer = Client().post(PAGE)
    assert (answer.status_code, taken()) == (302, 0)
    assert "/login/" in answer.headers["Location"]
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert (client.post(PAGE).status_code, taken()) == (403, 0)
    for method in ("put", "delete", "patch"):
        assert getattr(client, method)(PAGE).status_code in {403, 405}


def test_one_file_at_a_time_for_each_person(
    client_of_alice: Client, alice: User
) -> None:
    with only_one(f"leaving-{alice.pk}"):
        answer = client_of_alice.post(PAGE)
    assert (answer.status_code, taken()) == (409, 0)
    assert b"being written already" in answer.content
    again = client_of_alice.post(PAGE)
    assert again.status_code == 200
    assert whole(again)


def test_no_more_than_a_few_in_an_hour(
    client_of_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "MOST_IN_AN_HOUR", 1)
    assert whole(client_of_alice.post(PAGE))
    answer = client_of_alice.post(PAGE)
    assert (answer.status_code, taken()) == (429, 1)
    assert b"Wait an hour" in answer.content


def test_a_full_disk_is_a_sentence(
    client_of_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("channels_app.homes.bundle_export.write_personas", full)
    answer = client_of_alice.post(PAGE)
    assert (answer.status_code, taken()) == (507, 0)
    assert b"no room on the disk" in answer.content
