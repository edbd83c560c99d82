"""A bundle restores everything of a person on an empty installation, only theirs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.invites import create_invite, redeem_invite
from accounts.models import AuditEvent, User
from channels_app.homes.bundle_import import take_bundle
from channels_app.models import Schedule
from ledger import journal, statistics, verify
from ledger.models import LedgerEntry
from personas.conversations import delete_conversation
from personas.home.bundle_shapes import ChangeShape
from personas.home.report import Outcome
from personas.memory import runs
from personas.memory.changes import Change
from personas.models import (
    Conversation,
    FileRevision,
    MemoryNote,
    MemoryRun,
    Message,
    Persona,
)
from personas.personas import create_persona
from tests.channels_app.homes.bundles import (
    LONG_AGO,
    bundle_of,
    contents,
    edited,
    fill,
    say,
)
from tests.conftest import PASSWORD

HERE_ALONE = {"id", "user_id", "persona_id", "note", "previous_hash", "hash"}
"""Columns of the ledger that belong to an installation, and the mark of an import."""


def comparable(path: Path) -> dict[str, Any]:
    """Return a bundle's contents without what an installation puts in."""
    found: dict[str, Any] = dict(contents(path))
    rows = csv.DictReader(io.StringIO(found["ledger.csv"].decode()))
    found["ledger.csv"] = [
        {name: value for name, value in row.items() if name not in HERE_ALONE}
        for row in rows
    ]
    manifest = json.loads(found.pop("manifest.json"))
    assert manifest.pop("created_at")
    manifest["entries"].pop("ledger.csv")
    return found | {"manifest": manifest}


