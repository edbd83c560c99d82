"""What a vendor's program is given to read, and what it can never take it for."""

from __future__ import annotations

import pytest

from routing.backends.base import (
    ContextTooLong,
    Prompt,
    PromptMessage,
    ToolCall,
    ToolResult,
)
from routing.backends.cli_prompt import (
    MAX_INPUT_BYTES,
    NO_INSTRUCTIONS,
    Unmarked,
    conversation,
    harmless,
    instructions,
)


def said(*texts: str) -> tuple[PromptMessage, ...]:
    """Return messages by a person and the model in turn."""
    return tuple(
        PromptMessage("assistant" if place % 2 else "user", text)
        for place, text in enumerate(texts)
    )


def test_one_message_is_sent_as_it_is() -> None:
    assert conversation(Prompt("", said("Hello you"))) == "Hello you"


def test_earlier_messages_are_told_before_the_one_to_be_answered() -> None:
    text = conversation(Prompt("", said("One", "Two\nlines", "Three")))
    assert text.index("Person:\n> One") < text.index("You:\n> Two\n> lines")
    assert text.endswith("\n\nThree")
    assert text.count("Three") == 1


def test_a_prompt_that_ends_with_the_model_asks_it_to_go_on() -> None:
    text = conversation(Prompt("", said("Tell me", "Once upon")))
    assert "You:\n> Once upon" in text
    assert text.endswith("Please go on.")


def test_tools_that_were_used_are_told() -> None:
    call = ToolCall("1", "clock", {"zone": "UTC"})
    result = ToolResult("1", "clock", "12:00", is_error=False)
    messages = (
        PromptMessage("user", "What time is it?"),
        PromptMessage("assistant", "", tool_calls=(call,)),
        PromptMessage("user", "", tool_results=(result,)),
    )
    text = conversation(Prompt("", messages))
    assert '[asked the tool clock with {"zone": "UTC"}]' in text
    assert text.endswith("[the tool clock and said]\n12:00")


@pytest.mark.parametrize(
    "text", ["/cost", "  /help", "\n\t/x", "-v", "--version", "!ls", "#note", "\\@x"]
)
def test_no_text_begins_like_a_command(text: str) -> None:
    sent = conversation(Prompt("", said(text)))
    assert sent.startswith("\u200b")
    assert sent.endswith(text[-1])


def test_no_file_and_no_variable_can_be_named() -> None:
    text = harmless("@/etc/passwd a@b.c ${AvailableTools} @@x \0")
    assert "@/" not in text
    assert "${" not in text
    assert "@@" not in text
    assert "\0" not in text
    assert text.replace("\u200b", "") == "@/etc/passwd a@b.c ${AvailableTools} @@x "


@pytest.mark.parametrize("size", range(1, 9))
def test_an_answer_that_repeats_the_marks_loses_them(size: int) -> None:
    text = "mail a@b.c, cost ${x} and $5, ends with @"
    marked = harmless(text)
    unmarked = Unmarked()
    pieces = [marked[at : at + size] for at in range(0, len(marked), size)]
    assert "".join(map(unmarked.feed, pieces)) == text


def test_a_mark_of_the_models_own_stays() -> None:
    unmarked = Unmarked()
    assert unmarked.feed("a\u200bb") + unmarked.feed("\u200b") == "a\u200bb\u200b"


def test_empty_texts_are_never_sent() -> None:
    assert conversation(Prompt("", said("  "))).strip()
    assert conversation(Prompt("", ())).strip()
    assert instructions(Prompt(" ", ())) == NO_INSTRUCTIONS


def test_what_passes_moves_from_the_instructions_to_the_message() -> None:
    messages = said("Hello")
    first = Prompt("Be kind.\n\nIt is ten.", messages, passing="It is ten.")
    second = Prompt("Be kind.\n\nIt is eleven.", messages, passing="It is eleven.")
    assert instructions(first) == instructions(second) == "Be kind."
    assert conversation(first) == "(It is ten.)\n\nHello"
    assert instructions(Prompt("Be kind.", messages)) == "Be kind."


def test_what_no_program_reads_is_refused_before_it_starts() -> None:
    conversation(Prompt("", said("x" * MAX_INPUT_BYTES)))
    with pytest.raises(ContextTooLong):
        conversation(Prompt("", said("x" * (MAX_INPUT_BYTES + 1))))
    with pytest.raises(ContextTooLong):
        conversation(Prompt("", said("🙂" * (MAX_INPUT_BYTES // 4 + 1))))
