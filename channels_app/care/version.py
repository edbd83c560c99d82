"""Which version of Cortex this is."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from django.conf import settings


@functools.cache
def cortex_version() -> str:
    """Return the version of the project file, such as ``0.1.0``."""
    text = (Path(settings.BASE_DIR) / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])
