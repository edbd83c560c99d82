"""``docs/configuration.md`` names every variable that the code reads, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "configuration.md"
PACKAGES = (
    "cortex_site",
    "accounts",
    "ledger",
    "routing",
    "personas",
    "channels_app",
)
READERS = {
    *("text", "integer", "flag", "choice", "words", "dollars"),
    "time_of_day",
    *("get", "getenv", "environ"),
}
INTERNAL = {
    "DJANGO_SETTINGS_MODULE",  # fixed
    "PATH",  # the machine's own; programs are looked up in it
    "CORTEX_LIFELINE_FD",  # between the supervisor and its children
}
NAME = re.compile(r"[A-Z][A-Z0-9_]{3,}")


def sources() -> Iterator[Path]:
    """Yield the project's own modules."""
    yield ROOT / "manage.py"
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def literal(node: ast.expr) -> str:
    """Return a string, with what is filled in shown as ``<NAME>``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
            else "<NAME>"
            for part in node.values
        )
    return ""


def names_read(path: Path) -> Iterator[str]:
    """Yield the variables that a module reads from the environment."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            yield literal(node.slice)
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function = ast.unparse(node.func)
        module, _, name = function.rpartition(".")
        is_reader = name in READERS and (
            module in {"env", "os", "os.environ"}
            or (module == "" and path.name == "env.py")
        )
        if is_reader:
            yield literal(node.args[0])


def read_by_the_code() -> set[str]:
    found = {name for path in sources() for name in names_read(path)}
    return {name for name in found if NAME.match(name)} - INTERNAL


def described() -> set[str]:
    """Return the names in the first column of the page's tables."""
    return set(re.findall(r"^\| `([A-Z_<>]+)` \|", PAGE.read_text("utf-8"), re.M))


def test_every_setting_is_described_and_every_description_is_read() -> None:
    assert read_by_the_code() == described()


def test_the_reader_of_the_code_finds_what_it_should() -> None:
    found = read_by_the_code()
    assert {"HOST", "PORT", "DATABASE_URL", "CORTEX_ROLE_<NAME>"} <= found
