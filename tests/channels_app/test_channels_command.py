"""``manage.py channels``: the list, and taking an old file over."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, User
from channels_app.bots.channels import secret
from channels_app.management import channel_file
from channels_app.management.channel_file import Entry, NotUnderstood
from channels_app.models import Channel, ChannelRoom, LinkedIdentity
from personas.models import Persona
from personas.personas import create_persona
from tests.support.talk import make_talk_channel

SECRET = "an-old-secret-" * 4
TALK = {"url": "https://cloud.example.org/", "secret": SECRET, "persona": "inara"}


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("channels", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Return a function that writes a ``channels.json`` and returns its path."""

    def write(content: Any) -> str:
        path = tmp_path / "channels.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def rows() -> list[list[Any]]:
    kinds = (Channel, ChannelRoom, LinkedIdentity, AuditEvent)
    return [list(kind._default_manager.order_by("pk").values()) for kind in kinds]


# --- the forms of the file -----------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {"alice": {"nextcloud": TALK}},
        {"alice": {"Nextcloud-Talk": TALK}},
        {"alice": {"talk": TALK}},
        {"alice": {"channels": {"nextcloud_talk": TALK}}},
        {"alice": {"channels": [{"type": "nextcloud", **TALK}]}},
        {"alice": {"persona": "inara", "talk": {**TALK, "persona": None}}},
        {"alice": {"type": "nextcloud", **TALK}},
        {"alice": [{"kind": "talk", **TALK}]},
        {"nextcloud": {"alice": TALK}},
        {"users": {"alice": {"nextcloud": TALK}}},
        {"channels": [{"user": "alice", "channel": "nextcloud_talk", **TALK}]},
        [{"username": "alice", "platform": "Nextcloud Talk", **TALK}],
        [{"owner": "alice", "nextcloud": TALK}],
    ],
)
def test_every_sensible_form_says_the_same(file: Any, content: Any) -> None:
    (entry,) = channel_file.read(Path(file(content)))
    assert isinstance(entry, Entry)
    assert (entry.user, entry.kind, entry.unknown) == ("alice", "nextcloud_talk", ())
    assert entry.values == TALK


@pytest.mark.parametrize(
    "names",
    [
        {"base_url": "u", "bot_secret": "s", "allowed_rooms": ["r"]},
        {"nextcloud_url": "u", "shared_secret": "s", "room_tokens": ["r"]},
        {"Server": "u", "SECRET": "s", "Rooms": ["r"]},
    ],
)
def test_names_of_settings_may_differ(file: Any, names: dict[str, Any]) -> None:
    (entry,) = channel_file.read(Path(file({"alice": {"talk": names}})))
    assert isinstance(entry, Entry)
    assert entry.values == {"url": "u", "secret": "s", "rooms": ["r"]}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ([7], "entry 1"),
        ([{"type": "talk"}], "entry 1"),
        ({"alice": 7}, "alice"),
        ({"alice": {"type": "pigeon"}}, "alice"),
        ({"alice": {"pigeon": {}}}, "alice: pigeon"),
        ({"alice": {"talk": "on"}}, "alice: Nextcloud Talk"),
        ({"nextcloud": {"alice": 7}}, "alice: Nextcloud Talk"),
    ],
)
def test_what_is_not_understood_is_named(file: Any, content: Any, where: str) -> None:
    (found,) = channel_file.read(Path(file(content)))
    assert isinstance(found, NotUnderstood)
    assert found.where == where


@pytest.mark.parametrize("content", ["", "{", "7", '"x"', "[" * 100_000])
def test_an_unusable_file_changes_nothing(file: Any, content: str) -> None:
    with pytest.raises(CommandError, match=r"channels\.json .*Nothing was changed\."):
        run("import", file(content))


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such file"):
        run("import", str(tmp_path / "channels.json"))


# --- taking it over ------------------------------------------------------------------


