"""The app of hosts, models, routing and calls."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from accounts.secrets import register_encrypted_field


class RoutingConfig(AppConfig):
    """Registers the encrypted column of the keys and the system checks."""

    name = "routing"

    def ready(self) -> None:
        """Tell the rotation of secrets about the hosts' keys, and load the checks."""
        register_encrypted_field("routing.Host", "key_encrypted", "host_key")
        import_module("routing.checks")
