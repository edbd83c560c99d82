"""What a step of the heartbeat is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

USUAL_S: Final = 600.0


class StepFailed(Exception):
    """A step could not do its work; ``str()`` is one safe sentence."""


@dataclass(frozen=True, slots=True)
class BeatStep:
    """Something that is looked after now and then."""

    name: str
    title: str
    """What it looks after, for people."""
    find: Callable[[], int]
    """Counts what there is to do: free, synchronous, in the database alone."""
    work: Callable[[], Awaitable[int]]
    """Does it and returns how much was done; runs only where ``find`` found work.

    It may be cancelled. It may call models, for the channel of the heartbeat.
    """
    within_s: float = USUAL_S
    """Work that takes longer is ended."""
