from __future__ import annotations

import zoneinfo
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from accounts.forms import ProfileForm
from accounts.models import User
from accounts.zones import zone_names, zone_of


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "a\0b", "Nowhere/At all"],
)
def test_an_unknown_time_zone_counts_as_utc(name: str) -> None:
    assert zone_of(User(time_zone=name)) == UTC


def test_a_person_lives_in_their_time_zone_and_nobody_in_utc() -> None:
    assert zone_of(User(time_zone="Europe/Berlin")) == ZoneInfo("Europe/Berlin")
    assert zone_of(None) == UTC


def test_only_what_means_the_same_on_every_machine_can_be_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = {"Europe/Berlin", "UTC", "EST"}
    others = {"localtime", "posixrules", "Factory", "posix/UTC", "right/Europe/Berlin"}
    monkeypatch.setattr(zoneinfo, "available_timezones", lambda: real | others)
    assert zone_names.__wrapped__() == real


def test_the_profile_offers_no_time_zone_of_the_machine() -> None:
    field: Any = ProfileForm().fields["time_zone"]
    offered = {name for name, _ in field.choices}
    assert "Europe/Berlin" in offered
    assert not offered & {"localtime", "Factory", "posixrules"}
