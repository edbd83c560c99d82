"""Bundles that lie: refused by name, in one sentence, and nothing is taken of them."""

from __future__ import annotations

import json
import re
import stat
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts import resets
from accounts.models import User
from channels_app.homes.bundle_import import take_bundle
from channels_app.jobs import schedules
from ledger.models import LedgerEntry
from personas.home import bundle_plan, bundle_reader
from personas.home.disk import Unreadable
from personas.home.report import Outcome
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from tests.channels_app.homes.bundles import (
    bundle_of,
    changed,
    contents,
    edited,
    fill,
    say,
    with_entry,
)

FOLDER = "personas/inara"


@pytest.fixture
def bundle(persona: Persona, tmp_path: Path) -> Path:
    """A sound bundle of alice, who is still here."""
    fill(persona)
    return bundle_of(persona.owner, tmp_path / "b.zip")


def refusal(path: Path) -> str:
    """Import for somebody new; return why nothing at all was taken."""
    with pytest.raises(Unreadable) as refused:
        take_bundle(path, "carol", dry_run=False)
    assert not User.objects.filter(username="carol").exists()
    why = str(refused.value)
    assert "\n" not in why
    return why


# --- the zip ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.md", "leads elsewhere"),
        ("/etc/evil.md", "leads elsewhere"),
        ("personas/inara/files/../../evil.md", "leads elsewhere"),
        ("personas\\inara\\evil.md", "leads elsewhere"),
        ("C:/evil.md", "leads elsewhere"),
        ("personas/inara/files/", "no plain file"),
        ("personas/inara/files/.hidden.md", "nothing that a bundle has"),
        ("personas/Inara/persona.json", "nothing that a bundle has"),
        ("personas/inara/files/evil.exe", "nothing that a bundle has"),
        ("personas/inara/conversations/x.json", "nothing that a bundle has"),
        ("evil.json", "nothing that a bundle has"),
        ("personas/inara/files/\x1b[2J.md", "nothing that a bundle has"),
    ],
)
def test_names_that_mean_something_else_are_refused(
    bundle: Path, name: str, why: str
) -> None:
    said = refusal(with_entry(bundle, zipfile.ZipInfo(name)))
    assert why in said
    assert "\x1b" not in said


def test_links_are_refused(bundle: Path) -> None:
    info = zipfile.ZipInfo("personas/inara/files/link.md")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "link.md is a link" in refusal(with_entry(bundle, info, b"/etc/passwd"))


def test_encrypted_entries_are_refused(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry of the directory
    data[at + 8] |= 1
    bundle.write_bytes(data)
    assert "manifest.json is encrypted" in refusal(bundle)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(bundle: Path) -> None:
    info = zipfile.ZipInfo("person.json")
    assert "person.json is in the bundle twice" in refusal(with_entry(bundle, info))


def test_bombs_are_refused_before_they_are_unpacked(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = bundle.read_bytes()
    for limit, why in (
        ("MOST_ENTRIES", "more than 3 entries"),
        ("MOST_BYTES", "unpacks to more than 3 bytes"),
        ("MOST_OF_ENTRY", "unpacks to more than 3 bytes"),
        ("MOST_OF_MANIFEST", "manifest.json is too large"),
    ):
        bundle.write_bytes(sound)
        with monkeypatch.context() as patch:
            patch.setattr(bundle_reader, limit, 3)
            assert why in refusal(bundle)


def test_texts_that_say_the_same_again_and_again_come_in(
    persona: Persona, tmp_path: Path
) -> None:
    chat = Conversation.objects.create(owner=persona.owner, persona=persona)
    say(chat, "user", "ha " * 500_000, None)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    assert path.stat().st_size < 15_000
    take_bundle(path, "carol", dry_run=False)
    assert Message.objects.filter(owner__username="carol").count() == 1


def test_other_ways_of_packing_are_refused(bundle: Path) -> None:
    info = zipfile.ZipInfo("personas/inara/files/new.md")
    info.compress_type = zipfile.ZIP_BZIP2
    assert "packed in a way" in refusal(with_entry(bundle, info))


@pytest.mark.django_db
@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    assert re.search("no zip at all|no leaving bundle", refusal(path))
    assert "cannot be read" in refusal(tmp_path / "none.zip")


def test_a_cut_bundle_is_refused(bundle: Path) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-200])
    assert "damaged" in refusal(bundle)


