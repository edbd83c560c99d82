"""What enters a prompt, in which order, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.models import User
from personas.context import HISTORY_LIMIT, load_material, persona_material
from personas.conversations import get_conversation_for_user, start_conversation
from personas.errors import TooLong
from personas.files import IDENTITY, SOUL, USER, save_file
from personas.models import Conversation, Message, Persona
from personas.prompts import (
    RECALL_HEADING,
    RECALL_TOKENS,
    SMALL_MODEL_TOKENS,
    FileText,
    FileUse,
    HistoryMessage,
    Material,
    Recollection,
    build_prompt,
    compose,
)
from routing.backends.base import ContextTooLong
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens
from tests.personas.trees import add, line, long_line

NOW = datetime(2026, 7, 3, 21, 44, tzinfo=UTC)
WORD = "abc "
"""A word of one estimated token."""


def file(name: str, text: str) -> FileText:
    return FileText(name, text, estimate_tokens(text))


def said(role: Any, text: str) -> HistoryMessage:
    return HistoryMessage(role, text, estimate_tokens(text) + MESSAGE_OVERHEAD_TOKENS)


def material(
    files: tuple[FileText, ...] = (),
    history: tuple[HistoryMessage, ...] = (),
    current: str = "now",
) -> Material:
    return Material(
        opening="You are Inara.",
        introduction="You are a helpful AI assistant named Inara.",
        files=files,
        closing="It is Friday.",
        history=history,
        current=said("user", current),
    )


FRAME_TOKENS = 4 + 4 + MESSAGE_OVERHEAD_TOKENS
"""Opening, closing and the overhead of the instructions in ``material()``."""
CURRENT_TOKENS = 1 + MESSAGE_OVERHEAD_TOKENS


@pytest.fixture
def small_budgets_are_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let prompts of a few tokens be composed like those of large models."""
    monkeypatch.setattr("personas.prompts.SMALL_MODEL_TOKENS", 0)


@pytest.fixture
def conversation(alice: User, persona: Persona) -> Conversation:
    alice.time_zone = "Europe/Berlin"
    alice.save()
    for name in (IDENTITY, SOUL, USER, "MEMORY_SHORT.md", "MEMORY_LONG.md"):
        save_file(persona, name, f"text of {name}", author=alice)
    save_file(persona, "recipes.md", "text of recipes.md", author=alice)
    save_file(persona, "TASKS.json", '["text of TASKS.json"]', author=alice)
    save_file(persona, "card.json", "text of card.json", author=alice)
    created = start_conversation(alice, persona)
    return get_conversation_for_user(alice, created.pk)


def system(conversation: Conversation, **options: Any) -> str:
    (message,) = line(conversation, "hi")
    loaded = load_material(conversation, upto=message, now=NOW, **options)
    return build_prompt(loaded, 8000).system


# --- loading ---------------------------------------------------------------------


def test_context_tiers_bring_their_files_in_order(conversation: Conversation) -> None:
    tier_1 = [IDENTITY]
    tier_2 = [*tier_1, SOUL, USER, "MEMORY_SHORT.md"]
    tier_3 = [*tier_2, "MEMORY_LONG.md", "recipes.md"]
    for tier, names in ((1, tier_1), (2, tier_2), (3, tier_3)):
        conversation.persona.context_tier = tier
        parts = system(conversation).split("\n\n")
        assert parts[0] == "You are Inara, talking with alice."
        assert parts[1:-1] == [f"text of {name}" for name in names]


def test_in_company_private_files_and_lines_stay_out(
    alice: User, conversation: Conversation
) -> None:
    conversation.persona.context_tier = 3
    save_file(
        conversation.persona,
        SOUL,
        "open\nsecret <!-- private -->",
        author=alice,
    )
    parts = system(conversation, alone=False).split("\n\n")
    assert parts[:-1] == [
        "You are Inara.",
        f"text of {IDENTITY}",
        "open",
        "text of recipes.md",
    ]


def test_the_owners_local_time_stands_at_the_end(conversation: Conversation) -> None:
    last = system(conversation).split("\n\n")[-1]
    assert last == "It is Friday, 3 July 2026, about 23:30 (Europe/Berlin)."


