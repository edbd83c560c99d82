"""The vendors' programs and the vendors' mock, as npm pins them for development.

``make test`` installs them into ``node_modules``. Scripts of packages never run there,
so ``claude`` is taken from the package of this platform instead of the place that its
installation script would fill.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.support import missing

MODULES: Final = Path(__file__).resolve().parents[2] / "node_modules"
NODE_MAJOR: Final = 20
"""The oldest Node on which Gemini CLI and the mock run."""


@functools.cache
def _node_major(node: str) -> int:
    done = subprocess.run([node, "--version"], capture_output=True, text=True)
    return int(done.stdout.lstrip("v").partition(".")[0] or 0)


def node() -> str:
    """Return the path of a Node that is new enough, or skip the test."""
    path = missing.program("node")
    if _node_major(path) < NODE_MAJOR:
        missing.could_not_run(f"node is older than {NODE_MAJOR}")
    return path


def claude_program() -> Path:
    """Return the ``claude`` of this platform, or skip the test."""
    found = sorted((MODULES / "@anthropic-ai").glob("claude-code-*/claude"))
    for path in found:
        if os.access(path, os.X_OK):
            return path
    missing.could_not_run("npm package @anthropic-ai/claude-code is not installed")


def gemini_program() -> Path:
    """Return the ``gemini`` program, or skip the test."""
    node()
    return _script("@google/gemini-cli", "bundle/gemini.js", ".bin/gemini")


def llmock_program() -> Path:
    """Return the script of the vendors' mock, to be run by ``node()``."""
    return _script(
        "@copilotkit/aimock", "dist/cli.js", "@copilotkit/aimock/dist/cli.js"
    )


def _script(package: str, file: str, where: str) -> Path:
    if not (MODULES / package / file).exists():
        missing.could_not_run(f"npm package {package} is not installed")
    return MODULES / where
