"""Files of old homes that hold secrets, kept as they came and encrypted."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class HomeFile(models.Model):
    """A person's ``channels.json``, ``model_registry.json`` or ``local_llm.json``."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="home_files"
    )
    name = models.CharField(max_length=32)
    encrypted = models.TextField(
        help_text="Its text; see channels_app.homes.secret_files."
    )
    taken_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "name"], name="channels_home_file_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.owner_id}"
