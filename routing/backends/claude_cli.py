"""Claude by its command line program ``claude``, one process for each answer.

The program is made for work on files. Here it gets no tools, no settings, no memory, no
working folder and no way to read a file that a text names; nothing of this machine's
environment but ``PATH``; and it makes exactly one call to the model, without tries of
its own. The key goes by the environment, so that no list of processes shows it.

With a key or a token each process has a fresh configuration folder; for a host whose
owner has logged the program in, that is the host's own folder.

After a good answer a process is kept ready for the next message, see ``claude_warm``.

Source: Claude Code documentation, "CLI reference", "Environment variables".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Final

from django.conf import settings

from routing.backends.base import (
    AuthenticationFailed,
    ConnectionFailed,
    Event,
    Prompt,
    Target,
    Timeouts,
)
from routing.backends.claude_answer import NOT_LOGGED_IN, ClaudeAnswer
from routing.backends.claude_warm import Recipe, warm_programs
from routing.backends.cli_process import Program, room_for_a_program
from routing.backends.cli_prompt import conversation, instructions
from routing.backends.cli_scratch import new_scratch, prepared
from routing.backends.cli_stream import address_of, read_answer
from routing.backends.programs import (
    clean_environment,
    config_folder,
    find_program,
    is_logged_in,
    not_found_sentence,
)
from routing.interrupts import Patience
from routing.vendor_urls import ANTHROPIC_URL

MAX_SPENDING_USD: Final = "0.0000001"
"""Below the price of any call: the program stops after the first."""
OPTIONS: Final = (
    *("-p", "--verbose", "--include-partial-messages"),
    *("--input-format", "stream-json", "--output-format", "stream-json"),
    *("--tools", "", "--setting-sources", "", "--strict-mcp-config"),
    *("--disable-slash-commands", "--no-session-persistence"),
    *("--max-budget-usd", MAX_SPENDING_USD),
)
SWITCHES: Final = {
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "CLAUDE_CODE_SKIP_PROMPT_HISTORY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_AUTO_COMPACT": "1",
    "MAX_THINKING_TOKENS": "0",
}
"""No files, no calls that nobody asked for, nothing kept; and no thinking, which would
be paid out of the same limit as the answer."""
_VARIABLES: Final = {"key": "ANTHROPIC_API_KEY", "token": "CLAUDE_CODE_OAUTH_TOKEN"}


class ClaudeCLI:
    """The back end of type ``claude_cli``."""

    type = "claude_cli"

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
        line = _user_line(conversation(prompt))
        recipe = _recipe(prompt, target, max_output_tokens)
        patience = Patience(timeouts)
        answer = ClaudeAnswer(target.credential)
        async with AsyncExitStack() as stack:
            stack.callback(patience.close)
            await stack.enter_async_context(room_for_a_program(patience))
            warm = await warm_programs()
            program = warm.take(recipe) or await start(recipe)
            stack.push_async_callback(program.stop)
            # Left open: at the end of its input the program would end at once and
            # lose what of a long answer it has not written yet.
            program.feed(line, then_close=False)
            events = read_answer(program, answer, patience)
            yield await stack.enter_async_context(aclosing(events))
        if answer.finished and settings.CORTEX_CLAUDE_WARM:
            warm.keep(recipe, start)


async def start(recipe: Recipe) -> Program:
    """Start a program for one message; it waits for it on its standard input."""
    with prepared(new_scratch()) as scratch:
        system = scratch.write("instructions.md", recipe.instructions)
    environment = clean_environment(scratch.home, scratch.temporary)
    environment["CLAUDE_CONFIG_DIR"] = str(recipe.config_folder or scratch.home)
    environment |= SWITCHES | dict(recipe.environment)
    command = [*recipe.command, "--system-prompt-file", str(system)]
    polite = recipe.config_folder is not None
    return await Program.start(command, environment, scratch, polite=polite)


def _recipe(prompt: Prompt, target: Target, max_output_tokens: int) -> Recipe:
    """Return all that a program is started with.

    Raises:
        ConnectionFailed: The program is not there.
        AuthenticationFailed: The host has nothing to sign in with.
        BadRequest: Its address is one that this program is not used with.
    """
    path = find_program("claude_cli")
    if path is None:
        raise ConnectionFailed(not_found_sentence("claude_cli"))
    folder = None
    environment = {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(max_output_tokens)}
    address = address_of(target, settings.CORTEX_ANTHROPIC_URL)
    if address != ANTHROPIC_URL:
        environment["ANTHROPIC_BASE_URL"] = address
    if target.credential == "login" and target.host_id is not None:
        folder = config_folder("claude_cli", target.host_id)
        if not is_logged_in("claude_cli", target.host_id):
            raise AuthenticationFailed(NOT_LOGGED_IN)
    elif target.api_key and target.credential in _VARIABLES:
        environment[_VARIABLES[target.credential]] = target.api_key
    else:
        raise AuthenticationFailed(NOT_LOGGED_IN)
    return Recipe(
        user_id=target.user_id,
        persona_id=target.persona_id,
        host_id=target.host_id,
        command=(str(path), *OPTIONS, "--model", target.model_name),
        environment=tuple(sorted(environment.items())),
        config_folder=folder,
        instructions=instructions(prompt),
    )


def _user_line(text: str) -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"type": "user", "message": message}).encode() + b"\n"
