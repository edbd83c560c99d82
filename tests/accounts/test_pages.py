"""The pages of allauth look like the product and keep its content policy."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.core import mail
from django.test import Client

from accounts import invites
from accounts.models import User
from accounts.templatetags.browsers import browser_name
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
SEED = "JBSWY3DPEHPK3PXP"

FOR_STRANGERS = [
    "/account/login/",
    "/account/signup/",
    "/account/inactive/",
    "/account/password/reset/",
    "/account/password/reset/done/",
    "/account/password/reset/key/done/",
    "/account/confirm-email/nonsense/",
    "/account/3rdparty/login/error/",
    "/account/3rdparty/login/cancelled/",
]
FOR_PEOPLE = [
    "/account/email/",
    "/account/logout/",
    "/account/password/change/",
    "/account/reauthenticate/",
    "/account/sessions/",
    "/account/2fa/",
    "/account/2fa/totp/activate/",
    "/account/3rdparty/",
    "/settings/leaving/",
    "/settings/profile/",
    "/setup/persona",
]
FOR_PEOPLE_WITH_A_SECOND_FACTOR = [
    "/account/2fa/",
    "/account/2fa/totp/deactivate/",
    "/account/2fa/recovery-codes/",
    "/account/2fa/recovery-codes/generate/",
    "/account/2fa/reauthenticate/",
]


class Audit(HTMLParser):
    """Collect what the content policy would stop, and fields without a label."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.labels: set[str] = set()
        self.fields: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        for name, value in values.items():
            if name == "style" or name.startswith("on") or name.startswith("hx-on"):
                self.faults.append(f"{tag} {name}={value}")
            if value.strip().lower().startswith(("data:", "javascript:", "js:")):
                self.faults.append(f"{tag} {name}={value[:40]}")
            foreign = value.startswith(("http://", "https://", "//"))
            if name == "src" and foreign:
                self.faults.append(f"{tag} {name}={value}")
        if tag == "style" and "nonce" not in values:
            self.faults.append("style without nonce")
        is_data = values.get("type", "").endswith("json")
        if tag == "script" and not {"src", "nonce"} & set(values) and not is_data:
            self.faults.append("script without nonce")
        if tag == "label":
            self.labels.add(values.get("for", ""))
        is_hidden = values.get("type") in {"hidden", "submit", "checkbox", "radio"}
        if tag == "input" and not is_hidden and "aria-hidden" not in values:
            self.fields.add(values.get("id", "(no id)"))


