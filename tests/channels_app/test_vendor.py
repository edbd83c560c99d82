"""Third-party files in the tree are those that VERSIONS names, byte for byte."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from django.conf import settings

VENDOR = Path(settings.BASE_DIR) / "static" / "vendor"


def listed() -> dict[str, list[str]]:
    """Return file → name, version, licence, sha256."""
    entries = {}
    for line in (VENDOR / "VERSIONS").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version, licence, file, digest = line.split()
            entries[file] = [name, version, licence, digest]
    return entries


def test_every_vendored_file_is_listed_with_its_checksum() -> None:
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "VERSIONS"
    }
    assert found == {file: entry[-1] for file, entry in listed().items()}


def test_every_library_comes_with_its_licence() -> None:
    entries = listed()
    names = {entry[0] for entry in entries.values()}
    with_licence = {entry[0] for file, entry in entries.items() if "LICENSE" in file}
    assert with_licence == names
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", entry[1]) for entry in entries.values())


def test_no_style_sheet_or_script_of_ours_names_another_origin() -> None:
    own = [*VENDOR.parent.glob("js/*.js"), *VENDOR.parent.glob("css/*.css")]
    assert len(own) > 5
    for path in own:
        code = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"""["'(](?:https?:)?//[\w.]""", code), path.name
