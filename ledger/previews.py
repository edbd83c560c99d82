"""The first characters of a prompt, kept apart from the ledger so that they can go.

A preview is encrypted, at most 80 characters long, shown to its owner alone and deleted
with the person; the ledger's row, its hash and ``ledger.jsonl`` never hold it. Private,
temporary and shared conversations have none: the caller passes no text for them.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable

from accounts import secrets
from accounts.models import User
from ledger.models import LedgerEntry, LedgerPreview

PURPOSE = "preview"
MAX_CHARACTERS = 80


def shorten(text: str) -> str:
    """Return the text on one line, cut to 80 characters."""
    words = " ".join(text[: MAX_CHARACTERS * 8].replace("\0", " ").split())
    if len(words) <= MAX_CHARACTERS:
        return words
    return words[: MAX_CHARACTERS - 1].rstrip() + "…"


def seal(attempt_id: uuid.UUID, user_id: int, text: str) -> LedgerPreview:
    """Encrypt the start of a prompt; the row is not saved yet."""
    clean = shorten(text).encode("utf-8", "replace").decode("utf-8")
    return LedgerPreview(
        attempt_id=attempt_id,
        user_id=user_id,
        text_encrypted=secrets.encrypt(PURPOSE, clean),
    )


def for_user(user: User, attempt_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the person's own previews of these attempts.

    Those of other people are absent, for administrators too; one that cannot be
    decrypted any more is absent as well.
    """
    rows = LedgerPreview.objects.filter(user_id=user.pk, attempt_id__in=attempt_ids)
    found = {}
    for row in rows:
        try:
            found[row.attempt_id] = secrets.decrypt(PURPOSE, row.text_encrypted)
        except secrets.Undecryptable:
            continue
    return found


def delete_for_turns(user_id: int, turn_ids: Collection[uuid.UUID]) -> int:
    """Delete the previews of a person's calls for some turns; return how many."""
    calls = LedgerEntry.objects.filter(user_id=user_id, turn_id__in=turn_ids)
    attempts = calls.order_by().values("attempt_id")
    rows = LedgerPreview.objects.filter(user_id=user_id, attempt_id__in=attempts)
    return rows.delete()[0]


def delete_for_user(user_id: int) -> int:
    """Delete every preview of a person; return how many there were."""
    return LedgerPreview.objects.filter(user_id=user_id).delete()[0]
