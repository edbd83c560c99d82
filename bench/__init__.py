"""Measure Cortex beside a raw relay and the bare upstream; run with ``make bench``.

One run, loopback only, bounded in count and time. A token is one upstream chunk of four
characters. Rounds of the three ways are interleaved, so that a busy machine disturbs
all of them alike:

* direct: the load generator talks to the mock upstream itself;
* relay: a TCP relay in asyncio copies bytes, the floor for anything in Python;
* Cortex: ``manage.py serve`` with a signed-in person, a persona, a conversation with
  history and the ledger, over its WebSocket.

The upstream runs in a process of its own, and so does the load generator, which is
this package. All processes share the machine's cores, as they would at home.
"""
