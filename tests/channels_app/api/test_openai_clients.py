"""The real ``openai`` client against a real server, over loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support import missing
from tests.support.openai_upstream import FINISH
from tests.support.processes import ROOT, ServerProcess
from tests.support.seeding import seed
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

MODEL = "echo"
QUESTION: Any = [{"role": "user", "content": "What does the word mean?"}]
LOOKUP: Any = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Looks a word up",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}},
            "required": ["word"],
        },
    },
}


@dataclass
class House:
    """A running installation with two people, and the host of its only model."""

    server: ServerProcess
    upstream: Upstream
    tokens: dict[str, str]

    def client(self, person: str, **options: Any) -> OpenAI:
        """Return a person's client; it tries nothing again by itself."""
        settings: dict[str, Any] = {"api_key": self.tokens[person], "max_retries": 0}
        return OpenAI(base_url=f"{self.server.url}/v1", **(settings | options))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run Cortex with alice and bob, each with a persona inara."""
    folder: Path = tmp_path_factory.mktemp("openai")
    server = ServerProcess("serve", data_dir=folder / "data")
    with Upstream() as upstream:
        try:
            server.start()
            seed(server, upstream.base_url, [MODEL], "alice", "bob")
            tokens = {
                name: server.manage("users", "token", name, "--scope", "chat").strip()
                for name in ("alice", "bob")
            }
            yield House(server, upstream, tokens)
        finally:
            server.stop()


@pytest.fixture
def alice_client(house: House) -> Iterator[OpenAI]:
    """Alice's client."""
    house.upstream.clear()
    with house.client("alice") as client:
        yield client


def ask(client: OpenAI, messages: Any = QUESTION, **fields: Any) -> Any:
    return client.chat.completions.create(model="inara", messages=messages, **fields)


def last_call(house: House) -> dict[str, Any]:
    body: dict[str, Any] = house.upstream.completions[-1].body
    return body


# --- models -----------------------------------------------------------------------


def test_personas_are_the_models(alice_client: OpenAI) -> None:
    (model,) = alice_client.models.list().data
    assert (model.id, model.owned_by, model.object) == ("inara", "alice", "model")
    assert alice_client.models.retrieve("inara").id == "inara"


def test_an_unknown_persona_is_no_model(alice_client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as listed:
        alice_client.models.retrieve("nobody")
    with pytest.raises(openai.NotFoundError) as asked:
        alice_client.chat.completions.create(model="nobody", messages=QUESTION)
    assert listed.value.code == asked.value.code == "model_not_found"


# --- answers ------------------------------------------------------------------------


def test_an_answer_in_one_piece(house: House, alice_client: OpenAI) -> None:
    made = ask(alice_client)
    (choice,) = made.choices
    assert choice.message.content == "What does the word mean?"
    assert choice.message.role == "assistant"
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert (made.object, made.model) == ("chat.completion", "inara")
    call = house.upstream.completions[-1]
    assert made.usage.prompt_tokens == call.input_tokens
    assert made.usage.completion_tokens == call.tokens_sent
    assert made.usage.total_tokens == call.input_tokens + call.tokens_sent


def test_an_answer_in_pieces(house: House, alice_client: OpenAI) -> None:
    house.upstream.script(MODEL, "tokens-20-10ms")
    chunks = list(ask(alice_client, stream=True))
    assert len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(text) == 80
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_where_it_is_asked_for(
    house: House, alice_client: OpenAI
) -> None:
    stream = ask(alice_client, stream=True, stream_options={"include_usage": True})
    *chunks, last = list(stream)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    call = house.upstream.completions[-1]
    assert last.usage.prompt_tokens == call.input_tokens
    assert last.usage.completion_tokens == call.tokens_sent


def test_the_clients_own_stream_reader_understands_the_events(
    alice_client: OpenAI,
) -> None:
    with alice_client.chat.completions.stream(
        model="inara", messages=QUESTION
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "What does the word mean?"


def test_the_whole_conversation_and_the_clients_instructions_are_sent(
    house: House, alice_client: OpenAI
) -> None:
    messages: Any = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Un"},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Two"}]},
    ]
    assert ask(alice_client, messages).choices[0].message.content == "Two"
    system, *rest = last_call(house)["messages"]
    assert system["content"].startswith("You are Inara, talking with alice.")
    assert "\n\nAnswer in French.\n\nBe brief.\n\n" in system["content"]
    assert [message["content"] for message in rest] == ["One", "Un", "Two"]


