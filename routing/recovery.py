"""Takes back the complaint about a host in use once the host is well again.

A host is flagged when it refuses its key or fails several times in a row. Somebody
would have to use it to find out that it is well again, so it is asked for its list of
models now and then, which costs nothing. Where a server lists its models to everybody
that does not prove that it takes the key: then it is asked once more without one, and
must refuse that. Programs are left to their next call, which takes the flag back too.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import User
from routing.catalogue import HostInfo
from routing.db_pool import run_in_db_pool
from routing.host_check import list_models
from routing.host_notes import FAILED_OFTEN
from routing.model_lists import can_list
from routing.models import Host
from routing.registry import info_for

logger = logging.getLogger("cortex.recovery")

_LISTING_TYPES: Final = [each for each in Host.Type.values if can_list(each)]
_LIST_TO_ALL: Final = frozenset({Host.Type.LOCAL_OPENAI})
"""Servers of these types may list their models without looking at the key."""


def flagged_hosts() -> QuerySet[Host]:
    """Return the hosts in use with a complaint that can be asked for free.

    One that asked to be left alone is left alone.
    """
    resting = Q(cooling_until__gt=timezone.now())
    rows = Host.objects.filter(enabled=True, type__in=_LISTING_TYPES)
    return rows.exclude(flagged="").exclude(resting).order_by("id")


async def look_after_flagged() -> int:
    """Ask each flagged host for its models; return how many are well again.

    Never raises for a host and calls no model.
    """
    well = 0
    for host, user, info in await run_in_db_pool(_flagged):
        try:
            if await _is_well(user, info) and await run_in_db_pool(_unflag, host):
                logger.info("the host %s is well again", host.name)
                well += 1
        except Exception:
            logger.exception("the host %s could not be looked at", host.name)
    return well


def _flagged() -> list[tuple[Host, User, HostInfo]]:
    """Return the hosts with the person for whom each is asked."""
    admin = User.objects.filter(is_superuser=True, is_active=True).order_by("id")
    found = []
    for host in flagged_hosts().select_related("owner"):
        user = host.owner or admin.first()
        if user is not None and user.is_active:
            found.append((host, user, info_for(user, host)))
    return found


async def _is_well(user: User, info: HostInfo) -> bool:
    report = await list_models(user, info)
    if not report.ok or not report.steps:
        return False
    if info.type not in _LIST_TO_ALL or info.flagged.startswith(FAILED_OFTEN):
        return True
    without_key = await list_models(user, replace(info, key_encrypted=""))
    return without_key.failed_step == "key"


def _unflag(host: Host) -> bool:
    """Take back this very complaint; False when somebody was quicker."""
    rows = Host.objects.filter(
        id=host.id, flagged=host.flagged, key_encrypted=host.key_encrypted
    )
    return bool(rows.update(flagged=""))
