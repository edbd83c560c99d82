"""What a list of models looks like on different servers."""

from __future__ import annotations

from typing import Any

import pytest

from routing.host_check import HostReport, Step, _names


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ({"models": [{"name": "a"}]}, ["a"]),
        ([{"id": "a"}, {"id": ""}, "odd"], ["a"]),
        ({"data": []}, []),
        ({"data": "odd"}, None),
        ({"detail": "Not Found"}, None),
        (None, None),
        ("<html>", None),
    ],
)
def test_names_of_models(body: Any, names: list[str] | None) -> None:
    assert _names(body) == names


def test_report_names_the_first_failure() -> None:
    steps = (Step("a", True, ""), Step("b", None, ""), Step("c", False, ""))
    assert (HostReport(steps).ok, HostReport(steps).failed_step) == (False, "c")
    assert (HostReport(steps[:2]).ok, HostReport(steps[:2]).failed_step) == (True, "")
