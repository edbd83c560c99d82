"""Ends of several tasks in one transaction, each written as if it were alone.

Synchronous; for ``channels_app.jobs.leases`` and who calls it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from accounts.transactions import quick_transaction


class _Together(threading.local):
    """Whether this thread writes several ends, of which none is written alone."""

    now = False


_together = _Together()


@contextmanager
def together() -> Iterator[None]:
    """Write all ends in one transaction, which has to fail where one of them does."""
    with quick_transaction():
        _together.now = True
        try:
            yield
        finally:
            _together.now = False


def one_transaction() -> AbstractContextManager[None]:
    """Begin a transaction, a part of one, or go on in that of ``together``."""
    return nullcontext() if _together.now else quick_transaction()
