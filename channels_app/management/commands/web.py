"""``manage.py web``: one web process, as the supervisor starts it."""

from __future__ import annotations

import sys
from typing import Any

from channels_app.server import process  # isort: skip - installs Twisted's reactor
from django.core.management.base import BaseCommand

from channels_app.server.alone import refuse_unprepared


class Command(BaseCommand):
    """Serve pages, the API and the WebSocket until SIGTERM."""

    help = "Serve Cortex on HOST and PORT until a signal comes (see serve)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the server and end with its status."""
        refuse_unprepared()
        sys.exit(process.run())
