"""The way from a program's lines to the events of an answer, the same for all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Final, Protocol

from routing.backends.base import (
    BackendError,
    BadRequest,
    Event,
    Target,
    TextDelta,
    ThinkingDelta,
    TimedOut,
    UpstreamFailed,
)
from routing.backends.cli_process import NOT_STARTED, Program
from routing.interrupts import Patience

EXIT_S: Final = 2.0
"""How long to wait for the exit code of a program that told that it failed."""


class Answer(Protocol):
    """What reads the lines of one kind of program."""

    finished: bool
    """The answer has ended well."""
    failure: BackendError | None
    """What went wrong; nothing is read after it."""
    asked: bool
    """The program may have sent its request."""
    ending: bool
    """It has failed, and its exit code will tell why."""

    def feed(self, line: bytes) -> list[Event]:
        """Take a line and return its events."""
        ...

    def ended(self, exit_code: int | None, last_words: str) -> BackendError:
        """Return what the end of a program means that gave no good answer.

        ``last_words`` is the end of its standard error: to be searched, never shown.
        """
        ...


async def read_answer(
    program: Program, answer: Answer, patience: Patience
) -> AsyncGenerator[Event, None]:
    """Yield the events of a program's answer; what one read brought is joined.

    Raises:
        BackendError: The answer failed, or the program ended without one.
    """
    while lines := await _read(program, answer, patience):
        events: list[Event] = []
        for line in lines:
            events += answer.feed(line)
            if answer.failure or answer.finished:
                break
        for event in joined(events):
            patience.progress()
            yield event
        if answer.failure is not None:
            raise answer.failure
        if answer.finished:
            return
        if answer.ending:
            patience.hasten(EXIT_S)
    raise _ended_early(program) or answer.ended(program.exit_code, program.last_words)


async def _read(program: Program, answer: Answer, patience: Patience) -> list[bytes]:
    try:
        return await patience.wait(program.read_lines)
    except (TimedOut, UpstreamFailed) as error:
        if answer.ending:
            return []
        error.worked = answer.asked
        raise


def address_of(target: Target, vendor_url: str) -> str:
    """Return the address that a program is to call, without a slash at its end.

    Raises:
        BadRequest: It was typed by somebody who administers nothing. Programs connect
            by themselves, past the guard that keeps people out of the house's network.
    """
    if target.base_url and not target.trusted_origin:
        raise BadRequest("Programs are only used with their vendor's own address.")
    return (target.base_url or vendor_url).rstrip("/")


def joined(events: Iterable[Event]) -> list[Event]:
    """Return the events with neighbouring pieces of one kind made one."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            result[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ThinkingDelta) and isinstance(last, ThinkingDelta):
            result[-1] = ThinkingDelta(last.text + event.text)
        else:
            result.append(event)
    return result


def _ended_early(program: Program) -> BackendError | None:
    """Return what is known to end a program before it does anything."""
    if program.exit_code in {126, 127}:
        return UpstreamFailed(NOT_STARTED)
    if "unknown option" in program.last_words.lower():
        return UpstreamFailed("The program is too old for Cortex; update it.")
    return None
