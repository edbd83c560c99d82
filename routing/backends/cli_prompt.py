"""From a prompt to the texts that a vendor's program is given. Pure.

The programs are made for work on files: they take ``@path`` for a file to be read and
a leading ``/`` for a command of their own. Neither may ever happen here, whoever wrote
the text, so a zero-width space is put where such a word would begin; the model reads
past it. Programs keep no conversation, so earlier messages are sent as one text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from routing.backends.base import ContextTooLong, Prompt, PromptMessage

MAX_INPUT_BYTES: Final = 10_000_000
"""The programs refuse more on their standard input."""
NO_INSTRUCTIONS: Final = "You are a helpful assistant."
"""In place of empty instructions, for which the programs would put long ones."""
NO_TEXT: Final = "(a message without text)"
NAMES: Final = {"user": "Person", "assistant": "You"}
_MARK: Final = "\u200b"
_COMMANDS: Final = ("/", "-", "!", "#", "?", "\\", "&", "*", ":")
"""What a program may take for the beginning of a command of its own."""


def instructions(prompt: Prompt) -> str:
    """Return the text of the file with the instructions.

    What changes with time is left out, so that it stays the same between messages;
    it stands in ``conversation`` instead.
    """
    text = (
        prompt.system.removesuffix(prompt.passing) if prompt.passing else prompt.system
    )
    return harmless(text.strip() or NO_INSTRUCTIONS)


def conversation(prompt: Prompt) -> str:
    """Return the messages as one text that no program takes for a command.

    Raises:
        ContextTooLong: It is more than the programs take.
    """
    *earlier, last = prompt.messages or (PromptMessage("user", ""),)
    if last.role == "assistant":
        earlier, last = [*earlier, last], PromptMessage("user", "Please go on.")
    parts = [f"({prompt.passing})"] if prompt.passing else []
    if earlier:
        parts += [
            "The conversation so far, oldest message first. “Person” is whom you "
            "are talking with, “You” is what you said.",
            *_told(earlier),
            "Answer this message, which is the latest, and nothing before it:",
        ]
    latest = _text_of(last)
    text = harmless("\n\n".join([*parts, latest if latest.strip() else NO_TEXT]))
    if text.lstrip().startswith(_COMMANDS):
        text = _MARK + text
    if len(text.encode(errors="replace")) > MAX_INPUT_BYTES:
        raise ContextTooLong("The conversation is longer than this program takes.")
    return text


def harmless(text: str) -> str:
    """Return a text in which no program finds a file or a variable to fill in."""
    text = text.replace("\0", "")
    return text.replace("@", "@" + _MARK).replace("${", "$" + _MARK + "{")


class Unmarked:
    """Takes the marks of ``harmless`` out of an answer that repeats them."""

    def __init__(self) -> None:
        self._before = ""

    def feed(self, text: str) -> str:
        """Return the next piece as the person's own text had it."""
        whole, shown = self._before + text, len(self._before)
        self._before = whole[-1:] if whole[-1:] in {"@", "$"} else ""
        for sign in ("@", "$"):
            whole = whole.replace(sign + _MARK, sign)
        return whole[shown:]


def _told(messages: Iterable[PromptMessage]) -> list[str]:
    """Return each message below its speaker's name, indented as a quotation."""
    told = []
    for message in messages:
        lines = _text_of(message).split("\n")
        quoted = "\n".join(f"> {line}" for line in lines)
        told.append(f"{NAMES[message.role]}:\n{quoted}")
    return told


def _text_of(message: PromptMessage) -> str:
    """Return a message's text, with what tools were asked and what they said."""
    parts = [message.text] if message.text else []
    for call in message.tool_calls:
        asked = json.dumps(call.arguments, ensure_ascii=False)
        parts.append(f"[asked the tool {call.name} with {asked}]")
    for result in message.tool_results:
        failed = " failed" if result.is_error else ""
        parts.append(f"[the tool {result.name}{failed} and said]\n{result.text}")
    return "\n\n".join(parts)
