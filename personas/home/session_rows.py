"""Makes conversations of old sessions.

What its person and the persona said become messages. Entries of tools and of the
system are kept beside them, for the way back, and are nowhere shown. Everything counts
as distilled: the old home has drawn its memory from it already.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator

from django.utils import timezone

from accounts.inserts import Batch
from personas.conversations import title_from
from personas.home.session_file import Said, Session
from personas.models import Conversation, HomePiece, HomeSession, Message, Persona

CHANNEL = "import"
AT_ONCE = 500
_BETWEEN = datetime.timedelta(milliseconds=1)


def digest_of(raw: bytes) -> str:
    """Return what recognises a session's file."""
    return hashlib.sha256(raw).hexdigest()


def store_session(
    persona: Persona, name: str, digest: str, session: Session, changed_at: float
) -> Conversation:
    """Store a session; the caller holds the transaction.

    Args:
        name: The file's name, new for this persona.
        digest: Of its bytes, for recognising it.
        session: What was read from them.
        changed_at: When the file was last changed, for messages without any time.
    """
    said = [piece.said for piece in session.pieces if piece.said is not None]
    times = list(_times(said, session.began or _moment(changed_at)))
    conversation = Conversation.objects.create(
        owner_id=persona.owner_id,
        persona=persona,
        title=session.title or _title(said),
        shared=any(one.guest for one in said),
        last_active_at=times[-1] if times else session.began or _moment(changed_at),
    )
    messages = _messages(conversation, said, times)
    if messages:
        Batch(messages).insert()
    conversation.current_message = messages[-1] if messages else None
    conversation.created_at = times[0] if times else conversation.last_active_at
    conversation.save(update_fields=["current_message", "created_at"])
    HomePiece.objects.bulk_create(
        _pieces(conversation, session, iter(messages)), batch_size=AT_ONCE
    )
    HomeSession.objects.create(
        persona=persona, name=name, digest=digest, conversation=conversation
    )
    return conversation


def _messages(
    conversation: Conversation, said: list[Said], times: list[datetime.datetime]
) -> list[Message]:
    """Return the rows, each below the one before it."""
    now = timezone.now()
    messages: list[Message] = []
    for one, at in zip(said, times, strict=True):
        message = Message(
            conversation=conversation,
            owner_id=conversation.owner_id,
            parent=messages[-1] if messages else None,
            role=one.role,
            text=one.text,
            channel=CHANNEL,
            model=one.model,
            author_name=one.author,
            from_guest=one.guest,
            created_at=at,
            finished_at=at,
            distilled_at=now,
        )
        messages.append(message)
    return messages


def _pieces(
    conversation: Conversation, session: Session, messages: Iterator[Message]
) -> Iterator[HomePiece]:
    """Yield the head, every entry, and the tail."""
    yield HomePiece(conversation=conversation, number=0, text=session.head)
    message = None
    for number, piece in enumerate(session.pieces, 1):
        if piece.said is not None:
            message = next(messages)
        yield HomePiece(
            conversation=conversation,
            message=message,
            number=number,
            before=piece.before,
            text=piece.text,
        )
    last = len(session.pieces) + 1
    yield HomePiece(conversation=conversation, number=last, text=session.tail)


def _times(
    said: list[Said], fallback: datetime.datetime
) -> Iterator[datetime.datetime]:
    """Yield a time for each message: its own, or one just after the one before it."""
    known = (number for number, one in enumerate(said) if one.at is not None)
    first = next(known, None)
    last = fallback
    if first is not None and (at := said[first].at) is not None:
        last = at - (first + 1) * _BETWEEN
    for one in said:
        last = one.at or last + _BETWEEN
        yield last


def _title(said: list[Said]) -> str:
    asked = next((one.text for one in said if one.role == Message.Role.USER), "")
    return title_from(asked)


def _moment(seconds: float) -> datetime.datetime:
    """Return a file's time, never later than now."""
    now = timezone.now()
    try:
        moment = datetime.datetime.fromtimestamp(max(seconds, 0), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return now
    return min(moment, now)