def test_limits_and_stops_are_kept(house: House, alice_client: OpenAI) -> None:
    ask(alice_client, max_tokens=7)
    assert last_call(house)["max_tokens"] == 7
    ask(alice_client, max_completion_tokens=9)
    assert last_call(house)["max_tokens"] == 9
    house.upstream.script(MODEL, "tokens-2000-1ms", "tokens-2000-1ms")
    made = ask(alice_client, stop=["0002", "zzzz"])
    assert made.choices[0].message.content == "00000001"
    assert made.choices[0].finish_reason == "stop"
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in ask(alice_client, stop="00010", stream=True)
    )
    assert text == "0000"
    house.upstream.wait_for_disconnect()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "reason"), [("length", "length"), ("filtered", "content_filter")]
)
def test_reasons_to_end(
    house: House, alice_client: OpenAI, behaviour: str, reason: str, stream: bool
) -> None:
    assert reason in FINISH.values()
    house.upstream.script(MODEL, behaviour)
    made = ask(alice_client, stream=stream)
    last = list(made)[-1] if stream else made
    assert last.choices[0].finish_reason == reason


def test_thinking_comes_apart(house: House, alice_client: OpenAI) -> None:
    house.upstream.script(MODEL, "think")
    message = ask(alice_client).choices[0].message
    assert message.reasoning_content == "Let me think."
    assert len(message.content) == 32


# --- tools --------------------------------------------------------------------------


def test_tools_round_trip(house: House, alice_client: OpenAI) -> None:
    house.upstream.script(MODEL, "two-tools")
    clock = {"type": "function", "function": {"name": "clock"}}
    made = ask(alice_client, tools=[LOOKUP, clock])
    assert made.choices[0].finish_reason == "tool_calls"
    message = made.choices[0].message
    assert message.content == "Let me look."
    lookup, time = message.tool_calls
    assert (lookup.function.name, time.function.name) == ("lookup", "clock")
    assert json.loads(lookup.function.arguments) == {"word": "cortex"}
    assert last_call(house)["tools"][0] == LOOKUP

    messages = [
        *QUESTION,
        message.to_dict(),
        {"role": "tool", "tool_call_id": time.id, "content": "noon"},
        {"role": "tool", "tool_call_id": lookup.id, "content": "bark"},
    ]
    made = ask(alice_client, messages, tools=[LOOKUP, clock])
    assert made.choices[0].finish_reason == "stop"
    _, question, called, *results = last_call(house)["messages"]
    assert question == QUESTION[0]
    assert [call["function"]["name"] for call in called["tool_calls"]] == [
        "lookup",
        "clock",
    ]
    assert [(r["role"], r["tool_call_id"], r["content"]) for r in results] == [
        ("tool", time.id, "noon"),
        ("tool", lookup.id, "bark"),
    ]


def test_tool_calls_in_pieces(house: House, alice_client: OpenAI) -> None:
    house.upstream.script(MODEL, "two-tools")
    with alice_client.chat.completions.stream(
        model="inara", messages=QUESTION, tools=[LOOKUP]
    ) as stream:
        made = stream.get_final_completion()
    assert made.choices[0].finish_reason == "tool_calls"
    calls = made.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls] == ["lookup", "clock"]
    assert json.loads(calls[0].function.arguments) == {"word": "cortex"}
    assert made.choices[0].message.content == "Let me look."