def leave(user: User) -> None:
    """Remove a person as an installation does that they have left."""
    call_command("users", "delete", user.username, "--yes")
    assert not Message.objects.filter(owner_id=user.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_a_bundle_restores_everything_on_an_empty_installation(
    persona: Persona, tmp_path: Path
) -> None:
    answer = fill(persona)
    before = bundle_of(persona.owner, tmp_path / "before.zip")
    spent = statistics.totals(persona.owner)
    history = revisions()
    call_command("flush", interactive=False, verbosity=0)
    (settings.DATA_DIR / journal.FILE_NAME).unlink()
    assert not LedgerEntry.objects.exists()

    report = take_bundle(before, dry_run=False)
    assert report.complete
    assert report.hints == ["manage.py users invite alice alice@example.org"]
    restored = User.objects.get()
    assert (restored.get_full_name(), restored.has_usable_password()) == (
        "Alice Liddell",
        False,
    )
    assert revisions() == history
    assert Message.objects.get(pk=answer.pk).distilled_at == LONG_AGO
    assert Message.objects.get(forgotten_at=LONG_AGO).text == "Another answer."
    assert MemoryNote.objects.get().run == MemoryRun.objects.get()
    assert statistics.totals(restored) == spent
    assert set(LedgerEntry.objects.values_list("note", flat=True)) == {
        "Imported from a bundle",
        "Imported from a bundle: the bill",
    }
    assert verify.verify().ok
    after = bundle_of(restored, tmp_path / "after.zip")
    assert comparable(after) == comparable(before)

    # A second time nothing changes.
    again = take_bundle(before, dry_run=False)
    assert again.complete
    assert not again.changed
    assert comparable(bundle_of(restored, tmp_path / "again.zip")) == comparable(before)
    events = AuditEvent.objects.filter(event="home.bundle_imported").order_by("pk")
    assert [(each.subject, each.detail["part"]) for each in events] == [
        ("alice", "personas/inara"),
        ("alice", "ledger.jsonl"),
    ]


def revisions() -> list[tuple[Any, ...]]:
    """Return the versions of all files: number, who, when, why, text."""
    rows = FileRevision.objects.order_by("file__name", "number")
    return list(
        rows.values_list(
            *("file__name", "number", "author__username", "created_at"),
            *("reason", "text"),
        )
    )


def test_a_line_that_was_remembered_can_be_undone_where_it_came_to(
    persona: Persona, tmp_path: Path
) -> None:
    fill(persona)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    stored = MemoryRun.objects.get().changes
    assert stored[0]["revision"] == 2
    leave(persona.owner)
    assert take_bundle(path, dry_run=False).complete
    run = MemoryRun.objects.get()
    assert run.changes == stored
    runs.undo(run, User.objects.get())
    file = run.persona.files.get(name="MEMORY_SHORT.md")
    assert file.text == "- An older line.\n"


def test_a_bundle_knows_all_that_a_run_stores() -> None:
    stored = {field.name for field in dataclasses.fields(Change)}
    assert set(ChangeShape.model_fields) == stored


def test_a_trial_changes_nothing(persona: Persona, tmp_path: Path) -> None:
    fill(persona)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    rows = LedgerEntry.objects.count()
    leave(persona.owner)
    report = take_bundle(path, dry_run=True)
    assert report.changed
    assert not User.objects.exists()
    assert not Conversation.objects.exists()
    assert LedgerEntry.objects.count() == rows


def test_rows_that_the_ledger_kept_are_not_booked_again(
    persona: Persona, tmp_path: Path
) -> None:
    """Amounts of a deleted person stay; importing them back adds none."""
    fill(persona)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    rows = LedgerEntry.objects.count()
    leave(persona.owner)
    assert "rows are here already" in str(take_bundle(path, dry_run=False).lines)
    assert LedgerEntry.objects.count() == rows


def test_what_has_an_id_that_is_taken_gets_another_one_and_links_follow(
    persona: Persona, tmp_path: Path
) -> None:
    answer = fill(persona)
    asked = answer.parent
    assert asked is not None
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    for _ in range(2):
        report = take_bundle(path, "carol", dry_run=False)
        left = [line.text for line in report.of(Outcome.LEFT)]
        assert left in ([], ["has the e-mail address of somebody else here."])
    carol = User.objects.get(username="carol")
    hers = Message.objects.get(owner=carol, text=asked.text)
    assert hers.pk != asked.pk
    note = MemoryNote.objects.get(message=hers)
    run = MemoryRun.objects.get(persona__owner=carol)
    file = Persona.objects.get(owner=carol).files.get(name="MEMORY_SHORT.md")
    for text in (note.line, run.changes[0]["add"][0], file.text):
        assert f"/m/{hers.pk} " in text
        assert str(asked.pk) not in text
    chat = hers.conversation
    assert chat.current_message is not None
    assert chat.current_message.text == "Me too!"
    assert chat.messages.filter(text="Me too!", parent__parent=hers).exists()
    assert Message.objects.count() == 8
    brief = Schedule.objects.get(owner=carol)
    assert brief.conversation == chat


def test_nothing_of_others_and_nothing_deleted_is_in_it(
    persona: Persona, bob: User, tmp_path: Path
) -> None:
    alice = persona.owner
    fill(persona)
    his = create_persona(bob, template="assistant", name="inara", display_name="Mine")
    fill(his)
    bobs = Conversation.objects.get(owner=bob)
    say(bobs, "user", "Bob's canary", None)
    chat = Conversation.objects.get(owner=alice)
    gone = say(chat, "user", "Deleted canary", None, deleted_at=LONG_AGO)
    below = say(chat, "assistant", "Below it", gone)
    Conversation.objects.filter(pk=chat.pk).update(current_message=below)
    for name, flags in (("deleted", {}), ("temporary", {"temporary": True})):
        other = Conversation.objects.create(owner=alice, persona=persona, **flags)
        say(other, "user", f"A {name} canary", None)
        if not flags:
            delete_conversation(other)

    path = bundle_of(alice, tmp_path / "b.zip")
    found = contents(path)
    everything = b"".join(found.values())
    assert b"canary" not in everything
    assert b"bob" not in everything
    assert str(gone.pk).encode() not in everything
    manifest = json.loads(found["manifest.json"])
    assert manifest["counts"]["conversations"] == 1
    assert manifest["counts"]["messages"] == 5
    (name,) = (name for name in found if re.search(r"cellos-violas-\w+\.json", name))
    said = {each["text"]: each for each in json.loads(found[name])["messages"]}
    assert said["Below it"]["parent"] is None
    assert said["Me too!"]["from_guest"] is True


def test_a_conversation_is_readable_too(persona: Persona, tmp_path: Path) -> None:
    fill(persona)
    found = contents(bundle_of(persona.owner, tmp_path / "b.zip"))
    (text,) = (
        found[name].decode()
        for name in found
        if name.endswith(f"-violas-{Conversation.objects.get().pk.hex[:8]}.md")
    )
    assert text.startswith("# Cellos & violas\n\nWith Inara, begun 2026-03-01 10:30.")
    said = [line for line in text.splitlines() if line.startswith("## ")]
    assert said == [
        "## You · 2026-03-01 10:30",
        "## Inara · 2026-03-01 10:30",
        "## Zoë · 2026-03-01 10:30",
    ]
    assert "Another answer" not in text


def test_an_answer_that_is_being_written_goes_out_as_interrupted(
    persona: Persona, tmp_path: Path
) -> None:
    chat = Conversation.objects.create(owner=persona.owner, persona=persona)
    say(chat, "assistant", "half", None, state="generating")
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    leave(persona.owner)
    assert take_bundle(path, dry_run=False).complete
    assert Message.objects.get().state == "interrupted"


def test_briefs_are_off_and_fall_back_to_a_conversation(
    persona: Persona, tmp_path: Path
) -> None:
    fill(persona)
    Schedule.objects.update(enabled=True, delivery="webhook", next_at=LONG_AGO)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    leave(persona.owner)
    report = take_bundle(path, dry_run=False)
    brief = Schedule.objects.get()
    assert (brief.enabled, brief.next_at, brief.delivery) == (
        False,
        None,
        "conversation",
    )
    assert any("webhook's address" in line.text for line in report.lines)


def test_the_address_of_somebody_else_is_left(
    persona: Persona, bob: User, tmp_path: Path
) -> None:
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    leave(persona.owner)
    User.objects.filter(pk=bob.pk).update(email="Alice@example.org")
    report = take_bundle(path, dry_run=False)
    assert not report.complete
    assert User.objects.get(username="alice").email == ""


def test_no_secret_and_no_role_is_restored(persona: Persona, tmp_path: Path) -> None:
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    assert b"password" not in contents(path)["person.json"]
    assert persona.owner.password.encode() not in b"".join(contents(path).values())
    leave(persona.owner)
    edited(path, "person.json", lambda text: text.replace("{", '{"is_admin": true,', 1))
    with pytest.raises(Exception, match="is_admin"):
        take_bundle(path, dry_run=False)


def test_an_invite_lets_the_restored_person_in(
    persona: Persona, tmp_path: Path, client: Client
) -> None:
    fill(persona)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    leave(persona.owner)
    take_bundle(path, dry_run=False)
    assert not client.login(username="alice", password=PASSWORD)
    _, token = create_invite(username="alice", email="alice@example.org")
    redeem_invite(token, username="", email="", password=PASSWORD)
    user = User.objects.get()
    assert client.login(username="alice", password=PASSWORD)
    assert (user.get_full_name(), user.time_zone) == ("Alice Liddell", "Europe/Berlin")
    assert EmailAddress.objects.get(user=user).verified
    assert Message.objects.filter(owner=user).count() == 4


# --- the command --------------------------------------------------------------


def test_the_command_writes_a_file_for_its_owner_alone_and_reads_it(
    persona: Persona, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(persona)
    path = tmp_path / "alice.zip"
    call_command("home", "export", "--user", "alice", "--bundle", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert zipfile.is_zipfile(path)
    event = AuditEvent.objects.get(event="home.bundle_exported")
    assert (event.subject, event.detail["counts"]["messages"]) == ("alice", 4)
    before = path.read_bytes()
    with pytest.raises(CommandError, match="exists already"):
        call_command("home", "export", "--user", "alice", "--bundle", str(path))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["alice.zip"]
    capsys.readouterr()
    leave(persona.owner)
    call_command("home", "import", str(path))
    said = capsys.readouterr().out
    assert "next: manage.py users invite alice alice@example.org" in said
    assert "cello" not in said
    assert Message.objects.count() == 4


def test_a_file_can_be_written_where_disks_know_no_links(
    persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", no_links)
    path = tmp_path / "alice.zip"
    (tmp_path / "alice.zip.part").touch()  # somebody's, or of a run that was killed
    call_command("home", "export", "--user", "alice", "--bundle", str(path))
    assert zipfile.is_zipfile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_file_is_removed(
    persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("channels_app.homes.bundle_export.write_bundle", full)
    with pytest.raises(CommandError, match="cannot be written: No space left"):
        call_command(
            *("home", "export", "--user", "alice"),
            *("--bundle", str(tmp_path / "alice.zip")),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_the_command_names_what_it_cannot_do(tmp_path: Path) -> None:
    for user, why in (("nobody", "no person named"), ("", "--user")):
        with pytest.raises(CommandError, match=why):
            call_command(
                *("home", "export", "--bundle", str(tmp_path / "x.zip")),
                *("--user", user),
            )
    assert list(tmp_path.iterdir()) == []
