"""S4, S16–S21, S30, S32, S33, S36 and S38: who may come in, and with what."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings as django_settings
from django.contrib.auth.hashers import get_hasher
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver
from django.utils import timezone

from accounts import invites, people, resets, tokens
from accounts.models import ApiToken, AuditEvent, Invite, PasswordReset, User
from cortex_site import env
from tests.conftest import PASSWORD

NEW_PASSWORD = "a brand new pass phrase 42"
ROOT = Path(__file__).resolve().parents[2]


def sign_in(client: Client, login: str, password: str, **extra: Any) -> Any:
    return client.post(
        "/account/login/", {"login": login, "password": password}, **extra
    )


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def fields(name: str = "eve") -> dict[str, str]:
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    return {"username": name, "email": "", **passwords}


def reset_path(user: User) -> str:
    """Ask for a reset by the page and return the path in the mail."""
    mail.outbox.clear()
    Client().post("/account/password/reset/", {"email": user.email})
    found = re.search(r"/account/password/reset/key/\S+", mail.outbox[0].body)
    assert found
    return found[0]


def sentence(response: Any) -> str:
    """Return the page's own text, without what changes from page to page."""
    body = re.sub(r"nonce=\"[^\"]*\"", "", response.content.decode())
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", body)


# --- S17 -------------------------------------------------------------------------


@pytest.mark.django_db
def test_s17_tokens_are_long_random_and_kept_as_hashes(alice: User) -> None:
    _, invite_token = invites.create_invite(username="eve")
    _, reset_token = resets.request_reset(alice.email)

    for token in (invite_token, reset_token):
        assert len(token) == 43  # 256 bits in base64
    with connection.cursor() as cursor:
        for table in ("accounts_invite", "accounts_passwordreset"):
            cursor.execute(f"SELECT * FROM {table}")
            dump = str(cursor.fetchall())
            assert invite_token not in dump
            assert reset_token not in dump


@pytest.mark.django_db
def test_s17_tokens_live_for_72_hours_and_one_hour(alice: User) -> None:
    invites.create_invite(username="eve")
    resets.request_reset(alice.email)

    near = datetime.timedelta(seconds=30)
    now = timezone.now()
    assert Invite.objects.get().expires_at - now == pytest.approx(
        datetime.timedelta(hours=72), abs=near
    )
    assert PasswordReset.objects.get().expires_at - now == pytest.approx(
        datetime.timedelta(hours=1), abs=near
    )


@pytest.mark.django_db
def test_s17_looking_never_uses_a_link_up(alice: User, client: Client) -> None:
    setup = f"/setup/{invites.create_invite()[1]}"
    reset = reset_path(alice)

    for path in (setup, reset):
        for _ in range(3):
            assert client.get(path).status_code == 200
            assert client.head(path).status_code == 200
    assert client.post(setup, fields()).status_code == 302


@pytest.mark.django_db
def test_s17_closed_invites_answer_410_each_with_its_sentence(client: Client) -> None:
    used = invites.create_invite(username="eve")[1]
    client.post(f"/setup/{used}", fields())
    expired_invite, expired = invites.create_invite(username="fay")
    Invite.objects.filter(pk=expired_invite.pk).update(expires_at=timezone.now())
    revoked_invite, revoked = invites.create_invite(username="gil")
    invites.revoke_invite(revoked_invite)

    stranger = Client()
    pages = set()
    for token in (used, expired, revoked):
        for call in (stranger.get, stranger.post):
            answer = call(f"/setup/{token}")
            assert answer.status_code == 410
        pages.add(sentence(answer))
    assert len(pages) == 3
    assert stranger.get("/setup/unknown").status_code == 404
    assert stranger.post("/setup/unknown", fields()).status_code == 404


@pytest.mark.django_db
def test_s17_closed_resets_answer_410_each_with_its_sentence(
    alice: User, bob: User, charlie: User, client: Client
) -> None:
    new = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    used = reset_path(alice)
    assert client.post(used, new).status_code == 302
    expired = reset_path(bob)
    PasswordReset.objects.filter(user=bob).update(expires_at=timezone.now())
    revoked = reset_path(charlie)
    people.set_password(charlie, "changed by other means 9")

    pages = set()
    for path in (used, expired, revoked):
        for call in (client.get, client.post):
            answer = call(path, new)
            assert answer.status_code == 410
        pages.add(sentence(answer))
    assert len(pages) == 3
    for path in ("unknown", "1-abc", "MQ-set-password"):
        address = f"/account/password/reset/key/{path}/"
        assert client.get(address).status_code == 404
        assert client.post(address, new).status_code == 404
    bob.refresh_from_db()
    assert bob.check_password(PASSWORD)


