"""Memory lines: what is read, what is written, what cannot be smuggled in."""

from __future__ import annotations

import uuid
from datetime import date

import pytest

from personas.memory.lines import (
    Entry,
    changed,
    clean_text,
    entries_of,
    entry_line,
    fold,
    line_of,
    put_back,
    replaced,
)
from personas.privacy import readable_text

ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
FILE = f"""# Memory

Some words.
- 2026-11-20 Has a cello lesson. <!-- pin --> <!-- from /m/{ONE} /m/{TWO} -->
- likes tea
## Health <!-- private -->
- bad knee
  since May

The end.
"""


def test_an_entry_is_read_with_its_date_and_marks() -> None:
    cello, tea, knee = entries_of(FILE)
    assert cello == Entry(
        raw=f"- 2026-11-20 Has a cello lesson. <!-- pin --> <!-- from /m/{ONE} "
        f"/m/{TWO} -->",
        text="Has a cello lesson.",
        said_on=date(2026, 11, 20),
        sources=(ONE, TWO),
        pinned=True,
    )
    assert tea == Entry(raw="- likes tea", text="likes tea")
    assert knee == Entry(raw="- bad knee", text="bad knee", private=True)


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("- a <!--PIN-->", Entry("", "a", pinned=True)),
        ("- <!-- pin --> a <!--\tprivate -->", Entry("", "a", None, (), True, True)),
        (f"- a <!-- FROM /m/{ONE},/m/{TWO} --> b", Entry("", "a b", None, (ONE, TWO))),
        (f"- a <!-- from /m/{ONE} /m/none -->", Entry("", "a", None, (ONE,))),
        ("- 2026-02-30 a", Entry("", "2026-02-30 a")),
        ("- 2026-02-03: a", Entry("", "a", date(2026, 2, 3))),
        ("- 2026-02-03", Entry("", "2026-02-03")),
        ("- a <!-- from a friend -->", Entry("", "a <!-- from a friend -->")),
        ("- a\r", Entry("", "a")),
    ],
)
def test_marks_are_recognised_however_they_are_written(line: str, entry: Entry) -> None:
    (found,) = entries_of(line)
    assert found.raw == line.rstrip("\r")
    assert line_of(found) == line_of(entry)
    assert (found.pinned, found.private) == (entry.pinned, entry.private)


@pytest.mark.parametrize("line", ["-", "- ", "-a", "* a", "  - a", "- <!-- pin -->"])
def test_other_lines_are_no_entries(line: str) -> None:
    assert entries_of(f"# a\n{line}\n") == []


def test_a_written_line_is_read_as_it_was_meant() -> None:
    line = entry_line(
        "Has a cello lesson.",
        said_on=date(2026, 11, 20),
        sources=[ONE, ONE, TWO, uuid.UUID(int=3), uuid.UUID(int=4)],
        pinned=True,
        private=True,
    )
    assert line == (
        "- 2026-11-20 Has a cello lesson. <!-- pin --> <!-- private --> "
        f"<!-- from /m/{ONE} /m/{TWO} /m/{uuid.UUID(int=3)} -->"
    )
    (entry,) = entries_of(line)
    assert line_of(entry) == line


@pytest.mark.parametrize(
    "text",
    [
        "a <!-- pin --> b",
        "a <!-- private -->",
        f"a <!-- from /m/{ONE} -->",
        "a <!<!-- pin -->-- pin -->",
        "a <!--\n pin -->",
        "<!-- pin <!-- pin --> -->",
        "<!-- /private --> a",
        "a <!-- private",
        "a\n- b",
        "a\r\n# b",
        "a\rb",
        "a\u2028- b\u2029\x85\x0b\x0cc",
        "- - # > ``` a",
        "# a",
        "a\0b\ud800c",
    ],
)
def test_no_text_brings_a_mark_a_heading_or_a_second_line(text: str) -> None:
    line = entry_line(text)
    assert len(line.splitlines()) == 1
    assert "<!--" not in line and "-->" not in line and "\0" not in line
    line.encode()
    (entry,) = entries_of(f"{line}\n- after")[:1]
    assert not (entry.pinned or entry.private or entry.sources)
    assert not entry.text.startswith(("#", "-", ">", "`"))
    assert entries_of(f"{line}\n- after")[1].private is False
    assert readable_text(line, alone=False) == line


@pytest.mark.parametrize("text", ["", " \n", "#", "- ", "- - -", "\0"])
def test_a_text_without_words_is_no_entry(text: str) -> None:
    assert clean_text(text) == ""
    with pytest.raises(ValueError, match="words"):
        entry_line(text)


