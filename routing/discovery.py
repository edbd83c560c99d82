"""Puts hosts in use by themselves, once they are able to answer.

A seeded host waits (``Host.auto_enable``) until its program is found and it has a key,
a token or a login; then it is tested, and goes in use if the test's call is answered.
Until then the host's page says in one sentence what is missing. Whoever switches such
a host on or off has decided, and it is left alone from then on.

The worker's heartbeat looks. The test's call is booked for nobody: the installation
makes it. A host that fails its test is tried again at growing intervals, at once when
its key or program changes; its row says when, whichever process looks next.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from ledger.types import Caller
from routing import hosts
from routing.backends import backend_types, programs
from routing.catalogue import PROGRAM_TYPES
from routing.db_pool import run_in_db_pool
from routing.host_check import HostReport, test_host
from routing.models import Host
from routing.registry import info_for

logger = logging.getLogger("cortex.discovery")

FIRST_PAUSE_S: Final = 300
"""Seconds until a host that failed its test is tested again; doubled each time."""
TEST_WITHIN_S: Final = 90.0
"""A test that takes longer counts as failed."""
LONGEST_PAUSE_S: Final = 6 * 3600
CHANNEL: Final = "heartbeat"
"""How the ledger names what the heartbeat asks of models."""
INSTALLATION: Final = Caller(None, "", channel=CHANNEL)
"""For whom the tests are booked."""
NO_KEY: Final = "No API key is stored yet."
TOO_SLOW: Final = "Its test took too long."
FLAG_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Discovery:
    """Looks at the hosts that wait; the database remembers their failed tests."""

    clock: Callable[[], datetime] = timezone.now

    def count(self) -> int:
        """Count the hosts for which ``look`` has something to do.

        Those that are ready and due for their test, and those whose page does not say
        yet what they lack. Calls nothing; synchronous, not in an event loop.
        """
        waiting, tester = _waiting()
        return sum(self._has_work(host, tester) for host in waiting)

    def _has_work(self, host: Host, tester: User | None) -> bool:
        try:
            why = missing(host)
            if why:
                return host.flagged != why[:FLAG_CHARACTERS]
            return tester is not None and self._is_due(host, _state(host))
        except Exception:  # the look tells of it
            return True

    async def look(self) -> int:
        """Test each waiting host that is ready; return how many went in use.

        Never raises for a host. Only one process looks at a time.
        """
        waiting, tester = await run_in_db_pool(_waiting)
        enabled = 0
        for host in waiting:
            try:
                enabled += await self._look_at(host, tester)
            except Exception:
                logger.exception("the host %s could not be looked at", host.name)
        return enabled

    async def _look_at(self, host: Host, tester: User | None) -> bool:
        why = await asyncio.to_thread(missing, host)
        if why:
            await run_in_db_pool(_flag, host, why)
            return False
        state = await asyncio.to_thread(_state, host)
        if tester is None or not self._is_due(host, state):
            return False
        report = await self._test(host, tester)
        if report is not None and await run_in_db_pool(enable_if_proved, host, report):
            logger.info("the host %s answers and is in use", host.name)
            return True
        await run_in_db_pool(self._failed, host, state, _why(report))
        return False

    async def _test(self, host: Host, tester: User) -> HostReport | None:
        """Return the report, ``None`` when it took too long."""
        info = await run_in_db_pool(info_for, tester, host)
        try:
            async with asyncio.timeout(TEST_WITHIN_S):
                return await test_host(tester, info, caller=INSTALLATION)
        except TimeoutError:
            return None

    def _is_due(self, host: Host, state: str) -> bool:
        changed = host.tested_state != state or host.test_again_at is None
        return changed or (
            host.test_again_at is not None and self.clock() >= host.test_again_at
        )

    def _failed(self, host: Host, state: str, why: str) -> None:
        """Note a failed test, and when the next one may be made."""
        pause_s = FIRST_PAUSE_S
        if host.tested_state == state and host.test_pause_s:
            pause_s = min(host.test_pause_s * 2, LONGEST_PAUSE_S)
        Host.objects.filter(id=host.id).update(
            tested_state=state,
            test_again_at=self.clock() + timedelta(seconds=pause_s),
            test_pause_s=pause_s,
        )
        _flag(host, why)


_DISCOVERY: Final = Discovery()


async def enable_hosts_that_answer() -> int:
    """Look once at all waiting hosts; return how many went in use."""
    return await _DISCOVERY.look()


def count_hosts_to_look_at() -> int:
    """Count the waiting hosts for which there is something to do."""
    return _DISCOVERY.count()


def enable_if_proved(host: Host, report: HostReport) -> bool:
    """Put a host in use that waited for a test and answered it; say whether it did."""
    answered = any(step.name == "answer" and step.ok for step in report.steps)
    return answered and host.auto_enable and hosts.enable_host(host)


def missing(host: Host) -> str:
    """Return in one sentence what a host lacks to be tested; empty = nothing.

    Looks for files, so not in an event loop.
    """
    if host.type in PROGRAM_TYPES and programs.find_program(host.type) is None:
        return programs.not_found_sentence(host.type)
    if host.type in PROGRAM_TYPES and host.credential == Host.Credential.LOGIN:
        return "" if programs.is_logged_in(host.type, host.id) else programs.NO_LOGIN
    return "" if host.key_encrypted else NO_KEY


def waiting_hosts() -> QuerySet[Host]:
    """Return the hosts that go in use by themselves once they can answer."""
    rows = Host.objects.filter(auto_enable=True, enabled=False, owner=None)
    return rows.filter(type__in=backend_types()).order_by("id")


def _waiting() -> tuple[list[Host], User | None]:
    """Return the hosts that wait, and an administrator whose registry counts."""
    waiting = list(waiting_hosts())
    admins = User.objects.filter(is_superuser=True, is_active=True)
    return waiting, admins.order_by("id").first() if waiting else None


def _flag(host: Host, why: str) -> None:
    """Say on the page why a host is not in use; nobody else's decision is touched."""
    why = why[:FLAG_CHARACTERS]
    if host.flagged != why:
        rows = Host.objects.filter(id=host.id, auto_enable=True, enabled=False)
        rows.update(flagged=why)


def _why(report: HostReport | None) -> str:
    if report is None:
        return TOO_SLOW
    failed = next((step for step in report.steps if step.ok is False), None)
    if failed is not None:
        return f"Its test failed: {failed.detail}"
    return "It has no model in use to test."


def _state(host: Host) -> str:
    """Return a mark that changes with all that a test depends on."""
    path = programs.find_program(host.type)
    program = (str(path), path.stat().st_mtime_ns) if path else None
    values = (host.key_encrypted, host.credential, host.base_url, program)
    return hashlib.sha256(repr(values).encode()).hexdigest()