@pytest.mark.django_db
def test_s17_invites_are_bound_to_their_address(client: Client) -> None:
    _, token = invites.create_invite(username="eve", email="eve@example.org")

    client.post(
        f"/setup/{token}",
        fields("mallory") | {"email": "mallory@example.org"},
    )

    user = User.objects.get()
    assert (user.username, user.email) == ("eve", "eve@example.org")


@pytest.mark.django_db
def test_s17_resets_are_bound_to_their_address(alice: User, client: Client) -> None:
    path = reset_path(alice)
    User.objects.filter(pk=alice.pk).update(email="elsewhere@example.org")

    assert client.get(path).status_code == 410


@pytest.mark.django_db
def test_s17_a_reset_dies_with_every_other_reset(alice: User, client: Client) -> None:
    first, second = reset_path(alice), reset_path(alice)

    new = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post(second, new).status_code == 302
    assert client.get(first).status_code == 410


@pytest.mark.django_db
def test_s17_a_reset_ends_sessions_and_still_asks_for_the_second_factor(
    alice: User, client: Client
) -> None:
    other = Client()
    sign_in(other, "alice", PASSWORD)
    TOTP.activate(alice, "JBSWY3DPEHPK3PXP")

    client.post(
        reset_path(alice), {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    )

    assert other.get("/settings/profile/").status_code == 302
    assert not is_signed_in(client)
    answer = sign_in(client, "alice", NEW_PASSWORD)
    assert answer.headers["Location"] == "/account/2fa/authenticate/"


@contextmanager
def closing() -> Iterator[None]:
    """Close this thread's connection afterwards."""
    try:
        yield
    finally:
        connection.close()


def race(attempt: Callable[[int], bool]) -> int:
    """Let 20 threads try at once; return how many won."""

    def run(number: int) -> bool:
        with closing():
            return attempt(number)

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(run, range(20))).count(True)


@pytest.mark.django_db(transaction=True)
def test_s17_of_twenty_racers_for_an_invite_one_wins() -> None:
    _, token = invites.create_invite()

    def attempt(number: int) -> bool:
        answer = Client().post(f"/setup/{token}", fields(f"racer{number}"))
        assert answer.status_code in {302, 410}
        return bool(answer.status_code == 302)

    assert race(attempt) == 1
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_s17_of_twenty_racers_for_a_reset_one_wins(alice: User) -> None:
    _, token = resets.request_reset(alice.email)
    reset = resets.find_reset(token)
    assert reset

    def attempt(number: int) -> bool:
        try:
            resets.use_reset(reset, f"{NEW_PASSWORD} {number}")
        except resets.ResetNotOpen:
            return False
        return True

    assert race(attempt) == 1