def test_a_wrong_time_zone_falls_back_to_utc(conversation: Conversation) -> None:
    conversation.owner.time_zone = "../../etc/passwd"
    assert system(conversation).endswith("about 21:30 (UTC).")


def test_history_is_the_branch_up_to_the_message(conversation: Conversation) -> None:
    q1, a1 = line(conversation, "q1", "a1")
    add(conversation, q1, "a1 of another branch")
    q2 = add(conversation, a1, "q2")
    add(conversation, q2, "", state=Message.State.GENERATING)
    prompt = build_prompt(load_material(conversation, upto=q2), 8000)
    assert [(m.role, m.text) for m in prompt.messages] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
    ]


def test_an_answer_without_text_is_dropped_and_its_neighbours_joined(
    conversation: Conversation,
) -> None:
    q1 = add(conversation, None, "q1")
    failed = add(conversation, q1, "", state=Message.State.FAILED)
    q2 = add(conversation, failed, "q2")
    cut = add(conversation, q2, "half an", state=Message.State.INTERRUPTED)
    q3 = add(conversation, cut, "q3")
    prompt = build_prompt(load_material(conversation, upto=q3), 8000)
    assert [(m.role, m.text) for m in prompt.messages] == [
        ("user", "q1\n\nq2"),
        ("assistant", "half an"),
        ("user", "q3"),
    ]
    assert prompt.left_out_messages == 0


def test_load_material_takes_at_most_three_queries_for_a_long_history(
    alice: User, conversation: Conversation, django_assert_max_num_queries: Any
) -> None:
    messages = long_line(conversation, HISTORY_LIMIT + 101)
    with django_assert_max_num_queries(3):
        loaded = load_material(conversation, upto=messages[-1])
    assert len(loaded.history) == HISTORY_LIMIT - 1
    assert loaded.older_messages == 101
    prompt = build_prompt(loaded, 1_000_000)
    assert prompt.messages[-1].text == messages[-1].text.strip() + " "
    # The oldest one read is an answer, which cannot begin a prompt.
    assert prompt.left_out_messages == 102


def test_load_material_refuses_a_message_of_another_conversation(
    alice: User, persona: Persona, conversation: Conversation
) -> None:
    (foreign,) = line(start_conversation(alice, persona), "hi")
    with pytest.raises(ValueError, match="not of this conversation"):
        load_material(conversation, upto=foreign)


def test_persona_material_has_no_messages(conversation: Conversation) -> None:
    prompt = build_prompt(persona_material(conversation.persona), 8000)
    assert prompt.messages == () and f"text of {SOUL}" in prompt.system


