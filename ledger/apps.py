"""The ledger's entry in Django's list of applications."""

from __future__ import annotations

from django.apps import AppConfig

from accounts import secrets


class LedgerConfig(AppConfig):
    """Names the app and its encrypted column."""

    name = "ledger"

    def ready(self) -> None:
        """Let the rotation of the secret key find the previews."""
        secrets.register_encrypted_field(
            "ledger.LedgerPreview", "text_encrypted", "preview"
        )
