"""What is kept of an old home's sessions, so that they can be written back.

A session is kept piece by piece beside the messages it became. So its text goes with
its messages: deleting one of them deletes its piece, deleting the conversation deletes
all of them. Only the name and a hash stay, so that a second import of the same folder
does not bring back what its person deleted.
"""

from __future__ import annotations

from django.db import models


class HomeSession(models.Model):
    """A file of ``sessions/`` that was taken over."""

    persona = models.ForeignKey(
        "personas.Persona", on_delete=models.CASCADE, related_name="home_sessions"
    )
    name = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the file's bytes.")
    conversation = models.OneToOneField(
        "personas.Conversation",
        null=True,
        on_delete=models.SET_NULL,
        related_name="home_session",
        help_text="Empty = it was deleted since.",
    )
    taken_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["persona", "name"], name="personas_session_once_per_persona"
            )
        ]

    def __str__(self) -> str:
        return self.name


class HomePiece(models.Model):
    """A part of a session's file: one entry of its list and what stood before it.

    The first piece is what stands before all entries and the last one what stands
    after them. Entries that are no messages here (of tools, of the system) belong to
    the message before them.
    """

    conversation = models.ForeignKey(
        "personas.Conversation", on_delete=models.CASCADE, related_name="home_pieces"
    )
    message = models.ForeignKey(
        "personas.Message",
        null=True,
        on_delete=models.CASCADE,
        related_name="home_pieces",
        help_text="Empty = it belongs to the conversation as a whole.",
    )
    number = models.PositiveIntegerField()
    before = models.TextField(blank=True, help_text="Commas, blanks and line ends.")
    text = models.TextField(blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "number"], name="personas_home_piece_once"
            )
        ]

    def __str__(self) -> str:
        return f"piece {self.number} of {self.conversation_id}"