# --- the manifest -------------------------------------------------------------


def test_entries_must_be_what_the_manifest_says(bundle: Path) -> None:
    sound = bundle.read_bytes()
    soul = f"{FOLDER}/files/SOUL.md"
    for changes, why in (
        ({soul: b"Another soul."}, "SOUL.md is not what the manifest says"),
        ({soul: None}, "SOUL.md is missing"),
        ({f"{FOLDER}/files/NEW.md": b"x"}, "NEW.md is not in the bundle's manifest"),
        ({"manifest.json": None}, "no leaving bundle"),
    ):
        bundle.write_bytes(sound)
        assert why in refusal(changed(bundle, changes, truthful=False))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"[]", "none of a leaving bundle"),
        (b"[" * 100_000, "none of a leaving bundle"),
        (b'{"format": "other"}', "none of a leaving bundle"),
        (b'{"format": "cortex-leaving-bundle", "version": 2}', "has the version 2"),
        (b'{"format": "cortex-leaving-bundle", "version": 1}', "user_name"),
    ],
)
def test_manifests_that_cannot_be_read_are_refused(
    bundle: Path, manifest: bytes, why: str
) -> None:
    assert why in refusal(changed(bundle, {"manifest.json": manifest}))


def test_a_name_that_nobody_can_have_is_refused(bundle: Path) -> None:
    rename(bundle, "admin")
    with pytest.raises(Unreadable, match="reserved"):
        take_bundle(bundle, dry_run=False)
    assert User.objects.count() == 1


# --- whose it is --------------------------------------------------------------


def rename(bundle: Path, name: str) -> Path:
    """Let a bundle be of somebody of another name."""
    for entry in ("person.json", "manifest.json"):
        text = contents(bundle)[entry].decode().replace('"alice"', f'"{name}"')
        changed(bundle, {entry: text.encode()})
    return bundle


def test_a_bundle_alone_never_chooses_somebody_who_is_here(
    bundle: Path, bob: User
) -> None:
    rename(bundle, "bob")
    with pytest.raises(Unreadable, match="--user bob"):
        take_bundle(bundle, dry_run=False)
    assert not Persona.objects.filter(owner=bob).exists()
    take_bundle(bundle, "bob", dry_run=False)
    assert Persona.objects.filter(owner=bob, name="inara").exists()


def test_a_bundle_of_two_names_is_refused(bundle: Path) -> None:
    edited(bundle, "person.json", lambda text: text.replace('"alice"', '"bob"'))
    assert "somebody else" in refusal(bundle)


def test_an_address_is_no_command(bundle: Path) -> None:
    edited(
        bundle,
        "person.json",
        lambda text: text.replace("alice@example.org", '\\"$(id)\\"@example.org'),
    )
    (hint,) = take_bundle(bundle, "carol", dry_run=False).hints
    assert hint == """manage.py users invite carol '"$(id)"@example.org'"""


def test_nobody_is_let_in_or_written_to_by_an_address_from_a_bundle(
    bundle: Path,
) -> None:
    for old, new in (
        ("alice@example.org", "mallory@example.org"),
        ('"daily_digest": false', '"daily_digest": true'),
    ):
        edited(
            bundle,
            "person.json",
            lambda text, old=old, new=new: text.replace(old, new),  # type: ignore[misc]
        )
    take_bundle(bundle, "carol", dry_run=False)
    carol = User.objects.get(username="carol")
    assert carol.email == "mallory@example.org"
    assert not carol.daily_digest
    assert resets.request_reset(carol.email)[0] is None
    carol.set_password("correct horse battery staple")
    carol.save()
    assert resets.request_reset(carol.email)[0] == carol


# --- one persona --------------------------------------------------------------


def chat_of(bundle: Path) -> str:
    """Return the name of the conversation's entry."""
    return next(n for n in contents(bundle) if "/conversations/" in n and "json" in n)


