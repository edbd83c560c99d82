"""What is recalled by words alone, from where, and what never is."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from django.db import Error

from accounts.models import User
from personas.context import load_material
from personas.conversations import start_conversation
from personas.deletion import delete_message
from personas.files import save_file
from personas.memory.forgetting import forget
from personas.memory.runs import undo
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from personas.recollections import with_recollections
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


def test_what_no_line_said_is_forgotten_too(
    persona: Persona, now: Conversation
) -> None:
    """The wish is compared with the messages, not the line; its answer goes as well."""
    save_file(persona, "MEMORY_LONG.md", "- Sertraline since spring.", author=None)
    meant, _ = say_and_index(
        persona, "I take sertraline, 50 mg.", "My sertraline dose is 100 mg now."
    )
    (reply,) = say_and_index(persona, "Good that the mg help.", role="assistant")
    Message.objects.filter(pk=reply.pk).update(parent=meant)
    assert len(recalled(now, "How many mg of sertraline?")) == 3
    done = forget(persona, "everything about sertraline", author=persona.owner)
    assert recalled(now, "How many mg of sertraline?") == []
    assert done.run is not None
    undo(done.run, persona.owner)
    assert len(recalled(now, "How many mg of sertraline?")) == 3


def test_the_chat_itself_and_private_ones_crowd_nothing_out(
    persona: Persona, now: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are left out before anything is cut off."""
    for name, least in {"LOOKED_AT": 4, "COMPARED": 2, "ASKED_AT_ONCE": 2}.items():
        monkeypatch.setattr(f"personas.search.recall.{name}", least)
    say_and_index(persona, FACT)
    say_and_index(persona, *["My cello lesson!"] * 3, private=True)
    say_and_index(persona, *["My cello lesson again."] * 9, conversation=now)
    assert recalled(now) == [FACT]


@pytest.mark.parametrize(
    "of_message",
    [{"channel": "schedule"}, {"channel": "queue"}, {"state": "interrupted"}],
)
def test_nobody_said_it(
    persona: Persona, now: Conversation, of_message: dict[str, str]
) -> None:
    """What the clock asked for and what broke off is not recalled."""
    (message,) = say_and_index(persona, FACT)
    Message.objects.filter(pk=message.pk).update(**of_message)
    assert recalled(now) == []


def test_what_was_said_several_times_is_told_once(
    persona: Persona, now: Conversation
) -> None:
    say_and_index(persona, FACT, FACT.upper(), "I sold my cello to Greta.", FACT)
    assert sorted(map(str.lower, recalled(now))) == sorted(
        [FACT.lower(), "i sold my cello to greta."]
    )


def test_of_several_versions_the_newest(persona: Persona, now: Conversation) -> None:
    """An answer that was asked for again is not recalled."""
    (asked, *answers) = say_and_index(
        persona, "Tell me.", "The cello lesson is on Monday.", "On Thursday: cello."
    )
    for answer in answers:
        Message.objects.filter(pk=answer.pk).update(parent=asked, role="assistant")
    assert recalled(now) == ["On Thursday: cello."]


def test_what_is_deleted_in_between_is_left_out(
    persona: Persona, now: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for meanings takes a while."""
    gone, kept = say_and_index(persona, FACT, "The cello lesson was moved.")

    def nearest(*args: object) -> list[object]:
        delete_message(persona.owner, gone.pk)
        return []

    monkeypatch.setattr("personas.search.recall.meaning.nearest", nearest)
    assert recalled(now) == [kept.text]


@pytest.mark.parametrize("fault", [KeyError("id"), AttributeError(), Error()])
def test_no_fault_of_recalling_costs_the_answer(
    persona: Persona,
    now: Conversation,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    """It is logged, and the persona answers without."""
    Persona.objects.filter(pk=persona.pk).update(context_tier=3)
    (asked,) = say_and_index(persona, QUESTION, conversation=now)
    now = Conversation.objects.select_related("persona", "owner").get(pk=now.pk)
    monkeypatch.setattr("personas.recollections.recall", Mock(side_effect=fault))
    material = load_material(now, upto=asked, alone=True)
    assert with_recollections(material, now, alone=True) == material


def test_statements_do_not_grow_with_messages(
    persona: Persona, now: Conversation, django_assert_max_num_queries: Any
) -> None:
    """One for each clue and six more."""
    say_and_index(persona, *(f"{FACT} Take {n}." for n in range(40)))
    clues = len(clues_of(QUESTION))
    with django_assert_max_num_queries(clues + 6):
        assert len(recalled(now)) == 5


def test_clues() -> None:
    """Stop words give none, and there are never many."""
    assert clues_of("what is it that you would have done?") == []
    words = " ".join(f"word{n}unique" for n in range(50))
    assert len([clue for clue in clues_of(words) if clue.weight == 1]) == 12
