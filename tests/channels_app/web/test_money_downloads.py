"""The ledger as a file: one's own rows, and for administrators everybody's amounts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client

from accounts.models import AuditEvent, User
from tests.support.ledger import book

ClientFor = Callable[[User], Client]
OWN = ["/money/ledger.csv", "/money/ledger.jsonl"]
ALL = ["/money/everybody/ledger.csv", "/money/everybody/ledger.jsonl"]


def rows_at(client: Client, address: str) -> list[dict[str, Any]]:
    """Return the rows of a downloaded file."""
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer["Content-Disposition"].startswith("attachment; filename=")
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    if address.endswith(".csv"):
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(text)))
    assert answer["Content-Type"] == "application/x-ndjson; charset=utf-8"
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.django_db
@pytest.mark.parametrize("address", OWN)
def test_own_rows_come_with_their_previews(
    alice: User, bob: User, client_for: ClientFor, address: str
) -> None:
    book(alice, preview="My plan")
    book(bob, preview="His plan")
    (row,) = rows_at(client_for(alice), address)
    assert (row["user"], row["prompt_preview"]) == ("alice", "My plan")
    exported = AuditEvent.objects.get(event="ledger.exported")
    assert (exported.actor_name, exported.subject) == ("alice", "alice")


@pytest.mark.django_db
@pytest.mark.parametrize("address", OWN)
def test_own_rows_of_an_administrator_are_only_theirs(
    alice: User, admin_user: User, client_for: ClientFor, address: str
) -> None:
    book(alice, preview="My plan")
    assert rows_at(client_for(admin_user), address) == []


@pytest.mark.django_db
@pytest.mark.parametrize("address", ALL)
def test_administrators_get_amounts_of_all_and_texts_of_none(
    alice: User, admin_user: User, client_for: ClientFor, address: str
) -> None:
    book(alice, preview="My plan")
    book(admin_user, preview="My own plan")
    rows = rows_at(client_for(admin_user), address)
    assert [row["user"] for row in rows] == ["alice", "dora"]
    assert {row["prompt_preview"] for row in rows} == {""}
    assert all(int(row["cost_nano_usd"]) > 0 for row in rows)
    exported = AuditEvent.objects.get(event="ledger.exported")
    assert (exported.actor_name, exported.subject) == ("dora", "everybody")


@pytest.mark.django_db
@pytest.mark.parametrize("address", ALL)
def test_members_learn_of_no_file_of_everybody(
    charlie: User, client_for: ClientFor, address: str
) -> None:
    assert client_for(charlie).get(address).status_code == 404
    assert not AuditEvent.objects.filter(event="ledger.exported").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("address", OWN + ALL)
def test_files_need_a_person(client: Client, address: str) -> None:
    assert client.get(address).status_code == 302


@pytest.mark.django_db
def test_asking_for_the_headers_alone_is_no_export(
    alice: User, client_for: ClientFor
) -> None:
    assert client_for(alice).head(OWN[0]).status_code == 200
    assert not AuditEvent.objects.filter(event="ledger.exported").exists()


@pytest.mark.django_db(transaction=True)
async def test_download_streams_under_the_real_server_too(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.web.money_downloads._CHUNK_LINES", 2)
    try:
        for _ in range(3):
            await sync_to_async(book)(alice)
        client = AsyncClient()
        await client.aforce_login(alice)
        answer = await client.get("/money/ledger.csv")
        stream = answer.streaming_content  # type: ignore[attr-defined]
        chunks = [chunk async for chunk in stream]
    finally:
        await sync_to_async(connections.close_all)()
    assert len(chunks) == 2
    assert len(b"".join(chunks).splitlines()) == 4
