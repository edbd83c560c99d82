"""``/remember``, ``/forget``, ``/memory`` and the same in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accounts.models import User
from channels_app import slash_memory
from channels_app.slash_commands import Place, Result, parse, run
from personas.conversations import start_conversation
from personas.deletion import delete_message
from personas.files import save_file
from personas.memory import runs, wishes
from personas.memory.files import memory_of, settings_of
from personas.memory.notes import notes_of
from personas.models import Conversation, MemoryRun, Message, Persona
from tests.personas.trees import line

CELLO = "I have a cello lesson on Mondays"


@pytest.fixture
def conversation(alice: User, persona: Persona) -> Conversation:
    return start_conversation(alice, persona, first_text="Hello")


@pytest.fixture
def said(conversation: Conversation) -> list[Message]:
    return line(conversation, "My cat is called Minka", "What a name")


@pytest.fixture
def place(alice: User, persona: Persona, conversation: Conversation) -> Place:
    return Place(alice, persona, conversation, "web")


def say(text: str, place: Place) -> Result | None:
    """Say something; ``None`` = it is a message like any other."""
    command = parse(text)
    return run(command, place) if command else None


def told(text: str, place: Place) -> str:
    result = say(text, place)
    assert result is not None
    return result.text


def memory(persona: Persona) -> str:
    return "\n".join(file.text for file in memory_of(persona).values())


def write(persona: Persona, *lines: str, file: str = "MEMORY_LONG.md") -> None:
    save_file(persona, file, "\n".join(lines), author=persona.owner)


# --- remembering ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"/remember {CELLO}", CELLO),
        (f"/remember that {CELLO}", CELLO),
        ("/remember dass ich Tee mag", "ich Tee mag"),
        ("/remember Thatcher Street 7", "Thatcher Street 7"),
        (f"Remember that {CELLO}.", CELLO),
        ("Please don’t forget that I am a vegetarian!", "I am a vegetarian"),
        ("please remember that I'm left-handed", "I'm left-handed"),
        ("Keep in mind that my sister lives in Oslo", "my sister lives in Oslo"),
    ],
)
def test_what_is_to_be_remembered_is_in_the_memory_at_once(
    place: Place, text: str, kept: str
) -> None:
    result = say(text, place)
    assert result is not None
    assert result.text.startswith(f"Remembered: “{kept}”")
    assert kept in memory(place.persona)
    undo = result.choices[0]
    assert undo.label == "Undo"
    assert told(undo.text, place) == f"Taken back: I do not keep “{kept}”."
    assert kept not in memory(place.persona)
    assert told(undo.text, place) == "That was taken back already."


@pytest.mark.parametrize("text", ["/remember", "Remember this.", "don't forget that!"])
def test_the_last_message_is_remembered_and_bears_the_note(
    place: Place, said: list[Message], text: str
) -> None:
    result = say(text, place)
    assert result is not None
    assert result.shown_anew == said[0].pk
    (note,) = notes_of(place.user, [each.pk for each in said])[said[0].pk]
    assert note.text == "My cat is called Minka"
    assert f"/m/{said[0].pk}" in memory(place.persona)
    undone = say("/memory undo", place)
    assert undone is not None and undone.shown_anew == said[0].pk
    assert notes_of(place.user, [said[0].pk]) == {}


def test_without_a_message_there_is_nothing_to_remember(
    place: Place, said: list[Message]
) -> None:
    delete_message(place.user, said[0].pk)
    assert told("/remember", place) == slash_memory.NO_MESSAGE
    assert say("Remember this", place) is None
    assert say("Forget this", replace(place, conversation=None)) is None


def test_what_was_known_is_said_and_leaves_nothing_to_undo(place: Place) -> None:
    say(f"/remember {CELLO}", place)
    again = say(f"/remember {CELLO}", place)
    assert again is not None and "I knew that" in again.text
    assert again.choices == ()
    assert memory(place.persona).count(CELLO) == 1


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("temporary", wishes.TEMPORARY),
        ("private", wishes.PRIVATE_CHAT),
        ("memory_paused", wishes.PAUSED),
    ],
)
def test_what_must_stay_in_a_chat_is_not_remembered(
    place: Place, flag: str, why: str
) -> None:
    assert place.conversation is not None
    setattr(place.conversation, flag, True)
    before = memory(place.persona)
    assert told(f"/remember {CELLO}", place) == why
    for words in (f"Remember that {CELLO}", "Remember this"):
        spoken = say(words, place)
        assert spoken is not None and spoken.text == why
        assert [(each.text, each.literal) for each in spoken.choices] == [(words, True)]
        assert say(words, replace(place, alone=False)) is None
    assert memory(place.persona) == before
    assert not MemoryRun.objects.exists()


# --- forgetting -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["/forget cello", "Forget that I have cello lessons."])
def test_what_is_to_be_forgotten_goes_from_all_files(place: Place, text: str) -> None:
    for file in ("MEMORY_SHORT.md", "MEMORY_MID.md", "MEMORY_LONG.md"):
        write(place.persona, "- Has a cello lesson on Mondays.", "- Tea.", file=file)
    result = say(text, place)
    assert result is not None
    assert result.text.count("Has a cello lesson on Mondays.") == 1
    assert "cello" not in memory(place.persona)
    assert memory(place.persona).count("Tea") == 3
    back = told("/memory undo", place)
    assert back.startswith("Taken back: I remember this again.")
    assert back.count("Has a cello lesson on Mondays.") == 1
    assert memory(place.persona).count("cello") == 3


def test_where_several_could_be_meant_it_asks_which(place: Place) -> None:
    write(place.persona, "- Has a cat.", "- The cat of the neighbour bites, he says.")
    before = memory(place.persona)
    asked = say("/forget cat", place)
    assert asked is not None
    assert "nothing was forgotten" in asked.text
    assert memory(place.persona) == before
    labels = [each.label for each in asked.choices]
    assert labels == [
        "Has a cat.",
        "The cat of the neighbour bites, he says.",
        "All of these",
    ]
    say(asked.choices[0].text, place)
    assert "- Has a cat." not in memory(place.persona)
    assert "neighbour" in memory(place.persona)


def test_all_of_them_can_be_meant(place: Place) -> None:
    write(place.persona, "- Has a cat.", "- The cat of the neighbour bites, he says.")
    asked = say("/forget cat", place)
    assert asked is not None
    say(asked.choices[-1].text, place)
    assert "cat" not in memory(place.persona)


def test_forget_this_takes_what_the_message_led_to(
    place: Place, said: list[Message]
) -> None:
    write(place.persona, f"- Has a pet. <!-- from /m/{said[0].pk} -->", "- Tea.")
    result = say("Forget this", place)
    assert result is not None and "- Has a pet." in result.text
    assert "pet" not in memory(place.persona) and "Tea" in memory(place.persona)
    said[0].refresh_from_db()
    assert said[0].distilled_at is not None
    assert say("/forget", place) == Result(slash_memory.NOTHING_LIKE_IT)


def test_forget_this_takes_back_what_only_waits(
    place: Place, said: list[Message]
) -> None:
    """Its own words need not be in the line, and it may say nothing but small words."""
    Message.objects.filter(pk=said[0].pk).update(text="I am her")
    settings = settings_of(place.persona)
    settings.review_days = 3
    settings.save()
    proposed = f"- Has a pet. <!-- from /m/{said[0].pk} -->"
    change = runs.Change("MEMORY_SHORT.md", (), (proposed, "- Tea."))
    waiting = runs.store(place.persona, runs.NewRun("short", [change]), read=[])
    assert "- Has a pet." in told("Forget this", place)
    waiting.refresh_from_db()
    assert [each.add for each in runs.changes_of(waiting)] == [("- Tea.",)]
    said[0].refresh_from_db()
    assert said[0].distilled_at is not None and said[0].forgotten_at is not None


def test_a_message_that_led_to_nothing_is_forgotten_too(
    place: Place, said: list[Message]
) -> None:
    Message.objects.filter(pk=said[0].pk).update(text="I am her")
    result = say("/forget", place)
    assert result is not None and result.text == slash_memory.NOTHING_LIKE_IT
    said[0].refresh_from_db()
    assert said[0].distilled_at is not None and said[0].forgotten_at is not None
    told(result.choices[0].text, place)
    said[0].refresh_from_db()
    assert said[0].forgotten_at is None


def test_the_very_words_of_a_line_that_waits_are_that_line(place: Place) -> None:
    write(place.persona, "- The cat of the neighbour bites, he says.")
    settings = settings_of(place.persona)
    settings.review_days = None
    settings.save()
    change = runs.Change("MEMORY_SHORT.md", (), ("- Has a cat.",))
    waiting = runs.store(place.persona, runs.NewRun("short", [change]), read=[])
    assert "Forgotten" in told("/forget has a cat", place)
    waiting.refresh_from_db()
    assert waiting.state == MemoryRun.State.REJECTED
    assert "neighbour" in memory(place.persona)


def test_of_very_many_that_could_be_meant_some_are_listed(place: Place) -> None:
    lines = [f"- The cat of neighbour number {n} is called K{n}." for n in range(60)]
    write(place.persona, *lines)
    asked = say("/forget cat", place)
    assert asked is not None
    assert asked.text.count("\n- ") == slash_memory.MOST_LISTED
    assert "And 50 more." in asked.text
    assert asked.choices[-1].label == "All of these"


# --- asking ---------------------------------------------------------------------------


def test_the_memory_is_told_from_the_files(place: Place) -> None:
    write(place.persona, "# User", file="USER.md")
    assert told("/memory", place) == "I know nothing about you yet."
    write(place.persona, "- 2026-11-20 Plays the cello. <!-- private -->", "- Tea.")
    write(place.persona, "- Lives in Graz.", file="USER.md")
    listed = say("What do you know about me?", place)
    assert listed is not None
    for words in ("**MEMORY_LONG.md**", "- Plays the cello.", "- Lives in Graz."):
        assert words in listed.text
    assert listed.choices[-1].literal
    assert "/personas/inara/memory/" in listed.text
    some = told("/memory Graz", place)
    assert "Graz" in some and "cello" not in some
    assert told("/memory piano", place) == "I know nothing about “piano”."


def test_a_long_memory_is_told_in_part(place: Place) -> None:
    write(place.persona, "# User", file="USER.md")
    write(place.persona, *(f"- Fact {number}." for number in range(60)))
    text = told("/memory", place)
    assert "- Fact 39." in text and "- Fact 40." not in text
    assert "And 20 more." in text


def test_there_may_be_no_wish_to_take_back(place: Place, bob: User) -> None:
    assert told("/memory undo", place) == slash_memory.NO_WISH
    say(f"/remember {CELLO}", place)
    wish = MemoryRun.objects.get()
    persona = Persona.objects.create(owner=bob, name="tina", display_name="Tina")
    his = Place(bob, persona, None, "web")
    assert told(f"/memory undo {wish.pk}", his) == slash_memory.NO_WISH
    assert told("/memory undo something", place) == slash_memory.NO_WISH
    assert CELLO in memory(place.persona)


def test_a_wish_that_found_nothing_is_the_last_one(place: Place) -> None:
    say("Remember that I like plums.", place)
    empty = say("/forget oat", place)
    assert empty is not None and empty.choices == ()
    for _ in range(2):
        assert told("/memory undo", place) == slash_memory.FOUND_NOTHING
    assert "I like plums" in memory(place.persona)


def test_undoing_names_what_it_took_back(place: Place) -> None:
    write(place.persona, "- Likes plums.", "- 2026-01-02 Grows plums. <!-- pin -->")
    say("/remember Likes plums", place)
    assert told("/memory undo", place) == (
        "Taken back: “Likes plums.” is as it was before."
    )
    assert "- Likes plums.\n" in memory(place.persona)
    say("/forget everything about plums", place)
    assert told("/memory undo", place).endswith("\n- Likes plums.\n- Grows plums.")


# --- what stays a message -------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Do you remember when I told you about the cello?",
        "I can't remember that song",
        "Remember when we met?",
        "Forget it",
        "Forget it.",
        "Forget about it",
        "Forget that.",
        "Forget that I asked.",
        "Forget that I said anything",
        "Remember that I asked for JSON",
        "Remember that I am vegetarian. What can I cook?",
        "Remember that I am vegetarian; suggest a dinner",
        "Remember that I am vegetarian, can you?",
        "Remember that the moon is round",
        "Remember that I\nlike tea",
        "Remember the Alamo",
        "What do you know about mermaids?",
        "What do you know about me and my cello?",
        "What do you remember about Oslo?",
        "Don't forget to breathe",
        "//remember this",
    ],
)
def test_what_only_sounds_like_a_wish_is_a_message(
    place: Place, said: list[Message], text: str
) -> None:
    assert say(text, place) is None


# --- where others read ----------------------------------------------------------------


@pytest.fixture
def room(place: Place) -> Place:
    """The owner in a room where others read."""
    return replace(place, alone=False, channel="nextcloud_talk")


@pytest.mark.parametrize(
    "text", ["/forget cello", "/forget", "/memory", "/memory cello", "/memory undo"]
)
def test_nothing_is_told_where_others_read(room: Place, text: str) -> None:
    write(room.persona, f"- {CELLO}.")
    before = memory(room.persona)
    answer = told(text, room)
    assert answer.startswith("Others read here")
    assert "cello lesson" not in answer
    assert memory(room.persona) == before


@pytest.mark.parametrize(
    "text", ["What do you know about me?", "Forget that I have a cello", "Forget this"]
)
def test_plain_words_are_messages_where_others_read(
    room: Place, said: list[Message], text: str
) -> None:
    assert say(text, room) is None


def test_in_a_room_the_owner_may_add_and_hears_no_more_than_that(room: Place) -> None:
    first = say(f"/remember {CELLO}", room)
    again = say(f"Remember that {CELLO}", room)
    assert first is not None and again is not None
    assert first.text == again.text == f"Remembered: “{CELLO}”"
    assert memory(room.persona).count(CELLO) == 1


@pytest.mark.parametrize(
    "text", ["/remember I am the owner", "/forget cello", "/memory"]
)
def test_guests_have_no_commands(room: Place, text: str) -> None:
    write(room.persona, f"- {CELLO}.")
    before = memory(room.persona)
    guest = replace(room, guest=True)
    assert told(text, guest) == "Commands are for the owner of this persona alone."
    for words in ("Remember that I am the owner", "What do you know about me?"):
        assert say(words, guest) is None
    assert memory(room.persona) == before


def test_nothing_is_queued_and_nothing_stored_as_a_message(place: Place) -> None:
    for text in (f"/remember {CELLO}", "/memory", "/forget cello", "/memory undo"):
        assert told(text, place)
    assert not Message.objects.exists()
