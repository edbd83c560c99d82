"""Names of files in old homes."""

from __future__ import annotations

import pytest

from personas.home.disk import Refused
from personas.home.naming import check_file_name, check_person_name, check_session_name
from personas.home.report import Report, shown


@pytest.mark.parametrize("name", ["SOUL.md", "Notes 2.txt", "Заметки.md", "a.b.json"])
def test_good_names_of_files(name: str) -> None:
    check_file_name(name, {"SOUL.md", "other.md"})


@pytest.mark.parametrize(
    "name",
    [
        *(
            "soul.md",
            "NOTES.md",
            " notes2.md",
            "x.md ",
            ".hidden.md",
            "a..b.md",
            "x.exe",
        ),
        *("a/b.md", "a\\b.md", "a\n.md", "a\u202e.md", "\udcff.md", "x" * 64 + ".md"),
        *("SO\u0421L.md", "\uff33OUL.md", "e\u0301.md", "\u212a.md", ""),
    ],
)
def test_bad_names_of_files(name: str) -> None:
    with pytest.raises(Refused):
        check_file_name(name, {"notes.md"})


@pytest.mark.parametrize("name", ["2025-01-01.json", "a b (2).jsonl", "2025:01.json"])
def test_good_names_of_sessions(name: str) -> None:
    check_session_name(name, {"other.json"})


@pytest.mark.parametrize(
    "name", ["A.json", ".a.json", "a..json", "a.txt", "a\0.json", "x" * 70 + ".json"]
)
def test_bad_names_of_sessions(name: str) -> None:
    with pytest.raises(Refused):
        check_session_name(name, {"a.json"})


@pytest.mark.parametrize(
    "name", ["Alice", "me", "admin", "..", "a b", "\u0430lice", ""]
)
def test_bad_names_of_people(name: str) -> None:
    with pytest.raises(Refused, match="not allowed"):
        check_person_name(name)


def test_names_are_shown_on_one_line_without_tricks() -> None:
    report = Report()
    report.left("a\n\x1b[2J\u202e\udcff" + "x" * 500, "is odd.")

    [line] = report.lines
    assert line.where.startswith("a\\n\\x1b[2J\\u202e\\udcffx")
    assert len(line.where) == 240
    assert line.where.isprintable()
    assert shown("Zoë") == "Zoë"
