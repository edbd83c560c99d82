"""``manage.py home``: an old home comes in, and goes out again as it was."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.http import Http404

from accounts import invites, newcomers
from accounts.models import AuditEvent, User
from channels_app.bots.channels import secret
from channels_app.models import Channel, HomeFile
from personas.conversations import get_conversation_for_user
from personas.home import persona_folder, persona_rows
from personas.home.session_file import read
from personas.home.session_rows import store_session
from personas.models import (
    Conversation,
    FileRevision,
    HomePiece,
    HomeSession,
    Message,
    Persona,
    PersonaFile,
)
from routing.hosts import chain_of
from routing.keys import key_of
from routing.models import Host, Model, RoleSlot
from tests.channels_app.homes.old_tree import (
    INARA,
    SESSIONS,
    TALK_SECRET,
    VENDOR_KEY,
    tree,
    write_files,
    write_home,
)

pytestmark = pytest.mark.django_db

KINDS: tuple[Any, ...] = (
    *(User, Persona, PersonaFile, FileRevision, Conversation, Message),
    *(HomeSession, HomePiece, HomeFile, Channel, Host, Model, RoleSlot, AuditEvent),
)


def run(verb: str, path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command with ``--json``; return exit code and value."""
    out, code = io.StringIO(), 0
    try:
        call_command("home", verb, str(path), "--json", *options, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue())


def said(value: dict[str, Any], outcome: str) -> dict[str, str]:
    """Return the sentences of one outcome by their paths."""
    return {line["where"]: line["text"] for line in value[outcome]}


def rows() -> list[list[Any]]:
    return [list(kind._default_manager.order_by("pk").values()) for kind in KINDS]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path)


# --- there and back ------------------------------------------------------------------


def test_a_home_goes_out_as_it_came_in(home: Path, tmp_path: Path) -> None:
    code, value = run("import", home)
    left = said(value, "left")
    assert code == 1
    assert set(left) == {"bob/local_llm.json"}  # its address needs a permission

    code, value = run("export", tmp_path / "out", "--with-secrets")

    assert code == 0
    assert tree(tmp_path / "out") == tree(home)


def test_what_came_in_is_there(home: Path) -> None:
    run("import", home)

    alice = User.objects.get(username="alice")
    assert not alice.has_usable_password()
    inara = Persona.objects.get(owner=alice, name="inara")
    texts = {file.name: file.text.encode() for file in inara.files.all()}
    assert texts == INARA
    assert {file.name for file in inara.files.filter(private=True)} == {
        "USER.md",
        "MEMORY_SHORT.md",
        "MEMORY_MID.md",
        "MEMORY_LONG.md",
    }
    revision = FileRevision.objects.get(file__persona=inara, file__name="SOUL.md")
    assert (revision.number, revision.author) == (1, alice)
    channel = Channel.objects.get(owner=alice)
    assert secret(channel, "secret") == TALK_SECRET
    host = Host.objects.get(owner=alice)
    assert key_of(host) == VENDOR_KEY
    assert chain_of(alice, "chat") == [Model.objects.get(host=host), "builtin"]


