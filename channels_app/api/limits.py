"""How often a token, or a person, may ask within a minute.

Counted in Django's cache: with Redis for all processes together, without it for this
process alone. Minutes are those of the clock, so a caller never waits longer than one.
"""

from __future__ import annotations

import time

from django.conf import settings
from django.core.cache import cache

from channels_app.api.errors import TooMany

WINDOW_S = 60


def count_request(key: str, *, times: int = 1) -> None:
    """Count one request of ``key``; raises ``TooMany`` beyond ``times`` the limit.

    Synchronous, because the cache may be across the network.
    """
    now = time.time()
    window = int(now // WINDOW_S)
    name = f"api-requests:{key}:{window}"
    cache.add(name, 0, timeout=2 * WINDOW_S)
    try:
        count = cache.incr(name)
    except ValueError:  # thrown out of a full cache in between
        return
    limit = times * settings.CORTEX_API_PER_MINUTE
    if count > limit:
        raise TooMany(
            f"More than {limit:,} requests in a minute.",
            retry_after_s=(window + 1) * WINDOW_S - now,
        )
