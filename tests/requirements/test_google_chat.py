"""Google Chat proves who it is, and its events have one effect: S25, S28, R15, R16.

All keys are made here; nothing but this machine is asked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import AsyncClient

from accounts import tokens
from accounts.models import ApiToken
from channels_app import deliveries
from channels_app.api import auth
from channels_app.bots import outbox
from channels_app.google_chat import client as chat_client
from channels_app.google_chat import key_sets
from channels_app.models import InboundEvent, OutboundReply
from personas.models import Message, Persona
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from tests.support.chat_fixtures import *  # noqa: F403
from tests.support.google import ADDON_ACCOUNT, CHAT, GoogleStandIn
from tests.support.google_chat import (
    ADDRESS,
    ENDPOINT,
    PROJECT,
    Chat,
    make_google_channel,
    settled,
)
from tests.support.google_events import Event
from tests.support.google_fixtures import *  # noqa: F403
from tests.support.google_keys import claims_for, signing_key

pytestmark = [
    pytest.mark.usefixtures("bots_running", "quick", "scripted"),
    pytest.mark.django_db(transaction=True),
]
KINDS = ["project", "url", "addon"]
EACH = pytest.mark.parametrize("signed_for", KINDS)
Seen = Callable[..., Any]
ACCEPTED, REFUSED = (200, {}), 401
OTHER_PROJECT = "service-777@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"


def audience_of(signed_for: str) -> str:
    return PROJECT if signed_for == "project" else ENDPOINT


@pytest.fixture
def channel_for(google: GoogleStandIn, persona: Persona, seen: Seen) -> Any:
    """Return a function that makes alice's channel for one kind of audience."""

    async def make(signed_for: str, **fields: Any) -> Chat:
        await seen(
            lambda: make_google_channel(persona, google, audience=signed_for, **fields)
        )
        return Chat(google, signed_for)

    return make


async def nothing_happened(seen: Seen) -> bool:
    """Say whether no event was kept."""
    return not await seen(InboundEvent.objects.exists)


# --- S25 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings_of_channel",
    [
        {},
        {"audience": "project"},
        {"audience": "project", "project_number": ""},
        {"audience": "url"},
        {"audience": "addon", "endpoint": ENDPOINT},
        {"audience": "addon", "addon_account": ADDON_ACCOUNT},
        {"audience": "anything", "endpoint": ENDPOINT, "project_number": PROJECT},
    ],
    ids=str,
)
async def test_s25_without_its_settings_the_door_does_not_exist(
    google: GoogleStandIn, persona: Persona, seen: Seen, settings_of_channel: Any
) -> None:
    channel = await seen(lambda: make_google_channel(persona, google))
    channel.settings = settings_of_channel
    await seen(channel.save)
    for signed_for in KINDS:
        for audience in (PROJECT, ENDPOINT, "", "None"):
            token = google.token(signed_for, audience)
            assert (await Chat(google).send(Event(), token=token))[0] == 404
    assert await nothing_happened(seen)
    assert not google.requests


@pytest.mark.parametrize("why", ["disabled", "no persona", "person gone", "no such"])
async def test_s25_a_closed_door_does_not_exist(
    google: GoogleStandIn, persona: Persona, seen: Seen, why: str
) -> None:
    channel = await seen(lambda: make_google_channel(persona, google))
    address = ADDRESS
    if why == "disabled":
        channel.enabled = False
        await seen(channel.save)
    elif why == "no persona":
        channel.persona = None
        await seen(channel.save)
    elif why == "person gone":
        persona.owner.is_active = False
        await seen(persona.owner.save)
    else:
        address = "/channels/google-chat/nobody"
    status, answer = await Chat(google).send(Event(), address=address)
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert await nothing_happened(seen)


# --- S28: what is accepted ----------------------------------------------------------


@EACH
async def test_s28_the_genuine_token_of_each_kind_is_accepted(
    channel_for: Any, signed_for: str
) -> None:
    assert await (await channel_for(signed_for)).send(Event()) == ACCEPTED
    await settled(replies=1)


@pytest.mark.parametrize(
    "issuer", ["accounts.google.com", "https://accounts.google.com"]
)
async def test_s28_both_names_of_googles_issuer_are_accepted(
    channel_for: Any, google: GoogleStandIn, issuer: str
) -> None:
    chat = await channel_for("url")
    token = google.token("url", ENDPOINT, iss=issuer)
    assert await chat.send(Event(), token=token) == ACCEPTED


