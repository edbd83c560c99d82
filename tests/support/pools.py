"""Database connections of threads that outlive a test."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connections


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
