"""The built-in model's back end and process."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from cortex_site import builtin_model
from routing import dispatch, dispatcher
from routing.backends.base import (
    Prompt,
    PromptMessage,
    Target,
    TextDelta,
    Timeouts,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from routing.backends.builtin import Builtin
from tests.routing.conftest import PROMPT, caller_of
from tests.support import missing
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def control_socket(settings: Any, tmp_path: Path) -> Path:
    """Return where a supervisor would listen."""
    path = tmp_path / "control.sock"
    settings.CORTEX_CONTROL_SOCKET = path
    return path


@pytest.fixture(autouse=True)
def _fresh_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget addresses that other tests found."""
    fresh = Builtin()
    original = dispatch.get_backend
    monkeypatch.setattr(
        dispatch,
        "get_backend",
        lambda kind: fresh if kind == "builtin" else original(kind),
    )


@asynccontextmanager
async def supervisor(path: Path, *answers: dict[str, str]) -> AsyncIterator[list[str]]:
    """Answer questions on the control socket, in turn."""
    questions: list[str] = []

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        questions.append((await reader.readline()).decode().strip())
        writer.write(json.dumps(answers[len(questions) - 1]).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    try:
        yield questions
    finally:
        server.close()


async def ask(user: User, text: str = "Hello") -> Any:
    """Ask the built-in model and return the completion."""
    prompt = Prompt("Be kind.", (PromptMessage("user", text),))
    return await dispatcher.complete(prompt, user=user, caller=caller_of(user))


def behave(upstream: Upstream, *names: str) -> None:
    """Let the mock answer as the built-in model."""
    upstream.script("builtin", *names)


async def test_supervisor_is_asked_once(
    alice: User, upstream: Upstream, control_socket: Path
) -> None:
    upstream.require_key("the-key")
    behave(upstream, "echo", "echo")
    url = upstream.url.replace("http://", "http://the-key@")
    async with supervisor(control_socket, {"url": url}) as questions:
        for _ in range(2):
            completion = await ask(alice)
            assert (completion.text, completion.result.outcome) == ("Hello", "complete")
    assert questions == ["builtin"]
    assert completion.result.cost_nano_usd == 0
    assert completion.result.model == "builtin"


async def test_restarted_process_is_found_again(
    alice: User, upstream: Upstream, control_socket: Path, unused_tcp_port: int
) -> None:
    behave(upstream, "echo")
    gone = {"url": f"http://k@127.0.0.1:{unused_tcp_port}"}
    async with supervisor(control_socket, gone, {"url": upstream.url}) as questions:
        assert (await ask(alice)).result.outcome == "failed"
        assert (await ask(alice)).text == "Hello"
    assert len(questions) == 2


async def test_address_that_became_stale_is_asked_for_again(
    alice: User, upstream: Upstream, control_socket: Path
) -> None:
    first = Upstream().__enter__()
    behave(first, "echo")
    answers = {"url": first.url}, {"url": upstream.url}
    async with supervisor(control_socket, *answers) as questions:
        assert (await ask(alice)).text == "Hello"
        first.__exit__(None, None, None)
        behave(upstream, "echo")
        assert (await ask(alice)).text == "Hello"
    assert len(questions) == 2


async def test_missing_supervisor_names_the_command(
    alice: User, control_socket: Path
) -> None:
    result = (await ask(alice)).result
    assert result.error is not None
    assert result.error.code == "upstream_unavailable"
    assert "make run" in result.error.message


async def test_supervisors_sentence_is_passed_on(
    alice: User, control_socket: Path
) -> None:
    sentence = "The built-in model is not installed; `make model` adds it."
    async with supervisor(control_socket, {"error": sentence}):
        result = (await ask(alice)).result
    assert result.error is not None
    assert result.error.message == sentence


async def test_long_prompt_is_refused_before_it_is_sent(
    alice: User, upstream: Upstream, settings: Any
) -> None:
    settings.CORTEX_BUILTIN_URL = upstream.url
    result = (await ask(alice, "word " * 1200)).result
    assert result.error is not None
    assert result.error.code == "too_long"
    assert upstream.calls == []


async def test_tools_are_left_out_and_their_results_are_text(
    upstream: Upstream, settings: Any
) -> None:
    settings.CORTEX_BUILTIN_URL = upstream.url
    behave(upstream, "echo")
    prompt = Prompt(
        "",
        (
            PromptMessage("assistant", "", tool_calls=(ToolCall("c", "clock", {}),)),
            PromptMessage("user", "", tool_results=(ToolResult("c", "clock", "Noon"),)),
        ),
        tools=(ToolSpec("clock", "Tells the time.", {"type": "object"}),),
    )
    target = Target("builtin", "", "", "m", 1400, False)
    async with Builtin().stream(
        prompt, target, max_output_tokens=9, timeouts=Timeouts()
    ) as events:
        text = "".join([e.text async for e in events if isinstance(e, TextDelta)])
    assert "Noon" in text
    (request,) = upstream.completions
    assert "tools" not in request.body
    assert {row["role"] for row in request.body["messages"]} == {"user", "assistant"}


async def test_builder_gets_a_small_room(
    alice: User, upstream: Upstream, settings: Any
) -> None:
    settings.CORTEX_BUILTIN_URL = upstream.url
    behave(upstream, "echo")
    rooms: list[int] = []

    def build(room: int) -> Prompt:
        rooms.append(room)
        return PROMPT

    async with dispatcher.stream(
        build, user=alice, caller=caller_of(alice)
    ) as dispatch:
        async for _ in dispatch:
            pass
    assert rooms == [900]


# --- the process ----------------------------------------------------------------------


def needs_model() -> None:
    """Skip where the model's wheels are not installed."""
    if builtin_model.model_path() is None:
        missing.could_not_run("the built-in model is not installed (make model)")


def start() -> subprocess.Popen[str]:
    """Start the process."""
    return subprocess.Popen(
        [sys.executable, "-m", "cortex_site.builtin_model"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
async def test_real_model_answers_and_ends_with_its_input(
    alice: User, settings: Any
) -> None:
    needs_model()
    with start() as process:
        assert process.stdin and process.stdout and process.stderr
        word, url = process.stdout.readline().split()
        assert word == "ready"
        settings.CORTEX_BUILTIN_URL = url
        completion = await ask(alice, "Say hello.")
        assert completion.text.strip()
        assert completion.result.outcome in {"complete", "incomplete"}
        assert completion.result.usage.input_tokens > 5
        assert not completion.result.estimated
        key = url.removeprefix("http://").partition("@")[0]
        settings.CORTEX_BUILTIN_URL = url.replace(key, "wrong")
        dispatch.get_backend("builtin").__dict__["_address"] = ""
        wrong = (await ask(alice)).result
        assert wrong.error.code == "upstream_auth"
        process.stdin.close()
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_real_model_dies_by_sigterm_at_once() -> None:
    needs_model()
    with start() as process:
        assert process.stdout
        assert process.stdout.readline().startswith("ready ")
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_missing_model_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builtin_model, "model_path", lambda: None)
    assert builtin_model.main() == 3
    assert capsys.readouterr().err == builtin_model.MISSING + "\n"
    assert "make model" in builtin_model.MISSING


def test_broken_model_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fail(path: Path, key: str) -> None:
        raise RuntimeError("no memory")

    found: Callable[[str], object] = lambda name: object()  # noqa: E731
    monkeypatch.setattr(builtin_model.importlib.util, "find_spec", found)
    monkeypatch.setattr(builtin_model, "model_path", lambda: tmp_path / "x.gguf")
    monkeypatch.setattr(builtin_model, "start", fail)
    assert builtin_model.main() == 4
    assert capsys.readouterr().err == "The built-in model did not start: no memory.\n"


def test_process_loads_no_django() -> None:
    program = (
        "import sys, cortex_site.builtin_model;"
        "sys.exit(any(m.split('.')[0] == 'django' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
