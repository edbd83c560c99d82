"""Gemini by its program: what is started, what its lines and exit codes mean.

What every back end has to do stands in ``contract/``; here is what only this one does,
with scripts in place of the program and, where marked slow, with the real one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from routing.backends import cli_scratch
from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ConnectionFailed,
    ContextTooLong,
    Event,
    Finished,
    Overloaded,
    Prompt,
    PromptMessage,
    RateLimited,
    UnknownModel,
    UpstreamFailed,
    Usage,
)
from routing.backends.gemini_answer import GeminiAnswer
from routing.backends.gemini_cli import GeminiCLI
from routing.backends.programs import config_folder, forget_programs
from tests.routing.cli_programs import (
    HELLO,
    ask,
    script,
    target_of,
    text_of,
    usage_of,
)
from tests.support import programs
from tests.support.children import Children
from tests.support.upstream import Upstream

SECRET = "sk-secret-of-the-host"
READ = "sys.stdin.read()\nsay(type='message', role='user', content='Hello')\n"
SAYS = (
    "say(type='message', role='assistant', content='Hel', delta=True)\n"
    "say(type='message', role='assistant', content='lo', delta=True)\n"
)
GOOD = (
    "say(type='result', status='success', stats={'total_tokens': 120, "
    "'input_tokens': 100, 'output_tokens': 7, 'cached': 40})\n"
)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give this process a place of its own for scratch folders; nothing stays there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    cli_scratch._own_folder.cache_clear()
    forget_programs()
    children = Children()
    yield folder
    assert not list(folder.glob("*/tmp*"))
    children.end(within_s=0)
    cli_scratch._own_folder.cache_clear()
    forget_programs()


@pytest.fixture
def play(settings: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that puts a script in the program's place."""

    def put(body: str) -> Path:
        path = script(tmp_path, body, "gemini")
        settings.CORTEX_GEMINI_CLI = str(path)
        forget_programs()
        return path

    return put


@pytest.fixture
def real(settings: Any, vendors: Upstream) -> Upstream:
    """Use the real program against the vendors' mock."""
    settings.CORTEX_GEMINI_CLI = str(programs.gemini_program())
    forget_programs()
    return vendors


def failure_of(
    exit_code: int | None, message: str = "", last_words: str = "", *, shown: str = ""
) -> BackendError:
    """Return the error of an answer with a failed result and an exit code."""
    answer = GeminiAnswer(100)
    lines: list[dict[str, Any]] = [{"type": "message", "role": "user"}]
    if shown:
        lines.append({"type": "message", "role": "assistant", "content": shown})
    error = {"type": "unknown", "message": message}
    lines.append({"type": "result", "status": "error", "error": error, "stats": {}})
    for line in lines:
        answer.feed(json.dumps(line).encode())
    assert answer.failure is None, "the exit code tells more"
    assert answer.ending
    return answer.ended(exit_code, last_words)


# --- what lines and exit codes mean -------------------------------------------------


async def test_thinking_counts_as_output_and_the_cache_as_input(
    play: Callable[[str], Path],
) -> None:
    play(READ + SAYS + GOOD)
    events, error = await ask(GeminiCLI(), target_of("gemini_cli"))
    assert error is None
    assert text_of(events) == "Hello"
    assert usage_of(events) == Usage(100, 20, 40)
    assert events[-1] == Finished(complete=True)


async def test_an_answer_that_used_up_its_limit_is_not_complete(
    play: Callable[[str], Path],
) -> None:
    play(READ + SAYS + GOOD)
    target = target_of("gemini_cli")
    events, _ = await ask(GeminiCLI(), target, max_output_tokens=20)
    assert events[-1] == Finished(complete=False)


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (144, BadRequest),
        (145, AuthenticationFailed),
        (147, AuthenticationFailed),
        (148, UnknownModel),
        (157, ContextTooLong),
        (173, RateLimited),
        (244, UpstreamFailed),
        (247, Overloaded),
        (248, UpstreamFailed),
        (41, AuthenticationFailed),
        (1, UpstreamFailed),
        (0, UpstreamFailed),
        (None, UpstreamFailed),
    ],
)
def test_the_exit_code_is_the_status_modulo_256(
    exit_code: int | None, expected: type[BackendError]
) -> None:
    error = failure_of(exit_code, f"[API Error: {SECRET}]")
    assert type(error) is expected
    assert SECRET not in str(error)
    assert not error.worked


