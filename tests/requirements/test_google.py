"""S16: Google accounts are known by their ``sub``, and linked only as registered."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from accounts import people
from accounts.google.client import GoogleClientAdapter
from accounts.models import GoogleAddress, User
from tests.conftest import PASSWORD

CLIENT_ID = "123-test.apps.example"
ISSUER = "https://accounts.google.com"
pytestmark = pytest.mark.django_db


@dataclass
class Provider:
    """A stand-in for Google's token endpoint; ``change`` spoils its next token."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    without_id_token: bool = False
    requests: list[dict[str, list[str]]] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        claims = {k: v for k, v in self.claims.items() if v is not None}
        token = jwt.encode(claims, "k" * 32, algorithm="HS256")
        answer = {"access_token": "at", "token_type": "Bearer", "expires_in": 60}
        return answer if self.without_id_token else {**answer, "id_token": token}


@pytest.fixture
def google(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            provider.requests.append(parse_qs(body))
            payload = json.dumps(provider.answer()).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serve = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    serve.start()
    provider.url = f"http://127.0.0.1:{server.server_port}/token"
    monkeypatch.setattr(GoogleClientAdapter, "access_token_url", provider.url)
    settings.GOOGLE_CLIENT_ID, settings.GOOGLE_CLIENT_SECRET = CLIENT_ID, "secret"
    yield provider
    server.shutdown()
    server.server_close()


def begin(client: Client, query: str = "") -> dict[str, str]:
    """Press the button; return what Google is asked."""
    page = client.post(f"/account/google/login/{query}")
    assert page.status_code == 200
    found = re.search(r'content="0;url=([^"]+)"', page.content.decode())
    assert found
    address = urlsplit(html.unescape(found[1]))
    assert address.hostname == "accounts.google.com"
    return {k: v[0] for k, v in parse_qs(address.query).items()}


def come_back(
    client: Client, google: Provider, asked: dict[str, str], **changes: Any
) -> Any:
    """Return from Google with a token; ``changes`` replace or (None) drop claims."""
    now = int(time.time())
    google.claims = {
        "iss": ISSUER,
        "aud": CLIENT_ID,
        "azp": CLIENT_ID,
        "sub": "sub-1",
        "email": "al@gmail.example",
        "email_verified": True,
        "nonce": asked["nonce"],
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    return client.get(
        "/account/google/login/callback/", {"state": asked["state"], "code": "c"}
    )


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


Attempt = Callable[..., tuple[Client, Any]]


@pytest.fixture
def attempt(google: Provider) -> Attempt:
    """Return a function that signs in afresh by Google."""

    def run(**changes: Any) -> tuple[Client, Any]:
        client = Client()
        return client, come_back(client, google, begin(client), **changes)

    return run


def test_s16_without_its_settings_google_does_not_exist(client: Client) -> None:
    assert b"Google" not in client.get("/account/login/").content
    for path in ("/account/google/login/", "/account/google/login/callback/"):
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404


def test_s16_the_question_carries_nonce_state_and_challenge(
    google: Provider, client: Client
) -> None:
    assert b"Continue with Google" in client.get("/account/login/").content

    first = begin(
        client, "?scope=https://mail&auth_params=nonce%3Devil%26prompt%3Dnone"
    )
    second = begin(client)

    assert first["redirect_uri"] == (
        "http://127.0.0.1:8000/account/google/login/callback/"
    )
    assert set(first["scope"].split()) == {"openid", "email"}
    assert first["nonce"] != second["nonce"] and first["state"] != second["state"]
    assert first["nonce"] != "evil" and first["prompt"] == "select_account"
    assert first["code_challenge_method"] == "S256"


def test_s16_a_registered_address_is_bound_to_its_sub(
    alice: User, attempt: Attempt, google: Provider
) -> None:
    people.add_google_address("alice", "al@gmail.example")

    client, answer = attempt()

    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert client.session["_auth_user_id"] == str(alice.pk)
    account = SocialAccount.objects.get()
    assert (account.provider, account.uid, account.user) == ("google", "sub-1", alice)
    assert GoogleAddress.objects.get().subject == "sub-1"
    assert google.requests[0]["code_verifier"]

    # From now on the sub counts, whatever the address.
    client, _ = attempt(email="renamed@gmail.example")
    assert client.session["_auth_user_id"] == str(alice.pk)


def test_s16_another_sub_with_the_bound_address_is_refused(
    alice: User, attempt: Attempt
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    attempt()

    client, answer = attempt(sub="sub-2")

    assert answer.status_code == 403
    assert not is_signed_in(client)
    assert SocialAccount.objects.count() == 1


def test_s16_the_same_address_alone_never_links(alice: User, attempt: Attempt) -> None:
    client, answer = attempt(email="alice@example.org")

    assert answer.status_code == 403
    assert b"not registered here" in answer.content
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()
    assert User.objects.count() == 1


@pytest.mark.parametrize("verified", [False, None, "true", 0])
def test_s16_an_unverified_address_never_links(
    alice: User, attempt: Attempt, verified: object
) -> None:
    people.add_google_address("alice", "al@gmail.example")

    client, answer = attempt(email_verified=verified)

    assert answer.status_code == 403
    assert not is_signed_in(client)


def test_s16_a_registered_address_waits_for_its_person(attempt: Attempt) -> None:
    people.add_google_address("eve", "al@gmail.example")

    client, answer = attempt()

    assert answer.status_code == 403
    assert not User.objects.exists()
    assert GoogleAddress.objects.get().subject == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-app"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
        {"azp": "another-app"},
        {"aud": [CLIENT_ID, "another-app"], "azp": None},
        {"aud": [CLIENT_ID, "another-app"], "azp": "another-app"},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"nonce": ""},
    ],
)
def test_s16_a_token_for_somebody_else_is_refused(
    alice: User, attempt: Attempt, changes: dict[str, Any]
) -> None:
    people.add_google_address("alice", "al@gmail.example")

    client, answer = attempt(**changes)

    assert answer.status_code in {401, 403}
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()


