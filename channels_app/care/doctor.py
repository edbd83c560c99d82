"""``manage.py doctor``: is everything as it should be, and what to do if not.

A table of small checks, each with a time limit of its own, on threads: none can keep
the others from being told. To add one, write a function that yields findings and give
it a row in ``CHECKS``. Works while Cortex runs and while it does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from django.db import DatabaseError, InterfaceError, connections

from channels_app.care import (
    checks_data,
    checks_outside,
    checks_search,
    checks_work,
    pending,
)
from channels_app.care.findings import Check, Finding, fail, warn

CHECKS: Final[tuple[Check, ...]] = (
    Check("database", checks_data.database, 30.0),
    Check("disk", checks_data.disk),
    Check("data folder", checks_data.folder),
    Check("secrets", checks_data.stored_secrets),
    Check("ledger", checks_data.ledger),
    Check("backup", checks_data.backup_age),
    Check("restore", pending.look),
    Check("worker", checks_work.worker),
    Check("heartbeat", checks_work.beat),
    Check("queue", checks_work.queue),
    Check("search", checks_search.search),
    Check("clock", checks_work.clock),
    Check("hosts", checks_outside.hosts, 30.0),
    Check("programs", checks_outside.programs),
    Check("mail", checks_outside.mail, 20.0),
    Check("public address", checks_outside.public_address),
    Check("redis", checks_outside.redis_server, 15.0),
)


def examine(checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Make all checks at the same time; return what they found, in their order."""
    examinations = [_Examination(check) for check in checks]
    return [finding for each in examinations for finding in each.findings()]


class _Examination:
    """One check that is being made."""

    def __init__(self, check: Check) -> None:
        """Begin it."""
        self._check = check
        self._found: list[Finding] = []
        self._ends_s = time.monotonic() + check.within_s
        # A daemon, so that one that hangs does not keep the command from ending.
        self._thread = threading.Thread(target=self._run, name=check.name, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """Wait for it as long as it may take, and return what it found."""
        self._thread.join(max(0.0, self._ends_s - time.monotonic()))
        if self._thread.is_alive():
            return [
                *self._found,
                fail(
                    self._check.name,
                    f"This check was not done after {self._check.within_s:.0f} s.",
                    "Look whether the machine is overloaded or a disk or server hangs.",
                ),
            ]
        return self._found

    def _run(self) -> None:
        try:
            for finding in self._check.look():
                self._found.append(finding)
        except (DatabaseError, InterfaceError):
            sentence = "Not looked at: the database cannot be used as it is."
            self._found.append(warn(self._check.name, sentence))
        except Exception as error:  # a fault of one check must not hide the others
            # Without its text, in which something secret might stand.
            self._found.append(
                fail(
                    self._check.name,
                    f"The check itself failed ({type(error).__name__}).",
                    "Please report this.",
                )
            )
        finally:
            connections.close_all()
