#!/usr/bin/env python3
"""Run Cortex's commands; ``serve`` is the supervisor's, which needs no Django."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command named in ``sys.argv`` and return the exit status."""
    if sys.argv[1:2] == ["serve"]:
        from cortex_site.supervisor import main as serve

        return serve(sys.argv[2:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cortex_site.settings")
    from cortex_site.commands import run

    return run(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
