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


WORD = "fJ8kQ2zR7mX1vB9nT4wY"


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ({"env": {"OPENAI": "sk-proj-abcdefghijkl"}}, "sk-proj"),
        ({"env": {"LANGUAGE": "s3cr3t"}}, S),
        ({"environment": ["A=s3cr3t"]}, S),
        ({"args": ["-v", "--api-key", "s3cr3t"]}, S),
        ({"args": ["--api-key=s3cr3t"]}, S),
        ({"args": ["--model", "sk-ant-api03-abcdef"]}, "sk-ant"),
        ({"name": "X-Api-Key", "value": S}, S),
        ({"value": [S], "Name": "token"}, S),
        ({"passwort": S}, S),
        ({"Schl\u00fcssel": S}, S),
        ({"contrase\u00f1a": S}, S),
        ({"note": "ghp_abcdefghijklmnop"}, "ghp_"),
        ({"note": "xoxb-12345-abcdef"}, "xoxb"),
        ({"note": "use AKIAABCDEFGHIJKLMNOP"}, "AKIA"),
        ({"note": "eyJhbGciOi.eyJzdWIi.abc"}, "eyJ"),
        ({"note": f"it is {WORD}!"}, WORD),
        ({"note": "9f86d081884c7d659a2feaa0c55ad015"}, "9f86"),
        ({"note": "zR7-mX1_vB9-nT4wY-fJ8-kQ2"}, "zR7"),
        ({"hook": f"https://hooks.example.org/services/T0/{WORD}"}, WORD),
        (
            {"hook": "https://example.org/4d3b6b1e-77aa-4e1f-9c55-1f0e8e0c2a91"},
            "4d3b6b1e",
        ),
    ],
)
def test_secrets_that_no_key_gives_away_go_too(value: Any, secret: str) -> None:
    text = masked(json.dumps(value, ensure_ascii=False))

    assert secret not in text
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
        '{"model": "claude-3-5-sonnet-20241022", "id": "gpt-4o-mini-2024-07-18"}',
        '{"file": "Meta-Llama-3-8B-Instruct.Q4_K_M.gguf"}',
        '{"file": "Qwen2.5-VL-7B-Instruct-GPTQ-Int4", "at": "2026-03-01T10:00:00Z"}',
        '{"app": "4d3b6b1e-77aa-4e1f-9c55-1f0e8e0c2a91", "number": "123456789012"}',
        '{"host": "https://my-project-123456.eu-central-1.example.org:8443/v1/chat"}',
        '{"name": "room", "value": "kitchen", "args": ["--verbose", "all"]}',
        '{"address": "ward-7@desk-project-42.iam.example.org", "mask-of": "risk-free"}',
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
