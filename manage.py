#!/usr/bin/env python3
"""Run Cortex's commands; ``serve`` is handed to the supervisor, which needs no Django."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command named in ``sys.argv``."""
    if sys.argv[1:2] == ["serve"]:
        from cortex_site.supervisor import main as serve

        sys.exit(serve(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cortex_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
