"""Claude by its program: what is started, what its lines mean, what is kept ready.

What every back end has to do stands in ``contract/``; here is what only this one does,
with scripts in place of the program and, where marked slow, with the real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from routing.backends import claude_warm, cli_scratch
from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ConnectionFailed,
    ContextTooLong,
    Event,
    Finished,
    Prompt,
    PromptMessage,
    RateLimited,
    Refused,
    TimedOut,
    Timeouts,
    UnknownModel,
    UpstreamFailed,
    Usage,
)
from routing.backends.claude_answer import ClaudeAnswer
from routing.backends.claude_cli import ClaudeCLI
from routing.backends.claude_warm import MAX_WAITING, warm_programs
from routing.backends.programs import config_folder, forget_programs
from tests.routing.cli_programs import (
    HELLO,
    ask,
    claude_says,
    script,
    target_of,
    text_of,
    usage_of,
)
from tests.support import programs
from tests.support.children import Children
from tests.support.upstream import Upstream

SECRET = "sk-secret-of-the-host"
RESULT = (
    "say(type='result', subtype='error_max_budget_usd', is_error=True, "
    "stop_reason='end_turn', modelUsage={'m': {'inputTokens': 5, 'outputTokens': 3, "
    "'cacheReadInputTokens': 20, 'cacheCreationInputTokens': 10, 'costUSD': 1}, "
    "'n': {'inputTokens': 1, 'outputTokens': 2}})\n"
)
WAITING = "sys.stdin.readline(); sys.stdin.read()\n"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give this process a place of its own for scratch folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    cli_scratch._own_folder.cache_clear()
    yield folder
    cli_scratch._own_folder.cache_clear()


@pytest.fixture(autouse=True)
async def nothing_left(settings: Any) -> AsyncIterator[None]:
    """Keep no program after a test, and see that none is left."""
    settings.CORTEX_CLAUDE_WARM = False
    forget_programs()
    children = Children()
    yield
    await claude_warm.close()
    children.end(within_s=0)
    forget_programs()


@pytest.fixture
def play(settings: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that puts a script in the program's place."""

    def put(body: str) -> Path:
        path = script(tmp_path, body, "claude")
        settings.CORTEX_CLAUDE_CLI = str(path)
        forget_programs()
        return path

    return put


@pytest.fixture
def real(settings: Any, vendors: Upstream) -> Upstream:
    """Use the real program against the vendors' mock."""
    settings.CORTEX_CLAUDE_CLI = str(programs.claude_program())
    forget_programs()
    return vendors


def answer_of(*lines: dict[str, Any]) -> tuple[ClaudeAnswer, list[Event]]:
    """Return an answer that has read the lines, and its events."""
    answer = ClaudeAnswer("key")
    events: list[Event] = []
    for line in lines:
        events += answer.feed(json.dumps(line).encode())
    return answer, events


def delta(text: str) -> dict[str, Any]:
    """Return the line that shows a piece of the answer."""
    part = {"type": "text_delta", "text": text}
    return {
        "type": "stream_event",
        "event": {"type": "content_block_delta", "delta": part},
    }


def result(**fields: Any) -> dict[str, Any]:
    """Return a result line of a good answer, changed by the fields."""
    used = {"m": {"inputTokens": 1, "outputTokens": 1}}
    return {"type": "result", "is_error": False, "modelUsage": used, **fields}


START = {
    "type": "stream_event",
    "event": {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 11, "cache_read_input_tokens": 5}},
    },
}


# --- what the lines mean -----------------------------------------------------------


async def test_tokens_are_summed_over_models_and_input_includes_the_cache(
    play: Callable[[str], Path],
) -> None:
    play(claude_says("Hel", "lo") + RESULT + WAITING)
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"))
    assert error is None
    assert text_of(events) == "Hello"
    assert usage_of(events) == Usage(36, 5, 20, 10)
    assert events[-1] == Finished(complete=True)


