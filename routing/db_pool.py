"""Database work of turns and calls, on one bounded pool of threads.

Channels runs thread-sensitive code of all sockets on a single thread, where one slow
query holds up everybody. These threads keep their connections (``CONN_MAX_AGE=None``).
Code that runs here must be one synchronous function per step, not a series of hops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from channels.db import database_sync_to_async

P = ParamSpec("P")
T = TypeVar("T")

DB_POOL: Final = ThreadPoolExecutor(max_workers=6, thread_name_prefix="cortex-db")


async def run_in_db_pool(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``func`` on a pool thread and return what it returns."""
    call: Callable[..., object] = database_sync_to_async(
        func, thread_sensitive=False, executor=DB_POOL
    )
    return await call(*args, **kwargs)  # type: ignore[misc, no-any-return]


async def finish_in_db_pool(
    func: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``func`` to its end even if the caller is cancelled meanwhile.

    A cancellation that arrives is raised after ``func`` has ended, so that what was
    written is known to be written.
    """
    task = asyncio.ensure_future(run_in_db_pool(func, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: S110 -- raised by result() below
            pass
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
