"""The editor, the history and the other pages of a persona's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from personas.files import SOUL, USER, add_file, get_file, save_file
from personas.models import Persona

EDITOR = "/personas/inara/files/SOUL.md/"


@pytest.fixture
def client(alice: User, persona: Persona, client_for: Callable[..., Client]) -> Client:
    return client_for(alice)


def post(client: Client, text: str, revision: int, **more: str) -> Any:
    values = {"text": text, "expected_revision": str(revision), **more}
    return client.post(EDITOR, values)


def test_editor_shows_the_text_and_its_size(client: Client, persona: Persona) -> None:
    page = client.get(EDITOR).content.decode()
    assert "You are the one who is still up." in page
    assert 'name="expected_revision" value="1"' in page
    assert "data-token-count" in page and "all instructions at context tier 2" in page


def test_save_keeps_the_text_to_the_last_empty_line(
    client: Client, alice: User, persona: Persona
) -> None:
    response = post(client, "\r\n  one\r\n\r\ntwo \r\n\r\n", 1, reason="shorter")
    assert response["Location"] == EDITOR
    file = get_file(persona, SOUL)
    assert file.text == "\n  one\n\ntwo \n\n"
    newest = file.revisions.first()
    assert newest is not None
    assert (newest.author, newest.reason, newest.number) == (alice, "shorter", 2)


def test_unchanged_text_makes_no_version(client: Client, persona: Persona) -> None:
    text = get_file(persona, SOUL).text
    response = client.post(
        EDITOR,
        {"text": text.replace("\n", "\r\n"), "expected_revision": "1"},
        follow=True,
    )
    assert "the text is unchanged" in response.content.decode()
    assert get_file(persona, SOUL).revision == 1


def test_the_private_flag_is_saved_with_or_without_a_new_text(
    client: Client, persona: Persona
) -> None:
    text = get_file(persona, SOUL).text
    post(client, text, 1, private="on")
    assert get_file(persona, SOUL).private
    post(client, "new", 1)
    file = get_file(persona, SOUL)
    assert not file.private and file.revision == 2
    client.post(
        "/personas/inara/files/MEMORY_LONG.md/", {"text": "", "expected_revision": "0"}
    )
    assert not get_file(persona, "MEMORY_LONG.md").private
    assert get_file(persona, USER).private


def test_a_conflict_shows_both_texts_and_loses_neither(
    client: Client, alice: User, persona: Persona
) -> None:
    save_file(persona, SOUL, "from the phone", author=alice)
    response = post(client, "from the laptop", 1, reason="why", private="on")
    page = response.content.decode()
    assert response.status_code == 409
    assert "was changed elsewhere" in page
    assert "from the phone</textarea>" in page and "from the laptop</textarea>" in page
    assert 'name="expected_revision" value="2"' in page
    assert 'value="why"' in page and "checked" in page
    assert get_file(persona, SOUL).text == "from the phone"
    assert post(client, "both", 2).status_code == 302
    assert get_file(persona, SOUL).text == "both"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"text": "x" * 70_000, "expected_revision": "1"}, "at most 64 KB"),
        ({"text": "nul\0", "expected_revision": "1"}, "Null characters"),
        ({"text": "kept words"}, "required"),
        ({"text": "kept words", "expected_revision": "x"}, "whole number"),
    ],
)
def test_a_refused_text_comes_back_with_the_reason(
    client: Client, persona: Persona, values: dict[str, str], sentence: str
) -> None:
    response = client.post(EDITOR, values)
    page = response.content.decode()
    assert response.status_code == 400 and sentence in page
    assert values["text"] in page
    assert get_file(persona, SOUL).revision == 1


def test_free_files_are_added_listed_and_deleted(
    client: Client, alice: User, persona: Persona
) -> None:
    files = "/personas/inara/files/"
    response = client.post(files, {"name": "Küche 1.md"})
    assert response.status_code == 302
    editor = response["Location"]
    assert client.get(editor).status_code == 200
    assert "Küche 1.md" in client.get(files).content.decode()
    assert client.get(f"{editor}delete/").status_code == 200
    assert persona.files.filter(name="Küche 1.md").exists()
    assert client.post(f"{editor}delete/")["Location"] == files
    assert client.get(editor).status_code == 404


@pytest.mark.parametrize("name", ["SOUL.md", "soul.md", "../x.md", "x.exe", ""])
def test_a_refused_file_name_comes_back_with_the_reason(
    client: Client, persona: Persona, name: str
) -> None:
    count = persona.files.count()
    response = client.post("/personas/inara/files/", {"name": name})
    assert response.status_code == 400
    assert f'value="{name}"' in response.content.decode() or not name
    assert persona.files.count() == count


def test_standard_files_cannot_be_deleted(client: Client, persona: Persona) -> None:
    assert "empty it instead" in client.get(f"{EDITOR}delete/").content.decode()
    client.post(f"{EDITOR}delete/")
    assert get_file(persona, SOUL).pk


def test_history_lists_versions_and_shows_what_changed(
    client: Client, alice: User, persona: Persona
) -> None:
    save_file(persona, SOUL, "one\ntwo", author=alice, reason="first draft")
    save_file(persona, SOUL, "one\n2", author=None, reason="by itself")
    page = client.get(f"{EDITOR}history/").content.decode()
    assert "first draft" in page and "alice" in page
    assert "by itself" in page and "Cortex" in page
    page = client.get(f"{EDITOR}history/3/").content.decode()
    assert "two</del>" in page and "2</ins>" in page
    assert "Restore this version" not in page
    page = client.get(f"{EDITOR}history/2/").content.decode()
    assert "What restoring it would change now" in page
    assert "2</del>" in page and "two</ins>" in page


def test_restore_makes_a_new_version(
    client: Client, alice: User, persona: Persona
) -> None:
    save_file(persona, SOUL, "changed", author=alice)
    restore = f"{EDITOR}history/1/restore/"
    assert client.get(restore).status_code == 405
    response = client.post(restore, follow=True)
    assert "Version 1 is restored." in response.content.decode()
    file = get_file(persona, SOUL)
    assert file.revision == 3 and file.text.startswith("# Soul")
    response = client.post(f"{EDITOR}history/3/restore/", follow=True)
    assert "is the same as the current text" in response.content.decode()


def test_history_of_an_unwritten_file_is_an_empty_page(client: Client) -> None:
    page = client.get("/personas/inara/files/MEMORY_MID.md/history/").content.decode()
    assert "Nothing was saved yet" in page


def test_long_histories_have_pages(
    client: Client, alice: User, persona: Persona
) -> None:
    for number in range(60):
        save_file(persona, SOUL, str(number), author=alice)
    assert "Page 1 of 2" in client.get(f"{EDITOR}history/").content.decode()
    page = client.get(f"{EDITOR}history/?page=2").content.decode()
    assert "Version 1</a>" in page and "Version 60</a>" not in page


def test_unknown_files_and_versions_are_404(
    client: Client, alice: User, persona: Persona
) -> None:
    add_file(persona, "notes.md", author=alice)
    for path in (
        "/personas/inara/files/unknown.md/",
        "/personas/inara/files/unknown.md/history/",
        f"{EDITOR}history/99/",
        f"{EDITOR}history/0/",
        f"{EDITOR}history/99999999999999999999/",
        "/personas/inara/files/%2e%2e%2fmanage.py/",
        "/personas/inara/files/SOUL.md%00/",
        "/personas/nobody/",
    ):
        assert client.get(path).status_code == 404, path
    for path in (f"{EDITOR}history/99/restore/", "/personas/inara/files/x.md/"):
        assert client.post(path).status_code == 404, path


def test_a_text_for_a_file_deleted_meanwhile_is_not_lost(
    client: Client, alice: User, persona: Persona
) -> None:
    add_file(persona, "notes.md", author=alice)
    address = "/personas/inara/files/notes.md/"
    typed = {"text": "dear diary", "expected_revision": "1"}
    get_file(persona, "notes.md").delete()
    answer = client.post(address, typed)
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "notes.md was deleted while you were editing" in page
    assert "dear diary" in page
    assert 'name="expected_revision" value="0"' in page
    assert "/delete/" not in page and "/history/" not in page
    answer = client.post(address, {**typed, "expected_revision": "0"})
    assert answer["Location"] == address
    assert get_file(persona, "notes.md").text == "dear diary"


def test_a_name_that_no_file_may_have_makes_none(
    client: Client, persona: Persona
) -> None:
    before = persona.files.count()
    answer = client.post(
        "/personas/inara/files/x.exe/", {"text": "x", "expected_revision": "0"}
    )
    assert answer.status_code == 404
    assert persona.files.count() == before
    assert client.get("/personas/inara/files/x.exe/").status_code == 404
