"""Runs management commands; what a person can put right is one sentence."""

from __future__ import annotations

import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db.utils import DatabaseError, InterfaceError, OperationalError

from cortex_site.env import EnvError


def run(arguments: list[str]) -> int:
    """Run the command in ``arguments`` (the first is the program) as Django would.

    Returns:
        0, or 1 after a sentence on standard error: a setting cannot be used, or the
        database does not answer. Commands end with other statuses by ``sys.exit``.
    """
    try:
        execute_from_command_line(arguments)
    except (EnvError, ImproperlyConfigured) as error:
        return _refuse(_first_line(error))
    except (DatabaseError, InterfaceError) as error:
        if _lacks_tables(error):
            return _refuse(
                "The database has no tables of Cortex yet, or old ones: start Cortex "
                "once (make run), or run “manage.py prepare”."
            )
        if type(error) not in (DatabaseError, InterfaceError, OperationalError):
            raise  # an error of ours, such as a query that does not fit the tables
        return _refuse(f"The database cannot be used: {_first_line(error)}.")
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    return 0


def _lacks_tables(error: Exception) -> bool:
    """Say whether a table is missing, in the words of SQLite or PostgreSQL."""
    said = _first_line(error)
    return said.startswith("no such table:") or (
        said.startswith('relation "') and said.endswith("does not exist")
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - for the person at the terminal
    return 1
