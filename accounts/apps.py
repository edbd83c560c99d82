"""The accounts app: who may come in, and with what."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, invites, sign-in, tokens, secrets at rest and the audit log."""

    name = "accounts"

    def ready(self) -> None:
        """Register the checks and the encrypted columns of this app."""
        from accounts import checks  # noqa: F401
        from accounts.secrets import register_encrypted_field

        register_encrypted_field("mfa.Authenticator", "data", "mfa")