def left(path: Path) -> str:
    """Import for somebody new; return why ``inara`` was left, and nothing of her."""
    report = take_bundle(path, "carol", dry_run=False)
    carol = User.objects.get(username="carol")
    assert not Persona.objects.filter(owner=carol, name="inara").exists()
    assert not Conversation.objects.filter(owner=carol, persona__name="inara").exists()
    lines = [line for line in report.of(Outcome.LEFT) if "personas/inara" in line.where]
    assert len(lines) == 1
    return lines[0].text


def first_revision(text: str) -> str:
    return text.replace('"number":1,', '"number":2,', 1)


PERSONA_EDITS: list[tuple[str, Callable[[str], str], str]] = [
    ("persona.json", lambda t: t.replace('"amber"', '"ambergis"'), "ambergis"),
    (
        "persona.json",
        lambda t: t.replace('"private": false', '"private": 0', 1),
        "bool",
    ),
    (
        "persona.json",
        lambda t: t.replace('"name": "inara"', '"name": "river"'),
        "another",
    ),
    ("persona.json", lambda t: t.replace('"SOUL.md"', '"SOLE.md"'), "other files"),
    ("persona.json", lambda t: t.replace("{", '{"owner": 1,', 1), "owner"),
    ("persona.json", lambda t: "[" * 100_000, "persona.json"),
    ("history.json", first_revision, "has a gap"),
    ("history.json", lambda t: t.replace("friend", "fiend"), "does not end with"),
    ("history.json", lambda t: t.replace("\n]}", ""), "not laid out"),
    ("history.json", lambda t: json.dumps(json.loads(t), indent=1), "not laid out"),
    ("memory_runs.json", lambda t: t.replace('"remember"', '"shirt"'), "step"),
    (
        "memory_runs.json",
        lambda t: t.replace('"file":"MEMORY_SHORT.md"', '"file":"SOUL.md"'),
        "changes",
    ),
    (
        "memory_runs.json",
        lambda t: t.replace('"changes":[{', '"changes":["x",{'),
        "changes",
    ),
    ("memory_runs.json", lambda t: t.replace('"id":"', '"id":"0'), "id"),
    (
        "memory_runs.json",
        lambda t: t.replace("2026-03-01T09", "2190-03-01T09"),
        "not come yet",
    ),
    ("files/SOUL.md", lambda t: t + "x" * 70_000, "more than 64 KB"),
    ("files/SOUL.md", lambda t: t + "\0", "zero character"),
    ("chat", lambda t: t.replace('"role":"user"', '"role":"system"', 1), "role"),
    (
        "chat",
        lambda t: t.replace('"cost_nano_usd":345', '"cost_nano_usd":"345"'),
        "cost",
    ),
    (
        "chat",
        lambda t: t.replace('"cost_nano_usd":345', '"cost_nano_usd":1e30'),
        "cost",
    ),
    ("chat", lambda t: t.replace("2026-03-01T", "0001-03-01T", 1), "created_at"),
    (
        "chat",
        lambda t: t.replace('"parent":null', f'"parent":"{uuid.uuid4()}"'),
        "hang",
    ),
    ("chat", lambda t: t.replace('"shown":"', '"shown":"0', 1), "shown"),
    ("chat", lambda t: t.replace('"title":"C', '"title":"' + "C" * 200), "title"),
    ("chat", lambda t: t.replace('"run":"', f'"run":"{uuid.uuid4()}","r":"'), "notes"),
    ("chat", lambda t: t.replace('{"at":3,', "{"), "seams"),
    ("chat", lambda t: t.replace('"at":3', '"at":"3"'), "seams"),
    ("chat", lambda t: t.replace("2026-03-01T", "2190-03-01T", 1), "not come yet"),
    ("chat", lambda t: t.replace("Zo\u00eb", "Zo\\ud800"), "chat"),
]


@pytest.mark.parametrize(("entry", "edit", "why"), PERSONA_EDITS)
def test_a_persona_with_a_fault_is_left_whole(
    bundle: Path, entry: str, edit: Callable[[str], str], why: str
) -> None:
    name = chat_of(bundle) if entry == "chat" else f"{FOLDER}/{entry}"
    said = left(edited(bundle, name, edit))
    assert why in said or (why == "chat" and "violas" in said)
    assert "cello." not in said


