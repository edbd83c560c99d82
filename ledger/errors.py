"""What can go wrong in the ledger; ``str()`` is one sentence for the person who asked.

Tree::

    LedgerError
     ├─ BudgetExceeded   budget_exceeded   it does not fit; nothing is booked
     ├─ NotReserved      conflict          a closing without a reservation
     └─ AlreadyClosed    conflict          a second closing; the first one stands
"""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger refused; ``code`` is the machine code of the API."""

    code = "conflict"
    retryable = False


class BudgetExceeded(LedgerError):
    """The reservation would exceed a budget of the person."""

    code = "budget_exceeded"


class NotReserved(LedgerError):
    """The attempt has no ``reserve`` row, or an adjustment's attempt is still open."""


class AlreadyClosed(LedgerError):
    """The attempt has been settled or released before."""
