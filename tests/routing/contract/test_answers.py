"""Answers that end well: text, thinking, counts and the way they end."""

from __future__ import annotations

import pytest

from routing.backends.base import (
    Finished,
    Prompt,
    PromptMessage,
    Refused,
    TextDelta,
    Usage,
)
from tests.routing.contract.harness import KINDS, PROGRAMS, Bench, counting
from tests.support.upstream_behaviours import SPLIT_TEXT

ODD_TEXT = "Grüße!\n\n- **one**\n- `two`\n\n\t🙂 <b>&amp;</b> \\n {{x}} ${HOME}"
NOT_GEMINI_CLI = [kind for kind in KINDS if kind.name != "gemini_cli"]


async def test_answer_is_whole_and_counted_to_the_token(bench: Bench) -> None:
    outcome = await bench.call(f"say:{ODD_TEXT}")
    (call,) = bench.calls
    assert outcome.error is None
    assert outcome.text == ODD_TEXT
    assert outcome.finished == Finished(complete=True)
    assert outcome.usage
    assert not outcome.usage.estimated
    assert outcome.usage.input_tokens == call.input_tokens
    assert outcome.usage.output_tokens == call.output_tokens > 3


async def test_answer_comes_in_pieces(bench: Bench) -> None:
    outcome = await bench.call("tokens-12-30ms")
    pieces = [event for event in outcome.events if isinstance(event, TextDelta)]
    assert outcome.text == counting(12)
    assert len(pieces) > 3


async def test_host_is_sent_the_whole_conversation(bench: Bench) -> None:
    prompt = Prompt(
        "Speak like ${HOME} a sailor, never of $PATH.",
        (
            PromptMessage("user", "My name is Ünal, ${CORTEX_SECRET_KEY} & <x>."),
            PromptMessage("assistant", "Ahoy, Ünal."),
            PromptMessage("user", "What is my name?"),
        ),
    )
    await bench.call("echo", prompt=prompt)
    (call,) = bench.calls
    # Programs are kept from replacing names by an invisible character.
    sent = "\n".join(call.wire.texts(call)).replace("\u200b", "")
    assert prompt.system in sent
    places = [sent.find(message.text) for message in prompt.messages]
    assert -1 not in places
    assert places == sorted(places)
    assert call.key == (bench.target().api_key or "")


@pytest.mark.kinds([kind for kind in KINDS if kind.name != "builtin"])
async def test_cached_tokens_are_told_apart(bench: Bench) -> None:
    outcome = await bench.call("cached")
    (call,) = bench.calls
    assert outcome.usage
    assert call.cache_read_tokens > 0
    assert outcome.usage.input_tokens == call.input_tokens
    assert outcome.usage.cache_read_tokens == call.cache_read_tokens
    if call.wire.name == "anthropic":
        assert outcome.usage.cache_write_tokens == call.cache_write_tokens > 0


async def test_thinking_is_no_part_of_the_answer(bench: Bench) -> None:
    outcome = await bench.call("think")
    (call,) = bench.calls
    assert outcome.text == counting(8)
    thoughts = {"Let me think."} | ({""} if bench.kind in PROGRAMS else set())
    assert outcome.thinking in thoughts
    assert outcome.usage
    assert outcome.usage.output_tokens == call.output_tokens == 10


async def test_characters_that_reads_share_stay_whole(bench: Bench) -> None:
    outcome = await bench.call("split-bytes")
    assert outcome.text == SPLIT_TEXT


async def test_answer_of_a_megabyte(bench: Bench) -> None:
    outcome = await bench.call("big-20")
    assert len(outcome.text) == 1_000_000
    assert set(outcome.text) == {"x"}
    assert outcome.finished


@pytest.mark.kinds(NOT_GEMINI_CLI)
async def test_answer_in_one_huge_event(bench: Bench) -> None:
    outcome = await bench.call("long-line")
    assert outcome.text == "x" * 1_200_000


# The Gemini CLI ends such an answer as if it were whole and does not say why.
@pytest.mark.kinds(NOT_GEMINI_CLI)
async def test_answer_cut_short_by_a_limit_is_incomplete(bench: Bench) -> None:
    outcome = await bench.call("length")
    assert outcome.text == "Hello, who are you?"
    assert outcome.finished == Finished(complete=False)


async def test_refusal_is_told(bench: Bench) -> None:
    outcome = await bench.call("filtered")
    assert outcome.text == ""
    if bench.kind.name == "gemini_cli":  # it does not say why there is no text
        assert outcome.error or outcome.finished
    else:
        assert isinstance(outcome.error, Refused)


@pytest.mark.kinds([kind for kind in KINDS if kind.name not in {"claude_cli"}])
async def test_count_that_is_missing_stays_unknown(bench: Bench) -> None:
    outcome = await bench.call("no-usage")
    assert outcome.error is None
    usage = outcome.usage or Usage()
    assert not usage.output_tokens
    assert not usage.input_tokens