@pytest.mark.parametrize(
    ("exit_code", "message", "last_words", "expected"),
    [
        (1, "", "ModelNotFoundError: no", UnknownModel),
        (1, "models/x is not found for API version v1beta", "", UnknownModel),
        (1, "[API Error: fetch failed]", "", ConnectionFailed),
        (
            144,
            '[API Error: {"error":{"code":400,"message":"API key not valid."}}]',
            "",
            AuthenticationFailed,
        ),
        (0, "Model stream ended without a finish reason.", "", UpstreamFailed),
        (144, "[API Error: {broken}]", "", BadRequest),
    ],
)
def test_its_words_tell_what_the_exit_code_does_not(
    exit_code: int, message: str, last_words: str, expected: type[BackendError]
) -> None:
    assert type(failure_of(exit_code, message, last_words)) is expected


def test_the_pause_that_a_busy_host_asks_for_is_kept() -> None:
    error = failure_of(173, "[API Error: busy\nSuggested retry after 7s.]\nPlease wait")
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7


def test_a_failure_after_the_first_word_has_worked() -> None:
    error = failure_of(1, "[API Error: terminated]", shown="Hel")
    assert isinstance(error, ConnectionFailed)
    assert error.worked


# --- programs that do not do as they should -----------------------------------------


async def test_an_end_without_result_is_a_failure_though_it_exits_with_0(
    play: Callable[[str], Path],
) -> None:
    play(READ + SAYS + "sys.exit(0)")
    events, error = await ask(GeminiCLI(), target_of("gemini_cli"))
    assert text_of(events) == "Hello"
    assert isinstance(error, ConnectionFailed)
    assert error.worked


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("sys.exit(41)", AuthenticationFailed),
        ("sys.exit(55)", UpstreamFailed),
        ("print('a note'); print('[1]'); sys.exit(0)", UpstreamFailed),
        ("os.write(1, b'{no json\\n'); time.sleep(60)", UpstreamFailed),
        (READ + "os.kill(os.getpid(), signal.SIGKILL)", UpstreamFailed),
    ],
)
async def test_one_that_fails_before_its_answer(
    play: Callable[[str], Path], body: str, expected: type[BackendError]
) -> None:
    play(body)
    events, error = await ask(GeminiCLI(), target_of("gemini_cli"))
    assert events == []
    assert type(error) is expected
    assert error.worked == body.startswith(READ), "it may have asked the model"


async def test_the_exit_code_of_a_failed_result_is_waited_for(
    play: Callable[[str], Path],
) -> None:
    failed = "say(type='result', status='error', error={'message': '[API Error: x]'})\n"
    play(READ + failed + "time.sleep(0.2); sys.exit(173)")
    _, error = await ask(GeminiCLI(), target_of("gemini_cli"))
    assert isinstance(error, RateLimited)
    assert not error.worked


# --- what is started --------------------------------------------------------------

TELL = (
    "home = os.environ['GEMINI_CLI_HOME']\n"
    "told = {'argv': sys.argv[1:], 'environment': dict(os.environ), "
    "'system': open(os.environ['GEMINI_SYSTEM_MD']).read(), "
    "'settings': json.load(open(home + '/.gemini/settings.json')), "
    "'home': {name: os.stat(home + '/.gemini/' + name).st_mode & 0o777 "
    "for name in os.listdir(home + '/.gemini')}, "
    "'cwd': os.listdir('.'), 'text': sys.stdin.read()}\n"
)


async def told_by(
    play: Callable[[str], Path], tmp_path: Path, **fields: Any
) -> dict[str, Any]:
    """Return what a program was started with."""
    file = tmp_path / "told.json"
    play(TELL + f"json.dump(told, open({str(file)!r}, 'w'))\n" + SAYS + GOOD)
    prompt = Prompt("Be kind.\nIt is ten.", HELLO.messages, passing="It is ten.")
    _, error = await ask(GeminiCLI(), target_of("gemini_cli", **fields), prompt)
    assert error is None
    told: dict[str, Any] = json.loads(file.read_text())
    return told


async def test_the_key_goes_by_the_environment_and_nothing_else_of_this_machine(
    play: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "NODE_OPTIONS", "GOOGLE_API_KEY", "GEMINI_MODEL"):
        monkeypatch.setenv(name, "of-the-machine")
    told = await told_by(play, tmp_path)
    environment, settings_file = told["environment"], told["settings"]
    assert environment["GEMINI_API_KEY"] == SECRET
    assert SECRET not in json.dumps(told["argv"])
    assert "of-the-machine" not in environment.values()
    assert os.environ["CORTEX_SECRET_KEY"] not in environment.values()
    assert "GOOGLE_GEMINI_BASE_URL" not in environment
    assert environment["GEMINI_CLI_HOME"] == environment["HOME"]
    assert settings_file["security"]["auth"]["selectedType"] == "gemini-api-key"
    assert settings_file["general"]["maxAttempts"] == 1
    assert settings_file["tools"]["core"] == []
    assert told["system"] == "Be kind."
    assert told["home"] == {"settings.json": 0o600}
    assert told["cwd"] == []
    assert told["text"] == "(It is ten.)\n\nHello, who are you?"