def test_sessions_are_conversations_with_their_times(home: Path) -> None:
    run("import", home)

    session = HomeSession.objects.get(name="2025-03-02.json")
    conversation = session.conversation
    assert conversation is not None
    assert conversation.title == "The cello"
    messages = list(conversation.messages.order_by("created_at"))
    assert [(message.role, message.text) for message in messages] == [
        ("user", "Strings?"),
        ("assistant", "Three shops.\n\nShall I ring?"),
        ("user", "Yes."),
    ]
    # The one without a time comes just after the one before it.
    assert [f"{message.created_at:%H:%M:%S.%f}" for message in messages] == [
        "10:00:00.000000",
        "10:00:00.001000",
        "10:30:00.000000",
    ]
    assert messages[0].parent is None
    assert {message.channel for message in messages} == {"import"}
    assert all(message.distilled_at for message in messages)
    assert not any(message.indexed_at for message in messages)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_session_without_a_message_is_named_and_makes_no_conversation(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    rows = {
        "empty.json": b"[]",
        "machine.json": b'[{"role": "system", "content": "x"}]',
    }
    write_files(tmp_path / "alice" / "persona" / "inara" / "sessions", rows)

    code, value = run("import", tmp_path, *options)

    assert code == 1
    left = said(value, "left")
    for name in rows:
        assert "no message" in left[f"alice/persona/inara/sessions/{name}"]
    assert not Conversation.objects.exists()
    assert not HomeSession.objects.exists()


def test_people_get_in_by_the_command_that_is_printed(home: Path) -> None:
    _, value = run("import", home)
    commands = [hint for hint in value["next"] if "users invite" in hint]
    assert commands == [
        "manage.py users invite alice ADDRESS",
        "manage.py users invite bob ADDRESS",
    ]
    before = User.objects.get(username="alice")

    out = io.StringIO()
    words = commands[0].replace("ADDRESS", "alice@example.org").split()[1:]
    call_command(*words, "--json", stdout=out)
    token = json.loads(out.getvalue())["link"].rsplit("/", 1)[1]
    user = invites.redeem_invite(
        token, username="", email="", password="correct horse battery staple"
    )

    assert user.pk == before.pk
    assert not newcomers.waiting().filter(pk=user.pk).exists()
    assert Persona.objects.filter(owner=user, name="inara").exists()


def test_a_second_import_changes_nothing(home: Path) -> None:
    run("import", home)
    before = rows()

    code, value = run("import", home)

    assert rows() == before
    assert not value["changed"]
    assert value["taken"] == []
    assert set(said(value, "left")) == {"bob/local_llm.json"}
    assert code == 1


def test_a_trial_writes_nothing_and_says_the_same(home: Path) -> None:
    before = rows()

    code, trial = run("import", home, "--dry-run")
    assert rows() == before
    real_code, real = run("import", home)

    assert (code, trial.pop("dry_run"), trial.pop("changed")) == (1, True, False)
    assert (real_code, real.pop("dry_run"), real.pop("changed")) == (1, False, True)
    assert trial == real


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_nobody_waits_while_sessions_are_read(
    home: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    before = list(connection.savepoint_ids)
    open_then = []

    def reading(*args: Any) -> Any:
        open_then.append(list(connection.savepoint_ids))
        return read(*args)

    monkeypatch.setattr(persona_folder, "read", reading)

    run("import", home, *options)

    assert open_then == [before] * len(SESSIONS)


def test_a_trial_does_not_store_sessions(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        persona_rows, "store_session", lambda *args: pytest.fail("others would wait")
    )

    _, trial = run("import", home, "--dry-run")

    taken = said(trial, "taken")["alice/persona/inara/sessions/2025-03-02.json"]
    assert "became a conversation of 3 messages" in taken


@pytest.mark.parametrize("where", ["", "home", "home/alice"])
def test_the_folder_may_be_home_its_parent_or_one_persons(
    home: Path, tmp_path: Path, where: str
) -> None:
    code, value = run("import", tmp_path / where, "--user", "alice")

    assert (code, value["left"]) == (0, [])
    assert Persona.objects.filter(owner__username="alice").count() == 2
    assert not User.objects.filter(username="bob").exists()


def test_one_persons_folder_can_become_another_persons(home: Path) -> None:
    run("import", home / "bob", "--user", "carol")

    assert Persona.objects.get(owner__username="carol").name == "inara"


# --- what is not taken ---------------------------------------------------------------


def test_each_refusal_is_named_and_the_rest_is_taken(
    home: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text("secret")
    inara = home / "alice" / "persona" / "inara"
    sessions = inara / "sessions"
    (inara / "link.md").symlink_to(outside)
    os.link(outside, inara / "hard.md")
    os.mkfifo(inara / "pipe.md")
    (inara / "folder.md").mkdir()
    write_files(
        inara,
        {
            "large.md": b"x" * (64 * 1024 + 1),
            "latin.md": b"\xe4",
            "zero.md": b"a\0b",
            "soul.md": b"a look-alike",
            "S\u041eUL.md": b"a Cyrillic O",
            "\uff33.md": b"wide",
            "..hidden.md": b"",
            "program.py": b"",
            "broken.json": b"{",
            "deep.json": b"[" * 70 + b"]" * 70,
        },
    )
    (inara / os.fsdecode(b"\xff.md")).write_bytes(b"")
    write_files(
        sessions,
        {
            "number.json": b"5",
            "no list.json": b'{"a": 1}',
            "x.txt": b"",
            "b.json": b"[}",
        },
    )
    (sessions / "away.json").symlink_to(outside)
    (home / "alice" / "persona" / "Bad Name").mkdir()
    (home / "alice" / "persona" / "me").mkdir()
    (home / "alice" / "persona" / "nothing").mkdir()
    (home / "alice" / "persona" / "away").symlink_to(inara)
    (home / "mallory").symlink_to(home / "alice")
    write_files(home / "admin", {"channels.json": b"{}"})
    write_files(home, {"readme.txt": b""})
    write_files(home / "alice", {"other.json": b"{}"})

    code, value = run("import", home)

    left = said(value, "left")
    assert code == 1
    in_inara = {
        "link.md": "symbolic link",
        "hard.md": "hard link",
        "pipe.md": "pipe",
        "folder.md": "folder",
        "large.md": "larger than 64 KB",
        "latin.md": "not UTF-8",
        "zero.md": "zero character",
        "soul.md": "too close to SOUL.md",
        "S\u041eUL.md": "mixes alphabets",
        "\uff33.md": "only look like others",
        "..hidden.md": "not allowed",
        "program.py": "not allowed",
        "broken.json": "not JSON",
        "deep.json": "64 levels",
        "\\udcff.md": "not UTF-8",
        "sessions/number.json": "neither a list",
        "sessions/no list.json": "without a list",
        "sessions/x.txt": "is no session",
        "sessions/b.json": "line 1",
        "sessions/away.json": "symbolic link",
    }
    expected = {
        f"alice/persona/inara/{name}": why for name, why in in_inara.items()
    } | {
        "alice/persona/Bad Name": "not allowed",
        "alice/persona/me": "reserved",
        "alice/persona/nothing": "no file of a persona",
        "alice/persona/away": "symbolic link",
        "alice/other.json": "no meaning",
        "bob/local_llm.json": "left out",
        "mallory": "symbolic link",
        "admin": "reserved",
        "readme.txt": "not allowed",
    }
    assert set(left) == set(expected)
    for where, why in expected.items():
        assert why in left[where], where
    assert "secret" not in str(list(PersonaFile.objects.values()))
    inara_row = Persona.objects.get(owner__username="alice", name="inara")
    assert {file.name for file in inara_row.files.all()} == set(INARA)
    assert inara_row.home_sessions.count() == len(SESSIONS)


def test_bad_files_of_models_and_channels_are_left(tmp_path: Path) -> None:
    write_files(tmp_path / "alice" / "persona" / "inara", {"SOUL.md": b"Brief."})
    refused = {
        b"{": "not JSON",
        b"\xff": "not UTF-8",
        b'{"a": "\\ud800"}': "not text",
        b"[" * 100: "64 levels",
        b"5": "",
        b'{"a": 1}': "",
        b"x" * 1_100_000: "larger than 1 MB",
    }
    for raw, why in refused.items():
        for name in ("channels.json", "model_registry.json"):
            write_files(tmp_path / "alice", {name: raw})

            code, value = run("import", tmp_path)

            assert code == 1
            assert why in said(value, "left")[f"alice/{name}"]
            (tmp_path / "alice" / name).unlink()
    assert Persona.objects.get(owner__username="alice").name == "inara"


def test_a_key_file_outside_is_not_read(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    entry = {"project_number": "123456789", "persona": "inara"}
    for name in (str(key), "../../key.json", "away.json"):
        channels = {"google_chat": {**entry, "credentials_file": name}}
        write_files(home / "alice", {"channels.json": json.dumps(channels).encode()})
        if name == "away.json":
            (home / "alice" / name).symlink_to(key)

        _, value = run("import", home, "--user", "alice")

        assert "cannot be read" in said(value, "left")["alice/channels.json"]
        assert not Channel.objects.exists()


def test_a_changed_file_is_left_and_can_become_a_new_version(home: Path) -> None:
    run("import", home)
    soul = home / "alice" / "persona" / "inara" / "SOUL.md"
    before = PersonaFile.objects.get(
        persona__owner__username="alice", name="SOUL.md", persona__name="inara"
    )
    soul.write_bytes(b"Loud.\n")

    code, value = run("import", home, "--user", "alice")
    assert code == 1
    assert "--overwrite" in said(value, "left")["alice/persona/inara/SOUL.md"]
    file = PersonaFile.objects.get(pk=before.pk)
    assert (file.text, file.revision) == (before.text, 1)

    code, value = run("import", home, "--user", "alice", "--overwrite")
    assert code == 0
    file.refresh_from_db()
    assert (file.text, file.revision) == ("Loud.\n", 2)


def test_a_deleted_conversation_does_not_come_back(home: Path) -> None:
    run("import", home)
    session = HomeSession.objects.get(name="2025-03-01.json")
    assert session.conversation is not None
    session.conversation.delete()
    assert not HomePiece.objects.filter(text__contains="keys").exists()

    _, value = run("import", home, "--user", "alice")

    kept = said(value, "kept")["alice/persona/inara/sessions/2025-03-01.json"]
    assert "stays deleted" in kept
    assert not Message.objects.filter(text__contains="keys").exists()


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError, RuntimeError), (DatabaseError, None)]
)
def test_a_crash_in_the_middle_leaves_nothing_of_a_persona(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    raised: type[Exception] | None,
) -> None:
    real = store_session
    calls = []

    def fail(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise error("in the middle")
        return real(*args)

    monkeypatch.setattr(persona_rows, "store_session", fail)
    if raised:
        with pytest.raises(raised):
            run("import", home)
    else:
        _, value = run("import", home)
        assert "nothing of it" in said(value, "left")["alice/persona/inara"]
        assert Persona.objects.filter(name="wintermute").exists()

    assert not Persona.objects.filter(name="inara", owner__username="alice").exists()
    assert not Conversation.objects.exists()
    monkeypatch.undo()
    run("import", home)
    assert HomeSession.objects.count() == len(SESSIONS)


@pytest.mark.parametrize(
    ("path", "options", "why"),
    [
        ("nowhere", (), "not there|no such file"),
        ("home/alice", (), "--user"),
        ("home", ("--user", "nobody"), "no folder of"),
        ("empty", (), "empty"),
    ],
)
def test_what_cannot_be_read_at_all_is_exit_code_2(
    home: Path, tmp_path: Path, path: str, options: tuple[str, ...], why: str
) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(CommandError, match=why) as error:
        run("import", tmp_path / path, *options)

    assert error.value.returncode == 2
    assert not User.objects.exists()


# --- going out -----------------------------------------------------------------------


def test_secrets_stay_here_unless_they_are_asked_for(
    home: Path, tmp_path: Path
) -> None:
    run("import", home)

    run("export", tmp_path / "out")

    out = tree(tmp_path / "out")
    whole = b"".join(out.values())
    assert TALK_SECRET.encode() not in whole
    assert VENDOR_KEY.encode() not in whole
    assert b"pa55" not in whole
    assert out["alice/model_registry.json"] == (
        home / "alice" / "model_registry.json"
    ).read_bytes().replace(VENDOR_KEY.encode(), b"")
    stored = str(list(HomeFile.objects.values()))
    assert TALK_SECRET not in stored
    assert VENDOR_KEY not in stored


def test_an_export_is_for_one_pair_of_eyes_and_is_noted(
    home: Path, tmp_path: Path
) -> None:
    run("import", home)

    run("export", tmp_path / "out", "--with-secrets", "--user", "alice")

    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    event = AuditEvent.objects.get(event="home.exported")
    assert (event.subject, event.detail) == ("alice", {"with_secrets": True})
    assert not (tmp_path / "out" / "bob").exists()


def test_what_changed_since_is_written_as_it_is_now(home: Path, tmp_path: Path) -> None:
    run("import", home)
    host = Host.objects.get(owner__username="alice")
    host.name = "Renamed"
    host.save()
    Channel.objects.update(enabled=False)

    run("export", tmp_path / "out", "--with-secrets")

    out = tmp_path / "out" / "alice"
    registry = json.loads((out / "model_registry.json").read_text())
    assert registry["hosts"]["Renamed"]["api_key"] == VENDOR_KEY
    channels = json.loads((out / "channels.json").read_text())
    assert channels["nextcloud_talk"]["enabled"] is False
    assert channels["nextcloud_talk"]["secret"] == TALK_SECRET
    run("export", tmp_path / "masked")
    masked = b"".join(tree(tmp_path / "masked").values())
    assert TALK_SECRET.encode() not in masked
    assert VENDOR_KEY.encode() not in masked


def test_an_export_can_be_taken_in_by_an_empty_installation(
    home: Path, tmp_path: Path
) -> None:
    run("import", home)
    Channel.objects.update(enabled=False)
    alice = User.objects.get(username="alice")
    inara = Persona.objects.get(owner=alice, name="inara")
    own = Conversation.objects.create(owner=alice, persona=inara, title="New")
    Message.objects.create(conversation=own, owner=alice, role="user", text="Hello")
    run("export", tmp_path / "out", "--with-secrets")
    code, value = run("import", tmp_path / "out", "--user", "alice")
    assert (code, value["taken"]) == (0, [])
    User.objects.all().delete()

    code, value = run("import", tmp_path / "out", "--user", "alice")

    assert (code, value["left"]) == (0, [])
    assert secret(Channel.objects.get(), "secret") == TALK_SECRET
    assert Message.objects.filter(text="Hello", channel="import").count() == 1
    run("export", tmp_path / "again", "--with-secrets", "--user", "alice")
    assert tree(tmp_path / "again" / "alice") == tree(tmp_path / "out" / "alice")


def test_no_more_than_the_shown_and_lasting_conversations_go_out(
    alice: User, persona: Persona, tmp_path: Path
) -> None:
    for title, more in {"Gone": {"temporary": True}, "Kept": {}}.items():
        own = Conversation.objects.create(
            owner=alice, persona=persona, title=title, **more
        )
        Message.objects.create(conversation=own, owner=alice, role="user", text=title)

    run("export", tmp_path / "out")

    out = str(tree(tmp_path / "out"))
    assert "Kept" in out
    assert "Gone" not in out


def test_an_export_goes_into_a_new_folder(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="not empty") as error:
        run("export", home)

    assert error.value.returncode == 2
    with pytest.raises(CommandError, match="no person") as error:
        run("export", tmp_path / "out", "--user", "nobody")
    assert error.value.returncode == 2


def test_other_people_see_nothing_of_what_came_in(home: Path, bob: User) -> None:
    run("import", home, "--user", "alice")
    conversation = Conversation.objects.first()
    assert conversation is not None

    with pytest.raises(Http404):
        get_conversation_for_user(bob, conversation.pk)


def test_that_files_with_secrets_are_kept_is_told_once(home: Path) -> None:
    kept = "is kept, encrypted, to be written back."
    _, value = run("import", home)
    told = [line["where"] for line in value["taken"] if line["text"] == kept]
    assert "alice/channels.json" in told and "alice/model_registry.json" in told
    assert len(told) == HomeFile.objects.count()
    assert not run("import", home)[1]["taken"]