@EACH
async def test_s28_keys_are_read_from_key_sets_too(
    channel_for: Any, google: GoogleStandIn, signed_for: str
) -> None:
    google.oidc_as_jwk = True
    assert await (await channel_for(signed_for)).send(Event()) == ACCEPTED


@EACH
@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"exp": -50}, True),
        ({"exp": -70}, False),
        ({"iat": 50}, True),
        ({"iat": 70}, False),
        ({"nbf": 70}, False),
    ],
    ids=str,
)
async def test_s28_clocks_may_differ_by_a_minute(
    channel_for: Any,
    google: GoogleStandIn,
    seen: Seen,
    signed_for: str,
    changes: dict[str, int],
    accepted: bool,
) -> None:
    now = int(time.time())
    times = {name: now + offset for name, offset in changes.items()}
    token = google.token(signed_for, audience_of(signed_for), **times)
    status, _ = await (await channel_for(signed_for)).send(Event(), token=token)
    assert status == (200 if accepted else REFUSED)
    assert await nothing_happened(seen) is not accepted


# --- S28: what is refused -----------------------------------------------------------


def refused_claims(signed_for: str) -> dict[str, dict[str, Any]]:
    """Return claims that are signed by Google and yet prove nothing here."""
    right = audience_of(signed_for)
    cases: dict[str, dict[str, Any]] = {
        "another audience": {"aud": "999999999999"},
        "audience with a slash": {"aud": f"{right}/"},
        "audience in other case": {"aud": right.upper() + "X"},
        "an array of audiences": {"aud": ["another"]},
        "an array with ours in it": {"aud": [right]},
        "an array with ours among others": {"aud": ["another", right]},
        "no audience": {"aud": None},
        "an empty audience": {"aud": ""},
        "a number as audience": {"aud": 123456789012},
        "no expiry": {"exp": None},
        "no time of issue": {"iat": None},
        "expiry is no number": {"exp": "soon"},
        "an endless expiry": {"exp": float("inf")},
        "no issuer": {"iss": None},
        "another issuer": {"iss": "https://accounts.example.com"},
        "a list of issuers": {"iss": [CHAT, "accounts.google.com"]},
    }
    if signed_for == "project":
        cases["issued by an add-on"] = {"iss": ADDON_ACCOUNT}
        cases["an e-mail address instead of the issuer"] = {
            "iss": "https://accounts.google.com",
            "email": CHAT,
            "email_verified": True,
        }
        return cases
    other = ADDON_ACCOUNT if signed_for == "url" else CHAT
    return cases | {
        "another app": {"email": "robot@somebody.iam.gserviceaccount.com"},
        "the other kind of app": {"email": other},
        "another project's add-on": {"email": OTHER_PROJECT},
        "our account within another": {"email": f"x{ADDON_ACCOUNT}"},
        "no account": {"email": None},
        "an account not verified": {"email_verified": False},
        "verified in words": {"email_verified": "true"},
        "not known whether verified": {"email_verified": None},
    }


@pytest.mark.parametrize(
    ("signed_for", "case"),
    [(kind, case) for kind in KINDS for case in refused_claims(kind)],
)
async def test_s28_other_claims_are_refused(
    channel_for: Any, google: GoogleStandIn, seen: Seen, signed_for: str, case: str
) -> None:
    chat = await channel_for(signed_for)
    changes = refused_claims(signed_for)[case]
    token = google.token(signed_for, audience_of(signed_for), **changes)
    status, answer = await chat.send(Event(), token=token)
    assert (status, answer["error"]["code"]) == (REFUSED, "unauthenticated")
    assert await nothing_happened(seen)


@pytest.mark.parametrize("configured", KINDS)
@pytest.mark.parametrize("signed_for", KINDS)
async def test_s28_a_token_of_another_kind_is_refused(
    channel_for: Any,
    google: GoogleStandIn,
    seen: Seen,
    configured: str,
    signed_for: str,
) -> None:
    chat = await channel_for(configured)
    for audience in (PROJECT, ENDPOINT):
        status, _ = await chat.send(Event(), token=google.token(signed_for, audience))
        right = configured == signed_for and audience == audience_of(configured)
        assert status == (200 if right else REFUSED), (configured, signed_for, audience)