@pytest.mark.parametrize(
    ("shown", "final", "expected"),
    [
        ("", "Hello", "Hello"),
        ("Hel", "Hello", "Hello"),
        ("Hello", "Hello", "Hello"),
        ("Hello", "Bye", "Hello"),
        ("Hello you", "Hello", "Hello you"),
        ("Hello ", "Hello Hello you", "Hello Hello you"),
    ],
)
@pytest.mark.parametrize("told_by", ["result", "assistant"])
def test_the_final_text_adds_what_is_missing_and_never_repeats(
    shown: str, final: str, expected: str, told_by: str
) -> None:
    part = {"model": "m", "content": [{"type": "text", "text": final}]}
    whole = {"type": "assistant", "message": part}
    lines = [START, *([delta(shown)] if shown else [])]
    if told_by == "result":
        lines.append(result(result=final))
    else:
        limited = {"subtype": "error_max_budget_usd", "is_error": True}
        lines += [whole, result(**limited)]
    _, events = answer_of(*lines)
    assert text_of(events) == expected


def test_usage_before_the_result_is_known_for_an_answer_that_is_stopped() -> None:
    output = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 7},
    }
    _, events = answer_of(START, {"type": "stream_event", "event": output})
    assert usage_of(events[:1]) == Usage(16, None, 5, 0)
    assert usage_of(events) == Usage(16, 7, 5, 0)


@pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "end_turn", None])
def test_an_answer_cut_at_its_limit_is_not_complete(reason: str | None) -> None:
    limited = {"subtype": "error_max_budget_usd", "is_error": True}
    line = result(stop_reason=reason, **limited)
    _, events = answer_of(START, delta("Hello"), line)
    assert events[-1] == Finished(complete=reason == "end_turn")


@pytest.mark.parametrize(
    ("fields", "expected", "words"),
    [
        ({"api_error_status": 400}, BadRequest, "400"),
        ({"api_error_status": 401}, AuthenticationFailed, "API key"),
        ({"api_error_status": 403}, AuthenticationFailed, "API key"),
        ({"api_error_status": 404}, UnknownModel, "model"),
        ({"api_error_status": 413}, ContextTooLong, "longer"),
        ({"api_error_status": 429}, RateLimited, "too often"),
        (
            {"api_error_status": 429, "result": "Claude usage limit reached"},
            RateLimited,
            "too often",
        ),
        ({"api_error_status": 500}, UpstreamFailed, "500"),
        ({"api_error_status": 529}, UpstreamFailed, "529"),
        ({"result": "Not logged in · Please run /login"}, AuthenticationFailed, "log"),
        ({"result": "Prompt is too long"}, ContextTooLong, "longer"),
        (
            {"api_error_status": 400, "result": "Your credit balance is too low"},
            AuthenticationFailed,
            "credit",
        ),
        (
            {"result": "API Error: Unable to connect to API (ConnectionRefused)"},
            ConnectionFailed,
            "reached",
        ),
        ({"result": "Something new"}, UpstreamFailed, "error"),
        ({"stop_reason": "refusal"}, Refused, "declined"),
    ],
)
def test_a_failed_result_says_why_and_repeats_nothing(
    fields: dict[str, Any], expected: type[BackendError], words: str
) -> None:
    text = f"API Error: {SECRET}"
    line = {"type": "result", "subtype": "success", "is_error": True, "result": text}
    answer, events = answer_of(line | fields)
    assert isinstance(answer.failure, expected)
    assert words in str(answer.failure)
    assert SECRET not in str(answer.failure)
    assert not answer.failure.worked
    assert events == []


def test_a_failure_after_the_first_word_has_worked() -> None:
    line = {"type": "result", "is_error": True, "result": "API Error: terminated"}
    answer, _ = answer_of(START, delta("Hel"), line)
    assert isinstance(answer.failure, ConnectionFailed)
    assert answer.failure.worked


