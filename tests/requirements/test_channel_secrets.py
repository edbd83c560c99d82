"""S30 for channels: their secrets are encrypted, write-only, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection
from django.test import Client

from accounts import secrets
from accounts.models import User
from channels_app.bots import channel_settings, channels
from channels_app.models import Channel
from personas.models import Persona
from tests.support.key_files import key_file

TALK = "/settings/channels/nextcloud-talk/"
GOOGLE = "/settings/channels/google-chat/"
CANARIES = ("c4nary" + "a" * 58, "c4nary" + "b" * 58)
KEY_FILE = key_file()
KEY_LINE = json.loads(KEY_FILE)["private_key"].splitlines()[3]
FIELDS = {
    "persona": "inara",
    "thread": "own",
    "strangers": "pairing",
    "guest_daily_messages": 20,
    "enabled": "on",
}


@pytest.fixture
def handed(
    alice: User,
    persona: Persona,
    client_for: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Client:
    """Alice with both channels, whose secrets were set by their pages."""
    caplog.set_level("DEBUG")
    made: Iterator[str] = iter(CANARIES)
    monkeypatch.setattr(channel_settings, "new_secret", lambda: next(made))
    client = client_for(alice)
    url = {"url": "https://cloud.example.org"}
    assert CANARIES[0] in client.post(TALK, FIELDS | url).content.decode()
    assert CANARIES[1] in client.post(f"{TALK}secret/new/").content.decode()
    key = {"audience": "project", "project_number": "123456789012"}
    key["service_account"] = KEY_FILE
    assert client.post(GOOGLE, FIELDS | key).status_code == 302
    return client


def hidden_in(text: str) -> list[str]:
    """Return the secrets that stand in a text, also those that are cut."""
    parts = [CANARIES[0][:20], CANARIES[1][:20], "c4nary", KEY_LINE, "PRIVATE KEY"]
    return [part for part in parts if part in text]


def dump() -> str:
    """Return everything that stands in the database."""
    parts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            parts += [repr(row) for row in cursor.fetchall()]
    return "\n".join(parts)


def test_s30_channel_secrets_are_in_no_table_no_log_and_no_page(
    handed: Client,
    admin_user: User,
    client_for: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert hidden_in(" ".join((*CANARIES, KEY_FILE))), (
        "this test finds what it looks for"
    )
    assert hidden_in(dump()) == []

    administrator = client_for(admin_user)
    pages = [
        handed.get(address).content.decode()
        for address in (
            *("/settings/channels/", TALK, GOOGLE),
            *(f"{TALK}delete/", f"{GOOGLE}delete/"),
        )
    ]
    pages += [
        administrator.get(address).content.decode()
        for address in (
            "/settings/channels/everybody/",
            "/admin/channels_app/channel/",
            *(
                f"/admin/channels_app/channel/{each.pk}/change/"
                for each in Channel.objects.all()
            ),
            "/admin/accounts/auditevent/",
        )
    ]
    assert len(pages) == 10
    assert [hidden_in(page) for page in pages] == [[]] * 10
    refused = handed.post(GOOGLE, FIELDS | {"service_account": KEY_FILE})
    assert refused.status_code == 400
    assert hidden_in(refused.content.decode()) == []
    assert hidden_in(caplog.text) == []


def test_s30_a_refused_key_file_is_named_without_a_part_of_it(
    handed: Client, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = KEY_FILE[:-1]
    key = {"audience": "project", "project_number": "123456789012"}
    answer = handed.post(GOOGLE, FIELDS | key | {"service_account": damaged})
    text = answer.content.decode()
    assert answer.status_code == 400
    assert "This is not JSON" in text
    assert hidden_in(text) == []
    assert hidden_in(caplog.text) == []


def test_s30_channel_secrets_follow_a_new_key(handed: Client, settings: Any) -> None:
    old = django_settings.SECRET_KEY
    fresh = "another-secret-key-" + "x" * 50
    assert secrets.reencrypt_all([fresh, old]) >= 2
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = fresh, []
    talk = Channel.objects.get(kind="nextcloud_talk")
    google = Channel.objects.get(kind="google_chat")
    assert channels.secret(talk, "secret") == CANARIES[1]
    assert channels.secret(talk, "previous") == CANARIES[0]
    assert json.loads(channels.secret(google, "service_account")) == json.loads(
        KEY_FILE
    )


def test_s30_a_secret_of_another_purpose_opens_nothing(handed: Client) -> None:
    stored = Channel.objects.get(kind="nextcloud_talk").secrets["secret"]
    for purpose in ("webhook", "host-key"):
        with pytest.raises(secrets.Undecryptable):
            secrets.decrypt(purpose, stored)


def test_s30_what_an_adapter_is_given_shows_no_secret(handed: Client) -> None:
    for channel in Channel.objects.select_related("owner", "persona"):
        info = channels.info_of(channel)
        assert info.secrets
        assert hidden_in(repr(info)) == []


def test_s30_the_export_of_the_registry_knows_no_channel(
    handed: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("registry", "export")
    assert hidden_in(capsys.readouterr().out) == []
