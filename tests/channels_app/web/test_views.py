from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/personas/", "/personas/"),
        ("foo", "/"),
        ("home", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("", "/"),
    ],
)
def test_choosing_a_theme_goes_back_to_the_page_and_nowhere_else(
    client: Client, target: str, answer: str
) -> None:
    response = client.post("/settings/theme/", {"theme": "dark", "next": target})

    assert (response.status_code, response.headers["Location"]) == (302, answer)
    assert response.cookies["theme"].value == "dark"
