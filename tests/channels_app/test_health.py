"""``GET /health`` and the id that every response carries."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import AsyncClient, Client


def test_health_needs_no_query_and_no_sign_in(client: Client) -> None:
    # Without the database mark, any query would fail this test.
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {"runtime": "python/django", "status": "ok"}
    assert "default-src 'none'" in response["Content-Security-Policy"]


async def test_health_answers_in_the_loop(async_client: AsyncClient) -> None:
    response = await async_client.get("/health")
    assert response.json() == {"runtime": "python/django", "status": "ok"}


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3:8000", "[2001:db8::1]:80"])
def test_health_answers_probes_by_address(client: Client, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1#x", "x?127.0.0.1", "@"])
def test_health_refuses_foreign_names(client: Client, host: str) -> None:
    response = client.get("/health", headers={"host": host})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"


def test_health_is_not_redirected_to_https(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/health").status_code == 200


def test_health_takes_no_posts(client: Client) -> None:
    response = client.post("/health")
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_nobody_chooses_the_id_of_a_response(client: Client) -> None:
    response = client.get("/health", headers={"X-Request-ID": "chosen-by-somebody"})
    assert response["X-Request-ID"] != "chosen-by-somebody"


def test_each_response_has_an_id_of_its_own(client: Client) -> None:
    first, second = (client.get("/health")["X-Request-ID"] for _ in range(2))
    assert len(first) == len(second) == 16
    assert first != second
