"""What a log line holds, and what it never does."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from channels_app.request_ids import request_id
from cortex_site.logs import JsonFormatter, TextFormatter, without_secrets


@pytest.fixture(autouse=True)
def in_a_request() -> Iterator[None]:
    token = request_id.set("abcdef0123456789")
    yield
    request_id.reset(token)


def record(text: str, *values: object, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("cortex.test")
    made = logger.makeRecord("cortex.test", logging.INFO, "f", 1, text, values, None)
    vars(made).update(extra)
    return made


def failed(text: str) -> logging.LogRecord:
    made = record("it failed")
    try:
        raise ValueError(text)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_text_is_one_line_with_id_and_fields() -> None:
    line = TextFormatter().format(record("did %s", "it\nFAKE line", bytes=3))
    assert "\n" not in line
    assert line.endswith("cortex.test [abcdef0123456789] did it FAKE line bytes=3")


def test_json_is_one_object_with_id_and_fields() -> None:
    line = JsonFormatter().format(record("did %s", "it\nagain", ms=1.5))
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["time"].endswith("Z")
    del fields["time"]
    assert fields == {
        "level": "info",
        "logger": "cortex.test",
        "event": "did it\nagain",
        "request_id": "abcdef0123456789",
        "ms": 1.5,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_exception_is_cut_to_its_first_line(formatter: logging.Formatter) -> None:
    line = formatter.format(failed("first\nDETAIL: a person's words"))
    assert "ValueError: first (" in line
    assert "words" not in line
    assert len(formatter.format(failed("x" * 5000))) < 600


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("GET /setup/0123456789abcdef 410", "GET /setup/… 410"),
        ("GET /setup/persona 200", "GET /setup/persona 200"),
        ("GET /account/password/reset/key/3-abc/ 200", "/reset/key/…"),
        ("token ctx_12_aBc-9 refused", "token ctx_… refused"),
        ("GET /c/x?token=secret 200", "GET /c/x 200"),
    ],
)
def test_secrets_in_addresses_are_left_out(text: str, kept: str) -> None:
    assert kept in without_secrets(text)
    assert "secret" not in without_secrets(text)