def forged(signed_for: str, google: GoogleStandIn) -> dict[str, str]:
    """Return tokens with the right claims that Google has not signed."""
    key = google.chat_key if signed_for == "project" else google.oidc_key
    claims = claims_for(signed_for, audience_of(signed_for))
    genuine = google.token(signed_for, audience_of(signed_for))
    header, payload, signature = genuine.split(".")
    stranger = signing_key("stranger")
    curve = ec.generate_private_key(ec.SECP256R1())

    def written(headers: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
        parts = [json.dumps(each).encode() for each in (headers, claims)]
        signed = b".".join(base64.urlsafe_b64encode(p).rstrip(b"=") for p in parts)
        tail = base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")
        return (signed + b"." + tail).decode()

    def with_public_key(pem: str) -> Callable[[bytes], bytes]:
        return lambda text: hmac.new(pem.encode(), text, hashlib.sha256).digest()

    hs256 = {"alg": "HS256", "typ": "JWT", "kid": key.kid}
    other = base64.urlsafe_b64encode(
        json.dumps({**claims, "sub": "somebody"}).encode()
    ).rstrip(b"=")
    return {
        "no algorithm": written({"alg": "none", "kid": key.kid}, lambda _: b""),
        "None in other case": written({"alg": "NoNe", "kid": key.kid}, lambda _: b""),
        "no signature": f"{header}.{payload}.",
        "HS256 with the public key": written(hs256, with_public_key(key.public_pem)),
        "HS256 with the certificate": written(
            hs256, with_public_key(key.certificate_pem)
        ),
        "RS512": jwt.encode(claims, key.private, "RS512", headers={"kid": key.kid}),
        "PS256": jwt.encode(claims, key.private, "PS256", headers={"kid": key.kid}),
        "ES256": jwt.encode(claims, curve, "ES256", headers={"kid": key.kid}),
        "another's signature, our id": jwt.encode(
            claims, stranger.private, "RS256", headers={"kid": key.kid}
        ),
        "another's key in the token": jwt.encode(
            claims,
            stranger.private,
            "RS256",
            headers={"kid": "x", "jwk": stranger.jwk, "jku": f"{google.url}/mine"},
        ),
        "an unknown key": stranger.sign(claims),
        "no key id": jwt.encode(claims, key.private, "RS256"),
        "an empty key id": jwt.encode(
            claims, key.private, "RS256", headers={"kid": ""}
        ),
        "claims changed": f"{header}.{other.decode()}.{signature}",
        "signature cut": genuine[:-4],
        "only two parts": f"{header}.{payload}",
        "no JWT": "abc",
        "very long": genuine + "A" * 100_000,
        "not ASCII": genuine + "ö",
        "critical header": jwt.encode(
            claims,
            key.private,
            "RS256",
            headers={"kid": key.kid, "crit": ["x"], "x": 1},
        ),
    }


@EACH
async def test_s28_forged_tokens_are_refused(
    channel_for: Any, google: GoogleStandIn, seen: Seen, signed_for: str
) -> None:
    chat = await channel_for(signed_for)
    for case, token in forged(signed_for, google).items():
        status, answer = await chat.send(Event(), token=token)
        assert (status, answer["error"]["code"]) == (REFUSED, "unauthenticated"), case
    assert await nothing_happened(seen)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "bearer\tx", "Token x", "x" * 70_000],
)
async def test_s28_other_headers_are_refused(
    channel_for: Any, seen: Seen, header: str
) -> None:
    chat = await channel_for("project")
    status, _ = await chat.send(Event(), token="", Authorization=header)
    assert status == REFUSED
    assert await nothing_happened(seen)


async def test_s28_a_token_in_the_body_proves_nothing(
    channel_for: Any, google: GoogleStandIn, seen: Seen
) -> None:
    chat = await channel_for("addon")
    payload = chat.payload(Event())
    token = google.token("addon", ENDPOINT)
    payload["authorizationEventObject"] = {"systemIdToken": token}
    assert (await chat.send(payload, token=""))[0] == REFUSED
    assert await nothing_happened(seen)