# --- S18 -------------------------------------------------------------------------


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count password hashings and queries."""
    hasher = type(get_hasher())
    original = hasher.encode
    counts = {"hashings": 0, "queries": 0}

    def encode(self: Any, *args: Any, **kwargs: Any) -> Any:
        counts["hashings"] += 1
        return original(self, *args, **kwargs)

    hasher.encode = encode
    try:
        with CaptureQueriesContext(connection) as queries:
            yield counts
    finally:
        hasher.encode = original
        counts["queries"] = len(queries)


@pytest.mark.django_db
def test_s18_signing_in_takes_the_same_steps_for_every_account(
    alice: User, bob: User, charlie: User
) -> None:
    bob.set_unusable_password()
    bob.save()
    people.deactivate(charlie)
    logins = [
        "alice",
        "alice@example.org",
        "bob",
        "bob@example.org",
        "charlie",
        "nobody",
        "nobody@example.org",
    ]

    steps, pages = set(), set()
    for login in logins:
        client = Client()
        client.get("/account/login/")
        with counted() as counts:
            answer = sign_in(client, login, "wrong password")
        assert answer.status_code == 200
        steps.add((counts["hashings"], counts["queries"]))
        pages.add(
            re.sub(r"\b(alice|bob|charlie|nobody)\b[^\" ]*", "X", sentence(answer))
        )

    assert len(steps) == 1
    assert next(iter(steps))[0] == 1
    # An address that was typed gets the sentence about addresses, known or not.
    assert len(pages) <= 2


@pytest.mark.django_db
def test_s18_asking_for_a_reset_takes_the_same_steps_for_every_account(
    alice: User, charlie: User
) -> None:
    people.deactivate(charlie)
    steps, pages = set(), set()
    for login in ("alice", "charlie", "nobody"):
        mail.outbox.clear()
        client = Client()
        with counted() as counts:
            answer = client.post(
                "/account/password/reset/", {"email": f"{login}@example.org"}
            )
        steps.add((counts["hashings"], counts["queries"], len(mail.outbox)))
        assert (answer.status_code, answer.headers["Location"]) == (
            302,
            "/account/password/reset/done/",
        )
        pages.add(sentence(client.get(answer.headers["Location"])))

    assert len(steps) == 1
    assert len(pages) == 1
    assert "/account/password/reset/key/" not in mail.outbox[0].body


# --- S19 -------------------------------------------------------------------------


@pytest.mark.django_db
def test_s19_an_account_is_locked_for_every_address(alice: User) -> None:
    for number in range(5):
        sign_in(Client(REMOTE_ADDR=f"198.51.100.{number}"), "alice", "wrong")

    client = Client(REMOTE_ADDR="203.0.113.77")
    answer = sign_in(client, "alice", PASSWORD)
    assert "Too many failed" in answer.content.decode()
    assert not is_signed_in(client)


@pytest.mark.django_db
def test_s19_an_address_is_locked_for_every_account(alice: User) -> None:
    client = Client(REMOTE_ADDR="198.51.100.1")
    for number in range(10):
        sign_in(client, f"guess{number}", "wrong")

    assert "Too many failed" in sign_in(client, "alice", PASSWORD).content.decode()
    other = Client(REMOTE_ADDR="198.51.100.2")
    assert sign_in(other, "alice", PASSWORD).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"]])
def test_s19_a_forged_forwarded_for_does_not_reset_the_counter(
    alice: User, settings: Any, trusted: list[str]
) -> None:
    settings.CORTEX_TRUSTED_PROXIES = trusted
    # A listed proxy appends the address it saw to whatever the client had sent.
    seen = ", 198.51.100.1" if trusted else ""
    client = Client(REMOTE_ADDR="127.0.0.1")
    for number in range(10):
        sign_in(
            client,
            f"guess{number}",
            "wrong",
            headers={"x-forwarded-for": f"6.6.6.{number}{seen}"},
        )

    answer = sign_in(
        client, "alice", PASSWORD, headers={"x-forwarded-for": f"9.9.9.9{seen}"}
    )
    assert "Too many failed" in answer.content.decode()


@pytest.mark.django_db
def test_s19_behind_a_proxy_people_are_counted_apart(
    alice: User, settings: Any
) -> None:
    settings.CORTEX_TRUSTED_PROXIES = ["127.0.0.1"]
    client = Client(REMOTE_ADDR="127.0.0.1")
    for number in range(10):
        headers = {"x-forwarded-for": "198.51.100.1"}
        sign_in(client, f"guess{number}", "wrong", headers=headers)

    headers = {"x-forwarded-for": "198.51.100.2"}
    assert sign_in(client, "alice", PASSWORD, headers=headers).status_code == 302


@pytest.mark.django_db
def test_s19_resets_are_limited_too(alice: User, client: Client) -> None:
    answers = [
        client.post("/account/password/reset/", {"email": alice.email}).status_code
        for _ in range(6)
    ]

    assert answers == [302] * 5 + [429]


@pytest.mark.django_db
def test_s19_after_a_reset_one_signs_in_at_once(alice: User, client: Client) -> None:
    for number in range(5):
        sign_in(Client(REMOTE_ADDR=f"198.51.100.{number}"), "alice", "wrong")

    client.post(
        reset_path(alice), {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    )

    assert sign_in(client, "alice", NEW_PASSWORD).status_code == 302


# --- S20 -------------------------------------------------------------------------


def settings_for(public_url: str, tmp_path: Path, **variables: str) -> dict[str, Any]:
    """Return what the settings say for another public address."""
    names = [
        "ALLOWED_HOSTS",
        "CSRF_COOKIE_NAME",
        "CSRF_COOKIE_SECURE",
        "CSRF_TRUSTED_ORIGINS",
        "CORTEX_PUBLIC_URL",
        "CORTEX_TRUSTED_PROXIES",
        "SECURE_HSTS_INCLUDE_SUBDOMAINS",
        "SECURE_HSTS_PRELOAD",
        "SECURE_HSTS_SECONDS",
        "SECURE_PROXY_SSL_HEADER",
        "SECURE_SSL_REDIRECT",
        "SESSION_COOKIE_HTTPONLY",
        "SESSION_COOKIE_NAME",
        "SESSION_COOKIE_SAMESITE",
        "SESSION_COOKIE_SECURE",
    ]
    code = (
        "import json; from django.conf import settings;"
        f"print(json.dumps({{n: getattr(settings, n) for n in {names!r}}}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "cortex_site.settings",
            "CORTEX_DATA_DIR": str(tmp_path),
            "CORTEX_PUBLIC_URL": public_url,
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    values: dict[str, Any] = json.loads(result.stdout)
    if header := values["SECURE_PROXY_SSL_HEADER"]:
        values["SECURE_PROXY_SSL_HEADER"] = tuple(header)
    return values


@pytest.mark.django_db
def test_s20_the_session_changes_at_sign_in(alice: User, client: Client) -> None:
    session = client.session
    session["planted"] = "yes"
    session.save()
    before = session.session_key

    sign_in(client, "alice", PASSWORD)

    assert is_signed_in(client)
    assert client.session.session_key != before
    client.cookies[django_settings.SESSION_COOKIE_NAME] = before
    assert not is_signed_in(client)


@pytest.mark.django_db
def test_s20_cookies_and_sign_in_by_http(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/account/login/")
    token = client.cookies["csrftoken"].value

    answer = client.post(
        "/account/login/",
        {"login": "alice", "password": PASSWORD, "csrfmiddlewaretoken": token},
    )

    assert answer.status_code == 302
    cookie = answer.cookies["sessionid"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    assert not cookie["secure"]


@pytest.mark.django_db
def test_s20_cookies_and_sign_in_by_https(alice: User, tmp_path: Path) -> None:
    values = settings_for("https://chat.example.org", tmp_path)
    headers = {"host": "chat.example.org", "x-forwarded-proto": "https"}
    with override_settings(**values):
        proxy = Client(
            enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", headers=headers
        )
        page = proxy.get("/account/login/")
        answer = proxy.post(
            "/account/login/",
            {
                "login": "alice",
                "password": PASSWORD,
                "csrfmiddlewaretoken": proxy.cookies["__Host-csrftoken"].value,
            },
            headers={"origin": "https://chat.example.org"},
        )
        plain = Client(REMOTE_ADDR="127.0.0.1", headers={"host": "chat.example.org"})
        stranger = Client(REMOTE_ADDR="198.51.100.1", headers=headers)

        assert plain.get("/account/login/").status_code == 301
        assert stranger.get("/account/login/").status_code == 301

    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.status_code == 302
    for name in ("__Host-sessionid", "__Host-csrftoken"):
        cookie = proxy.cookies[name]
        assert cookie["secure"] and cookie["samesite"] == "Lax"
        assert cookie["path"] == "/" and not cookie["domain"]
    assert proxy.cookies["__Host-sessionid"]["httponly"]


def test_s20_other_hosts_are_bound_to_https_only_on_request(tmp_path: Path) -> None:
    values = settings_for(
        "https://chat.example.org", tmp_path, CORTEX_HSTS_SUBDOMAINS="1"
    )

    with override_settings(**values):
        page = Client(REMOTE_ADDR="127.0.0.1").get(
            "/account/signup/",
            headers={"host": "chat.example.org", "x-forwarded-proto": "https"},
        )

    policy = page.headers["Strict-Transport-Security"]
    assert policy == "max-age=31536000; includeSubDomains"


# --- S21 -------------------------------------------------------------------------


@pytest.mark.django_db
def test_s21_the_first_start_link_closes_with_its_use(client: Client) -> None:
    first = invites.renew_administrator_link()
    second = invites.renew_administrator_link()
    assert first and second
    old, new = ("/setup/" + link.rpartition("/")[2] for link in (first, second))

    assert client.get(old).status_code == 410
    assert client.post(new, fields()).status_code == 302
    assert Client().post(new, fields("mallory")).status_code == 410
    assert invites.renew_administrator_link() is None
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_s21_a_forgotten_link_is_worth_nothing_beside_an_administrator(
    client: Client, alice: User
) -> None:
    link = invites.renew_administrator_link()
    assert link
    people.promote(alice)

    path = "/setup/" + link.rpartition("/")[2]
    assert client.get(path).status_code == 410
    assert client.post(path, fields("mallory")).status_code == 410
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    "key",
    ["short", "a" * 64, "django-insecure-0123456789abcdefghijklmnopqrstuvw", "ab" * 40],
)
def test_s21_a_weak_secret_key_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CORTEX_SECRET_KEY", key)

    with pytest.raises(env.EnvError, match="CORTEX_SECRET_KEY is too weak"):
        env.secret_keys()


# --- S4, S33 ---------------------------------------------------------------------

NASTY = [
    "",
    "ctx_",
    "ctx__",
    "ctx_00000000000000000000000000000000_x",
    "ctx_zz_x",
    "' OR 1=1 --",
    '"; DROP TABLE accounts_apitoken; --',
    "ctx_" + "a" * 65_536,
    "ctx_\0_\0",
    "ctx_ünïcode_☃",
    "ctx_\ud800_x",
    "Bearer Bearer",
]


@pytest.mark.django_db
@pytest.mark.parametrize("raw", NASTY)
def test_s33_nonsense_costs_one_query_and_opens_nothing(
    alice: User, raw: str, django_assert_num_queries: Any
) -> None:
    tokens.create_token(alice)

    with django_assert_num_queries(1):
        assert tokens.grant_of(raw) is None


@pytest.mark.django_db
def test_s33_a_wrong_secret_costs_what_a_wrong_id_costs(
    alice: User, django_assert_num_queries: Any
) -> None:
    prefix, token_id, _ = tokens.create_token(alice).split("_", 2)

    with django_assert_num_queries(1):
        assert tokens.grant_of(f"{prefix}_{token_id}_x") is None
    with django_assert_num_queries(1):
        assert tokens.grant_of(f"{prefix}_{token_id}_") is None


@pytest.mark.django_db
def test_s04_tokens_are_hashed_and_a_subset_of_the_scopes(alice: User) -> None:
    raw = tokens.create_token(alice, scopes=["chat"])

    assert raw.split("_", 2)[2] not in str(vars(ApiToken.objects.get()))
    assert tokens.grant_of(raw).user == alice
    assert tokens.grant_of(raw).scopes == {"chat"}


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_s04_every_header_leads_to_one_function(alice: User, header: str) -> None:
    raw = tokens.create_token(alice, scopes=["chat"])
    value = f"Bearer {raw}" if header == "authorization" else raw
    presented = tokens.presented_token(
        RequestFactory().get("/", headers={header: value}).headers
    )

    assert presented == raw
    assert tokens.grant_of(presented).user == alice


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", ["Basic {}", "Bearer x{}", "{}", "Bearer", ""])
def test_s04_a_good_key_does_not_mend_a_wrong_authorization(
    alice: User, wrong: str
) -> None:
    raw = tokens.create_token(alice)
    headers = {"authorization": wrong.format(raw), "x-api-key": raw}
    presented = tokens.presented_token(
        RequestFactory().get("/", headers=headers).headers
    )

    assert presented is not None
    assert tokens.grant_of(presented) is None


def test_s04_no_other_module_reads_the_headers() -> None:
    """Every caller asks ``accounts.tokens``; what goes out stands in ``routing``."""
    reads = re.compile(r"HTTP_AUTHORIZATION|HTTP_X_API_KEY|grant_of|ApiToken\b")
    names = re.compile(r"[\"'](?:authorization|x-api-key)[\"']", re.I)
    at_home = {"accounts/tokens.py", "accounts/models.py", "accounts/admin.py"}
    at_home |= {"channels_app/api/auth.py"}
    outgoing = (
        "routing/net.py",
        "routing/backends/",
        "channels_app/google_chat/client.py",
    )
    # Google's token for the bot, which leads to nobody; words about the API; and names
    # under which old files kept secrets.
    others = {"channels_app/google_chat/views.py", "channels_app/api/document.py"}
    others |= {"channels_app/homes/masking.py"}
    found = {}
    for app in ("accounts", "ledger", "routing", "personas", "channels_app"):
        for path in (ROOT / app).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            text = path.read_text(encoding="utf-8")
            if "/migrations/" in name or name in at_home:
                continue
            if reads.search(text):
                found[name] = "knows tokens"
            at_stake = name not in others and not name.startswith(outgoing)
            if names.search(text) and at_stake:
                found[name] = "reads a header"
    assert found == {}


# --- S30, S32, S36, S38 ------------------------------------------------------------


@pytest.mark.django_db
def test_s30_second_factors_are_encrypted_at_rest(alice: User) -> None:
    canary = "JBSWY3DPEHPK3PXP"
    factor = TOTP.activate(alice, canary)

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM mfa_authenticator")
        assert canary not in str(cursor.fetchall())
    assert canary not in str(AuditEvent.objects.values())
    assert Authenticator.objects.get() == factor.instance


@pytest.mark.django_db
def test_s30_passwords_and_links_are_in_no_table(client: Client) -> None:
    link = invites.renew_administrator_link()
    assert link
    token = link.rpartition("/")[2]
    client.post(f"/setup/{token}", fields())
    raw = tokens.create_token(User.objects.get())
    sign_in(Client(), "eve", "canary-password-typed")

    dump = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            dump.append(str(cursor.fetchall()))
    everything = "".join(dump)
    secrets = (token, PASSWORD, raw, raw.split("_", 2)[2], "canary-password-typed")
    for secret in secrets:
        assert secret not in everything


def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback


def test_s32_no_page_about_accounts_is_exempt_from_csrf() -> None:
    pages = ("account/", "setup/", "people/", "settings/", "admin/")
    routes = [
        (route, view)
        for route, view in walk(get_resolver().url_patterns)
        if route.startswith(pages)
    ]

    assert len(routes) > 30
    assert [r for r, view in routes if getattr(view, "csrf_exempt", False)] == []


@pytest.mark.django_db
def test_s32_forms_without_a_token_are_refused(alice: User) -> None:
    token = invites.create_invite()[1]
    client = Client(enforce_csrf_checks=True)

    assert sign_in(client, "alice", PASSWORD).status_code == 403
    assert client.post(f"/setup/{token}", fields()).status_code == 403
    client.force_login(alice)
    for path in ("/account/logout/", "/settings/profile/", "/setup/persona"):
        assert client.post(path).status_code == 403
    assert is_signed_in(client)


@pytest.mark.django_db
def test_s36_what_changes_rights_is_in_the_audit_log(
    alice: User, admin_user: User, client: Client
) -> None:
    sign_in(client, "alice", "wrong password")
    sign_in(client, "alice", PASSWORD)
    client.post("/account/logout/")
    people.promote(alice, actor=admin_user)
    people.demote(alice, actor=admin_user)
    tokens.create_token(alice)
    client.post(
        reset_path(alice), {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    )
    call_command("users", "delete", "alice", "--yes", verbosity=0)

    events = list(
        AuditEvent.objects.order_by("id").values_list("event", "actor_name", "subject")
    )
    assert events == [
        ("login.failed", "", "alice"),
        ("login", "alice", ""),
        ("logout", "alice", ""),
        ("user.promoted", "dora", "alice"),
        ("user.demoted", "dora", "alice"),
        ("token.created", "", "alice"),
        ("password.reset", "", "alice"),
        ("user.deleted", "", "alice"),
    ]
    assert PASSWORD not in str(AuditEvent.objects.values())


@pytest.mark.django_db
def test_s38_no_token_is_good_for_anything_else(alice: User, client: Client) -> None:
    _, invite = invites.create_invite()
    _, reset = resets.request_reset(alice.email)
    api = tokens.create_token(alice)
    alice.emailaddress_set.update(verified=False)
    kinds = {"invite": invite, "reset": reset, "api": api}
    doors = {
        "invite": "/setup/{}",
        "reset": "/account/password/reset/key/{}/",
        "confirm": "/account/confirm-email/{}/",
    }

    opened = {
        (door, kind): Client().get(path.format(token), follow=True).status_code
        for door, path in doors.items()
        for kind, token in kinds.items()
    }

    assert opened.pop(("invite", "invite")) == 200
    assert opened.pop(("reset", "reset")) == 200
    # allauth answers an unknown confirmation with a page that says so.
    assert {status for (door, _), status in opened.items() if door != "confirm"} == {
        404
    }
    for token in (invite, reset):
        client.post(doors["confirm"].format(token))
        assert tokens.grant_of(token) is None
    assert not alice.emailaddress_set.get().verified
