"""Commands that are typed like messages, at whichever door."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.models import User
from channels_app.slash_commands import COMMANDS, Command, Place, Result, parse, run
from channels_app.slash_model import MAX_LISTED
from ledger.models import Budget
from personas.conversations import delete_conversation, start_conversation
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from tests.personas.trees import line
from tests.support.chat import mock_model, scripted_model
from tests.support.ledger import book


@pytest.fixture
def conversation(alice: User, persona: Persona) -> Conversation:
    return start_conversation(alice, persona, first_text="Hello there")


@pytest.fixture
def place(alice: User, persona: Persona, conversation: Conversation) -> Place:
    return Place(alice, persona, conversation, "nextcloud_talk")


@pytest.fixture
def tina(alice: User) -> Persona:
    return create_persona(
        alice, template="developer", name="tina", display_name="Tina Törö"
    )


def say(text: str, place: Place) -> Result:
    command = parse(text)
    assert command is not None
    return run(command, place)


def policy_of(conversation: Conversation) -> tuple[int | None, str]:
    conversation.refresh_from_db()
    return conversation.tier, conversation.model_label


# --- what is a command ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/new", Command("new")),
        ("  /new \n", Command("new")),
        ("/New", Command("new")),
        ("/model haiku", Command("model", "haiku")),
        ("/MODEL\tclaude: Opus 4 ", Command("model", "claude: Opus 4")),
        ("/model\nhaiku", Command("model", "haiku")),
        ("/frobnicate", Command("unknown", "frobnicate")),
        ("/Newer", Command("unknown", "Newer")),
        ("/frobnicate the thing", None),
        ("//new", None),
        ("// a comment", None),
        ("/", None),
        ("/ new", None),
        ("/etc/hosts", None),
        ("/new/old", None),
        ("/new.", None),
        ("/1", None),
        ("say /new", None),
        ("new", None),
        ("", None),
    ],
)
def test_only_a_known_first_word_or_a_lone_one_is_a_command(
    text: str, expected: Command | None
) -> None:
    assert parse(text) == expected


def test_an_unknown_word_says_what_was_meant_and_how_to_send_it(place: Place) -> None:
    result = say("/modle", place)
    assert result == Result(
        "There is no command “/modle”. Did you mean `/model`? `/help` lists all; "
        "a message that begins with `//` is sent as it is."
    )
    assert "Did you mean" not in say("/xyzzy", place).text


# --- who may give which -----------------------------------------------------------


def test_help_lists_every_command_with_a_line(place: Place) -> None:
    lines = say("/help", place).text.splitlines()
    assert lines[0] == "You are talking to Inara. Commands:"
    listed = [each.split("`")[1].split()[0] for each in lines if each.startswith("- `")]
    assert listed == [f"/{name}" for name in COMMANDS]
    assert "- `/model [name]` – " in say("/help", place).text


def test_where_others_read_only_what_tells_nothing_is_answered(
    place: Place, conversation: Conversation
) -> None:
    scripted_model("haiku")
    book(place.user)
    shared = replace(place, alone=False)
    for text in ("/cost", "/model", "/model haiku", "/persona", "/persona inara"):
        result = say(text, shared)
        assert result == Result(result.text)
        assert result.text.startswith("Others read here, so “/")
        assert "$" not in result.text
        assert "haiku" not in result.text
    assert policy_of(conversation) == (None, "")
    assert say("/new", shared).new_thread
    assert say("/stop", shared).text == "Nothing is being answered here."
    listed = say("/help", shared).text
    assert "`/stop`" in listed
    assert "`/cost`" not in listed


def test_a_guest_gets_help_alone(place: Place, conversation: Conversation) -> None:
    line(conversation, "one")
    answer = running_answer(conversation)
    guest = replace(place, guest=True, alone=False)
    for name in COMMANDS:
        result = say(f"/{name}", guest)
        assert result == Result(result.text)
        if name != "help":
            assert result.text == "Commands are for the owner of this persona alone."
    listed = say("/help", guest).text
    assert "`/help`" in listed
    assert not any(f"`/{name}" in listed for name in COMMANDS if name != "help")
    # Even where the owner alone is said to read, a guest stays a guest.
    assert say("/stop", replace(guest, alone=True)).stop == ()
    assert Message.objects.get(pk=answer.pk).state == "generating"


@pytest.mark.parametrize("text", ["/new then say hi", "/stop it", "/cost of living"])
def test_words_after_a_command_that_takes_none_are_not_lost_silently(
    place: Place, text: str
) -> None:
    result = say(text, place)
    assert result.text.startswith("Nothing was done: “/")
    assert result == Result(result.text)


# --- new, persona, stop -----------------------------------------------------------


def test_new_begins_a_conversation_and_stores_none(place: Place) -> None:
    result = say("/new", place)
    assert result.new_thread
    assert result.persona is None
    assert "Inara" in result.text
    assert Conversation.objects.count() == 1


def test_persona_lists_ones_own(
    place: Place, tina: Persona, bob: User, persona: Persona
) -> None:
    create_persona(bob, template="developer", name="wintermute", display_name="W")
    result = say("/persona", place)
    assert result == Result(result.text)
    assert "- `inara` – Inara (answers here)" in result.text
    assert "- `tina` – Tina Törö" in result.text
    assert "wintermute" not in result.text


@pytest.mark.parametrize("typed", ["tina", "Tina", "TINA TÖRÖ"])
def test_persona_switches_by_either_name(
    place: Place, tina: Persona, typed: str
) -> None:
    result = say(f"/persona {typed}", place)
    assert (result.persona, result.new_thread) == ("tina", True)
    assert "Tina Törö" in result.text


def test_persona_knows_near_names_and_nobody_elses(
    place: Place, tina: Persona, bob: User
) -> None:
    create_persona(bob, template="developer", name="wintermute", display_name="W")
    near = say("/persona tinna", place)
    assert near == Result("You have no persona “tinna”. Did you mean `tina`?")
    theirs = say("/persona wintermute", place)
    assert theirs == Result("You have no persona “wintermute”. `/persona` lists yours.")
    same = say("/persona inara", place)
    assert same == Result("You are talking to Inara already.")


def running_answer(conversation: Conversation) -> Message:
    return Message.objects.create(
        conversation=conversation,
        owner=conversation.owner,
        role="assistant",
        state="generating",
    )


def test_stop_names_the_answers_of_this_conversation(
    place: Place, alice: User, persona: Persona, conversation: Conversation
) -> None:
    running_answer(start_conversation(alice, persona))
    assert say("/stop", place) == Result("Nothing is being answered here.")
    answer = running_answer(conversation)
    assert say("/stop", place).stop == (answer.pk,)
    asked = Message.objects.filter(stop_asked=True)
    assert list(asked.values_list("pk", flat=True)) == [answer.pk]
    assert say("/stop", replace(place, conversation=None)).stop == ()


# --- cost -------------------------------------------------------------------------


def answer_costing(conversation: Conversation, nano: int | None) -> None:
    Message.objects.create(
        conversation=conversation,
        owner=conversation.owner,
        role="assistant",
        attempts=1,
        cost_nano_usd=nano,
    )


def test_cost_tells_conversation_periods_and_what_is_left(
    place: Place, conversation: Conversation, bob: User
) -> None:
    answer_costing(conversation, 20_000_000)
    answer_costing(conversation, None)
    book(place.user, input_tokens=1_000_000, output_tokens=0)
    book(bob, input_tokens=5_000_000, output_tokens=0)
    Budget.objects.create(user=place.user, period="day", limit_nano_usd=10 * 10**9)
    assert say("/cost", place).text.splitlines() == [
        "What your answers cost:",
        "",
        "- This conversation: $0.02, and 1 answer of unknown cost",
        "- Today: $3.00",
        "- This month: $3.00",
        "- Left of your budget for today: $7.00 of $10.00",
    ]


def test_cost_without_anything(place: Place, conversation: Conversation) -> None:
    nothing = say("/cost", replace(place, conversation=None)).text
    assert "- This conversation: $0.00" in nothing
    assert "- Today: $0.00" in nothing
    assert "- There is no budget that limits you." in nothing
    answer_costing(conversation, None)
    assert "- This conversation: unknown" in say("/cost", place).text


def test_cost_never_calls_unknown_nothing_and_keeps_subscriptions_apart(
    place: Place,
) -> None:
    book(place.user, input_tokens=None, output_tokens=None)
    assert "- Today: unknown" in say("/cost", place).text
    book(place.user, input_tokens=1_000_000, output_tokens=0, billing="notional")
    assert (
        "- Today: $0.00, and 1 call of unknown cost, and $3.00 at list prices covered "
        "by a subscription" in say("/cost", place).text
    )


# --- model ------------------------------------------------------------------------


def test_model_lists_what_may_be_chosen_and_what_holds(
    place: Place, conversation: Conversation
) -> None:
    scripted_model("haiku", tier=1)
    say("/model deep", place)
    result = say("/model", place)
    assert result == Result(result.text)
    for typed in ("default", "auto", "quick", "balanced", "deep", "haiku", "builtin"):
        assert f"- `{typed}` – " in result.text
    (now,) = [line for line in result.text.splitlines() if "(**now**)" in line]
    assert now.startswith("- `deep` – ")


@pytest.mark.parametrize(
    ("typed", "route", "stored"),
    [
        ("haiku", "model:haiku", (None, "haiku")),
        ("Haiku", "model:haiku", (None, "haiku")),
        ("model:haiku", "model:haiku", (None, "haiku")),
        ("auto", "auto", (0, "")),
        ("Automatic", "auto", (0, "")),
        ("quick", "tier:1", (1, "")),
        ("2", "tier:2", (2, "")),
        ("tier:3", "tier:3", (3, "")),
        ("builtin", "model:builtin", (None, "builtin")),
        ("default", "", (None, "")),
    ],
)
def test_model_sets_the_policy_of_the_conversation(
    place: Place,
    conversation: Conversation,
    typed: str,
    route: str,
    stored: tuple[int | None, str],
) -> None:
    scripted_model("haiku")
    conversation.tier = 3
    conversation.save()
    result = say(f"/model {typed}", place)
    assert (result.route, result.conversation, result.new_thread) == (
        route,
        None,
        False,
    )
    assert result.text.startswith("From now on in this conversation: **")
    assert policy_of(conversation) == stored


def test_an_unknown_model_names_near_ones_and_changes_nothing(
    place: Place, conversation: Conversation
) -> None:
    scripted_model("claude-haiku")
    scripted_model("gpt")
    near = say("/model haiku", place)
    assert near == Result(
        "There is no model “haiku” to choose. Did you mean `claude-haiku`?"
    )
    far = say("/model " + "z" * 500, place)
    assert far == Result(
        f"There is no model “{'z' * 60}” to choose. `/model` lists what there is."
    )
    assert policy_of(conversation) == (None, "")


def test_a_private_conversation_is_offered_local_models_alone(
    place: Place, conversation: Conversation, mock_host_model: Any
) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(private=True)
    conversation.refresh_from_db()
    scripted_model("at-home")
    listed = say("/model", place).text
    assert "`at-home`" in listed
    assert "`elsewhere`" not in listed
    refused = say("/model elsewhere", place)
    assert refused.route is None
    assert policy_of(conversation) == (None, "")


@pytest.fixture
def mock_host_model(db: None) -> Any:
    return mock_model("http://127.0.0.1:9/v1", "elsewhere")


def test_before_the_first_message_a_choice_begins_a_conversation_or_is_handed_over(
    place: Place, alice: User, persona: Persona, conversation: Conversation
) -> None:
    delete_conversation(conversation)
    scripted_model("haiku")
    bot = replace(place, conversation=None)
    made = say("/model haiku", bot).conversation
    assert made is not None
    begun = Conversation.objects.get(pk=made)
    assert (begun.owner, begun.persona, begun.model_label) == (alice, persona, "haiku")
    web = say("/model haiku", replace(bot, channel="web"))
    assert (web.conversation, web.route) == (None, "model:haiku")
    assert Conversation.objects.count() == 2


def test_a_long_list_of_models_is_cut_with_a_word(place: Place) -> None:
    for number in range(MAX_LISTED + 2):
        scripted_model(f"m{number:02}")
    text = say("/model", place).text
    # The built-in model stands in the list as well.
    assert "- and 3 more; the page’s picker has them all." in text
