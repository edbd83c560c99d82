"""A persona's folder of an old home is read without filling the memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from personas.home import persona_folder
from personas.home.disk import open_root, opened
from personas.home.persona_folder import OldPersona, read_persona
from personas.home.report import Report
from personas.home.session_spool import SessionSpool

LONG = "x" * 200_000
COUNT = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sessions = tmp_path / "inara" / "sessions"
    sessions.mkdir(parents=True)
    for number in range(COUNT):
        row = {"role": "user", "content": f"{number} {LONG}"}
        (sessions / f"{number:02}.json").write_text(json.dumps([row]))
    return tmp_path / "inara"


def read(folder: Path, spool: SessionSpool | None) -> OldPersona:
    with opened(open_root(folder)) as opened_folder:
        return read_persona(opened_folder, "inara", "inara", Report(), spool)


@pytest.mark.parametrize("trial", [False, True])
def test_sessions_do_not_stay_in_memory(
    folder: Path, trial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persona_folder, "MAX_SESSION_BYTES", 2 * len(LONG))
    with SessionSpool() as spool:
        tracemalloc.start()
        old = read(folder, None if trial else spool)
        left, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert [each.messages for each in old.sessions.values()] == [1] * COUNT
    assert left < 2 * len(LONG)
    assert most < 10 * len(LONG)


def test_each_session_comes_back_as_it_was_read(folder: Path) -> None:
    with SessionSpool() as spool:
        old = read(folder, spool)
        found = []
        for each in reversed(old.sessions.values()):
            assert each.place is not None
            found.append(spool.get(each.place).pieces[0].said)

    assert [said.text.split()[0] for said in found if said] == [
        str(number) for number in reversed(range(COUNT))
    ]