async def test_s28_the_body_is_not_read_before_the_token_is_checked(
    channel_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await channel_for("project")
    monkeypatch.setattr("channels_app.google_chat.views.hear", pytest.fail)
    assert (await chat.send(b"{", token="x.y.z"))[0] == REFUSED


# --- S28: keys ----------------------------------------------------------------------


@EACH
@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
@pytest.mark.parametrize("trouble", [500, 404, 0, "closed", "empty", "weak"])
async def test_s28_without_googles_keys_nothing_is_believed(
    channel_for: Any,
    google: GoogleStandIn,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    signed_for: str,
    trouble: int | str,
) -> None:
    chat, offset, real = await channel_for(signed_for), 0.0, time.monotonic
    monkeypatch.setattr(key_sets, "monotonic", lambda: real() + offset)
    if trouble == "closed":
        settings.CORTEX_GOOGLE_CERTS_URL = "http://127.0.0.1:9"
    elif trouble == "empty":
        monkeypatch.setattr(google, "_keys", lambda path: (200, {}, {}))
    elif trouble == "weak":
        weak = signing_key("weak", 1024)
        google.chat_key = google.oidc_key = weak
    else:
        # A connection that breaks is tried once more by the client itself.
        google.fail("keys", *[int(trouble)] * (2 if trouble == 0 else 1))
    status, answer = await chat.send(Event())
    assert (status, answer["error"]["code"]) == (503, "upstream_unavailable")
    assert await nothing_happened(seen)
    if isinstance(trouble, int):
        offset = key_sets.PAUSE_S + 0.1
        assert await chat.send(Event()) == ACCEPTED, "it recovers by itself"


async def test_s28_strangers_cause_no_storm_of_fetches_while_there_are_no_keys(
    channel_for: Any, google: GoogleStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, offset, real = await channel_for("project"), 0.0, time.monotonic
    monkeypatch.setattr(key_sets, "monotonic", lambda: real() + offset)
    google.fail("keys", 503, 503, 503)
    stranger = signing_key("stranger").sign(claims_for("project", PROJECT))
    for _ in range(20):
        assert (await chat.send(Event(), token=stranger))[0] == 503
    assert len(google.of("keys")) == 1
    with pytest.raises(key_sets.KeysUnavailable):
        await key_sets.key_set(key_sets.CHAT_PATH).fetch()
    assert len(google.of("keys")) == 2, "the self-test asks at once"
    offset = key_sets.PAUSE_S + 0.1
    assert (await chat.send(Event(), token=stranger))[0] == 503
    assert len(google.of("keys")) == 3


@EACH
async def test_s28_keys_are_fetched_once_and_kept(
    channel_for: Any, google: GoogleStandIn, signed_for: str
) -> None:
    google.max_age_s = 0
    chat = await channel_for(signed_for)
    for _ in range(3):
        answers = await asyncio.gather(*(chat.send(Event()) for _ in range(5)))
        assert answers == [ACCEPTED] * 5
    assert len(google.of("keys")) == 1, "ten minutes at least, whatever max-age says"


async def test_s28_keys_are_kept_as_long_as_google_says(
    channel_for: Any, google: GoogleStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.max_age_s = 3600
    chat, offset, real = await channel_for("project"), 0.0, time.monotonic
    monkeypatch.setattr(key_sets, "monotonic", lambda: real() + offset)
    for offset, fetches in ((0, 1), (3500, 1), (3700, 2), (7200, 2), (7400, 3)):
        assert await chat.send(Event()) == ACCEPTED
        assert len(google.of("keys")) == fetches, offset
    offset = 12_000
    google.fail("keys", 503)
    assert (await chat.send(Event()))[0] == 503, "old keys are not believed"


async def test_s28_a_new_key_is_found_and_unknown_ones_cost_one_fetch_a_minute(
    channel_for: Any, google: GoogleStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, offset, real = await channel_for("project"), 0.0, time.monotonic
    monkeypatch.setattr(key_sets, "monotonic", lambda: real() + offset)
    assert await chat.send(Event()) == ACCEPTED
    google.chat_key = signing_key("chat-2")
    assert await chat.send(Event()) == ACCEPTED
    assert len(google.of("keys")) == 2
    stranger = signing_key("stranger").sign(claims_for("project", PROJECT))
    for _ in range(20):
        assert (await chat.send(Event(), token=stranger))[0] == REFUSED
    assert len(google.of("keys")) == 2
    offset = 61
    for _ in range(20):
        assert (await chat.send(Event(), token=stranger))[0] == REFUSED
    assert len(google.of("keys")) == 3


async def test_s28_an_unknown_key_while_google_is_away_is_no_refusal(
    channel_for: Any, google: GoogleStandIn
) -> None:
    """It may be the key that Google began to use a moment ago."""
    chat = await channel_for("project")
    assert await chat.send(Event()) == ACCEPTED
    google.fail("keys", *[500] * 5)
    token = signing_key("chat-2").sign(claims_for("project", PROJECT))
    assert (await chat.send(Event(), token=token))[0] == 503
    assert await chat.send(Event()) == ACCEPTED, "known keys still count"


# --- the bots' header and the API's sign-in -------------------------------------------


async def test_s28_googles_header_never_reaches_the_sign_in_of_the_api(
    channel_for: Any, persona: Persona, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await channel_for("project")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the API's sign-in was asked")

    monkeypatch.setattr(auth, "authenticate", never)
    monkeypatch.setattr(tokens, "presented_token", never)
    monkeypatch.setattr(tokens, "grant_of", never)
    assert await chat.send(Event()) == ACCEPTED
    token = await seen(lambda: tokens.create_token(persona.owner))
    assert (await chat.send(Event(), token=token))[0] == REFUSED
    row = await seen(ApiToken.objects.get)
    assert row.last_used_at is None


async def test_s28_googles_token_opens_nothing_else(
    channel_for: Any, google: GoogleStandIn
) -> None:
    chat = await channel_for("project")
    assert await chat.send(Event()) == ACCEPTED
    client: AsyncClient = chat.client
    bearer = {"Authorization": f"Bearer {google.token('project', PROJECT)}"}
    for address in ("/ledger", "/ledger/stats", "/v1/models", "/status"):
        assert (await client.get(address, headers=bearer)).status_code == 401, address


# --- R15: one effect ----------------------------------------------------------------


@EACH
async def test_r15_twenty_copies_at_once_have_one_effect(
    channel_for: Any, google: GoogleStandIn, seen: Seen, signed_for: str
) -> None:
    chat = await channel_for(signed_for)
    event = Event(message="spaces/AAA/messages/B.B")
    answers = await asyncio.gather(*(chat.send(event) for _ in range(20)))
    assert answers == [ACCEPTED] * 20
    await settled(replies=1)
    assert len(google.messages) == 1
    assert await seen(Message.objects.filter(role="assistant").count) == 1
    assert await seen(InboundEvent.objects.count) == 1
    assert await chat.send(event) == ACCEPTED, "long after the answer"
    await settled(replies=1)
    assert len(google.messages) == 1


# --- R16: a crash between the placeholder and the answer ------------------------------


async def test_r16_a_crash_between_placeholder_and_answer_leaves_one_message(
    channel_for: Any,
    google: GoogleStandIn,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever goes on knows nothing of the placeholder but the key that it has."""
    chat = await channel_for("project")
    real = outbox.add

    def forgetful(*args: Any, **options: Any) -> int:
        return real(*args, **(options | {"external_id": ""}))

    monkeypatch.setattr(outbox, "add", forgetful)
    with playing(scripted=[0.5, TextDelta("the answer"), Finished()]):
        await chat.say("question")
        (reply,) = await settled(replies=1)
    assert google.texts == ["the answer"]
    created = google.of("create")
    assert len(created) == 2, "the placeholder, and the answer that finds it"
    assert {each.query["requestId"] for each in created} == {str(reply.pk)}


async def test_r16_an_answer_whose_post_was_not_acknowledged_appears_once(
    channel_for: Any, google: GoogleStandIn, seen: Seen
) -> None:
    chat = await channel_for("project")
    await chat.say("one")
    await settled(replies=1)
    reply = await seen(OutboundReply.objects.get)
    # As if the process had died after Google took it and before it was written down.
    await seen(
        lambda: OutboundReply.objects.filter(pk=reply.pk).update(
            state="pending", text="scripted: one", external_id=""
        )
    )
    before = list(google.texts)
    await outbox.deliver_due(reply.channel_id)
    assert google.texts == before and len(google.messages) == 1


async def test_r16_the_other_sides_troubles_lose_nothing_and_double_nothing(
    channel_for: Any,
    google: GoogleStandIn,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """429, 500, a cut connection and a stale token, one after the other."""
    monkeypatch.setattr(deliveries, "BACKOFF", (0,) * 7)
    monkeypatch.setattr(chat_client, "PAUSE_S", 0.0)
    chat = await channel_for("project")
    google.fail("create", 429, 500, 0, 401, 503)
    google.fail("patch", 429, 0)
    google.fail("token", 500)
    await chat.say("again")

    async def sent() -> bool:
        await outbox.wake_due()
        return bool(await seen(OutboundReply.objects.filter(state="sent").exists))

    async with asyncio.timeout(20):
        while not await sent():
            await asyncio.sleep(0.05)
    assert len(google.messages) == 1
    assert google.texts[0].endswith("again")
