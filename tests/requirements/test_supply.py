"""S37: few dependencies, pinned with hashes, each with its reason."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, distribution

import pytest

from tests.support.processes import ROOT

LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-model.txt")
MEGABYTE = 2**20


def entries(name: str) -> list[str]:
    """Return the entries of a requirements file, continuation lines joined."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def direct() -> list[str]:
    """Return the names of the direct runtime requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = project["project"]["dependencies"]
    return [re.split(r"[\[<>=~! ;]", line)[0].lower() for line in lines]


@pytest.mark.parametrize("name", LISTS)
def test_s37_requirements_are_pinned_with_hashes(name: str) -> None:
    for entry in entries(name):
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_s37_direct_requirements_are_few_and_each_has_its_reason() -> None:
    page = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.M))
    assert len(direct()) <= 25
    assert table == set(direct())


def test_s37_direct_requirements_are_all_pinned() -> None:
    pinned = {entry.split("==")[0].lower() for entry in entries("requirements.txt")}
    assert set(direct()) <= pinned


def size_of(installed: Distribution) -> int:
    """Return the bytes that a distribution's files take on disk."""
    files = installed.files or []
    paths = (installed.locate_file(file) for file in files)
    return sum(
        path.stat().st_size  # type: ignore[attr-defined]
        for path in paths
        if path.is_file()  # type: ignore[attr-defined]
    )


def test_s37_the_whole_installation_is_small() -> None:
    total = 0
    for entry in [*entries("requirements.txt"), *entries("requirements-model.txt")]:
        try:
            total += size_of(distribution(entry.split("==")[0]))
        except ModuleNotFoundError:  # for another system, or the model is not here
            continue
    assert 0 < total <= 500 * MEGABYTE
