"""Signatures, checked with the package of the convention's authors."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from channels_app.webhooks import signing

ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
BODY = '{"event_type":"ping","text":"grüße 🌍"}'.encode()


def headers_at(seconds_ago: float, *secrets: str) -> dict[str, str]:
    return signing.headers_for(secrets, ID, int(time.time() - seconds_ago), BODY)


def test_signature_is_that_of_the_published_example() -> None:
    """The example of the convention's documentation, byte for byte."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    expected = Webhook(secret).sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        body.decode(),
    )
    ours = signing.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert ours == expected == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_new_secrets_are_long_and_never_the_same() -> None:
    made = {signing.new_secret() for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_receiver_accepts_what_is_sent() -> None:
    secret = signing.new_secret()
    assert Webhook(secret).verify(BODY, headers_at(0, secret))["event_type"] == "ping"


def test_either_of_two_secrets_is_enough() -> None:
    new, old = signing.new_secret(), signing.new_secret()
    headers = headers_at(0, new, old)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(BODY, headers)


@pytest.mark.parametrize("seconds_ago", [301, 3600, -301])
def test_receiver_refuses_what_is_older_or_newer_than_five_minutes(
    seconds_ago: float,
) -> None:
    secret = signing.new_secret()
    with pytest.raises(WebhookVerificationError, match="timestamp"):
        Webhook(secret).verify(BODY, headers_at(seconds_ago, secret))


@pytest.mark.parametrize("seconds_ago", [0, 240, -240])
def test_receiver_accepts_what_is_a_little_older_or_newer(seconds_ago: float) -> None:
    secret = signing.new_secret()
    Webhook(secret).verify(BODY, headers_at(seconds_ago, secret))


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_nothing_that_is_signed_can_be_changed(changed: str) -> None:
    secret = signing.new_secret()
    headers, body = headers_at(0, secret), BODY
    if changed == "body":
        body = BODY.replace(b"ping", b"pong")
    elif changed == "webhook-id":
        headers[changed] += "x"
    else:
        headers[changed] = str(int(headers[changed]) + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)
