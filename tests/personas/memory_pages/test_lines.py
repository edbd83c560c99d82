"""The memory page: its lines, what is done to them, and what is refused."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from personas.files import MEMORY_FILES, get_file, save_file
from personas.memory.lines import entries_of, entry_line
from personas.models import Conversation, Message, Persona

SHORT, MID, LONG = MEMORY_FILES
PAGE = "/personas/inara/memory/"
CELLO = "- 2026-11-20 Has a cello lesson on Mondays."
TEA = "- 2026-11-21 Drinks green tea. <!-- pin --> <!-- private -->"
MARKUP = "- <script>pwned=1</script> <b>bold</b>"
TEXT = f"# Short\n\n{CELLO}\n{TEA}\n{MARKUP}\n"


@pytest.fixture
def client(alice: User, persona: Persona, client_for: Callable[..., Client]) -> Client:
    save_file(persona, SHORT, TEXT, author=alice)
    return client_for(alice)


def do(client: Client, verb: str, raw: str = CELLO, **more: str) -> Any:
    fields = {"do": verb, "file": SHORT, "raw": raw, **more}
    return client.post(PAGE, fields)


def lines(persona: Persona, name: str = SHORT) -> list[str]:
    return [entry.raw for entry in entries_of(get_file(persona, name).text)]


def message_of(persona: Persona, text: str = "I play the cello") -> Message:
    chat = Conversation.objects.create(owner=persona.owner, persona=persona)
    return Message.objects.create(
        conversation=chat, owner=persona.owner, role="user", text=text
    )


# --- what it shows ----------------------------------------------------------------


def test_the_tab_leads_to_the_lines_of_three_tiers(client: Client) -> None:
    page = client.get("/personas/inara/").content.decode()
    assert f'href="{PAGE}"' in page
    page = client.get(PAGE).content.decode()
    places = [page.index(title) for title in ("Short memory", "Mid mem", "Long mem")]
    assert places == sorted(places)
    assert "Has a cello lesson on Mondays." in page
    assert "20 Nov 2026" in page
    for name in MEMORY_FILES:
        assert f'href="/personas/inara/files/{name}/"' in page
    assert re.search(r"\d+ of 1,500 tokens", page)
    editor = client.get(f"/personas/inara/files/{SHORT}/").content.decode()
    assert f'<p class="crumbs"><a href="{PAGE}">' in editor


def test_marks_are_shown_as_words_and_markup_as_text(client: Client) -> None:
    page = client.get(PAGE).content.decode()
    assert "<script>pwned" not in page and "<b>bold</b>" not in page
    assert "&lt;script&gt;pwned=1" in page
    text = re.findall(r'<p class="memory-text"[^>]*>(.*?)</p>', page)
    assert text[1] == "Drinks green tea."
    assert page.count("pinned</span>") == 1
    assert page.count("private</span>") == 1


def test_a_line_leads_to_its_messages_and_says_which_were_deleted(
    client: Client, persona: Persona, alice: User
) -> None:
    there, gone = message_of(persona), message_of(persona)
    gone.deleted_at = timezone.now()
    gone.save()
    line = entry_line("Plays in a trio.", sources=[there.pk, gone.pk, uuid.uuid4()])
    save_file(persona, SHORT, f"{line}\n", author=alice)
    page = client.get(PAGE).content.decode()
    assert f'href="/m/{there.pk}"' in page
    assert f'href="/m/{gone.pk}"' not in page
    assert "One of its messages was deleted" in page
    do(client, "keep", line)
    assert lines(persona) == [entry_line("Plays in a trio.", sources=[there.pk])]
    assert "was deleted</span>" not in client.get(PAGE).content.decode()


def test_keeping_a_line_keeps_its_marks(
    client: Client, persona: Persona, alice: User
) -> None:
    line = entry_line(
        "Plays.",
        said_on=datetime.date(2026, 1, 2),
        sources=[uuid.uuid4()],
        pinned=True,
        private=True,
    )
    save_file(persona, SHORT, f"{line}\n", author=alice)
    do(client, "keep", line)
    assert lines(persona) == ["- 2026-01-02 Plays. <!-- pin --> <!-- private -->"]


@pytest.mark.parametrize(
    ("search", "count"),
    [("CELLO", 1), ("green lesson", 0), ("téa", 1), ("2026-11", 2), ("zzz", 0)],
)
def test_search_needs_no_script(client: Client, search: str, count: int) -> None:
    page = client.get(PAGE, {"q": search}).content.decode()
    assert page.count('class="memory-text"') == count
    assert ("No line says" in page) == (count == 0)


# --- what is done to lines ----------------------------------------------------------


def test_a_line_is_pinned_hidden_edited_and_moved(
    client: Client, persona: Persona
) -> None:
    answer = do(client, "pin", q="cello")
    assert answer["Location"] == f"{PAGE}?q=cello"
    pinned = f"{CELLO} <!-- pin -->"
    assert pinned in lines(persona)
    do(client, "unpin", pinned)
    do(client, "private")
    do(client, "open", f"{CELLO} <!-- private -->")
    do(client, "edit", text="2026-11-22 Has a lesson\r\non Tuesdays. <!-- pin -->")
    edited = "- 2026-11-22 Has a lesson on Tuesdays. < !-- pin -- >"
    assert edited in lines(persona)
    do(client, f"move:{LONG}", edited)
    assert edited not in lines(persona)
    assert lines(persona, LONG) == [edited]
    assert get_file(persona, SHORT).text.startswith("# Short\n\n")


def test_a_line_is_added_with_todays_date_or_its_own(
    client: Client, persona: Persona
) -> None:
    do(client, "add", text="Likes rain")
    do(client, "add", text="2020-02-03 Likes snow", file=MID)
    today = timezone.localdate()
    assert lines(persona)[-1] == f"- {today} Likes rain"
    assert lines(persona, MID) == ["- 2020-02-03 Likes snow"]


def test_a_deleted_line_comes_back_to_its_place(
    client: Client, persona: Persona, alice: User
) -> None:
    answer = do(client, "remove", q="cello")
    page = client.get(answer["Location"]).content.decode()
    assert "Deleted: “2026-11-20 Has a cello lesson on Mondays.”" in page
    removed = re.search(r'name="removed" value="([^"]+)"', page)
    assert removed is not None and CELLO not in lines(persona)
    # Somebody goes on writing before it is undone.
    text = get_file(persona, SHORT).text
    save_file(persona, SHORT, f"{text}- New.\n", author=alice)
    for _ in range(2):
        client.post(PAGE, {"do": "restore", "removed": removed[1]})
        assert lines(persona) == [CELLO, TEA, MARKUP, "- New."]


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["edit", "pin", "private", "remove", "keep", "move"])
def test_a_line_that_changed_meanwhile_is_left_alone(
    client: Client, persona: Persona, alice: User, verb: str
) -> None:
    theirs = TEXT.replace("Mondays", "Fridays")
    save_file(persona, SHORT, theirs, author=alice)
    verb = f"move:{MID}" if verb == "move" else verb
    answer = do(client, verb, text="My <b>words</b>")
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "This line was changed elsewhere or is gone" in page
    assert "Has a cello lesson on Fridays." in page
    assert ("My &lt;b&gt;words&lt;/b&gt;</textarea>" in page) == (verb == "edit")
    assert get_file(persona, SHORT).text == theirs


@pytest.mark.parametrize(
    ("verb", "text", "sentence"),
    [
        ("add", "   ", "There are no words to keep in this."),
        ("edit", "- ", "There are no words to keep in this."),
        ("add", "x" * 2001, "A line of the memory has at most 2,000 characters."),
        ("edit", "x" * 2001, "A line of the memory has at most 2,000 characters."),
    ],
)
def test_refused_words_stay_in_the_page(
    client: Client, persona: Persona, verb: str, text: str, sentence: str
) -> None:
    answer = do(client, verb, text=text)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert text.strip() in answer.content.decode()
    assert get_file(persona, SHORT).text == TEXT


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"do": "erase", "file": SHORT},
        {"do": "pin", "file": "SOUL.md"},
        {"do": "move", "file": SHORT},
        {"do": "move:SOUL.md", "file": SHORT},
        {"do": "pin:MEMORY_MID.md", "file": SHORT},
    ],
)
def test_misuse_is_a_bad_request(
    client: Client, persona: Persona, fields: dict[str, str]
) -> None:
    assert client.post(PAGE, {"raw": CELLO, **fields}).status_code == 400
    assert get_file(persona, SHORT).text == TEXT


@pytest.mark.parametrize(
    "removed",
    [
        "",
        SHORT,
        f"{SHORT}:0",
        f"{SHORT}:1",
        f"{SHORT}:x",
        f"{SHORT}:²",
        "SOUL.md:2",
        f"{SHORT}:99999999999999999999",
    ],
)
def test_only_what_was_deleted_comes_back(
    client: Client, persona: Persona, removed: str
) -> None:
    save = client.post(PAGE, {"do": "restore", "removed": removed})
    assert save.status_code == 404
    assert client.get(PAGE, {"removed": removed}).status_code == 200
    assert get_file(persona, SHORT).text == TEXT


def test_nobody_else_reaches_the_page_or_its_lines(
    client: Client, persona: Persona, bob: User, client_for: Callable[..., Client]
) -> None:
    his = client_for(bob)
    for answer in (his.get(PAGE), do(his, "remove"), do(his, "add", text="x")):
        assert answer.status_code == 404
    assert get_file(persona, SHORT).text == TEXT
