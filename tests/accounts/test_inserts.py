"""Rows that are inserted without composing the statement anew."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.inserts import insert
from accounts.models import User
from routing.models import RouteDecision

pytestmark = pytest.mark.django_db


def decision(owner: User, **fields: Any) -> RouteDecision:
    return RouteDecision(
        owner=owner,
        role="chat",
        tier=2,
        decided_by="rules",
        reason="so – “it” said",
        confidence=0.25,
        features={"words": 3, "nothing": None},
        plan=[{"label": "m"}],
        created_at=timezone.now() - timedelta(days=1),
        **fields,
    )


def values(row: RouteDecision) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in row._meta.concrete_fields}


def test_a_row_reads_back_as_save_would_have_written_it(alice: User) -> None:
    inserted, saved = decision(alice, turn_id=uuid.uuid4()), decision(alice)
    insert(inserted)
    saved.save()
    for row in (inserted, saved):
        assert values(RouteDecision.objects.get(pk=row.pk)) == values(row)
    inserted.tier = 3
    inserted.save()  # it counts as stored, so this changes the row
    assert RouteDecision.objects.count() == 2


def test_each_row_is_one_statement_in_the_order_given(alice: User) -> None:
    first, second = decision(alice), decision(alice)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        insert(first, second)
    assert len(queries) == 2
    assert first.pk.hex in queries[0]["sql"].replace("-", "")


def test_a_row_that_is_there_already_is_refused(alice: User) -> None:
    row = decision(alice)
    insert(row)
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(decision(alice, id=row.pk))
    assert RouteDecision.objects.count() == 1
