from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from accounts.models import User
from accounts.zones import zone_of


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "a\0b", "Nowhere/At all"],
)
def test_an_unknown_time_zone_counts_as_utc(name: str) -> None:
    assert zone_of(User(time_zone=name)) == UTC


def test_a_person_lives_in_their_time_zone_and_nobody_in_utc() -> None:
    assert zone_of(User(time_zone="Europe/Berlin")) == ZoneInfo("Europe/Berlin")
    assert zone_of(None) == UTC
