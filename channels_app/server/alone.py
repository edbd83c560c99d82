"""For a web process or a worker that runs without ``serve``: in a container, elsewhere.

Under ``serve`` the supervisor has prepared the database before. Alone, a process must
not serve tables that it does not fit, and the message says what to do.
"""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import connection

from channels_app.server import lifeline
from channels_app.server.prepare import DatabaseTooNew, NotPrepared, check_tables


def refuse_unprepared() -> None:
    """Check the tables where no supervisor did.

    Raises:
        CommandError: One sentence; the process ends with status 1.
        django.db.Error: The database cannot be used.
    """
    if lifeline.is_held():
        return
    try:
        check_tables()
    except (DatabaseTooNew, NotPrepared) as error:
        raise CommandError(str(error)) from None
    finally:
        # The threads of the process have connections of their own.
        connection.close()
