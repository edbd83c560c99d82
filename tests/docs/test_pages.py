"""What the pages name exists: files, commands, make targets, other pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.support.processes import ROOT

PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FILE = re.compile(
    r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|js|css|txt|toml|html|json|in)|(?:[\w.-]+/)+)`"
)
OF_AN_INSTALLATION = {
    "ledger.jsonl",
    "model_registry.json",
    "local_llm.json",
    "channels.json",
    "manifest.json",
    "person.json",
    "schedules.json",
    "media/",
    "SOUL.md",
    "IDENTITY.md",
    "USER.md",
    "TASKS.json",
    "data/",
    "MEMORY_SHORT.md",
    "MEMORY_MID.md",
    "MEMORY_LONG.md",
}
"""File names of a data folder or a persona, which the project itself has not."""


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_files_named_by_a_page_exist(page: Path) -> None:
    named = set(FILE.findall(text_of(page))) - OF_AN_INSTALLATION
    missing = {
        name
        for name in named
        if not (ROOT / name).exists() and not (page.parent / name).exists()
    }
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text_of(page))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_make_targets_named_by_a_page_exist(page: Path) -> None:
    named = set(re.findall(r"(?:^|[`\s])make ([a-z][a-z-]*)`?", code_of(page), re.M))
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_named_by_a_page_exist(page: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", text_of(page)))
    assert named <= {*get_commands(), "serve"}


def code_of(page: Path) -> str:
    """Return what a page shows as code: blocks and spans."""
    text = text_of(page)
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.S | re.M)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", text)])


def test_readme_shows_the_two_commands() -> None:
    assert {"run", "test"} <= set(
        re.findall(r"make ([a-z-]+)", code_of(ROOT / "README.md"))
    )


def test_makefile_helps_with_every_target() -> None:
    done = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for target in ("run", "model", "test", "test-fast", "lint", "fmt", "bench"):
        assert f"make {target}:" in done.stdout


def test_changelog_has_an_open_section() -> None:
    assert "## [Unreleased]" in text_of(ROOT / "CHANGELOG.md")
