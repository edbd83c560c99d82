"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from accounts.secrets import register_encrypted_field
from channels_app.checks import check_settings


class ChannelsConfig(AppConfig):
    """Every way into Cortex: pages, sockets, background work."""

    name = "channels_app"

    def ready(self) -> None:
        """Register the checks of the settings and what is encrypted."""
        register(check_settings)
        register_encrypted_field("channels_app.Channel", "secrets", "channel")
        register_encrypted_field("channels_app.HomeFile", "encrypted", "home_file")
        for field in ("secret", "previous_secret"):
            register_encrypted_field("channels_app.WebhookEndpoint", field, "webhook")
