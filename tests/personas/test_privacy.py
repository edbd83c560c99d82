"""Lines that only the owner may read."""

from __future__ import annotations

import pytest

from personas.privacy import readable_text

FILE = """# About Ana
- likes tea
- cello on Mondays <!-- private -->
## Health <!--PRIVATE-->
- knee
### Doctors
- Dr Wu
## Work
- gardener
<!-- private -->
- salary
# Anything
- else
<!-- /private -->
- cycles"""


def test_owner_alone_reads_everything_without_the_marks() -> None:
    text = readable_text(FILE, alone=True)
    assert "private" not in text.lower()
    assert text.split("\n") == [
        "# About Ana",
        "- likes tea",
        "- cello on Mondays",
        "## Health",
        "- knee",
        "### Doctors",
        "- Dr Wu",
        "## Work",
        "- gardener",
        "- salary",
        "# Anything",
        "- else",
        "- cycles",
    ]


def test_in_company_private_lines_sections_and_blocks_are_gone() -> None:
    assert readable_text(FILE, alone=False).split("\n") == [
        "# About Ana",
        "- likes tea",
        "## Work",
        "- gardener",
        "- cycles",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "secret <!-- private -->",
        "secret<!--private-->",
        "<!-- Private --> secret",
        "- secret <!--\tprivate  --> and more",
        "secret <!-- private -->\r",
        "secret\u2028line two <!-- private -->",
    ],
)
def test_the_mark_is_recognised_however_it_is_written(line: str) -> None:
    assert readable_text(f"open\n{line}\nopen", alone=False) == "open\nopen"


def test_a_block_without_end_reaches_to_the_end() -> None:
    assert readable_text("a\n<!-- private -->\nb\n# c\nd", alone=False) == "a"


def test_a_private_part_of_a_private_section_does_not_end_it_early() -> None:
    text = "# a <!-- private -->\n## b <!-- private -->\nx\n## c\ny\n# d\nz"
    assert readable_text(text, alone=False) == "# d\nz"


def test_other_comments_and_blank_lines_stay() -> None:
    text = "a\n\n<!-- a note -->\nb"
    assert readable_text(text, alone=False) == text
