"""Appending rows to the chain."""

from __future__ import annotations

import pytest
from django.db import transaction

from ledger.models import LedgerEntry
from tests.support.ledger import book


@pytest.mark.django_db
def test_append_numbers_rows_without_gaps_after_a_rollback() -> None:
    book()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        book()
        raise ZeroDivisionError
    book()
    assert list(LedgerEntry.objects.values_list("id", flat=True)) == [1, 2, 3, 4]
