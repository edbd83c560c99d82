"""Secrets in a home's files: what counts as one, and that nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channels_app.homes.masking import masked
from personas.home.disk import Refused

S = "s3cr3t"


@pytest.mark.parametrize(
    "value",
    [
        {"secret": S},
        {"bot_secret": S},
        {"apiKey": S},
        {"X-Api-Key": S},
        {"key": S},
        {"APIKEY": S},
        {"accesstoken": S},
        {"refresh token": S},
        {"PASSWORD": S},
        {"passphrase": S},
        {"pin": 123456},
        {"credentials": {"any": [S, {"thing": S}]}},
        {"service_account": f'{{"private_key": "{S}"}}'},
        {"service_account_json": {"client_email": S}},
        {"headers": {"X-Other": S}},
        {"Authorization": f"Basic {S}"},
        {"a": [{"b": [{"token": S}]}]},
        {"room_tokens": [S]},
        {"context_tokens": S},
        {"note": f"Bearer {S}"},
        {"note": "-" * 5 + f"BEGIN PRIVATE KEY {S}"},
        {"url": f"https://user:{S}@example.org/"},
        {"url": f"https://{S}@example.org/"},
        {"url": f"https://example.org/?a=1&access_token={S}"},
        [{"secret": S}, {"key": [[S]]}],
        {"sec\u0072et": S},
    ],
)
def test_secrets_go(value: Any) -> None:
    text = masked(json.dumps(value))

    assert S not in text
    assert "123456" not in text
    assert '""' in text
    json.loads(text)


def test_escapes_do_not_hide_a_key_and_each_of_two_equal_keys_goes() -> None:
    text = '{"\\u0073ecret": "s3cr3t", "a": {"key": "s3cr3t", "key": "s3cr3t"}}'

    assert masked(text) == '{"\\u0073ecret": "", "a": {"key": "", "key": ""}}'


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff{ "url" : "https://example.org/?page=2" , "n": 1.50 }\r\n',
        '{"max_output_tokens": 512, "context_tokens":8000, "tags": ["tools"]}',
        '{"credential": "login", "has_key": true, "token": null, "keyboard": "qwerty"}',
        '{"email": "alice@example.org", "monkey": "see", "empty": {}, "list": []}',
        "[]",
        "{}",
        '"a text alone"',
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert masked(text) == text


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(Refused):
        masked("{")
