from __future__ import annotations

from django.apps import AppConfig

from channels_app import checks


class ChannelsConfig(AppConfig):
    name = "channels_app"