def test_a_talk_channel_is_taken_whole(persona: Persona, file: Any) -> None:
    rooms = ["abc123de", "https://cloud.example.org/call/xyz789gh"]
    path = file(
        {"alice": {"nextcloud": {**TALK, "rooms": rooms, "users": ["nc-alice"]}}}
    )
    said = run("import", path)
    channel = Channel.objects.get()
    assert (channel.owner, channel.persona) == (persona.owner, persona)
    assert channel.settings == {"url": "https://cloud.example.org"}
    assert secret(channel, "secret") == SECRET
    assert SECRET not in json.dumps(channel.secrets)
    assert list(
        channel.rooms.order_by("external_id").values_list(
            "external_id", "state", "alone"
        )
    ) == [("abc123de", "allowed", False), ("xyz789gh", "allowed", False)]
    assert [one.external_id for one in channel.identities.all()] == ["users/nc-alice"]
    assert [line.partition(":")[0] for line in said.splitlines()] == ["taken"] * 4
    assert SECRET not in said


@pytest.mark.usefixtures("persona")
def test_doing_it_again_changes_nothing(file: Any) -> None:
    path = file({"alice": {"talk": {**TALK, "rooms": "abc123de", "users": "alice"}}})
    run("import", path)
    before = rows()
    said = run("import", path)
    assert rows() == before
    assert "taken:" not in said
    assert "Everything is there already" in said


def test_what_the_owner_changed_since_stays(persona: Persona, file: Any) -> None:
    """Names that were known on one server may be other people's on another one."""
    make_talk_channel(persona, "https://new.example.org")
    before = rows()
    more = {"rooms": ["abc123de", "xyz789gh"], "users": ["nc-alice"]}
    said = run("import", file({"alice": {"talk": {**TALK, **more}}}))
    assert rows() == before
    assert "with another address and secret; it stays so" in said


def test_what_is_missing_on_the_same_server_is_added(
    persona: Persona, file: Any
) -> None:
    make_talk_channel(persona, secret=SECRET)
    more = {"rooms": ["abc123de", "xyz789gh"]}
    path = file({"alice": {"talk": {**TALK, **more}}})
    said = json.loads(run("import", path, "--json"))
    assert [text.partition(": ")[2] for text in said["taken"]] == [
        "room xyz789gh is allowed, as one where others read."
    ]
    assert len(said["kept"]) == 2


@pytest.mark.usefixtures("persona")
def test_a_trial_changes_nothing_and_says_the_same(file: Any) -> None:
    path = file({"alice": {"talk": {**TALK, "rooms": ["abc123de"]}}})
    before = rows()
    trial = json.loads(run("import", path, "--dry-run", "--json"))
    assert rows() == before
    real = json.loads(run("import", path, "--json"))
    assert trial["taken"] == real["taken"]
    assert (trial["changed"], real["changed"]) == (False, True)


@pytest.mark.usefixtures("persona")
def test_of_several_accounts_only_the_owners_own_is_linked(file: Any) -> None:
    """Whoever is linked gets what only the owner may read."""
    users = ["alice", "bob", "users/carol"]
    said = run("import", file({"alice": {"talk": {**TALK, "users": users}}}))
    linked = LinkedIdentity.objects.values_list("external_id", flat=True)
    assert list(linked) == ["users/alice"]
    assert said.count("is not linked") == 2


@pytest.mark.usefixtures("persona")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": None}, "names no server"),
        ({"url": "ftp://x"}, "must begin with http"),
        ({"url": "http://192.168.1.5"}, "private network"),
        ({"secret": None}, "no secret"),
        ({"secret": "short"}, "shorter than the 40"),
        ({"persona": "tina"}, "no persona “tina”"),
    ],
)
def test_a_channel_is_taken_whole_or_not(
    file: Any, changes: dict[str, Any], words: str
) -> None:
    path = file({"alice": {"talk": {**TALK, **changes, "rooms": ["abc123de"]}}})
    before = rows()
    with pytest.raises(CommandError, match="Nothing of the file"):
        run("import", path)
    assert rows() == before
    taking = json.loads(_quiet(path))
    assert words in taking["not_taken"][0]
    assert SECRET not in json.dumps(taking)


def _quiet(path: str) -> str:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("channels", "import", path, "--json", stdout=out)
    return out.getvalue()