def test_s16_an_answer_without_identity_token_is_refused(
    alice: User, google: Provider, attempt: Attempt
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    google.without_id_token = True

    client, answer = attempt()

    assert answer.status_code in {401, 403}
    assert not is_signed_in(client)


def test_s16_a_state_serves_once_and_only_its_own_browser(
    alice: User, google: Provider
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    victim, attacker = Client(), Client()
    asked = begin(attacker)

    answer = come_back(victim, google, asked)
    assert answer.status_code in {401, 403}
    assert not is_signed_in(victim)

    assert come_back(attacker, google, asked).status_code == 302
    attacker.logout()
    assert come_back(attacker, google, asked).status_code in {401, 403}


def test_s16_linking_from_a_session_asks_for_the_password_again(
    alice: User, bob: User, google: Provider, client: Client
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    client.force_login(alice)

    answer = come_back(client, google, begin(client, "?process=connect"))
    assert answer.headers["Location"].startswith("/account/reauthenticate/")
    assert not SocialAccount.objects.exists()
    client.post("/account/reauthenticate/", {"password": PASSWORD})

    assert SocialAccount.objects.get().user == alice


@pytest.mark.parametrize("registered_for", ["", "bob"])
def test_s16_linking_from_a_session_takes_only_ones_own_registered_address(
    alice: User, bob: User, google: Provider, client: Client, registered_for: str
) -> None:
    if registered_for:
        people.add_google_address(registered_for, "al@gmail.example")
    client.force_login(alice)
    begun = begin(client, "?process=connect")

    answer = come_back(client, google, begun)

    assert answer.status_code == 403
    assert not SocialAccount.objects.exists()
    assert not GoogleAddress.objects.exclude(subject="").exists()


def test_s16_a_withdrawn_address_signs_nobody_in(alice: User, attempt: Attempt) -> None:
    people.add_google_address("alice", "al@gmail.example")
    attempt()

    people.remove_google_address("al@gmail.example")

    assert not SocialAccount.objects.exists()
    client, answer = attempt()
    assert answer.status_code == 403
    assert not is_signed_in(client)


def test_s16_a_link_without_a_registered_address_signs_nobody_in(
    alice: User, bob: User, attempt: Attempt
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    attempt()
    GoogleAddress.objects.update(username="bob")

    client, answer = attempt()
    assert answer.status_code == 403
    assert not is_signed_in(client)

    GoogleAddress.objects.all().delete()
    client, answer = attempt()
    assert answer.status_code == 403
    assert not is_signed_in(client)


def test_s16_linking_without_a_session_does_nothing(
    alice: User, google: Provider, client: Client
) -> None:
    answer = come_back(client, google, begin(client, "?process=connect"))

    assert not is_signed_in(client)
    assert answer.status_code in {302, 401, 403}
    assert not SocialAccount.objects.exists()


def test_s16_the_deactivated_stay_out(alice: User, attempt: Attempt) -> None:
    people.add_google_address("alice", "al@gmail.example")
    attempt()
    people.deactivate(alice)

    client, answer = attempt()

    assert not is_signed_in(client)
    assert answer.headers["Location"] == "/account/inactive/"


def test_s16_the_second_factor_holds_for_google_too(
    alice: User, attempt: Attempt
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    TOTP.activate(alice, "JBSWY3DPEHPK3PXP")

    client, answer = attempt()

    assert answer.headers["Location"] == "/account/2fa/authenticate/"
    assert not is_signed_in(client)
