"""What two devices at the same moment can do to a persona."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from accounts.models import User
from personas.errors import EditConflict, FileRefused
from personas.files import MAX_FILES, SOUL, add_file, get_file, save_file
from personas.models import Persona
from personas.personas import create_persona

RACERS = 6

pytestmark = pytest.mark.django_db(transaction=True)


def race(action: Callable[[int], object]) -> list[type[object]]:
    """Run an action in several threads at once; return the types of what came out."""
    barrier = Barrier(RACERS)

    def run(number: int) -> type[object]:
        try:
            barrier.wait()
            return type(action(number))
        except (EditConflict, FileRefused, ValidationError) as error:
            return type(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


@pytest.mark.parametrize("name", [SOUL, "MEMORY_LONG.md"])
def test_of_many_saves_from_one_revision_one_wins(
    alice: User, persona: Persona, name: str
) -> None:
    opened = get_file(persona, name).revision
    outcomes = race(
        lambda number: save_file(
            persona, name, f"by {number}", author=alice, expected_revision=opened
        )
    )
    assert outcomes.count(EditConflict) == RACERS - 1
    file = get_file(persona, name)
    assert file.revision == opened + 1 and file.text.startswith("by ")


def test_saves_without_an_expectation_are_all_kept_in_the_history(
    alice: User, persona: Persona
) -> None:
    race(lambda number: save_file(persona, SOUL, f"by {number}", author=alice))
    file = get_file(persona, SOUL)
    numbers = list(file.revisions.values_list("number", flat=True))
    assert numbers == list(range(1 + RACERS, 0, -1))
    newest = file.revisions.first()
    assert newest is not None and newest.text == file.text


def test_the_limit_of_files_holds(alice: User, persona: Persona) -> None:
    for number in range(MAX_FILES - 1 - persona.files.count()):
        add_file(persona, f"note{number}.md", author=alice)
    outcomes = race(lambda n: add_file(persona, f"last{n}.md", author=alice))
    assert outcomes.count(FileRefused) == RACERS - 1
    assert persona.files.count() == MAX_FILES


def test_a_name_is_given_once(alice: User) -> None:
    outcomes = race(
        lambda _: create_persona(
            alice, template="assistant", name="tina", display_name="Tina"
        )
    )
    assert outcomes.count(Persona) == 1
    assert outcomes.count(ValidationError) == RACERS - 1
