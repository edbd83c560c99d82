"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from channels_app.checks import check_settings


class ChannelsConfig(AppConfig):
    """Every way into Cortex: pages, sockets, background work."""

    name = "channels_app"

    def ready(self) -> None:
        """Register the checks of the settings."""
        register(check_settings)
