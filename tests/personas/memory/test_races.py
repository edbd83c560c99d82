"""What several at the same moment can do to one memory: each thing once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from personas.errors import EntryGone
from personas.files import get_file, save_file
from personas.memory.files import MID, SHORT, add_entry, edit_entry, settings_of
from personas.memory.runs import Change, NewRun, accept, pass_due, reject, store, undo
from personas.memory.wishes import forget, remember
from personas.models import MemoryRun, Persona

RACERS = 5

pytestmark = pytest.mark.django_db(transaction=True)


def race(action: Callable[[int], object]) -> list[object]:
    """Run an action in several threads at once; return what came out of each."""
    barrier = Barrier(RACERS)

    def run(number: int) -> object:
        try:
            barrier.wait()
            return action(number)
        except EntryGone as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


@pytest.fixture
def waiting(persona: Persona, alice: User) -> MemoryRun:
    save_file(persona, SHORT, "- old\n", author=alice)
    memory = settings_of(persona)
    memory.review_days = 1
    memory.save()
    change = Change(SHORT, ("- old",), ("- new",))
    return store(persona, NewRun("short", [change]), read=[])


def test_many_acceptances_have_one_effect(
    persona: Persona, alice: User, waiting: MemoryRun
) -> None:
    later = timezone.now() + timedelta(days=2)
    race(lambda n: accept(waiting, alice) if n % 2 else pass_due(later))
    file = get_file(persona, SHORT)
    assert (file.text, file.revision) == ("- new\n", 2)
    race(lambda _: undo(waiting, alice))
    file = get_file(persona, SHORT)
    assert (file.text, file.revision) == ("- old\n", 3)


def test_of_accepting_and_rejecting_one_wins(
    persona: Persona, alice: User, waiting: MemoryRun
) -> None:
    race(lambda n: accept(waiting, alice) if n % 2 else reject(waiting))
    waiting.refresh_from_db()
    accepted = waiting.state == MemoryRun.State.APPLIED
    assert accepted or waiting.state == MemoryRun.State.REJECTED
    assert get_file(persona, SHORT).text == ("- new\n" if accepted else "- old\n")


def test_a_wish_made_many_times_is_one_line(persona: Persona, alice: User) -> None:
    race(lambda _: remember(persona, "tea", author=alice, source=None))
    assert get_file(persona, SHORT).text.count("tea") == 1
    assert MemoryRun.objects.count() == 1
    gone = race(lambda _: forget(persona, "tea", author=alice).run)
    assert sum(run is not None for run in gone) == 1
    assert get_file(persona, SHORT).text == ""


def test_lines_written_at_once_are_all_kept(persona: Persona, alice: User) -> None:
    def write(number: int) -> object:
        change = Change(SHORT, add=(f"- by run {number}",))
        if number % 2:
            return store(persona, NewRun("short", [change]), read=[])
        return add_entry(persona, SHORT, f"by hand {number}", alice)

    race(write)
    text = get_file(persona, SHORT).text
    assert len(text.splitlines()) == RACERS
    assert get_file(persona, SHORT).revision == RACERS


def test_of_many_edits_of_one_line_one_wins(persona: Persona, alice: User) -> None:
    save_file(persona, MID, "- a\n", author=alice)
    found = race(lambda n: edit_entry(persona, MID, "- a", f"edit {n}", alice))
    won = [one for one in found if isinstance(one, str)]
    assert get_file(persona, MID).text == f"{won[0]}\n" and len(won) == 1


def test_what_is_forgotten_while_it_is_accepted_is_gone(
    persona: Persona, alice: User, waiting: MemoryRun
) -> None:
    waiting.changes = [{"file": SHORT, "remove": [], "add": ["- tea"]}]
    waiting.save()
    race(
        lambda n: (
            accept(waiting, alice) if n % 2 else forget(persona, "tea", author=alice)
        )
    )
    assert get_file(persona, SHORT).text == "- old\n"
    waiting.refresh_from_db()
    assert waiting.state != MemoryRun.State.WAITING


def test_undoing_while_others_write_loses_nothing(
    persona: Persona, alice: User, waiting: MemoryRun
) -> None:
    accept(waiting, alice)
    race(
        lambda n: (
            undo(waiting, alice) if n % 2 else add_entry(persona, SHORT, f"{n}", alice)
        )
    )
    lines = get_file(persona, SHORT).text.splitlines()
    assert sorted(lines) == ["- 0", "- 2", "- 4", "- old"]
