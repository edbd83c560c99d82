"""Database connections of threads that outlive the tests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import SyncToAsync
from django.db import connection, connections


def close_all(pool: ThreadPoolExecutor) -> None:
    """End every connection to the test database, so that it can be removed."""
    close_in_every_thread(pool)
    close_in_every_thread(SyncToAsync.single_thread_executor)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def close_in_every_thread(pool: ThreadPoolExecutor) -> None:
    """Close the connections of each thread of a pool, which must be idle."""
    count = len(pool._threads)
    if not count:
        return
    meet = threading.Barrier(count)

    def close() -> None:
        meet.wait(5)
        connections.close_all()

    for future in [pool.submit(close) for _ in range(count)]:
        future.result(10)