def test_each_line_is_told_for_itself(persona: Persona, bob: User, file: Any) -> None:
    create_persona(persona.owner, template="assistant", name="t", display_name="T")
    said = json.loads(
        run(
            "import",
            file(
                {
                    "alice": {
                        "talk": {**TALK, "rooms": ["abc123de", "?"], "color": "red"}
                    },
                    "bob": {"talk": {**TALK, "persona": None}},
                    "mallory": {"talk": TALK},
                    "alice2": 7,
                }
            ),
            "--json",
        )
    )
    assert [text.partition(": ")[2] for text in said["taken"]] == [
        "set up (https://cloud.example.org, persona inara).",
        "room abc123de is allowed, as one where others read.",
    ]
    assert len(said["not_taken"]) == 5
    assert any("“color”" in text for text in said["not_taken"])
    assert any("names no persona" in text for text in said["not_taken"])
    assert any("no such person" in text for text in said["not_taken"])


@pytest.mark.usefixtures("persona")
def test_one_persons_part_alone_can_be_taken(bob: User, file: Any) -> None:
    create_persona(bob, template="assistant", name="inara", display_name="I")
    path = file({"alice": {"talk": TALK}, "bob": {"talk": TALK}})
    run("import", path, "--user", "bob")
    assert [channel.owner for channel in Channel.objects.all()] == [bob]


@pytest.mark.usefixtures("persona")
@pytest.mark.parametrize(
    ("google", "settings"),
    [
        (
            {"project_number": 123456789012},
            {"project_number": "123456789012", "audience": "project"},
        ),
        (
            {"url": "https://c.example.org/channels/google-chat/alice"},
            {
                "endpoint": "https://c.example.org/channels/google-chat/alice",
                "audience": "url",
            },
        ),
    ],
)
def test_a_google_channel_is_taken(
    file: Any, google: dict[str, Any], settings: dict[str, str]
) -> None:
    run(
        "import",
        file({"alice": {"google_chat": {**google, "spaces": ["spaces/AAAA"]}}}),
    )
    channel = Channel.objects.get()
    assert (channel.kind, channel.settings) == ("google_chat", settings)
    assert [room.external_id for room in channel.rooms.all()] == ["spaces/AAAA"]


@pytest.mark.usefixtures("persona")
@pytest.mark.parametrize(
    ("number", "why"),
    [
        (1, "6 to 20 digits, not 1;"),
        ("1" * 21, "6 to 20 digits, not 21;"),
        ("my-project", "digits only"),
        ("١٢٣٤٥٦٧٨", "digits only"),
    ],
)
def test_a_wrong_project_number_is_refused_for_what_is_wrong(
    file: Any, number: Any, why: str
) -> None:
    path = file({"alice": {"google_chat": {"project_number": number}}})
    output = io.StringIO()
    with pytest.raises(CommandError, match="Nothing of the file"):
        call_command("channels", "import", path, stdout=output)
    assert why in output.getvalue()
    assert not Channel.objects.exists()


@pytest.mark.usefixtures("persona")
def test_a_google_key_is_read_from_beside_the_file_and_checked(
    file: Any, tmp_path: Path
) -> None:
    google = {"project_number": "123456789012", "credentials_file": "key.json"}
    path = file({"alice": {"google": google}})
    assert "cannot be read" in _quiet(path)
    (tmp_path / "key.json").write_text('{"type": "something else"}')
    assert "no" in json.loads(_quiet(path))["not_taken"][0]
    assert not Channel.objects.exists()


# --- the list ---------------------------------------------------------------------


def test_the_list_shows_addresses_and_no_secret(persona: Persona, bob: User) -> None:
    make_talk_channel(persona, secret=SECRET)
    said = run("list")
    assert "alice · nextcloud_talk: on, persona inara" in said
    assert "http://127.0.0.1:8000/webhook/nextcloud/alice" in said
    assert SECRET not in said
    (row,) = json.loads(run("list", "--json"))
    assert (row["rooms_allowed"], row["linked"]) == (1, ["users/alice"])
    assert json.loads(run("list", "--json", "--user", bob.username)) == []
    assert run("list", "--user", bob.username).strip() == "No channels yet."


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"enabled": False}, "off"),
        ({"secrets": {}}, "not complete"),
        ({"persona": None}, "not complete"),
    ],
)
def test_the_list_says_which_are_not_in_use(
    persona: Persona, fields: dict[str, Any], state: str
) -> None:
    channel = make_talk_channel(persona)
    Channel.objects.filter(pk=channel.pk).update(**fields)
    (row,) = json.loads(run("list", "--json"))
    assert row["state"] == state
