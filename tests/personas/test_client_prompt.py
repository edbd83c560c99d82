"""Prompts of conversations that a program brings with it."""

from __future__ import annotations

import pytest

from personas.client_prompt import ClientMaterial, build_client_prompt
from personas.errors import TooLong
from personas.prompts import FileText, Material
from routing.attempt import prompt_tokens
from routing.backends.base import PromptMessage, ToolCall, ToolResult, ToolSpec
from routing.tokens import estimate_tokens

SOUL = FileText(
    "SOUL.md", "You are warm. " * 20, estimate_tokens("You are warm. " * 20)
)
PERSONA = Material(
    opening="You are Inara, talking with alice.",
    introduction="You are a helpful AI assistant named Inara.",
    files=(FileText("IDENTITY.md", "# Inara\n\nA guide.", 5), SOUL),
    closing="It is Monday.",
    history=(),
    current=None,
)
LOOKUP = ToolSpec("lookup", "Looks a word up", {"type": "object"})
CALL = ToolCall("call_1", "lookup", {"word": "cortex"})
RESULT = ToolResult("call_1", "lookup", "bark")


def user(text: str) -> PromptMessage:
    return PromptMessage("user", text)


def assistant(text: str, *calls: ToolCall) -> PromptMessage:
    return PromptMessage("assistant", text, tool_calls=calls)


RESULTS = PromptMessage("user", "", tool_results=(RESULT,))
EXCHANGE = (user("What is it?"), assistant("", CALL), RESULTS)


def test_the_oldest_messages_are_cut_and_the_rest_begins_with_a_person() -> None:
    old = tuple(
        message
        for number in range(50)
        for message in (user(f"question {number} " * 10), assistant("word " * 40))
    )
    material = ClientMaterial(None, "", (*old, user("And now?")))
    prompt = build_client_prompt(material, 1000)
    assert prompt.messages[0].role == "user"
    assert prompt.messages[-1].text == "And now?"
    assert prompt.messages[-2] == old[-1]
    assert prompt.left_out_messages == len(old) + 1 - len(prompt.messages) > 0
    assert prompt_tokens(prompt) <= 1000


def test_calls_and_their_results_are_never_parted() -> None:
    messages = (*EXCHANGE, assistant("Bark."), *EXCHANGE)
    whole = build_client_prompt(ClientMaterial(None, "", messages), 1000)
    assert whole.messages == messages
    for room in range(20, 120):
        try:
            prompt = build_client_prompt(ClientMaterial(None, "", messages), room)
        except TooLong:
            continue
        assert prompt.messages in (messages, EXCHANGE)


def test_everything_from_the_last_question_on_is_sent() -> None:
    rounds = (assistant("", CALL), RESULTS) * 20
    material = ClientMaterial(
        None, "", (user("old"), assistant("yes"), user("Go"), *rounds)
    )
    with pytest.raises(TooLong):
        build_client_prompt(material, 100)
    prompt = build_client_prompt(material, 1000)
    assert prompt.messages[-41:] == (user("Go"), *rounds)


def test_instructions_and_tools_count() -> None:
    material = ClientMaterial(PERSONA, "Be brief. " * 100, (user("hello"),), (LOOKUP,))
    with pytest.raises(TooLong):
        build_client_prompt(material, 200)
    prompt = build_client_prompt(material, 2000)
    assert prompt.tools == (LOOKUP,)
    assert prompt_tokens(prompt) <= 2000


def test_the_order_is_persona_program_time() -> None:
    material = ClientMaterial(PERSONA, "Be brief.", (user("hello"),))
    prompt = build_client_prompt(material, 4000)
    places = [
        prompt.system.index(text)
        for text in ("You are Inara", "A guide.", "You are warm.", "Be brief.", "It is")
    ]
    assert places == sorted(places)
    assert prompt.passing == "It is Monday."
    assert prompt.system.endswith("\n\nIt is Monday.")


def test_files_make_room_for_what_the_program_says() -> None:
    material = ClientMaterial(PERSONA, "Be brief. " * 380, (user("hello"),))
    prompt = build_client_prompt(material, 1040)
    assert "Be brief." in prompt.system
    assert prompt.left_out_files == ("SOUL.md",)


def test_a_very_small_model_gets_one_paragraph_and_the_programs_words() -> None:
    material = ClientMaterial(PERSONA, "Be brief.", (user("hello"),))
    prompt = build_client_prompt(material, 900)
    assert prompt.system == (
        "You are a helpful AI assistant named Inara. A guide.\n\nBe brief."
    )
    assert prompt.passing == ""


def test_neighbours_of_one_role_are_joined_where_they_are_mere_text() -> None:
    messages = (user("a"), user("b"), assistant("c"), assistant("", CALL), RESULTS)
    prompt = build_client_prompt(ClientMaterial(None, "", (*messages, user("d"))), 500)
    assert prompt.messages == (
        user("a\n\nb"),
        assistant("c"),
        assistant("", CALL),
        RESULTS,
        user("d"),
    )
