"""What waits for review, the history, and deciding twice or too late."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from personas.files import MEMORY_FILES, get_file, save_file
from personas.memory import runs
from personas.memory.lines import entry_line
from personas.memory.wishes import forget, remember
from personas.memory_pages import reviews
from personas.models import Conversation, MemoryRun, Message, Persona
from personas.personas import create_persona

SHORT, MID, LONG = MEMORY_FILES
PAGE = "/personas/inara/memory/"
OLD = "- 2026-11-01 Plays the cello."
SOURCE = uuid.UUID(int=7)
NEW = f"- 2026-11-20 Has a cello lesson on Mondays. <!-- from /m/{SOURCE} -->"
TEA = (
    f"- 2026-11-20 Drinks <i>green</i> tea. <!-- private --> <!-- from /m/{SOURCE} -->"
)


@pytest.fixture
def client(alice: User, persona: Persona, client_for: Callable[..., Client]) -> Client:
    save_file(persona, SHORT, f"# Short\n\n{OLD}\n", author=alice)
    chat = Conversation.objects.create(owner=alice, persona=persona)
    Message.objects.create(id=SOURCE, conversation=chat, owner=alice, role="user")
    return client_for(alice)


@pytest.fixture
def run(client: Client, persona: Persona) -> MemoryRun:
    return run_of(persona)


def run_of(persona: Persona, **fields: Any) -> MemoryRun:
    values = {
        "step": "short",
        "state": "waiting",
        "changes": [{"file": SHORT, "remove": [OLD], "add": [NEW, TEA]}],
        "messages": 12,
        "model": "small-model",
        "cost_nano_usd": 123_000,
        "passes_at": timezone.now() + timedelta(days=3),
        **fields,
    }
    return MemoryRun.objects.create(persona=persona, **values)


def decide(client: Client, run: MemoryRun, verb: str, **more: str) -> Any:
    return client.post(f"{PAGE}runs/{run.pk}/", {"do": verb, **more})


def text_of(persona: Persona, name: str = SHORT) -> str:
    return get_file(persona, name).text


def state_of(run: MemoryRun) -> str:
    return MemoryRun.objects.get(pk=run.pk).state


# --- the page -------------------------------------------------------------------------


def test_what_waits_stands_above_the_lines_as_a_diff(
    client: Client, run: MemoryRun
) -> None:
    page = client.get(PAGE).content.decode()
    assert page.index("Waits for you") < page.index("Short memory</h2>")
    assert "From 12 messages" in page and "small-model" in page and "$0.0001" in page
    assert "It passes by itself on" in page
    removed = re.findall(r"<del>.*?</span>(.*?)</del>", page)
    added = re.findall(r"<ins>.*?</span>(.*?)</ins>", page)
    assert removed == ["2026-11-01 Plays the cello."]
    assert added == [
        "2026-11-20 Has a cello lesson on Mondays.",
        "2026-11-20 Drinks &lt;i&gt;green&lt;/i&gt; tea. (private)",
    ]
    MemoryRun.objects.update(passes_at=None)
    assert "It waits until you decide." in client.get(PAGE).content.decode()


def test_a_run_is_accepted_and_undone_once(
    client: Client, run: MemoryRun, persona: Persona
) -> None:
    assert decide(client, run, "accept").status_code == 302
    assert text_of(persona) == f"# Short\n\n{NEW}\n{TEA}\n"
    assert decide(client, run, "accept").status_code == 409
    assert decide(client, run, "reject").status_code == 409
    page = client.get(PAGE).content.decode()
    assert "Waits for you" not in page and "in the memory" in page
    assert decide(client, run, "undo", back="runs")["Location"] == f"{PAGE}runs/"
    assert text_of(persona).split() == f"# Short {OLD}".split()
    assert decide(client, run, "undo").status_code == 409
    assert state_of(run) == "undone"


def test_a_rejected_run_changes_nothing(
    client: Client, run: MemoryRun, persona: Persona
) -> None:
    decide(client, run, "reject")
    assert (state_of(run), text_of(persona)) == ("rejected", f"# Short\n\n{OLD}\n")
    assert decide(client, run, "accept").status_code == 409
    assert text_of(persona) == f"# Short\n\n{OLD}\n"


def test_edited_lines_keep_where_they_came_from(
    client: Client, run: MemoryRun, persona: Persona
) -> None:
    today = timezone.localdate()
    typed = "2026-11-20 Has a cello lesson on TUESDAYS.\r\n\r\n- Likes rain <b>\r\n"
    decide(client, run, "edit", **{f"added:{SHORT}": typed})
    assert text_of(persona).splitlines()[2:] == [
        f"- 2026-11-20 Has a cello lesson on TUESDAYS. <!-- from /m/{SOURCE} -->",
        f"- {today} Likes rain <b>",
    ]
    assert state_of(run) == "applied"


def test_what_was_typed_too_late_is_shown_again(
    client: Client, run: MemoryRun, persona: Persona
) -> None:
    runs.reject(run)
    answer = decide(client, run, "edit", **{f"added:{SHORT}": "Mine <b>own</b>"})
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "decided meanwhile" in page
    assert "Mine &lt;b&gt;own&lt;/b&gt;</textarea>" in page
    assert text_of(persona) == f"# Short\n\n{OLD}\n"


def test_a_refused_edit_keeps_what_was_typed(
    client: Client, run: MemoryRun, persona: Persona
) -> None:
    typed = "\n".join(f"2026-01-01 Line {i} {'x' * 900}" for i in range(80))
    answer = decide(client, run, "edit", **{f"added:{SHORT}": typed})
    page = answer.content.decode()
    assert text_of(persona) == f"# Short\n\n{OLD}\n"
    # There is no room: the proposal stays as it was edited.
    assert answer.status_code == 302 and state_of(run) == "left"
    page = client.get(f"{PAGE}runs/{run.pk}/").content.decode()
    assert "Line 79 xxx" in page and "you can still accept it" in page


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2026-13-45 Drinks tea", "“2026-13-45” is no day of the calendar"),
        ("2026-02-30: Drinks tea", "“2026-02-30” is no day of the calendar"),
        ("Drinks " + "tea " * 500, "at most 2,000 characters"),
    ],
    ids=["month", "day", "long"],
)
def test_a_line_that_cannot_be_is_refused_and_nothing_is_lost(
    client: Client, run: MemoryRun, persona: Persona, line: str, why: str
) -> None:
    typed = f"2026-11-20 Has a cello lesson on TUESDAYS.\n{line}"
    answer = decide(client, run, "edit", **{f"added:{SHORT}": typed})
    page = answer.content.decode()
    assert answer.status_code == 400 and why in page and f"{typed}</textarea>" in page
    assert (state_of(run), text_of(persona)) == ("waiting", f"# Short\n\n{OLD}\n")


def test_a_proposed_line_may_begin_as_it_does() -> None:
    proposed = "- 2026-13-45 is what the form said"
    change = {"file": SHORT, "remove": [], "add": [proposed]}
    typed = {SHORT: "2026-13-45 is what the form said\nDrinks tea"}
    found = reviews.edited(MemoryRun(changes=[change]), typed)[0].add
    assert found[0] == proposed


def test_the_same_words_are_never_given_anothers_source() -> None:
    first = entry_line("Likes tea at noon", sources=[uuid.UUID(int=1)])
    second = entry_line("Likes tea at night", sources=[uuid.UUID(int=2)])
    change = {"file": SHORT, "remove": [], "add": [first, second]}
    typed = {SHORT: "Likes tea at nights\nLikes tea at noon"}
    found = reviews.edited(MemoryRun(changes=[change]), typed)[0].add
    assert str(uuid.UUID(int=2)) in found[0] and found[1] == first
    typed = {SHORT: "Likes tea at night\nSomething else <!-- pin -->"}
    found = reviews.edited(MemoryRun(changes=[change]), typed)[0].add
    assert found[0] == second
    assert "/m/" not in found[1] and "pin" not in found[1]


# --- history ------------------------------------------------------------


def test_the_history_is_paged_and_tells_what_each_run_was(
    client: Client, persona: Persona
) -> None:
    for state in ("applied", "empty", "failed") * 7:
        run_of(persona, state=state, explanation=f"Because <i>{state}</i>.")
    page = client.get(f"{PAGE}runs/").content.decode()
    assert "Page 1 of 2" in page
    assert "Because &lt;i&gt;failed&lt;/i&gt;." in page and "12 messages" in page
    assert page.count('value="undo"') == 7 - 1
    assert "Page 2 of 2" in client.get(f"{PAGE}runs/?page=2").content.decode()
    page = client.get(PAGE).content.decode()
    assert "The whole history" in page
    assert "Last time" in page


def test_wishes_are_told_by_their_lines(
    client: Client, persona: Persona, alice: User
) -> None:
    for words in ("tea", "Lives in Graz", "Lives in Oslo"):
        remember(persona, words, author=alice, source=None)
    forget(persona, "all about lives", author=alice)
    forget(persona, "tea", author=alice)
    forget(persona, "cello lessons", author=alice)
    forget(persona, "oat", author=alice)
    newest = [reviews.shown_run(run) for run in reviews.runs_of(persona)]
    today = timezone.localdate()
    page = client.get(f"{PAGE}runs/").content.decode()
    nothing, cello, tea, two, *remembered = newest
    assert (nothing.state, nothing.wished, nothing.can_be_undone) == ("done", "", False)
    assert (tea.state, tea.wished) == ("done", f"“{today} tea (pinned)”")
    assert cello.wished == "" and cello.can_be_undone is False
    assert two.wished == f"“{today} Lives in Graz (pinned)” and 1 more"
    assert [run.state for run in remembered] == ["in the memory"] * 3
    assert page.count(f"“{today} tea (pinned)”") == 2


def test_how_it_stands_is_one_sentence(client: Client, persona: Persona) -> None:
    run_of(persona)
    page = " ".join(re.sub(r"<[^>]*>", "", client.get(PAGE).content.decode()).split())
    assert ": new messages into short memory; it waits for you; $0.000123." in page
    assert all(
        reviews.ShownRun(MemoryRun(state=state), [], "").outcome
        for state in MemoryRun.State
    )


def test_a_run_that_is_over_shows_what_it_did(
    client: Client, persona: Persona, run: MemoryRun
) -> None:
    address = f"{PAGE}runs/{run.pk}/"
    assert "Accept as edited" in client.get(address).content.decode()
    decide(client, run, "accept")
    page = client.get(address).content.decode()
    assert "Accept as edited" not in page and 'value="undo"' in page
    assert "<ins>" in page and "<del>" in page


# --- misuse ------------------------------------------------------------


def test_a_run_is_found_only_below_its_own_persona(
    client: Client, run: MemoryRun, alice: User, bob: User, client_for: Any
) -> None:
    create_persona(alice, template="developer", name="tina", display_name="Tina")
    for verb in ("accept", "undo"):
        wrong = f"/personas/tina/memory/runs/{run.pk}/"
        assert client.post(wrong, {"do": verb}).status_code == 404
        assert decide(client_for(bob), run, verb).status_code == 404
    assert client.get(f"{PAGE}runs/{uuid.uuid4()}/").status_code == 404
    assert decide(client, run, "delete").status_code == 400
    assert decide(client, run, "").status_code == 400
    assert state_of(run) == "waiting"


def test_what_is_taken_out_of_a_proposal_takes_nothing_along(
    client: Client, persona: Persona, alice: User
) -> None:
    """A line is replaced only by one that still tells what it told."""
    dog = "- 2026-11-02 Walks the dog of a neighbour."
    save_file(persona, SHORT, f"{OLD}\n{dog}\n", author=alice)
    merged = "- 2026-11-03 Plays the cello in the evening."
    walks = "- 2026-11-04 Often walks a dog."
    changes = [
        {"file": SHORT, "remove": [OLD, dog], "add": []},
        {"file": MID, "remove": [], "add": [merged, walks]},
    ]
    first = run_of(persona, step="mid", changes=changes)
    decide(client, first, "edit", **{f"added:{MID}": ""})
    assert text_of(persona) == f"{OLD}\n{dog}\n"
    second = run_of(persona, step="mid", changes=changes)
    decide(client, second, "edit", **{f"added:{MID}": merged.removeprefix("- ")})
    assert text_of(persona) == f"{dog}\n"
    assert text_of(persona, MID) == f"{merged}\n"


@pytest.mark.parametrize(
    ("typed", "why"),
    [("\n".join(f"Fact {n}." for n in range(101)), "100 lines"), ("x" * 2001, "2,000")],
)
def test_an_endless_edit_is_refused(
    client: Client, run: MemoryRun, typed: str, why: str
) -> None:
    answer = decide(client, run, "edit", **{f"added:{SHORT}": typed})
    assert answer.status_code == 400
    assert why in answer.content.decode()
    assert state_of(run) == "waiting"


def test_an_edit_is_compared_before_the_memory_is_locked(
    client: Client, run: MemoryRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the proposal became meanwhile was not what was edited."""
    compare = reviews.edited

    def cut_meanwhile(run: MemoryRun, typed: Any) -> Any:
        edited = compare(run, typed)
        cut = [{"file": SHORT, "remove": [], "add": [NEW]}]
        MemoryRun.objects.filter(pk=run.pk).update(changes=cut)
        return edited

    monkeypatch.setattr(reviews, "edited", cut_meanwhile)
    answer = decide(client, run, "edit", **{f"added:{SHORT}": "Drinks green tea."})
    assert answer.status_code == 409
    assert state_of(run) == "waiting"


def test_of_many_that_wait_the_oldest_are_shown(
    client: Client,
    persona: Persona,
    django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]],
) -> None:
    for count in range(12):
        changes = [{"file": SHORT, "remove": [], "add": [f"- Fact {count} of many."]}]
        run_of(persona, changes=changes)
    with django_assert_max_num_queries(40):
        page = client.get(PAGE).content.decode()
    assert "Fact 9 of many" in page and "Fact 10 of many" not in page
    assert ">12</span>" in page and "And 2 more" in page


def test_a_persona_that_goes_meanwhile_is_not_found(
    client: Client, run: MemoryRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = runs.get_run_for_user

    def gone_meanwhile(user: User, id: uuid.UUID) -> MemoryRun:
        found = find(user, id)
        Persona.objects.filter(pk=found.persona_id).delete()
        return found

    monkeypatch.setattr(runs, "get_run_for_user", gone_meanwhile)
    assert decide(client, run, "accept").status_code == 404
