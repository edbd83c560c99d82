"""Gemini by its command line program ``gemini``, one process for each answer.

The program is made for work on files. Here it gets no tools, no memory of earlier
runs, an empty working folder and a fresh home with settings of its own; nothing of
this machine's environment but ``PATH``; and it makes exactly one call to the model,
without tries of its own. The key goes by the environment, so that no list of processes
shows it. For a host whose owner has logged the program in, what the login left in the
host's own folder is copied into the fresh home.

Source: Gemini CLI documentation, "Configuration", "Headless mode", "System prompt
override", "Authentication".
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from routing.backends.base import (
    AuthenticationFailed,
    ConnectionFailed,
    Event,
    Prompt,
    Target,
    Timeouts,
)
from routing.backends.cli_process import Program, room_for_a_program
from routing.backends.cli_prompt import conversation, instructions
from routing.backends.cli_scratch import Scratch, new_scratch, prepared
from routing.backends.cli_stream import address_of, read_answer
from routing.backends.gemini_answer import NOT_LOGGED_IN, GeminiAnswer
from routing.backends.programs import (
    GEMINI_LOGIN_FILES,
    clean_environment,
    config_folder,
    find_program,
    is_logged_in,
    not_found_sentence,
)
from routing.interrupts import Patience
from routing.vendor_urls import GEMINI_URL

SWITCHES: Final = {
    "GEMINI_CLI_NO_RELAUNCH": "true",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    "NO_BROWSER": "true",
}
"""One process, no question whether the folder is trusted, no window to log in."""
_THINKING_TOKENS: Final = {
    "gemini-2.5-flash-lite": 0,
    "gemini-2.5-flash": 0,
    "gemini-2.5-pro": 128,
}
"""The least that a model allows: it is paid out of the same limit as the answer."""


class GeminiCLI:
    """The back end of type ``gemini_cli``."""

    type = "gemini_cli"

    @asynccontextmanager
    async def stream(
        self,
        prompt: Prompt,
        target: Target,
        *,
        max_output_tokens: int,
        timeouts: Timeouts,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Open one call, see ``routing.backends.base.Backend.stream``."""
        text = conversation(prompt).encode(errors="replace")
        path = find_program("gemini_cli")
        if path is None:
            raise ConnectionFailed(not_found_sentence("gemini_cli"))
        environment = _credentials(target)
        patience = Patience(timeouts)
        answer = GeminiAnswer(max_output_tokens, target.credential)
        async with AsyncExitStack() as stack:
            stack.callback(patience.close)
            await stack.enter_async_context(room_for_a_program(patience))
            with prepared(new_scratch()) as scratch:
                environment |= _prepare(scratch, prompt, target, max_output_tokens)
            command = [str(path), "--model", target.model_name]
            command += ["--output-format", "stream-json"]
            program = await Program.start(command, environment, scratch)
            stack.push_async_callback(program.stop)
            program.feed(text, then_close=True)
            events = read_answer(program, answer, patience)
            yield await stack.enter_async_context(aclosing(events))


def _credentials(target: Target) -> dict[str, str]:
    """Return the variables with which the program signs in.

    Raises:
        AuthenticationFailed: The host has nothing to sign in with.
        BadRequest: Its address is one that this program is not used with.
    """
    address = address_of(target, settings.CORTEX_GEMINI_URL)
    environment = {}
    if address != GEMINI_URL:
        environment["GOOGLE_GEMINI_BASE_URL"] = address
    if target.credential == "login" and target.host_id is not None:
        if not is_logged_in("gemini_cli", target.host_id):
            raise AuthenticationFailed(NOT_LOGGED_IN)
    elif target.api_key:
        environment["GEMINI_API_KEY"] = target.api_key
    else:
        raise AuthenticationFailed(NOT_LOGGED_IN)
    return environment


def _prepare(
    scratch: Scratch, prompt: Prompt, target: Target, max_output_tokens: int
) -> dict[str, str]:
    """Write what the program reads, and return all variables but the credential."""
    system = scratch.write("instructions.md", instructions(prompt))
    configuration = _settings(target, max_output_tokens)
    scratch.write("home/.gemini/settings.json", json.dumps(configuration))
    # The program takes variables from the first file of this name in its working folder
    # or any above it: without this one somebody else's.
    scratch.write(".gemini/.env", "")
    if target.credential == "login" and target.host_id is not None:
        _copy_login(config_folder("gemini_cli", target.host_id), scratch.home)
    return {
        **clean_environment(scratch.home, scratch.temporary),
        **SWITCHES,
        "GEMINI_CLI_HOME": str(scratch.home),
        "GEMINI_SYSTEM_MD": str(system),
    }


def _copy_login(folder: Path, home: Path) -> None:
    for name in GEMINI_LOGIN_FILES:
        file = folder / ".gemini" / name
        if file.is_file():
            shutil.copyfile(file, home / ".gemini" / name)
            (home / ".gemini" / name).chmod(0o600)


def _settings(target: Target, max_output_tokens: int) -> dict[str, Any]:
    login = target.credential == "login"
    generation: dict[str, Any] = {"maxOutputTokens": max_output_tokens}
    if target.model_name in _THINKING_TOKENS:
        generation["thinkingConfig"] = {
            "includeThoughts": False,
            "thinkingBudget": _THINKING_TOKENS[target.model_name],
        }
    override = {
        "match": {"model": target.model_name},
        "modelConfig": {"generateContentConfig": generation},
    }
    return {
        "security": {
            "auth": {"selectedType": "oauth-personal" if login else "gemini-api-key"}
        },
        "general": {
            "maxAttempts": 1,
            "enableAutoUpdate": False,
            "enableAutoUpdateNotification": False,
        },
        "tools": {"core": []},
        # No file in any folder above the working one is taken for instructions.
        "context": {"includeDirectoryTree": False, "fileName": "no-such-file/none.md"},
        "privacy": {"usageStatisticsEnabled": False},
        "model": {"maxSessionTurns": 1, "disableLoopDetection": True},
        "modelConfigs": {"customOverrides": [override]},
    }