# --- errors -------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["nonsense", "ctx_0_0"])
def test_a_wrong_key(house: House, key: str) -> None:
    with house.client("alice", api_key=key) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(client)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert caught.value.type == "authentication_error"


def test_a_token_without_the_scope(house: House) -> None:
    token = house.server.manage("users", "token", "alice", "--scope", "ledger").strip()
    with (
        house.client("alice", api_key=token) as client,
        pytest.raises(openai.PermissionDeniedError) as caught,
    ):
        ask(client)
    assert "chat" in caught.value.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "“n” must be 1"),
        ({"logprobs": True}, "logprobs"),
        ({"tool_choice": "required", "tools": [LOOKUP]}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "“stop” has more than 4"),
        ({"max_tokens": 0}, "“max_tokens” must be at least 1"),
        ({"messages": []}, "“messages” must not be empty"),
        ({"messages": [{"role": "system", "content": "x"}]}, "no message to answer"),
        (
            {"messages": QUESTION, "extra_headers": {"X-Cortex-Conversation": "new"}}
            | {"tools": [LOOKUP]},
            "“tools” cannot be used together",
        ),
        (
            {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]},
            "“messages.0” is the result of a call",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "data:,"}}
                        ],
                    }
                ]
            },
            "only text can be read here",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    house: House, alice_client: OpenAI, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(alice_client, **fields)
    assert words in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert not house.upstream.completions


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ("too-long", 400, "context_length_exceeded"),
        ("status-401", 502, "upstream_auth"),
        ("empty", 502, "upstream_unavailable"),
    ],
)
def test_a_failure_before_the_first_word_has_its_status(
    house: House,
    alice_client: OpenAI,
    behaviour: str,
    status: int,
    code: str,
    stream: bool,
) -> None:
    house.upstream.script(MODEL, behaviour)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(alice_client, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("behaviours", "calls"),
    [(["status-401", "echo"], 1), (["empty", "echo"], 2)],
)
def test_clients_learn_what_is_worth_another_try(
    house: House, behaviours: list[str], calls: int
) -> None:
    house.upstream.clear()
    house.upstream.script(MODEL, *behaviours)
    with (
        house.client("alice", max_retries=1) as client,
        contextlib.suppress(openai.APIStatusError),
    ):
        ask(client)
    assert len(house.upstream.completions) == calls
    house.upstream.script(MODEL)