def test_messages_in_a_circle_are_refused(bundle: Path) -> None:
    def turn_round(text: str) -> str:
        second = json.loads(text)["messages"][1]["id"]
        return text.replace('"parent":null', f'"parent":"{second}"')

    assert "do not hang together" in left(edited(bundle, chat_of(bundle), turn_round))


def test_a_message_or_an_entry_twice_is_refused(bundle: Path) -> None:
    def twice(text: str) -> str:
        lines = text.splitlines()
        return "\n".join([*lines[:3], lines[2], *lines[3:]])

    assert "twice" in left(edited(bundle, chat_of(bundle), twice))


def test_one_persona_with_a_fault_keeps_no_other_from_coming(
    persona: Persona, tmp_path: Path
) -> None:
    fill(persona)
    create_persona(
        persona.owner, template="assistant", name="tina", display_name="Tina"
    )
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    edited(path, f"{FOLDER}/persona.json", lambda t: t.replace("amber", "umber"))
    assert "umber" in left(path)
    assert Persona.objects.get(owner__username="carol").name == "tina"


def test_a_message_of_somebody_else_is_never_a_parent(bundle: Path, bob: User) -> None:
    his = create_persona(bob, template="assistant", name="his", display_name="His")
    chat = Conversation.objects.create(owner=bob, persona=his)
    theirs = Message.objects.create(conversation=chat, owner=bob, role="user", text="T")
    edited(
        bundle,
        chat_of(bundle),
        lambda text: text.replace('"parent":null', f'"parent":"{theirs.pk}"'),
    )
    assert "do not hang together" in left(bundle)


def test_what_would_take_a_third_id_is_there_already(bundle: Path) -> None:
    take_bundle(bundle, "carol", dry_run=False)
    Persona.objects.filter(owner__username="carol").update(name="older")
    assert "has been taken over already" in left(bundle)


@pytest.mark.parametrize("other", ["soul.md", "\uff33OUL.md"])
def test_names_that_look_the_same_are_refused(bundle: Path, other: str) -> None:
    found = contents(bundle)
    shape = json.loads(found[f"{FOLDER}/persona.json"])
    shape["files"].append(dict(shape["files"][0], name=other))
    changed(
        bundle,
        {
            f"{FOLDER}/persona.json": json.dumps(shape).encode(),
            f"{FOLDER}/files/{other}": b"Me too.",
        },
    )
    assert "look the same" in left(bundle)


def test_endless_lists_are_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_plan, "MOST_RUNS", 0)
    monkeypatch.setattr(schedules, "MAX_PER_PERSON", 0)
    assert "more than 0 runs" in left(bundle)
    report = take_bundle(bundle, "dora", dry_run=False)
    assert any("more than 0 briefs" in each.text for each in report.of(Outcome.LEFT))


# --- the ledger ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"cost_nano_usd":77', '"cost_nano_usd":-777000000', "less than nothing"),
        ('"kind":"settle"', '"kind":"grant"', "kind"),
        ('"estimated":false', '"estimated":"no"', "estimated"),
        ('"created_at":"20', '"created_at":"19', "time cannot be true"),
        ('"created_at":"2', '"created_at":"9', "time cannot be true"),
        ('{"kind":"settle"', '{"user_id":1,"kind":"settle"', "user_id"),
        ('"kind":"settle"', '"kind":"adjust"', "has no call"),
    ],
)
def test_rows_that_cannot_be_true_leave_the_ledger_as_it_was(
    bundle: Path, old: str, new: str, why: str
) -> None:
    def edit(text: str) -> str:
        for line in text.splitlines():  # attempts that this ledger does not know
            attempt = json.loads(line)["attempt_id"]
            text = text.replace(attempt, str(uuid.uuid5(uuid.UUID(int=7), attempt)))
        return text.replace(old, new, 1)

    rows = LedgerEntry.objects.count()
    report = take_bundle(edited(bundle, "ledger.jsonl", edit), "carol", dry_run=False)
    lines = [line for line in report.of(Outcome.LEFT) if "ledger" in line.where]
    assert len(lines) == 1
    assert why in lines[0].text
    assert LedgerEntry.objects.count() == rows
