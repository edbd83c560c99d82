"""What can go wrong with personas, each with the sentence that the person reads.

``code`` is the machine code of the API. Rows that a person may not see are not an
error of this module: the ``get_…_for_user`` functions raise ``Http404`` for them.
"""

from __future__ import annotations

from personas.models import PersonaFile
from routing.backends.base import ContextTooLong


class PersonaError(Exception):
    """Something about a persona that the person can put right; ``str()`` says how."""

    code = "bad_request"
    retryable = False


class MessageRefused(PersonaError):
    """A message cannot be deleted, or not be brought back any more."""

    code = "conflict"


class FileRefused(PersonaError):
    """A file's name, size or text is not allowed; nothing was saved."""


class EditConflict(PersonaError):
    """The file changed after the editor was opened; nothing was saved.

    ``current`` is the saved file, so that a page can show both texts.
    """

    code = "conflict"

    def __init__(self, current: PersonaFile) -> None:
        super().__init__(
            f"{current.name} was changed elsewhere while you were editing it: "
            "compare the two texts and save again."
        )
        self.current = current


class EntryGone(PersonaError):
    """A line of a memory file is not there any more as it was; nothing was changed."""

    code = "conflict"

    def __init__(self, file: str) -> None:
        super().__init__(
            f"This line was changed elsewhere or is gone from {file}: look at the "
            "memory as it is now."
        )


class WishRefused(PersonaError):
    """Something cannot be remembered or forgotten as asked; nothing was changed."""


class TooLong(ContextTooLong):
    """Not even the message that is to be answered fits into the model's budget.

    A back end's error by descent, so that the dispatcher moves on to a larger model
    exactly as it does when a host says so.
    """

    def __init__(self, needed_tokens: int, budget_tokens: int) -> None:
        super().__init__(
            f"Your message is too long for this model: it takes about "
            f"{needed_tokens:,} tokens and {budget_tokens:,} fit."
        )