# --- the budget ------------------------------------------------------------------


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_newest_messages_come_first_and_whole() -> None:
    history = tuple(
        said(("user", "assistant")[number % 2], f"{number:03} " * 10)
        for number in range(20)
    )
    each = history[0].tokens
    budget = FRAME_TOKENS + CURRENT_TOKENS + 4 * each
    prompt = build_prompt(material(history=history), budget)
    assert [m.text for m in prompt.messages[:-1]] == [m.text for m in history[16:]]
    assert prompt.left_out_messages == 16
    short = build_prompt(material(history=history), budget - 1)
    # Three would fit, but the oldest of them has lost its question.
    assert [m.text for m in short.messages[:-1]] == [m.text for m in history[18:]]
    assert short.left_out_messages == 18


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_a_large_message_is_never_skipped_for_an_older_one() -> None:
    history = (said("user", "small"), said("assistant", WORD * 900), said("user", "b"))
    prompt = build_prompt(material(history=history), 500)
    assert [m.text for m in prompt.messages] == ["b\n\nnow"]
    assert prompt.left_out_messages == 2


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_the_current_message_is_always_included() -> None:
    current = WORD * 100
    exact = FRAME_TOKENS + 100 + MESSAGE_OVERHEAD_TOKENS
    files = (file(IDENTITY, "me"),)
    history = (said("user", "x"), said("assistant", "y"))
    prompt = build_prompt(material(files, history, current), exact)
    assert [m.text for m in prompt.messages] == [current]
    assert prompt.left_out_files == (IDENTITY,)
    with pytest.raises(TooLong) as caught:
        build_prompt(material(files, history, current), exact - 1)
    assert caught.value.code == "too_long"
    assert isinstance(caught.value, ContextTooLong)
    assert str(exact) in str(caught.value) and str(exact - 1) in str(caught.value)


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_files_take_at_most_half_of_the_budget_by_priority() -> None:
    files = (
        file(IDENTITY, WORD * 100),
        file(SOUL, WORD * 500),
        file(USER, WORD * 50),
        file("recipes.md", WORD * 50),
    )
    prompt = build_prompt(material(files), 400)
    assert prompt.left_out_files == (SOUL, "recipes.md")
    assert prompt.system == "\n\n".join(
        ["You are Inara.", files[0].text, files[2].text, "It is Friday."]
    )
    assert build_prompt(material(files), 2000).left_out_files == ()


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_files_do_not_depend_on_the_length_of_the_history() -> None:
    files = (file(IDENTITY, WORD * 100), file(SOUL, WORD * 290))
    history = tuple(said("user", WORD * 50) for _ in range(50))
    short = build_prompt(material(files), 900)
    long = build_prompt(material(files, history), 900)
    assert short.system == long.system and short.left_out_files == ()


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_memory_is_cut_to_its_newest_lines() -> None:
    lines = ["# Short memory", *(f"- fact {number:03}" for number in range(100))]
    composed = compose(material((file("MEMORY_SHORT.md", "\n".join(lines)),)), 200)
    (used, use), *_ = composed.files
    kept = used.text.split("\n")
    assert use is FileUse.PART
    assert kept[0] == lines[0] and kept[-1] == lines[-1]
    assert kept[1:] == lines[len(lines) - len(kept) + 1 :] and len(kept) > 10
    assert used.tokens <= 100 and used.text in composed.prompt.system
    assert composed.prompt.left_out_files == ("MEMORY_SHORT.md",)


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_memory_without_room_for_one_line_is_left_out() -> None:
    text = "# Memory\n" + WORD * 500
    composed = compose(material((file("MEMORY_SHORT.md", text),)), 200)
    assert composed.files[0][1] is FileUse.LEFT_OUT
    assert "Memory" not in composed.prompt.system


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_an_identity_is_cut_to_its_first_lines() -> None:
    lines = [f"- trait {number:03}" for number in range(100)]
    composed = compose(material((file(IDENTITY, "\n".join(lines)),)), 200)
    kept = composed.files[0][0].text.split("\n")
    assert kept == lines[: len(kept)] and len(kept) > 10


@pytest.mark.parametrize("budget", [40, 100, 300, 1000, 5000])
@pytest.mark.usefixtures("small_budgets_are_usual")
def test_a_prompt_stays_within_its_budget(budget: int) -> None:
    files = tuple(
        file(name, "line of text\n" * count)
        for name, count in ((IDENTITY, 40), (SOUL, 90), ("MEMORY_SHORT.md", 200))
    )
    history = tuple(
        said(("user", "assistant")[n % 2], "some words " * (n % 17)) for n in range(99)
    )
    composed = compose(material(files, history), budget)
    prompt = composed.prompt
    sent = estimate_tokens(prompt.system) + sum(
        estimate_tokens(m.text) + MESSAGE_OVERHEAD_TOKENS for m in prompt.messages
    )
    assert sent <= composed.system_tokens + composed.message_tokens <= budget
    assert prompt.messages[-1].text.endswith("now")


@pytest.mark.usefixtures("small_budgets_are_usual")
def test_build_prompt_is_pure() -> None:
    given = material((file(IDENTITY, "me"),), (said("user", "x"),))
    copy = replace(given)
    assert build_prompt(given, 500) == build_prompt(given, 500)
    assert given == copy


