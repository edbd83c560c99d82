"""Whether a container is well: exit status 0, or 1 with one sentence.

``healthcheck.py`` asks the web server of the container for ``/health``;
``healthcheck.py worker`` asks the PostgreSQL of ``DATABASE_URL`` whether a worker has
ticked within the last minute. Loads no Django, because it runs every half minute.
"""

from __future__ import annotations

import os
import sys
import urllib.request

import psycopg

WITHIN_S = 4
SILENT_AFTER_S = 60
"""As in ``channels_app/jobs/signs.py``, which cannot be loaded without Django."""
SILENCE = (
    "SELECT extract(epoch FROM now() - last_at)"
    " FROM channels_app_clock WHERE name = 'tick'"
)


def web() -> str:
    """Return what is wrong with the web server; nothing when it answers."""
    address = f"http://127.0.0.1:{os.environ.get('PORT') or 8000}/health"
    try:
        with urllib.request.urlopen(address, timeout=WITHIN_S):
            return ""
    except OSError as error:
        return f"{address} does not answer: {error}."


def worker() -> str:
    """Return what is wrong with the worker; nothing when one ticks."""
    try:
        with psycopg.connect(
            os.environ.get("DATABASE_URL", ""), connect_timeout=WITHIN_S
        ) as database:
            row = database.execute(SILENCE).fetchone()
    except psycopg.Error as error:
        return f"The database cannot be asked: {str(error).splitlines()[0]}."
    if row is None:
        return "No worker has ever ticked."
    silent_s = float(row[0])
    return "" if silent_s < SILENT_AFTER_S else f"No tick for {silent_s:.0f} s."


def main(arguments: list[str]) -> int:
    """Check what the container runs and return the exit status."""
    wrong = worker() if arguments == ["worker"] else web()
    if wrong:
        sys.stderr.write(wrong + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
