"""Going on inside an answer that broke off: the prompt for it, and the seam. Pure.

The next model gets the conversation, the text that was shown so far as its own message
and the request to go on exactly there. Models like to repeat the last words first, so
the beginning of what comes is held back while it may be such a repetition. Shown text
is never withdrawn or repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from routing.backends.base import ContextTooLong, Prompt, PromptMessage
from routing.tokens import BYTES_PER_TOKEN, MESSAGE_OVERHEAD_TOKENS, estimate_tokens

LONGEST_OVERLAP: Final = 400
"""How much repeated text is looked for, in characters."""
SHORTEST_OVERLAP: Final = 3
"""Less than this is taken for chance."""
SHORTEST_WITHIN_WORD: Final = 8
"""The same for what begins in the middle of a word, or in a script without spaces."""
REQUEST: Final = (
    "Your answer above was cut off by a technical fault. Continue it exactly where it "
    "stops, in the middle of the sentence if need be. Do not repeat anything, do not "
    "comment on the interruption, and do not begin anew."
)
CUT_MARK: Final = "[…]"


def continued(build: Callable[[int], Prompt], room: int, shown: str) -> Prompt:
    """Return the prompt that asks a model with ``room`` tokens to go on.

    Of a very long text only its end is sent, at most half of the room.

    Raises:
        ContextTooLong: The conversation does not fit beside it.
    """
    shown = _end_of(shown, room // 2 * BYTES_PER_TOKEN)
    added = (PromptMessage("assistant", shown), PromptMessage("user", REQUEST))
    needed = sum(
        estimate_tokens(message.text) + MESSAGE_OVERHEAD_TOKENS for message in added
    )
    if needed >= room:
        raise ContextTooLong("The answer so far is longer than this model takes.")
    prompt = build(room - needed)
    return replace(prompt, messages=(*prompt.messages, *added))


def _end_of(text: str, most_bytes: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return text
    return CUT_MARK + data[-most_bytes:].decode(errors="ignore")


class Seam:
    """Lets new text through, without the repetition of shown text it may begin with."""

    __slots__ = ("_held", "_open", "_tail")

    def __init__(self, shown: str) -> None:
        self._tail = shown[-LONGEST_OVERLAP:]
        self._held = ""
        self._open = True
        """Nothing was let through yet."""

    def take(self, text: str) -> str:
        """Return what of the new text can be shown by now."""
        if not self._open:
            return text
        self._held += text
        if self._may_still_repeat():
            return ""
        return self._let_through()

    def end(self) -> str:
        """Return what was held back, at the end of the new text."""
        return self._let_through() if self._open else ""

    def _may_still_repeat(self) -> bool:
        """Say whether more text could make a longer repetition."""
        held = self._held.lstrip()
        if not held:
            return len(self._held) < LONGEST_OVERLAP
        return any(
            self._tail.startswith(held, start)
            for start in self._starts(longer_than=len(held))
        )

    def _let_through(self) -> str:
        self._open = False
        held, self._held = self._held, ""
        bare = held.lstrip()
        for start in self._starts():
            if bare.startswith(self._tail[start:]):
                return bare[len(self._tail) - start :]
        return held

    def _starts(self, longer_than: int = 0) -> Iterator[int]:
        """Yield where in the shown text a repetition may begin, the longest first."""
        tail = self._tail
        for start, character in enumerate(tail):
            length = len(tail) - start
            if length < SHORTEST_OVERLAP or length <= longer_than:
                return
            within = start and character.isalnum() and tail[start - 1].isalnum()
            if length < SHORTEST_WITHIN_WORD and within:
                continue
            if not character.isspace():
                yield start
