"""Every test here runs once for each back end it applies to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routing.backends import cli_scratch
from routing.backends.programs import forget_programs
from tests.routing.contract.harness import KINDS, PROGRAMS, Bench, Kind
from tests.support import programs
from tests.support.upstream import Upstream


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``bench`` every kind, or those that the mark ``kinds`` names."""
    if "bench" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("kinds")
        kinds = mark.args[0] if mark else KINDS
        params = [
            pytest.param(kind, id=str(kind), marks=_marks(kind)) for kind in kinds
        ]
        metafunc.parametrize("bench", params, indirect=True)


def _marks(kind: Kind) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if kind in PROGRAMS else []


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make temporary folders of this process in a folder that can be looked into."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    cli_scratch._own_folder.cache_clear()
    yield folder
    cli_scratch._own_folder.cache_clear()


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, vendors: Upstream, settings: Any, scratch: Path
) -> Iterator[Bench]:
    """Return a back end and the mock behind it; nothing may be left running."""
    kind: Kind = request.param
    settings.CORTEX_CLAUDE_WARM = False
    settings.CORTEX_BUILTIN_URL = vendors.url
    if kind.type == "claude_cli":
        settings.CORTEX_CLAUDE_CLI = str(programs.claude_program())
    if kind.type == "gemini_cli":
        settings.CORTEX_GEMINI_CLI = str(programs.gemini_program())
    forget_programs()
    bench = Bench(kind, vendors)
    yield bench
    bench.children.end()
