"""What is recalled by words alone, from where, and what never is."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from personas.conversations import start_conversation
from personas.deletion import delete_message
from personas.files import save_file
from personas.memory.forgetting import forget
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from personas.search.questions import clues_of
from personas.search.recall import recall
from tests.personas.search.said import say_and_index

FACT = "My cello lesson is on Thursdays at five with Mrs Okafor."
QUESTION = "When do I have my cello lessons?"


@pytest.fixture(autouse=True)
def _by_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "personas.search.recall.meaning.nearest", lambda *args, **options: []
    )


@pytest.fixture
def now(persona: Persona) -> Conversation:
    """The conversation in which something is asked."""
    return start_conversation(persona.owner, persona)


def recalled(conversation: Conversation, text: str = QUESTION) -> list[str]:
    """Return the texts that are recalled."""
    return [each.text for each in recall(conversation, text)]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (FACT, QUESTION),
        ("Our daughter Emma turned seven in May.", "How old is my child?"),
        ("The router's passphrase is heron-42.", "What is the wifi password again?"),
        ("Meine Schwester wohnt jetzt in Graz.", "Wo wohnen meine Geschwister?"),
        ("I can't stand coriander.", "Which herb do I dislike?"),
        ("I started working for a bakery in Leeds.", "Who is my employer?"),
        ("我住在上海。", "上海"),
    ],
)
def test_facts_are_found_in_other_words(
    persona: Persona, now: Conversation, said: str, asked: str
) -> None:
    """Endings, stop words and everyday synonyms stand in nobody's way."""
    say_and_index(persona, *(f"Let us talk about topic {n} again." for n in range(40)))
    say_and_index(persona, said)
    say_and_index(persona, "Could you explain how that works?", asked)
    assert recalled(now, asked)[0] == said


def test_rare_words_count_more(persona: Persona, now: Conversation) -> None:
    """A word that stands everywhere says little."""
    say_and_index(persona, *(f"The garden needs water, day {n}." for n in range(30)))
    say_and_index(persona, "The gardenia has ended up behind the shed.")
    say_and_index(persona, "Aunt Petronella came by.")
    assert recalled(now, "garden Petronella")[0] == "Aunt Petronella came by."


@pytest.mark.parametrize(
    ("of_conversation", "of_message", "is_recalled"),
    [
        ({}, {}, True),
        ({}, {"role": "assistant"}, True),
        ({"temporary": True}, {}, False),
        ({"private": True}, {}, False),
        ({"memory_paused": True}, {}, False),
        ({"shared": True}, {}, True),
        ({"shared": True}, {"role": "assistant"}, False),
        ({}, {"from_guest": True}, False),
    ],
)
def test_from_where_is_recalled(
    persona: Persona,
    now: Conversation,
    of_conversation: dict[str, Any],
    of_message: dict[str, Any],
    is_recalled: bool,
) -> None:
    """Nothing of guests, temporary, paused or – outside private chats – private."""
    (said,) = say_and_index(persona, FACT, **of_conversation)
    Message.objects.filter(pk=said.pk).update(**of_message)
    assert bool(recalled(now)) is is_recalled


@pytest.mark.parametrize(
    ("of_conversation", "is_recalled"),
    [
        ({"private": True}, True),
        ({"shared": True}, False),
        ({"temporary": True}, False),
    ],
)
def test_into_where_is_recalled(
    persona: Persona, of_conversation: dict[str, Any], is_recalled: bool
) -> None:
    """Private chats may use private ones; rooms of several get nothing at all."""
    say_and_index(persona, FACT, private=True)
    now = start_conversation(persona.owner, persona, **of_conversation)
    assert bool(recalled(now)) is is_recalled


def test_only_ones_own_with_this_persona(
    persona: Persona, now: Conversation, bob: User
) -> None:
    """Not others' messages, other personas', this chat's own, or deleted ones."""
    theirs = create_persona(bob, template="companion", name="bo", display_name="Bo")
    other = create_persona(
        persona.owner, template="companion", name="max", display_name="Max"
    )
    say_and_index(theirs, FACT)
    say_and_index(other, FACT)
    say_and_index(persona, FACT, conversation=now)
    (gone,) = say_and_index(persona, FACT)
    delete_message(persona.owner, gone.pk)
    assert recalled(now) == []


def test_what_was_to_be_forgotten_is_not_recalled(
    persona: Persona, now: Conversation
) -> None:
    """“Forget this” holds for old messages too."""
    say_and_index(persona, FACT, "The cello itself is from Cremona.")
    save_file(
        persona, "MEMORY_LONG.md", "- Has a cello lesson on Thursdays.", author=None
    )
    forget(persona, "cello lesson on Thursdays", author=persona.owner)
    assert recalled(now) == ["The cello itself is from Cremona."]


def test_clues() -> None:
    """Stop words give none, and there are never many."""
    assert clues_of("what is it that you would have done?") == []
    words = " ".join(f"word{n}unique" for n in range(50))
    assert len([clue for clue in clues_of(words) if clue.weight == 1]) == 12