async def test_a_login_is_copied_into_the_fresh_home(
    play: Callable[[str], Path], tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path
    play("")
    fields = {"credential": "login", "host_id": 8}
    _, error = await ask(GeminiCLI(), target_of("gemini_cli", **fields))
    assert isinstance(error, AuthenticationFailed)
    folder = config_folder("gemini_cli", 8) / ".gemini"
    folder.mkdir()
    (folder / "oauth_creds.json").write_text('{"refresh_token": "x"}')
    (folder / "history.json").write_text("{}")
    told = await told_by(play, tmp_path, **fields)
    assert told["home"] == {"settings.json": 0o600, "oauth_creds.json": 0o600}
    assert told["settings"]["security"]["auth"]["selectedType"] == "oauth-personal"
    assert "GEMINI_API_KEY" not in told["environment"]


async def test_without_a_key_or_at_a_typed_address_nothing_is_started(
    play: Callable[[str], Path],
) -> None:
    play("")
    _, error = await ask(GeminiCLI(), target_of("gemini_cli", api_key=""))
    assert isinstance(error, AuthenticationFailed)
    target = target_of("gemini_cli", base_url="http://192.168.0.1")
    _, error = await ask(GeminiCLI(), target)
    assert isinstance(error, BadRequest)


async def test_a_missing_program_is_named(settings: Any) -> None:
    settings.CORTEX_GEMINI_CLI = "/opt/no-such-gemini"
    _, error = await ask(GeminiCLI(), target_of("gemini_cli"))
    assert str(error) == "The program “no-such-gemini” was not found."


# --- the real program -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        'see @{file} and @/etc/passwd, @"{file}" or\n@../instructions.md',
        "@{file} @../HOME/.gemini/settings.json".replace("HOME", "home"),
        "/help @{file}",
        "!cat {file}",
        "a\\@{file} \u200b@{file}",
    ],
)
async def test_no_text_reads_a_file_or_runs_a_command(
    real: Upstream, tmp_path: Path, text: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("THE CONTENT OF A FILE")
    text = text.replace("{file}", str(secret))
    system = f"You are kind. @{secret} ${{AvailableTools}}"
    prompt = Prompt(system, (PromptMessage("user", text),))
    events, error = await ask(GeminiCLI(), target_of("gemini_cli"), prompt)
    assert error is None
    [call] = real.completions
    sent = json.dumps(call.body)
    assert "THE CONTENT" not in sent
    assert "root:" not in sent
    assert "selectedType" not in sent
    assert "tools are currently available" not in sent
    assert not call.body["tools"][0]["functionDeclarations"]
    assert text_of(events).replace("\u200b", "") == text.replace("\u200b", "")


@pytest.mark.slow
async def test_limit_and_thinking_are_told_to_the_host(real: Upstream) -> None:
    await ask(GeminiCLI(), target_of("gemini_cli"), max_output_tokens=77)
    [call] = real.completions
    generation = call.body["generationConfig"]
    assert generation["maxOutputTokens"] == 77
    assert generation["thinkingConfig"] == {
        "includeThoughts": False,
        "thinkingBudget": 0,
    }


@pytest.mark.slow
async def test_files_in_the_folders_above_change_nothing(
    real: Upstream, scratch: Path
) -> None:
    """Whoever may write into the folder for temporary files gains nothing by it."""
    (scratch / ".env").write_text("GEMINI_API_KEY_AUTH_MECHANISM=bearer\n")
    (scratch / ".gemini").mkdir()
    (scratch / ".gemini" / ".env").write_text("GEMINI_API_KEY_AUTH_MECHANISM=bearer\n")
    (scratch / ".gemini" / "settings.json").write_text(
        '{"tools": {"core": ["read_file"]}}'
    )
    (scratch / "GEMINI.md").write_text("STRANGE INSTRUCTIONS")
    prompt = Prompt("", HELLO.messages)
    _, error = await ask(GeminiCLI(), target_of("gemini_cli"), prompt)
    assert error is None
    [call] = real.completions
    assert "authorization" not in call.headers
    assert "STRANGE" not in json.dumps(call.body)
    assert not call.body["tools"][0]["functionDeclarations"]


def events_of(*lines: dict[str, Any]) -> list[Event]:
    """Return the events of lines."""
    answer = GeminiAnswer(100)
    return [event for line in lines for event in answer.feed(json.dumps(line).encode())]


def test_the_prompt_that_it_repeats_and_unknown_lines_are_passed_over() -> None:
    lines = (
        {"type": "message", "role": "user", "content": "Hello"},
        {"type": "tool_use"},
        {"type": "error", "severity": "warning", "message": "slow"},
        {},
    )
    assert events_of(*lines) == []