def check_page(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, (path, answer.headers.get("Location"))
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    page: str = answer.content.decode()
    audit = Audit()
    audit.feed(page)
    assert audit.faults == []
    assert audit.fields <= audit.labels, path
    assert "css/app" in page
    assert re.search(r"<title>\s*\S.*Cortex\s*</title>", page, re.DOTALL), path
    return page


@pytest.fixture
def signed_in(alice: User) -> Iterator[Client]:
    client = Client()
    client.post("/account/login/", {"login": "alice", "password": PASSWORD})
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    yield client


@pytest.mark.parametrize("path", FOR_STRANGERS)
def test_pages_for_strangers(client: Client, path: str) -> None:
    check_page(client, path, 401 if "error" in path else 200)


@pytest.mark.parametrize("path", FOR_PEOPLE)
def test_pages_for_people(signed_in: Client, path: str) -> None:
    check_page(signed_in, path)


@pytest.mark.parametrize("path", FOR_PEOPLE_WITH_A_SECOND_FACTOR)
def test_pages_for_people_with_a_second_factor(
    alice: User, client: Client, path: str
) -> None:
    TOTP.activate(alice, SEED)
    RecoveryCodes.activate(alice)
    client.post("/account/login/", {"login": "alice", "password": PASSWORD})
    code = format_hotp_value(hotp_value(SEED, int(time.time()) // 30))
    client.post("/account/2fa/authenticate/", {"code": code})
    client.post("/account/reauthenticate/", {"password": PASSWORD})

    check_page(client, path)


def test_pages_of_invites(client: Client) -> None:
    invite, token = invites.create_invite()
    check_page(client, f"/setup/{token}")
    invites.revoke_invite(invite)
    check_page(client, f"/setup/{token}", 410)
    check_page(client, "/setup/unknown", 404)


def test_pages_for_administrators(admin_user: User, alice: User, client_for) -> None:
    invites.create_invite(username="eve")
    client = client_for(admin_user)
    check_page(client, "/people/")
    check_page(client, "/people/alice/delete/")


def test_the_second_factor_from_activation_to_a_recovery_code(
    alice: User, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = signed_in.get("/account/2fa/totp/activate/").content.decode()
    assert "<svg" in page and "data:" not in page
    seed = re.search(r'id="authenticator_secret"[^>]* value="(\w+)"', page)
    assert seed

    code = format_hotp_value(hotp_value(seed[1], int(time.time()) // 30))
    answer = signed_in.post("/account/2fa/totp/activate/", {"code": code})
    assert answer.status_code == 302
    page = signed_in.get(answer.headers["Location"]).content.decode()
    codes = re.findall(r"^\d{8}$", page.replace("<pre>", "\n"), re.MULTILINE)
    assert len(codes) == 10
    assert seed[1] not in str(Authenticator.objects.values())

    client = Client()
    credentials = {"login": "alice", "password": PASSWORD}
    answer = client.post("/account/login/", credentials, follow=True)
    assert answer.redirect_chain[-1][0] == "/account/2fa/authenticate/"
    assert "_auth_user_id" not in client.session
    client.post("/account/2fa/authenticate/", {"code": "000000"})
    assert "_auth_user_id" not in client.session
    client.post("/account/2fa/authenticate/", {"code": codes[0]})
    assert client.session["_auth_user_id"] == str(alice.pk)

    again = Client()
    again.post("/account/login/", credentials)
    again.post("/account/2fa/authenticate/", {"code": codes[0]})
    assert "_auth_user_id" not in again.session


def test_the_page_of_the_second_factor(alice: User, client: Client) -> None:
    TOTP.activate(alice, SEED)
    client.post("/account/login/", {"login": "alice", "password": PASSWORD})

    check_page(client, "/account/2fa/authenticate/")


@pytest.mark.parametrize(
    "login", ["alice", "ALICE", "alice@example.org", " Alice@EXAMPLE.org "]
)
def test_signing_in_by_name_or_address(alice: User, client: Client, login: str) -> None:
    answer = client.post("/account/login/", {"login": login, "password": PASSWORD})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_the_deactivated_learn_it_only_with_their_password(
    alice: User, client: Client
) -> None:
    User.objects.update(is_active=False)

    wrong = client.post("/account/login/", {"login": "alice", "password": "wrong"})
    right = client.post("/account/login/", {"login": "alice", "password": PASSWORD})

    assert wrong.status_code == 200
    assert right.headers["Location"] == "/account/inactive/"
    assert "_auth_user_id" not in client.session


def test_nobody_signs_up(client: Client) -> None:
    values = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD}

    answer = client.post("/account/signup/", values)

    assert b"by invite" in answer.content
    assert not User.objects.exists()


def test_changing_the_address_needs_its_confirmation(
    alice: User, signed_in: Client, settings: Any
) -> None:
    settings.CORTEX_PUBLIC_URL = "http://chat.example.org"
    signed_in.post("/account/email/", {"email": "new@example.org", "action_add": ""})
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"
    page = check_page(signed_in, "/account/email/")
    assert "not confirmed yet" in page

    link = re.search(
        r"http://chat\.example\.org(/account/confirm-email/\S+)", mail.outbox[-1].body
    )
    assert link
    assert "Confirm" in check_page(signed_in, link[1])
    signed_in.post(link[1])
    alice.refresh_from_db()
    assert alice.email == "new@example.org"


def test_a_silent_mail_server_does_not_fail_the_page(
    alice: User, signed_in: Client, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9

    answer = signed_in.post(
        "/account/password/change/",
        {
            "oldpassword": PASSWORD,
            "password1": "a brand new pass phrase 42",
            "password2": "a brand new pass phrase 42",
        },
    )
    reset = Client().post("/account/password/reset/", {"email": alice.email})

    assert answer.status_code == reset.status_code == 302
    alice.refresh_from_db()
    assert alice.check_password("a brand new pass phrase 42")


def test_language_and_time_zone_are_kept_and_used(
    alice: User, signed_in: Client, settings: Any
) -> None:
    answer = signed_in.post(
        "/settings/profile/", {"language": "en", "time_zone": "Europe/Berlin"}
    )
    assert answer.status_code == 302
    alice.refresh_from_db()
    assert (alice.language, alice.time_zone) == ("en", "Europe/Berlin")

    settings.LANGUAGES = [("en", "English"), ("de", "Deutsch")]
    User.objects.update(language="de")
    page = signed_in.get("/settings/profile/")
    assert '<html lang="de"' in page.content.decode()
    assert page.headers["Content-Language"] == "de"

    bad = signed_in.post("/settings/profile/", {"language": "xx", "time_zone": "Mars"})
    assert bad.status_code == 400


def test_where_mails_are_printed_the_page_about_a_reset_says_so(
    client: Client, alice: User, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    answer = client.post(
        "/account/password/reset/", {"email": alice.email}, follow=True
    )
    assert "printed in the server's output" in answer.content.decode()


def test_settings_begin_with_the_profile(signed_in: Client) -> None:
    answer = signed_in.get("/settings/")
    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        "/settings/profile/",
    )


def test_settings_of_a_person_are_not_kept_by_the_browser(signed_in: Client) -> None:
    assert "no-store" in signed_in.get("/settings/profile/").headers["Cache-Control"]


def test_pages_are_in_the_one_language_they_are_written_in(
    alice: User, signed_in: Client, client: Client
) -> None:
    User.objects.update(language="de")  # chosen while there was more than one
    german = {"accept-language": "de"}

    for page in (
        client.get("/account/login/", headers=german),
        signed_in.get("/account/logout/", headers=german),
        signed_in.get("/no/such/page/", headers=german),
    ):
        assert '<html lang="en"' in page.content.decode()
        assert page.headers["Content-Language"] == "en"
        assert "Abmelden" not in page.content.decode()
    form = {"language": "de", "time_zone": "UTC"}
    assert signed_in.post("/settings/profile/", form).status_code == 400


def test_being_here_is_noted_once_in_five_minutes(
    alice: User, signed_in: Client, django_assert_num_queries: Any
) -> None:
    signed_in.get("/settings/profile/")
    first = User.objects.get().last_seen_at
    signed_in.get("/settings/profile/")

    assert first is not None
    assert User.objects.get().last_seen_at == first


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/156.0 "
            "Safari/537.36 Edg/156.0",
            "Edge on Windows",
        ),
        ("Mozilla/5.0 (iPhone; CPU like Mac OS X) Safari/604.1", "Safari on iPhone"),
        ("curl/8.0", "curl/8.0"),
        ("", "An unknown browser"),
    ],
)
def test_browsers_have_short_names(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name