@pytest.mark.parametrize(
    "line",
    [
        {"type": "system", "subtype": "model_refusal_no_fallback"},
        {
            "type": "assistant",
            "message": {"model": "<synthetic>", "stop_reason": "refusal"},
        },
    ],
)
def test_a_refusal_is_known_though_the_result_does_not_say_so(
    line: dict[str, Any],
) -> None:
    limited = {"subtype": "error_max_budget_usd", "is_error": True}
    answer, events = answer_of(START, line, result(**limited))
    assert isinstance(answer.failure, Refused)
    assert answer.failure.worked
    assert usage_of(events) == Usage(1, 1, 0, 0)


def test_an_answer_of_the_program_itself_is_none() -> None:
    line = {"type": "result", "is_error": False, "result": "/x isn't available here."}
    answer, events = answer_of(line | {"modelUsage": {}})
    assert isinstance(answer.failure, UpstreamFailed)
    assert events == []


def test_a_program_that_would_try_again_is_not_given_the_chance() -> None:
    retry = {
        "type": "system",
        "subtype": "api_retry",
        "error_status": 429,
        "error": "rate_limit",
        "retry_delay_ms": 7000,
    }
    answer, _ = answer_of(retry)
    assert isinstance(answer.failure, RateLimited)
    assert answer.failure.retry_after_s == 7
    answer, _ = answer_of(retry | {"error_status": None, "error": "unknown"})
    assert isinstance(answer.failure, ConnectionFailed)


def test_unknown_lines_are_passed_over() -> None:
    lines = ({"type": "hook_7"}, {}, {"type": "stream_event"}, {"type": "assistant"})
    answer, events = answer_of(
        *lines, {"type": "stream_event", "event": {"type": "new"}}
    )
    assert events == []
    assert answer.failure is None


# --- programs that do not do as they should -----------------------------------------


async def test_an_end_without_result_is_a_failure_whatever_the_exit_code(
    play: Callable[[str], Path],
) -> None:
    play(claude_says("Hello") + "sys.exit(0)")
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"))
    assert text_of(events) == "Hello"
    assert isinstance(error, ConnectionFailed)
    assert error.worked


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "without an answer"),
        ("sys.stderr.write('error: unknown option --x'); sys.exit(1)", "too old"),
        ("os.write(1, b'{no json\\n'); time.sleep(60)", "unreadable"),
    ],
)
async def test_one_that_fails_at_once_says_so_in_a_sentence(
    play: Callable[[str], Path], body: str, words: str
) -> None:
    play(body)
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"))
    assert events == []
    assert isinstance(error, UpstreamFailed)
    assert words in str(error)
    assert not error.worked


async def test_notes_huge_lines_and_split_characters_do_no_harm(
    play: Callable[[str], Path],
) -> None:
    body = (
        "sys.stdin.readline()\nprint('debug: warming up')\n"
        "delta = {'type': 'text_delta', 'text': 'ü🙂' * 300_000}\n"
        "event = {'type': 'content_block_delta', 'delta': delta}\n"
        "line = {'type': 'stream_event', 'event': event}\n"
        "data = json.dumps(line, ensure_ascii=False).encode() + b'\\n'\n"
        "for at in range(0, len(data), 4_099): os.write(1, data[at:at + 4_099])\n"
    )
    play(body + RESULT + WAITING)
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"))
    assert error is None
    assert text_of(events) == "ü🙂" * 300_000


async def test_silence_is_limited(play: Callable[[str], Path]) -> None:
    play(claude_says("Hello") + "time.sleep(600)")
    limits = Timeouts(first_token_s=20, between_tokens_s=0.05)
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"), timeouts=limits)
    assert text_of(events) == "Hello"
    assert isinstance(error, TimedOut)
    play("time.sleep(600)")
    limits = Timeouts(first_token_s=0.05)
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"), timeouts=limits)
    assert isinstance(error, TimedOut)
    assert not error.worked, "it had not asked the model yet"


async def test_a_missing_program_is_named(settings: Any) -> None:
    settings.CORTEX_CLAUDE_CLI = "no-such-claude"
    forget_programs()
    _, error = await ask(ClaudeCLI(), target_of("claude_cli"))
    assert str(error) == "The program “no-such-claude” was not found."


# --- what is started --------------------------------------------------------------


