"""Sessions of old homes: what is understood, what is told, and that nothing is lost."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from personas.home import session_file
from personas.home.disk import Refused
from personas.home.session_file import Session, moment_of, read


def whole(session: Session) -> str:
    pieces = "".join(piece.before + piece.text for piece in session.pieces)
    return session.head + pieces + session.tail


def texts(session: Session) -> list[tuple[str, str]]:
    said = (piece.said for piece in session.pieces)
    return [(one.role, one.text) for one in said if one is not None]


HELLO = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[]"),
        ("a.json", " [ ] \n"),
        ("a.json", '\ufeff[{"role":"user","content":"Hello"} , 5 ]'),
        ("a.json", '{"a":{"messages":[1]},"messages":[ {"role":"user"} ],"b":"]"}'),
        ("a.json", '{"messages":[1],"messages":[ 2 ]}'),
        ("a.json", '{"history": [], "x": 1}'),
        ("a.jsonl", ""),
        ("a.jsonl", "\n\n"),
        ("a.jsonl", '\ufeff{"role":"user","content":"a"}\r\n\r\n  {"x":1}  \nbad\n'),
        ("a.jsonl", '{"role":"user","content":"a"}'),
    ],
)
def test_the_pieces_are_the_whole_text(name: str, text: str) -> None:
    assert whole(read(name, text.encode())) == text


def test_a_list_an_object_and_lines_say_the_same() -> None:
    rows = [HELLO, {"role": "assistant", "content": ["Good", {"text": "day"}]}]
    as_list = read("a.json", json.dumps(rows).encode())
    as_object = read("a.json", json.dumps({"title": "T", "messages": rows}).encode())
    as_lines = read("a.jsonl", "\n".join(map(json.dumps, rows)).encode())

    for session in (as_list, as_object, as_lines):
        assert texts(session) == [("user", "Hello"), ("assistant", "Good\n\nday")]
        assert session.odd == []
    assert as_object.title == "T"


@pytest.mark.parametrize(
    "row",
    [
        {"role": "system", "content": "Be brief."},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "user", "content": "  "},
    ],
)
def test_machinery_is_kept_and_is_no_message(row: dict[str, Any]) -> None:
    session = read("a.json", json.dumps([HELLO, row]).encode())

    assert texts(session) == [("user", "Hello")]
    assert len(session.pieces) == 2
    assert session.odd == []


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (5, "no object"),
        ({"role": "king", "content": "x"}, "no role"),
        ({"role": ["user"], "content": "x"}, "no role"),
        ({"content": "x"}, "no role"),
        ({"role": "user"}, "no text"),
        ({"role": "user", "content": {"a": 1}}, "no text"),
        ({"role": "user", "content": [{"type": "image"}]}, "no part"),
        ({"role": "user", "content": "x" * 1_000_001}, "longer"),
    ],
)
def test_what_is_not_understood_is_told_with_its_place(row: Any, why: str) -> None:
    rows = json.dumps([HELLO, row])
    by_lines = f"{json.dumps(HELLO)}\n{json.dumps(row)}\n"
    forms = ("a.json", rows, "message 2: "), ("a.jsonl", by_lines, "line 2: ")
    for name, text, where in forms:
        session = read(name, text.encode())

        assert texts(session) == [("user", "Hello")]
        assert whole(session) == text
        [odd] = session.odd
        assert odd.startswith(where)
        assert why in odd


def test_a_part_that_is_no_text_is_told_and_the_rest_is_taken() -> None:
    row = {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "x"}]}

    session = read("a.json", json.dumps([row]).encode())

    assert texts(session) == [("user", "See")]
    assert "parts that are no text" in session.odd[0]


def test_only_the_first_odd_lines_are_told() -> None:
    session = read("a.jsonl", b"[]\n" * 50)

    assert len(session.odd) == session_file.MOST_ODD + 1
    assert session.odd[-1].startswith("30 more")


@pytest.mark.parametrize(
    ("name", "raw", "why"),
    [
        ("a.json", b"", "line 1"),
        ("a.json", b"[1,\n2,\n", "line 3"),
        ("a.json", b"[1] 2", "line 1"),
        ("a.json", b"[1 2]", "line 1"),
        ("a.json", b'"text"', "neither"),
        ("a.json", b'{"messages": 5}', "without a list"),
        ("a.json", b"\xff\xfe[\x00", "UTF-8"),
        ("a.json", b"[\0]", "zero character"),
        ("a.json", b"[" * 100_000, "64 levels"),
        ("a.json", b'[{"a":' * 40, "64 levels"),
        ("a.json", b'["' + b'\\"' * 100_000, "line 1"),
        ("a.json", b"[" + b"1" * 5000 + b"]", "not JSON"),
        ("a.jsonl", b"what\nis\nthis", "no line"),
        ("a.jsonl", b"[" * 1000, "no line"),
    ],
)
def test_what_is_no_session_is_refused(name: str, raw: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(name, raw)


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_file, "MOST_MESSAGES", 3)

    with pytest.raises(Refused, match="more than 3"):
        read("a.json", json.dumps([HELLO] * 4).encode())


def test_what_no_database_takes_is_replaced() -> None:
    row = '[{"role":"user","content":"a\\u0000b\\ud800c\\ud83d\\ude00"}]'

    assert texts(read("a.json", row.encode())) == [
        ("user", "a\ufffdb\ufffdc\U0001f600")
    ]


NOON = datetime.datetime(2025, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2025-03-01T12:00:00Z", NOON),
        ("2025-03-01T13:00:00+01:00", NOON),
        ("2025-03-01 12:00:00", NOON),
        (1740830400, NOON),
        (1740830400.0, NOON),
        (1740830400000, NOON),
        ("1740830400", NOON),
        ("1740830400.0", NOON),
        ("1740830400000", NOON),
        ("yesterday", None),
        ("", None),
        (True, None),
        (0, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ("9" * 400, None),
        ([], None),
        ("9999-12-31T23:59:59-23:00", None),
        ("2199-12-31T23:59:59Z", None),
        (7258118399, None),
    ],
)
def test_times(value: Any, moment: datetime.datetime | None) -> None:
    assert moment_of(value) == moment


def test_a_clock_may_be_ahead_by_a_day() -> None:
    now = datetime.datetime.now(datetime.UTC)
    for hours, taken in ((23, True), (25, False)):
        moment = now + datetime.timedelta(hours=hours)
        assert (moment_of(moment.isoformat()) == moment) is taken