def test_a_very_small_model_gets_one_paragraph_and_what_fits_of_the_history() -> None:
    identity = "# Identity\n\nYou help\nwith letters.\n\n- Be brief.\n"
    files = (file(IDENTITY, identity), file(SOUL, "A long soul."))
    history = (said("user", "one"), said("assistant", "two"))
    composed = compose(material(files, history), SMALL_MODEL_TOKENS)
    assert composed.prompt.system == (
        "You are a helpful AI assistant named Inara. You help with letters."
    )
    assert composed.prompt.left_out_files == (IDENTITY, SOUL)
    assert [use for _, use in composed.files] == [FileUse.PART, FileUse.LEFT_OUT]
    assert len(composed.prompt.messages) == 3
    usual = compose(material(files, history), SMALL_MODEL_TOKENS + 1).prompt
    assert usual.system.startswith("You are Inara.") and usual.left_out_files == ()


@pytest.mark.parametrize("identity", ["", "# Only a heading", WORD * 600])
def test_a_very_small_model_does_without_an_identity_that_it_cannot_take(
    identity: str,
) -> None:
    prompt = build_prompt(material((file(IDENTITY, identity),)), SMALL_MODEL_TOKENS)
    assert prompt.system == "You are a helpful AI assistant named Inara."
    assert prompt.left_out_files == (IDENTITY,)


def test_only_what_passes_differs_between_two_messages() -> None:
    """A model's host, and a program kept ready, reuse what stays the same."""
    files = (file(IDENTITY, "# Inara\n\nKind."), file(SOUL, "Calm."))
    first = material(files, current="Good morning")
    second = replace(
        material(files, (said("user", "Good morning"), said("assistant", "Hello."))),
        closing="It is Saturday.",
    )
    prompts = [build_prompt(each, 6_000) for each in (first, second)]
    assert [prompt.passing for prompt in prompts] == [
        "It is Friday.",
        "It is Saturday.",
    ]
    stable = {prompt.system.removesuffix(prompt.passing) for prompt in prompts}
    assert len(stable) == 1
    assert build_prompt(first, SMALL_MODEL_TOKENS).passing == ""


# --- what is recalled of earlier conversations -----------------------------------


def recollection(text: str) -> Recollection:
    return Recollection(text, estimate_tokens(text))


def test_what_is_recalled_stands_before_the_message_and_is_counted() -> None:
    history = (said("user", "one"), said("assistant", "two"))
    plain = material((), history)
    recalled = replace(plain, recalled=(recollection("- old: “blue”"),))
    without, composed = compose(plain, 8000), compose(recalled, 8000)
    prompt = composed.prompt
    # Everything before the last message is the same, so that hosts can reuse it.
    assert prompt.system == without.prompt.system
    assert prompt.messages[:-1] == without.prompt.messages[:-1]
    last = prompt.messages[-1].text
    asked = without.prompt.messages[-1].text
    assert last == f"({RECALL_HEADING}\n- old: “blue”)\n\n{asked}"
    assert prompt.asked == asked
    assert composed.recalled_tokens == pytest.approx(estimate_tokens(last), abs=8)
    assert composed.message_tokens == without.message_tokens + composed.recalled_tokens
    assert without.prompt.asked == ""


@pytest.mark.parametrize("budget", [1001, 2000, 8000, 100_000])
def test_what_is_recalled_takes_a_small_share(budget: int) -> None:
    lines = tuple(recollection(f"- {n} " + WORD * 100) for n in range(20))
    composed = compose(replace(material(()), recalled=lines), budget)
    assert composed.recalled_tokens <= min(budget // 8, RECALL_TOKENS)
    assert (budget < 2000) == (composed.recalled_tokens == 0)


def test_a_very_small_model_gets_nothing_recalled() -> None:
    lines = (recollection("- old"),)
    composed = compose(replace(material(()), recalled=lines), SMALL_MODEL_TOKENS)
    assert composed.recalled_tokens == 0
    assert "old" not in composed.prompt.messages[-1].text


def test_a_temporary_conversation_gets_no_memory(conversation: Conversation) -> None:
    conversation.persona.context_tier = 3
    assert "text of MEMORY_SHORT.md" in system(conversation)
    conversation.temporary = True
    text = system(conversation)
    assert "MEMORY" not in text
    assert f"text of {USER}" in text
    assert "text of recipes.md" in text
