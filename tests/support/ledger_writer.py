"""A process that books calls: ``python -m tests.support.ledger_writer 500 0``.

The arguments are how many calls and the tokens of the first one. Reads its database
from the environment like every process of Cortex. Prints what it booked, in
nano-dollars.
"""

from __future__ import annotations

import os
import sys


def main(calls: int, tokens: int) -> int:
    """Book ``calls`` calls, the n-th with ``tokens`` + n tokens; return their cost."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    import django

    django.setup()
    from django.db import connection

    from tests.support.ledger import PRICES, book

    assert PRICES.input is not None
    if connection.vendor == "sqlite":
        # What is tried is turn-taking, not a power cut; the disk would set the pace.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
    total = 0
    for number in range(calls):
        book(input_tokens=tokens + number, output_tokens=0)
        total += (tokens + number) * PRICES.input // 1_000_000
    return total


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2])))  # noqa: T201