TELL = (
    "system = sys.argv[sys.argv.index('--system-prompt-file') + 1]\n"
    "told = {'argv': sys.argv[1:], 'environment': dict(os.environ), "
    "'system': open(system).read(), 'mode': os.stat(system).st_mode & 0o777, "
    "'cwd': os.listdir('.'), 'line': sys.stdin.readline()}\n"
)


async def told_by(
    play: Callable[[str], Path], tmp_path: Path, **fields: Any
) -> dict[str, Any]:
    """Return what a program was started with."""
    file = tmp_path / "told.json"
    play(
        TELL
        + f"json.dump(told, open({str(file)!r}, 'w'))\n"
        + claude_says("x").partition("\n")[2]
        + RESULT
    )
    prompt = Prompt("Be kind.\nIt is ten.", HELLO.messages, passing="It is ten.")
    _, error = await ask(ClaudeCLI(), target_of("claude_cli", **fields), prompt)
    assert error is None
    told: dict[str, Any] = json.loads(file.read_text())
    return told


async def test_the_key_goes_by_the_environment_and_nothing_else_of_this_machine(
    play: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "NODE_OPTIONS", "ANTHROPIC_AUTH_TOKEN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "of-the-machine")
    told = await told_by(play, tmp_path)
    environment = told["environment"]
    assert environment["ANTHROPIC_API_KEY"] == SECRET
    assert SECRET not in json.dumps(told["argv"])
    assert "of-the-machine" not in environment.values()
    assert os.environ["CORTEX_SECRET_KEY"] not in environment.values()
    assert environment["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "400"
    assert environment["CLAUDE_CODE_MAX_RETRIES"] == "0"
    assert environment["CLAUDE_CODE_DISABLE_ATTACHMENTS"] == "1"
    assert environment["CLAUDE_CONFIG_DIR"] == environment["HOME"]
    assert told["system"] == "Be kind."
    assert told["mode"] == 0o600
    assert told["cwd"] == []
    assert json.loads(told["line"])["message"]["content"].endswith("who are you?")
    assert told["argv"][told["argv"].index("--tools") + 1] == ""
    assert told["argv"][told["argv"].index("--model") + 1] == "haiku"


async def test_a_token_goes_by_its_own_variable(
    play: Callable[[str], Path], tmp_path: Path
) -> None:
    told = await told_by(play, tmp_path, credential="token")
    assert told["environment"]["CLAUDE_CODE_OAUTH_TOKEN"] == SECRET
    assert "ANTHROPIC_API_KEY" not in told["environment"]


async def test_a_login_uses_the_hosts_own_folder_and_no_key(
    play: Callable[[str], Path], tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path
    play("")
    fields = {"credential": "login", "host_id": 8}
    _, error = await ask(ClaudeCLI(), target_of("claude_cli", **fields))
    assert isinstance(error, AuthenticationFailed)
    folder = config_folder("claude_cli", 8)
    (folder / ".credentials.json").write_text('{"claudeAiOauth": {}}')
    told = await told_by(play, tmp_path, **fields)
    assert told["environment"]["CLAUDE_CONFIG_DIR"] == str(folder)
    assert SECRET not in told["environment"].values()
    assert (folder / ".credentials.json").exists()


async def test_without_a_credential_nothing_is_started(
    play: Callable[[str], Path],
) -> None:
    play("")
    _, error = await ask(ClaudeCLI(), target_of("claude_cli", api_key=""))
    assert isinstance(error, AuthenticationFailed)


async def test_an_address_typed_by_a_person_is_not_called(
    play: Callable[[str], Path],
) -> None:
    play("")
    target = target_of("claude_cli", base_url="http://192.168.0.1")
    _, error = await ask(ClaudeCLI(), target)
    assert isinstance(error, BadRequest)


async def test_the_vendors_address_is_told_only_where_it_was_changed(
    play: Callable[[str], Path], tmp_path: Path, settings: Any
) -> None:
    told = await told_by(play, tmp_path)
    assert "ANTHROPIC_BASE_URL" not in told["environment"]
    settings.CORTEX_ANTHROPIC_URL = "http://127.0.0.1:9/"
    told = await told_by(play, tmp_path)
    assert told["environment"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"


# --- programs kept ready ------------------------------------------------------------

KEPT = (
    "open(os.environ['TMPDIR'] + '/ready', 'w').close()\n"
    + claude_says("Hello")
    + RESULT
    + WAITING
)


@pytest.fixture
def kept(play: Callable[[str], Path], settings: Any) -> None:
    """Keep programs ready, played by a script."""
    settings.CORTEX_CLAUDE_WARM = True
    play(KEPT)


async def waiting(count: int) -> list[int]:
    """Return the groups that wait, as soon as there are so many."""
    for _ in range(500):
        pids = (await warm_programs()).pids
        if len(pids) == count:
            return pids
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pids} wait, not {count}.")


@pytest.mark.usefixtures("kept")
async def test_after_an_answer_one_waits_for_the_next_and_is_used_once() -> None:
    await ask(ClaudeCLI(), target_of("claude_cli"))
    [first] = await waiting(1)
    async with ClaudeCLI().stream(
        HELLO, target_of("claude_cli"), max_output_tokens=400, timeouts=Timeouts()
    ) as events:
        assert await waiting(0) == []
        assert [text_of([event]) async for event in events if text_of([event])]
        assert psutil.pid_exists(first)
    assert not psutil.pid_exists(first)
    assert await waiting(1) != [first]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": 2},
        {"persona_id": 2},
        {"host_id": 2},
        {"model_name": "opus"},
        {"api_key": "sk-another"},
        {"credential": "token"},
    ],
)
async def test_one_is_never_used_for_anything_else(fields: dict[str, Any]) -> None:
    await ask(ClaudeCLI(), target_of("claude_cli"))
    before = await waiting(1)
    _, error = await ask(ClaudeCLI(), target_of("claude_cli", **fields))
    assert error is None
    assert before[0] in await waiting(2)


@pytest.mark.usefixtures("kept")
async def test_other_instructions_and_another_limit_mean_another_program() -> None:
    await ask(ClaudeCLI(), target_of("claude_cli"))
    before = await waiting(1)
    other = Prompt("Be rude.", HELLO.messages)
    await ask(ClaudeCLI(), target_of("claude_cli"), other)
    assert before[0] in await waiting(2)
    await ask(ClaudeCLI(), target_of("claude_cli"), max_output_tokens=9)
    await asyncio.sleep(0.2)
    assert before[0] not in await waiting(MAX_WAITING), "the oldest goes"


@pytest.mark.usefixtures("kept")
async def test_nobodys_next_message_is_waited_for() -> None:
    for fields in ({"user_id": None}, {"persona_id": None}):
        await ask(ClaudeCLI(), target_of("claude_cli", **fields))
        assert not (await warm_programs())._starting
    assert await waiting(0) == []


async def test_the_setting_keeps_none(play: Callable[[str], Path]) -> None:
    play(KEPT)
    await ask(ClaudeCLI(), target_of("claude_cli"))
    assert not (await warm_programs())._starting


async def test_a_failed_answer_keeps_none(
    play: Callable[[str], Path], settings: Any
) -> None:
    settings.CORTEX_CLAUDE_WARM = True
    play(claude_says("Hello"))
    await ask(ClaudeCLI(), target_of("claude_cli"))
    assert not (await warm_programs())._starting


@pytest.mark.usefixtures("kept")
async def test_one_that_died_meanwhile_is_replaced_without_a_word() -> None:
    await ask(ClaudeCLI(), target_of("claude_cli"))
    [group] = await waiting(1)
    os.killpg(group, 9)
    psutil.wait_procs([psutil.Process(group)] if psutil.pid_exists(group) else [])
    await asyncio.sleep(0.1)
    events, error = await ask(ClaudeCLI(), target_of("claude_cli"))
    assert (text_of(events), error) == ("Hello", None)


@pytest.mark.usefixtures("kept")
async def test_they_go_after_their_time_and_when_cortex_stops(
    monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    monkeypatch.setattr(claude_warm, "WAIT_S", 0.3)
    await ask(ClaudeCLI(), target_of("claude_cli"))
    await waiting(1)
    await waiting(0)
    monkeypatch.setattr(claude_warm, "WAIT_S", 300)
    await ask(ClaudeCLI(), target_of("claude_cli"))
    [group] = await waiting(1)
    await claude_warm.close()
    assert not psutil.pid_exists(group)
    assert not list(scratch.glob("*/tmp*"))


def test_they_end_with_their_event_loop(
    settings: Any, tmp_path: Path, scratch: Path
) -> None:
    settings.CORTEX_CLAUDE_WARM = True
    settings.CORTEX_CLAUDE_CLI = str(script(tmp_path, KEPT, "claude"))
    forget_programs()

    async def one_answer() -> list[int]:
        await ask(ClaudeCLI(), target_of("claude_cli"))
        return await waiting(1)

    [group] = asyncio.run(one_answer())
    assert not psutil.pid_exists(group)
    assert not list(scratch.glob("*/tmp*"))


# --- the real program -----------------------------------------------------------------


def asked(upstream: Upstream) -> list[dict[str, Any]]:
    """Return the bodies of the requests for an answer."""
    return [call.body for call in upstream.completions]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        'see @{file} and @/etc/passwd, @"{file}" or\n@../instructions.md',
        "@{file}",
        "/cost",
        "  /help @{file}",
        "!cat {file}",
        "#{file}",
        "a\\@{file} \u200b@{file}",
    ],
)
async def test_no_text_reads_a_file_or_runs_a_command(
    real: Upstream, tmp_path: Path, text: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("THE CONTENT OF A FILE")
    text = text.replace("{file}", str(secret))
    prompt = Prompt(f"You are kind. @{secret}", (PromptMessage("user", text),))
    target = target_of("claude_cli", model_name="claude-x")
    events, error = await ask(ClaudeCLI(), target, prompt)
    assert error is None
    [body] = asked(real)
    assert "THE CONTENT" not in json.dumps(body)
    assert "root:" not in json.dumps(body)
    assert body["tools"] == []
    assert text_of(events).replace("\u200b", "") == text.replace("\u200b", "")


@pytest.mark.slow
async def test_an_answer_cut_at_its_limit_is_paid_once(real: Upstream) -> None:
    events, error = await ask(
        ClaudeCLI(), target_of("claude_cli", model_name="length"), max_output_tokens=77
    )
    assert error is None
    assert events[-1] == Finished(complete=False)
    [body] = asked(real)
    assert body["max_tokens"] == 77
    assert "budget_tokens" not in json.dumps(body), "thinking is paid as well"


@pytest.mark.slow
async def test_a_kept_program_answers_the_next_message(
    real: Upstream, settings: Any
) -> None:
    settings.CORTEX_CLAUDE_WARM = True
    target = target_of("claude_cli", model_name="claude-x")
    for text in ("One", "Two"):
        prompt = Prompt("You are kind.", (PromptMessage("user", text),))
        events, error = await ask(ClaudeCLI(), target, prompt)
        assert (text_of(events), error) == (text, None)
        await waiting(1)
    assert len(asked(real)) == 2, "waiting costs nothing"


@pytest.mark.slow
async def test_earlier_messages_reach_the_model(real: Upstream) -> None:
    messages = (
        PromptMessage("user", "I am Alice."),
        PromptMessage("assistant", "Hello Alice."),
        PromptMessage("user", "Who am I?"),
    )
    prompt = Prompt("You are kind. It is ten.", messages, passing="It is ten.")
    _, error = await ask(
        ClaudeCLI(), target_of("claude_cli", model_name="claude-x"), prompt
    )
    assert error is None
    [body] = asked(real)
    sent = json.dumps(body["messages"])
    assert (
        sent.index("It is ten.") < sent.index("I am Alice.") < sent.index("Who am I?")
    )
    assert "You are kind." in json.dumps(body["system"])
    assert "It is ten." not in json.dumps(body["system"])