def test_a_failure_in_the_middle(house: House, alice_client: OpenAI) -> None:
    house.upstream.script(MODEL, "cut-after-5", "cut-after-5")
    text = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in ask(alice_client, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text == "00000001000200030004"
    assert caught.value.code == "upstream_unavailable"
    with pytest.raises(openai.InternalServerError):
        ask(alice_client)


# --- leaving, storing, people -------------------------------------------------------


def test_a_client_that_leaves_a_stream_ends_the_call(
    house: House, alice_client: OpenAI
) -> None:
    house.upstream.script(MODEL, "tokens-2000-10ms")
    stream = ask(alice_client, stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    house.upstream.wait_for_disconnect()


def test_a_client_that_does_not_wait_ends_the_call(house: House) -> None:
    house.upstream.clear()
    house.upstream.script(MODEL, "tokens-2000-10ms")
    with (
        house.client("alice", timeout=1) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        ask(client)
    house.upstream.wait_for_disconnect()


def stored(house: House, person: str) -> list[dict[str, Any]]:
    """Return what is stored of a person's messages, oldest first."""
    code = (
        "import json; from personas.models import Message;"
        f"rows = Message.objects.filter(owner__username={person!r});"
        "print(json.dumps([[str(r.conversation_id), r.role, r.text, r.channel]"
        " for r in rows.order_by('created_at')]))"
    )
    names = ("conversation", "role", "text", "channel")
    lines = house.server.manage("shell", "--no-imports", "-c", code).splitlines()
    return [dict(zip(names, row, strict=True)) for row in json.loads(lines[-1])]


def test_only_the_header_stores_anything(house: House) -> None:
    header = "X-Cortex-Conversation"
    with house.client("bob") as client:
        ask(client)
        list(ask(client, stream=True))
        assert stored(house, "bob") == []

        create = client.chat.completions.with_raw_response.create
        first = create(model="inara", messages=QUESTION, extra_headers={header: "new"})
        conversation = first.headers[header]
        assert first.parse().choices[0].message.content == QUESTION[0]["content"]

        house.upstream.clear()
        messages: Any = [
            {"role": "user", "content": "left out"},
            {"role": "assistant", "content": "left out as well"},
            {"role": "user", "content": "And this one?"},
        ]
        with client.chat.completions.with_streaming_response.create(
            model="inara",
            messages=messages,
            stream=True,
            extra_headers={header: conversation},
        ) as second:
            assert second.headers[header] == conversation
            assert "[DONE]" in "".join(second.iter_text())
    rows = stored(house, "bob")
    assert {row["conversation"] for row in rows} == {conversation}
    assert {row["channel"] for row in rows} == {"openai"}
    assert [row["text"] for row in rows] == [
        QUESTION[0]["content"],
        QUESTION[0]["content"],
        "And this one?",
        "And this one?",
    ]
    sent = [message["content"] for message in last_call(house)["messages"][1:]]
    assert sent == [QUESTION[0]["content"]] * 2 + ["And this one?"]

    with (
        house.client("alice") as client,
        pytest.raises(openai.NotFoundError) as caught,
    ):
        ask(client, extra_headers={header: conversation})
    assert caught.value.code == "not_found"


def test_two_people_do_not_meet(house: House) -> None:
    house.upstream.clear()
    with house.client("alice") as alice, house.client("bob") as bob:
        house.upstream.script(MODEL, "tokens-50-5ms", "tokens-50-5ms")
        streams = [ask(alice, stream=True), ask(bob, stream=True)]
        texts = [
            "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            for stream in streams
        ]
        assert [model.owned_by for model in bob.models.list()] == ["bob"]
    assert len(texts[0]) == len(texts[1]) == 200
    openings = sorted(
        call.body["messages"][0]["content"].split("\n")[0]
        for call in house.upstream.completions
    )
    assert openings == [
        "You are Inara, talking with alice.",
        "You are Inara, talking with bob.",
    ]


async def test_the_asynchronous_client(house: House) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{house.server.url}/v1", api_key=house.tokens["alice"], max_retries=0
    ) as client:
        made = await client.chat.completions.create(model="inara", messages=QUESTION)
        assert made.choices[0].message.content == QUESTION[0]["content"]


# --- the guide ----------------------------------------------------------------------


def examples(language: str) -> list[str]:
    """Return the examples of the guide's section in one language."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.partition("## OpenAI clients\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


def run_example(house: House, *command: str) -> str:
    variables = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{house.server.url}/v1",
        "OPENAI_API_KEY": house.tokens["alice"],
    }
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_examples_for_the_shell(house: House) -> None:
    missing.program("curl")
    _, *asking = examples("sh")
    listed, streamed, kept = [run_example(house, "sh", "-c", text) for text in asking]
    assert json.loads(listed)["data"][0]["id"] == "inara"
    assert streamed.endswith("data: [DONE]\n\n")
    assert '"usage":{"prompt_tokens":' in streamed
    assert re.search(r"^X-Cortex-Conversation: [0-9a-f-]{36}\r?$", kept, re.M | re.I)
    assert kept.startswith("HTTP/1.1 200")


def test_the_guides_examples_for_python(house: House) -> None:
    asked, with_tool = examples("python")
    text, count = run_example(house, sys.executable, "-c", asked).splitlines()
    assert text == "What is a lighthouse for?"
    assert re.fullmatch(r"\d+ tokens", count)
    house.upstream.script(MODEL, "tool")
    called, text = run_example(house, sys.executable, "-c", with_tool).splitlines()
    assert called == "It asks for lookup {'word': 'cortex'}"
    assert text == "When is high tide in Whitby?"
