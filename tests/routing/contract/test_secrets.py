"""What leaves for the host and what stays: keys, files, the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from routing.backends.base import Prompt, PromptMessage, TextDelta
from tests.routing.contract.harness import APIS, KEY, PROGRAMS, Bench
from tests.support.wire import Call

HEADERS = {
    "accept", "accept-encoding", "content-length", "content-type", "host", "user-agent",
}  # fmt: skip
KEY_HEADERS = {
    "openai": {"authorization"},
    "anthropic": {"x-api-key"},
    "gemini": {"x-goog-api-key"},
}
SEEN_BY_PROGRAMS = {
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "NO_BROWSER", "NO_COLOR", "TERM", "TZ",
    "PWD",
    "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR",
    "MAX_THINKING_TOKENS", "DISABLE_AUTOUPDATER", "DISABLE_AUTO_COMPACT",
    "GEMINI_API_KEY", "GEMINI_SYSTEM_MD", "GEMINI_CLI_HOME",
    "GEMINI_CLI_NO_RELAUNCH", "GEMINI_CLI_TRUST_WORKSPACE", "GOOGLE_GEMINI_BASE_URL",
}  # fmt: skip
FOREIGN = {
    "CORTEX_SECRET_KEY": "env-canary-1",
    "DATABASE_URL": "env-canary-2",
    "OPENAI_API_KEY": "env-canary-3",
    "ANTHROPIC_AUTH_TOKEN": "env-canary-4",
    "CLAUDE_CODE_OAUTH_TOKEN": "env-canary-5",
    "GOOGLE_API_KEY": "env-canary-6",
    "AWS_SECRET_ACCESS_KEY": "env-canary-7",
    "https_proxy": "http://env-canary-8:1",
    "NODE_OPTIONS": "--title=env-canary-9",
    "LD_PRELOAD": "",
}


def read(process: psutil.Process, name: str) -> str:
    """Return a file of ``/proc`` about a process, empty if it has just ended."""
    path = Path(f"/proc/{process.pid}/{name}")
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def files_in(*folders: Path) -> set[Path]:
    """Return everything below the folders."""
    return {path for folder in folders for path in folder.rglob("*")}


def sent_in(call: Call) -> str:
    """Return all that came with a request, as one text."""
    return repr(call.headers) + repr(call.body) + call.path


async def test_s13_the_key_goes_to_its_host_in_its_own_header_only(
    bench: Bench,
) -> None:
    await bench.call("echo")
    (call,) = bench.calls
    assert "cookie" not in call.headers
    holders = {name for name, value in call.headers.items() if KEY in value}
    wanted = KEY_HEADERS[call.wire.name] if bench.kind.has_key else set()
    assert holders == wanted
    assert KEY not in repr(call.body) + call.path
    if not bench.kind.is_program:
        own = {"anthropic-version"} if call.wire.name == "anthropic" else set()
        assert set(call.headers) <= HEADERS | wanted | own
    for other in bench.upstream.calls:
        if other is not call:  # programs knock first
            assert KEY not in sent_in(other)


@pytest.mark.kinds(APIS)
async def test_s13_a_redirect_is_not_followed(bench: Bench) -> None:
    outcome = await bench.call("redirect")
    assert outcome.error
    assert "redirects elsewhere" in str(outcome.error)
    assert len(bench.upstream.calls) == 1


@pytest.mark.kinds(PROGRAMS)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")
async def test_s30_process_list_shows_no_key_and_no_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    prompt = Prompt("A secret persona.", (PromptMessage("user", "A secret question."),))
    bench.behave("tokens-3000-10ms")
    async with bench.open(prompt) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
        running = bench.children()
        lines = [read(process, "cmdline") for process in running]
        environments = [read(process, "environ") for process in running]
        given = [read(each, "environ") for each in psutil.Process().children()
                 if each in running]  # fmt: skip
        folders = [Path(link) for link in map(read_link, running) if link]
        contents = {path.name for folder in folders for path in folder.iterdir()}
    assert running
    for line in lines:
        assert KEY not in line
        assert "secret" not in line.lower()
    for environment in environments:
        assert "env-canary" not in environment
        assert os.environ["CORTEX_DATA_DIR"] not in environment
    # Programs add variables of their own for helpers that they start.
    assert any(given)
    for environment in given:
        names = {part.partition("=")[0] for part in environment.split("\0") if part}
        names = {name for name in names if not name.startswith("CLAUDE_CODE_")}
        assert names <= SEEN_BY_PROGRAMS
    assert contents <= {".gemini"}, "only what a program makes for itself"


def read_link(process: psutil.Process) -> str:
    """Return the folder in which a process works, empty if it has just ended."""
    try:
        return os.readlink(f"/proc/{process.pid}/cwd")
    except OSError:
        return ""


@pytest.mark.parametrize("behaviour", ["echo", "status-500", "cut-after-3"])
@pytest.mark.kinds(PROGRAMS)
async def test_nothing_is_left_on_the_disk(
    bench: Bench, behaviour: str, scratch: Path, settings: Any
) -> None:
    before = files_in(settings.DATA_DIR)
    around = set(Path("/tmp").glob("gemini-client-error-*"))  # noqa: S108
    await bench.call(behaviour)
    # One folder stays for each process that starts programs, and its lock in it.
    left = {path for path in files_in(scratch) if path.parent != scratch}
    assert {path.name for path in left} <= {"lock"}
    assert not [p for p in files_in(settings.DATA_DIR) - before if p.is_file()]
    assert not set(Path("/tmp").glob("gemini-client-error-*")) - around  # noqa: S108


@pytest.mark.parametrize("first", ["", "/help ", "!ls -p "])
async def test_words_that_programs_take_as_commands_are_words(
    bench: Bench, first: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("file-canary-77", encoding="utf-8")
    words = f"{first}read @{secret} and @/etc/hostname, (@{secret}) or\n@{secret}"
    prompt = Prompt(f"You know @{secret} too.", (PromptMessage("user", words),))
    outcome = await bench.call("tokens-5", prompt=prompt)
    (call,) = bench.calls
    assert outcome.error is None
    assert outcome.text
    sent = "\n".join(call.wire.texts(call))
    assert "file-canary" not in sent_in(call)
    assert Path("/etc/hostname").read_text(encoding="utf-8").strip() not in sent
    assert first.strip() in sent
    assert sent.count("/secret.txt") == 4
    assert "/etc/hostname" in sent
