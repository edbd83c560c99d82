"""The pages that set channels up: forms, secrets, deletion, what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import Http404
from django.test import Client

from accounts.models import AuditEvent, User
from channels_app.bots.channel_settings import (
    ChannelTerms,
    add_channel,
    change_channel,
    drop_previous,
    link_identity,
    renew_secret,
)
from channels_app.bots.channels import find_channel, secret
from channels_app.bots.incoming import Incoming
from channels_app.bots.pairing import enter_code, make_code
from channels_app.bots.rooms import set_room
from channels_app.google_chat.events import COMMANDS
from channels_app.models import Channel, ChannelRoom
from channels_app.web.channels import OTHER_SERVER
from personas.models import Conversation, Persona
from personas.personas import create_persona
from tests.support import key_files

TALK = "/settings/channels/nextcloud-talk/"
GOOGLE = "/settings/channels/google-chat/"
SECRET = re.compile(r"\b[0-9a-f]{64}\b")


def talk_fields(**changed: Any) -> dict[str, Any]:
    """Return what the form for Talk sends."""
    return {
        "url": "https://cloud.example.org",
        "persona": "inara",
        "thread": "own",
        "strangers": "pairing",
        "guest_daily_messages": 20,
        "enabled": "on",
        **changed,
    }


def google_fields(**changed: Any) -> dict[str, Any]:
    """Return what the form for Google Chat sends."""
    fields = {**talk_fields(), "audience": "addon", "project_number": "123456789012"}
    del fields["url"]
    return {**fields, **changed}


@pytest.fixture
def key_file() -> str:
    """Return a key file as Google hands them out."""
    return key_files.key_file()


@pytest.fixture
def hers(alice: User, persona: Persona, client_for: Callable[..., Client]) -> Client:
    """Alice, signed in, with a persona."""
    return client_for(alice)


def shown_secret(answer: Any) -> str:
    """Return the one secret that a page shows."""
    (found,) = set(SECRET.findall(answer.content.decode()))
    return str(found)


def talk_of(user: User) -> Channel:
    return Channel.objects.get(owner=user, kind="nextcloud_talk")


# --- Talk --------------------------------------------------------------------------


def test_the_secret_is_shown_once_with_the_whole_command(
    hers: Client, alice: User
) -> None:
    answer = hers.post(TALK, talk_fields())
    value = shown_secret(answer)
    command = (
        "occ talk:bot:install -f webhook -f response -f reaction -- "
        f"Inara {value} http://127.0.0.1:8000/webhook/nextcloud/alice"
    )
    assert answer.status_code == 200
    assert command in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    channel = talk_of(alice)
    assert secret(channel, "secret") == value
    assert value not in str(channel.secrets)
    assert not SECRET.search(hers.get(TALK).content.decode())
    assert find_channel("nextcloud_talk", "alice") == channel


def test_a_new_secret_keeps_the_old_one_until_it_is_dropped(
    hers: Client, alice: User
) -> None:
    first = shown_secret(hers.post(TALK, talk_fields()))
    lost = shown_secret(hers.post(f"{TALK}secret/new/"))
    answer = hers.post(f"{TALK}secret/new/")
    newest = shown_secret(answer)
    channel = talk_of(alice)
    # The one in between was never entered anywhere; the first one still is.
    assert secret(channel, "secret") == newest
    assert secret(channel, "previous") == first
    assert len({first, lost, newest}) == 3
    assert "occ talk:bot:uninstall --url" in answer.content.decode()

    hers.post(f"{TALK}secret/drop/")
    channel = talk_of(alice)
    assert (secret(channel, "secret"), secret(channel, "previous")) == (newest, "")
    hers.post(f"{TALK}secret/drop/")
    assert secret(talk_of(alice), "secret") == newest


def test_setting_up_twice_changes_the_one_channel_and_not_its_secret(
    hers: Client, alice: User
) -> None:
    value = shown_secret(hers.post(TALK, talk_fields()))
    hers.post(TALK, talk_fields(guest_daily_messages=3))
    channel = talk_of(alice)
    assert channel.guest_daily_messages == 3
    assert secret(channel, "secret") == value


def test_a_second_channel_made_meanwhile_is_refused(
    alice: User, persona: Persona
) -> None:
    terms = ChannelTerms(persona, True, "own", "pairing", 20, {"url": "https://x.org"})
    add_channel(alice, "nextcloud_talk", terms)
    with pytest.raises(Exception, match="set up already"):
        add_channel(alice, "nextcloud_talk", terms)
    assert Channel.objects.count() == 1


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://cloud.example.org/", "https://cloud.example.org"),
        ("https://cloud.example.org/call/abc?x=1", "https://cloud.example.org"),
        (
            "https://example.org/nextcloud/index.php/apps/spreed",
            "https://example.org/nextcloud",
        ),
        ("http://cloud.example.org:8080", "http://cloud.example.org:8080"),
    ],
)
def test_the_address_is_kept_as_that_of_the_server(
    hers: Client, alice: User, typed: str, kept: str
) -> None:
    assert hers.post(TALK, talk_fields(url=typed)).status_code == 200
    assert talk_of(alice).settings["url"] == kept


@pytest.mark.parametrize(
    "typed",
    [
        "http://192.168.1.5",
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://cloud.lan",
        "http://[::1]/",
        "http://0x7f000001",
        "ftp://cloud.example.org",
        "https://user:pw@cloud.example.org",
        "https://cloud.example.org/?next=x",
        "cloud.example.org",
    ],
)
def test_addresses_that_lead_inside_or_nowhere_are_refused(
    hers: Client, alice: User, typed: str
) -> None:
    answer = hers.post(TALK, talk_fields(url=typed))
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()
    assert typed.replace("&", "&amp;") in answer.content.decode(), "nothing is lost"
    assert not Channel.objects.exists()


def test_private_addresses_are_for_administrators_and_for_what_they_listed(
    hers: Client,
    admin_user: User,
    client_for: Callable[..., Client],
    settings: Any,
) -> None:
    settings.CORTEX_ALLOWED_ORIGINS = ["http://192.168.1.5"]
    assert hers.post(TALK, talk_fields(url="http://192.168.1.5")).status_code == 200
    answer = hers.post(TALK, talk_fields(url="http://192.168.1.6"))
    assert answer.status_code == 400
    create_persona(admin_user, template="assistant", name="inara", display_name="I")
    administrator = client_for(admin_user)
    answer = administrator.post(TALK, talk_fields(url="http://192.168.1.6"))
    assert answer.status_code == 200


def test_another_server_is_said_to_have_other_people(hers: Client) -> None:
    hers.post(TALK, talk_fields())
    same = hers.post(TALK, talk_fields(), follow=True).content.decode()
    assert OTHER_SERVER not in same
    answer = hers.post(TALK, talk_fields(url="http://other.example.org"), follow=True)
    page = answer.content.decode()
    assert OTHER_SERVER in page
    assert "Use <code>https:</code>" in page


@pytest.mark.parametrize(
    ("address", "is_other"),
    [
        ("http://cloud.example.org", False),
        ("https://cloud.example.org:443/", False),
        ("https://cloud.example.org:8443", True),
        ("https://cloud.example.org/second", True),
        ("https://other.example.org", True),
    ],
)
def test_on_another_server_nobody_is_trusted(
    hers: Client, alice: User, address: str, is_other: bool
) -> None:
    """The same ids belong to other accounts and rooms there."""
    hers.post(TALK, talk_fields())
    channel = talk_of(alice)
    link_identity(channel, "users/alice", actor=alice)
    set_room(alice, channel, "abc123de", ChannelRoom.State.ALLOWED, True)
    assert channel.persona is not None
    started = Conversation.objects.create(owner=alice, persona=channel.persona)
    channel.rooms.update(conversation=started)
    stranger = Incoming("m", "message", room_id="r", sender_id="users/greta")
    code = make_code(channel, stranger)
    assert code is not None

    page = hers.post(TALK, talk_fields(url=address), follow=True).content.decode()
    assert (OTHER_SERVER in page) == is_other
    assert channel.identities.exists() is not is_other
    room = channel.rooms.get()
    if not is_other:
        assert (room.state, room.alone) == ("allowed", True)
        assert room.conversation == started
        return
    assert (room.state, room.alone, room.conversation) == ("waiting", False, None)
    with pytest.raises(ValidationError):
        enter_code(alice, channel, code, True, True)
    newest = AuditEvent.objects.order_by("-id").values_list("event", flat=True)
    assert set(newest[:2]) == {"channel.unlinked", "channel.room_changed"}


def test_a_channel_that_was_deleted_meanwhile_is_not_found(
    hers: Client, alice: User
) -> None:
    hers.post(TALK, talk_fields())
    channel = talk_of(alice)
    terms = ChannelTerms(channel.persona, True, "own", "pairing", 20, {})  # type: ignore[arg-type]
    Channel.objects.all().delete()
    for act in (
        lambda: change_channel(channel, terms, actor=alice),
        lambda: renew_secret(channel, actor=alice),
        lambda: drop_previous(channel, actor=alice),
    ):
        with pytest.raises(Http404):
            act()
    assert not Channel.objects.exists()


def test_nobody_elses_persona_can_be_chosen(
    hers: Client, bob: User, alice: User
) -> None:
    create_persona(bob, template="assistant", name="tina", display_name="Tina")
    answer = hers.post(TALK, talk_fields(persona="tina"))
    assert answer.status_code == 400
    assert not Channel.objects.exists()


def test_without_a_persona_the_page_says_what_is_missing(
    bob: User, client_for: Callable[..., Client]
) -> None:
    text = client_for(bob).get(TALK).content.decode()
    assert "You have no persona" in text


def test_switched_off_it_does_not_exist_for_the_outside(
    hers: Client, alice: User
) -> None:
    hers.post(TALK, talk_fields())
    fields = talk_fields()
    del fields["enabled"]
    hers.post(TALK, fields)
    assert find_channel("nextcloud_talk", "alice") is None
    assert "Switched off" in hers.get("/settings/channels/").content.decode()


def test_deleting_asks_for_the_name(hers: Client, alice: User) -> None:
    hers.post(TALK, talk_fields())
    answer = hers.post(f"{TALK}delete/", {"name": "talk"})
    assert answer.status_code == 400
    assert Channel.objects.exists()
    answer = hers.post(f"{TALK}delete/", {"name": "Nextcloud Talk"}, follow=True)
    assert "Nextcloud Talk is deleted." in answer.content.decode()
    assert not Channel.objects.exists()


def test_the_name_of_a_bot_cannot_add_words_to_the_command(
    hers: Client, alice: User, persona: Persona
) -> None:
    Persona.objects.filter(pk=persona.pk).update(display_name="x'; rm -rf ~ #")
    text = hers.post(TALK, talk_fields()).content.decode()
    assert "-- &#x27;x&#x27;&quot;&#x27;&quot;&#x27;; rm -rf ~ #&#x27; " in text


# --- Google ------------------------------------------------------------------------


def google_of(user: User) -> Channel:
    return Channel.objects.get(owner=user, kind="google_chat")


def test_google_fills_in_what_follows_from_the_rest(hers: Client, alice: User) -> None:
    assert hers.post(GOOGLE, google_fields()).status_code == 302
    account = "service-123456789012@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
    assert google_of(alice).settings == {
        "audience": "addon",
        "project_number": "123456789012",
        "endpoint": "http://127.0.0.1:8000/channels/google-chat/alice",
        "addon_account": account,
    }
    assert account in hers.get(GOOGLE).content.decode()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"audience": "project", "project_number": ""}, "digits only"),
        ({"project_number": "my-house"}, "digits only"),
        ({"project_number": ""}, "An add-on needs the number"),
        ({"addon_account": "me@example.org"}, "The account looks like"),
        ({"endpoint": "cloud"}, "must begin with http"),
        ({"audience": "anybody"}, "Select a valid choice"),
    ],
)
def test_what_google_needs_is_asked_for(
    hers: Client, changed: dict[str, str], sentence: str
) -> None:
    answer = hers.post(GOOGLE, google_fields(**changed))
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert not Channel.objects.exists()


def test_the_key_file_is_write_only(hers: Client, alice: User, key_file: str) -> None:
    hers.post(GOOGLE, google_fields(service_account=key_file))
    channel = google_of(alice)
    assert json.loads(secret(channel, "service_account")) == json.loads(key_file)
    page = hers.get(GOOGLE).content.decode()
    assert "PRIVATE KEY" not in page
    assert "One is stored" in page

    hers.post(GOOGLE, google_fields())
    assert secret(google_of(alice), "service_account"), "an empty field keeps it"
    hers.post(GOOGLE, google_fields(remove_service_account="on"))
    assert secret(google_of(alice), "service_account") == ""


def without(key_file: str, name: str, value: object = None) -> str:
    return json.dumps({**json.loads(key_file), name: value})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: text[:-5], "This is not JSON"),
        (lambda text: "[" * 9_000, "This is not JSON"),
        (lambda text: "[]", "not the key file of a service account"),
        (lambda text: without(text, "type", "authorized_user"), "not the key file"),
        (lambda text: without(text, "client_email"), "names no account"),
        (lambda text: without(text, "private_key"), "cannot be read"),
        (lambda text: without(text, "private_key", "PRIVATE"), "cannot be read"),
    ],
)
def test_a_key_file_that_cannot_work_is_refused_in_one_sentence(
    hers: Client, key_file: str, spoil: Callable[[str], str], sentence: str
) -> None:
    answer = hers.post(GOOGLE, google_fields(service_account=spoil(key_file)))
    text = answer.content.decode()
    assert answer.status_code == 400
    (shown,) = re.findall(r'<ul class="errorlist"[^>]*><li>(.*?)</li></ul>', text)
    assert sentence in shown
    assert not Channel.objects.exists()


def test_a_key_file_is_not_sent_back_and_must_be_pasted_again(
    hers: Client, key_file: str
) -> None:
    fields = google_fields(service_account=key_file, guest_daily_messages=-1)
    text = hers.post(GOOGLE, fields).content.decode()
    assert "PRIVATE KEY" not in text
    assert "Paste the file again" in text


def test_googles_page_lists_the_ids_of_the_commands(hers: Client) -> None:
    hers.post(GOOGLE, google_fields())
    page = hers.get(GOOGLE).content.decode()
    for number, word in COMMANDS.items():
        assert f"<dt>{number} <code>{word}</code></dt>" in page


def test_google_has_no_secret_of_ours(hers: Client, alice: User) -> None:
    hers.post(GOOGLE, google_fields())
    assert hers.post(f"{GOOGLE}secret/new/").status_code == 404
    assert google_of(alice).secrets == {}


# --- the log -----------------------------------------------------------------------


def test_every_change_stands_in_the_audit_log_without_secrets(
    hers: Client, alice: User, key_file: str
) -> None:
    hers.post(TALK, talk_fields())
    hers.post(TALK, talk_fields(thread="web"))
    hers.post(TALK, talk_fields(thread="web"))
    value = shown_secret(hers.post(f"{TALK}secret/new/"))
    hers.post(f"{TALK}secret/drop/")
    hers.post(f"{TALK}identities/add/", {"external_id": "alice"})
    identity = talk_of(alice).identities.get()
    hers.post(f"/settings/channels/identities/{identity.pk}/unlink/")
    hers.post(f"{TALK}delete/", {"name": "Nextcloud Talk"})
    hers.post(GOOGLE, google_fields(service_account=key_file))
    events = AuditEvent.objects.filter(event__startswith="channel.").order_by("id")
    assert list(events.values_list("event", flat=True)) == [
        "channel.created",
        "channel.secret_changed",
        "channel.changed",
        "channel.secret_changed",
        "channel.secret_removed",
        "channel.linked",
        "channel.unlinked",
        "channel.deleted",
        "channel.created",
        "channel.secret_changed",
    ]
    assert {event.actor_name for event in events} == {"alice"}
    assert events[2].detail == {"fields": ["thread"]}
    told = str(list(events.values("subject", "detail")))
    assert value not in told
    assert "PRIVATE" not in told


def test_two_changes_at_once_do_not_lose_a_secret(
    alice: User, persona: Persona
) -> None:
    terms = ChannelTerms(
        persona, True, "own", "pairing", 20, {"url": "https://x.org"}, {"secret": "old"}
    )
    first = add_channel(alice, "nextcloud_talk", terms)
    stale = Channel.objects.get(pk=first.pk)
    fresh = renew_secret(first, actor=alice)
    renew_secret(stale, actor=alice)
    channel = talk_of(alice)
    assert secret(channel, "previous") == "old"
    assert secret(channel, "secret") != fresh