def test_a_date_is_not_said_twice() -> None:
    day = date(2026, 1, 2)
    assert entry_line("2026-01-02 a", said_on=day) == "- 2026-01-02 a"
    assert entry_line("2026-01-02 a") == "- 2026-01-02 a"
    assert entry_line("2026-01-03 a", said_on=day) == "- 2026-01-02 2026-01-03 a"


def test_new_lines_go_behind_the_last_entry_and_what_belongs_to_it() -> None:
    after = changed(FILE, add=["- x", "- y", "- x", "- likes tea"])
    assert after == FILE.replace("  since May\n", "  since May\n- x\n- y\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "- x\n"),
        ("# a\n", "# a\n- x\n"),
        ("# a", "# a\n- x"),
        ("- a\n\n", "- a\n- x\n\n"),
        ("- a\r\n# b\r\n", "- a\r\n- x\r\n# b\r\n"),
        ("# a\r\n- a", "# a\r\n- a\r\n- x"),
        ("\n", "\n- x\n"),
    ],
)
def test_line_ends_stay_and_removing_gives_the_text_of_before(
    before: str, after: str
) -> None:
    assert changed(before, add=["- x"]) == after
    assert changed(after, remove=["- x"]) == before


def test_removing_takes_every_copy_and_forgives_what_is_gone() -> None:
    assert changed("- a\n- b\r\n- a\r\n", remove=["- a", "- z", ""]) == "- b\r\n"
    assert changed("- a\n\n- b\n", remove=["", "- z"]) == "- a\n\n- b\n"


def test_a_line_that_goes_and_comes_stays_where_it_is() -> None:
    assert changed("- a\n- b\n", remove=["- a"], add=["- a"]) == "- a\n- b\n"


@pytest.mark.parametrize("line", ["- a\n- b", "- a\r", "", " ", "- \0"])
def test_what_is_not_one_line_is_not_added(line: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        changed("- a", add=[line])
    with pytest.raises(ValueError, match="one line"):
        replaced("- a", "- a", line)


def test_a_line_is_replaced_in_its_place() -> None:
    assert replaced("- a\r\n- b\r\n- a\r\n", "- a", "- c") == "- c\r\n- b\r\n"
    assert replaced("- a\n- b\n", "- a", "- b") == "- b\n"
    assert replaced("- a\n- b", "- z", "- c") == "- a\n- b"
    assert replaced("- a\n- b", "- b", "- c") == "- a\n- c"


def test_lines_come_back_under_their_heading() -> None:
    before = "# A\n- a\n- b\n# C\n- c\n"
    assert put_back("# A\n# C\n- c\n- d\n", ["- b", "- a"], before=before) == (
        "# A\n- a\n- b\n# C\n- c\n- d\n"
    )
    assert put_back("- z\n", ["- a", "- z"], before="- a\n") == "- a\n- z\n"
    assert put_back("- z\n", ["- a"], before="") == "- z\n- a\n"
    for whole in ("- a\n- b", "- a\n- b\n", "- a\r\n- b\r\n", "- a\r\n- b"):
        assert put_back("", ["- b", "- a"], before=whole) == whole


def test_what_was_private_comes_back_private() -> None:
    before = "- a\n## Health <!-- private -->\n- knee\n"
    assert put_back("- a\n", ["- knee"], before=before) == (
        "- a\n- knee <!-- private -->\n"
    )
    stays = put_back("## Health <!-- private -->\n", ["- knee"], before=before)
    assert stays == "## Health <!-- private -->\n- knee\n"


def test_folding_leaves_letters_and_digits() -> None:
    assert fold("Café, Ünal's 2. –\tSTRASSE ß!") == "cafe unal s 2 strasse ss"
    assert fold("It_is (a) TEST.") == "it is a test"


def test_prompts_have_no_marks() -> None:
    assert readable_text(FILE, alone=False) == (
        "# Memory\n\nSome words.\n- 2026-11-20 Has a cello lesson.\n- likes tea"
    )
    text = readable_text(
        f"- a <!--PIN--> <!-- From  /m/{ONE} -->\n<!-- pin -->\n- b <!-- note -->",
        alone=True,
    )
    assert text == "- a\n- b <!-- note -->"


def test_a_mark_made_of_marks_is_gone_too() -> None:
    assert "<!--" not in readable_text("- a <!-- p<!-- pin -->in -->", alone=True)
    assert readable_text("- a <!-- pri<!-- pin -->vate -->", alone=False) == ""
