"""Signatures of both directions, against published-form vectors."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest

from channels_app.nextcloud_talk.signature import (
    matching_secret,
    signature,
    signed_headers,
)

SECRET = "k3y-for-docs-0123456789abcdef0123456789abcdef"
IN_RANDOM = b"R4nd0m" * 10 + b"AAAA"
IN_BODY = (
    rb'{"type":"Create","actor":{"type":"Person","id":"users\/alice","name":"Alice"},'
    rb'"object":{"type":"Note","id":"42","name":"message","content":"{\"message\":'
    rb"\"hi \\u00fc {mention-user1}\",\"parameters\":{\"mention-user1\":{\"type\":"
    rb'\"user\",\"id\":\"bob\",\"name\":\"Bob\"}}}","mediaType":"text\/markdown"},'
    rb'"target":{"type":"Collection","id":"abc123de","name":"Room"}}'
)
IN_SIGNATURE = b"2478288bdc4610ec895c211603bcb072639997e72599f4d236680a92ed648013"
OUT_RANDOM = b"00112233445566778899aabbccddeeff" * 2
MESSAGE = "Hello **Alice** \N{EN DASH} 2+2=4 ✅"


def test_the_body_of_the_vector_is_the_one_that_was_signed() -> None:
    assert len(IN_BODY) == 364
    assert sha256(IN_BODY).hexdigest() == (
        "4e9a40c3482aa9376317cba394a0eddb5a9b250ff9cca3483bfabe397fae2da1"
    )


@pytest.mark.parametrize("given", [IN_SIGNATURE, IN_SIGNATURE.upper()])
def test_an_event_is_recognised_by_its_raw_body(given: bytes) -> None:
    found = matching_secret({"secret": SECRET}, IN_RANDOM, given, IN_BODY)
    assert found == "secret"


@pytest.mark.parametrize(
    ("random", "given", "body"),
    [
        (IN_RANDOM, IN_SIGNATURE, IN_BODY + b" "),
        (IN_RANDOM, IN_SIGNATURE, IN_BODY.replace(rb"\/", b"/")),
        (IN_RANDOM[:-1] + b"B", IN_SIGNATURE, IN_BODY),
        (IN_RANDOM, b"", IN_BODY),
        (IN_RANDOM, b"\xff" * 64, IN_BODY),
        (
            IN_RANDOM,
            b"6ba02af1cb2450f2b598d937a794705c7bf04844e2515169e8fd2af78a7b398c",
            IN_BODY,
        ),
    ],
)
def test_anything_else_is_not(random: bytes, given: bytes, body: bytes) -> None:
    assert matching_secret({"secret": SECRET}, random, given, body) is None


@pytest.mark.parametrize(
    ("secrets", "name"),
    [
        ({"secret": SECRET, "previous": "other"}, "secret"),
        ({"secret": "other", "previous": SECRET}, "previous"),
        ({"secret": SECRET, "previous": SECRET}, "secret"),
        ({"secret": "", "previous": ""}, None),
        ({}, None),
    ],
)
def test_either_secret_is_accepted(secrets: dict[str, str], name: str | None) -> None:
    assert matching_secret(secrets, IN_RANDOM, IN_SIGNATURE, IN_BODY) == name


def test_an_empty_secret_opens_nothing() -> None:
    forged = hmac.new(b"", IN_RANDOM + IN_BODY, sha256).hexdigest().encode()
    assert matching_secret({"secret": ""}, IN_RANDOM, forged, IN_BODY) is None


@pytest.mark.parametrize(
    ("signed", "expected"),
    [
        (MESSAGE, "d8c85f13caf3040259d49ffa1dc95aec728d1f3b88229f2116cd2143e6681361"),
        ("👍", "b2254e72c912257a4e832089a2da67b40889aee7ec46128d47c48a48f04b6acc"),
        (
            "abc123de",
            "a2a13b794bdd21212386d99d146626060038e97ac92cb2219b90cfae040b9781",
        ),
    ],
)
def test_what_a_bot_signs(signed: str, expected: str) -> None:
    assert signature(SECRET, OUT_RANDOM, signed.encode()) == expected


def test_headers_are_signed_with_a_random_of_their_own() -> None:
    first, second = signed_headers(SECRET, MESSAGE), signed_headers(SECRET, MESSAGE)
    random = first["X-Nextcloud-Talk-Bot-Random"]
    assert len(random) == 64
    assert random != second["X-Nextcloud-Talk-Bot-Random"]
    assert first["X-Nextcloud-Talk-Bot-Signature"] == signature(
        SECRET, random.encode(), MESSAGE.encode()
    )
