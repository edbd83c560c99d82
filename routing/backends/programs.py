"""The programs behind hosts of the types ``claude_cli`` and ``gemini_cli``.

Which file is started is decided by the installation's owner alone, by the settings
``CORTEX_CLAUDE_CLI`` and ``CORTEX_GEMINI_CLI`` (a name looked up in ``PATH``, or a
path); nobody types a path or a command on a page.

Each host has a folder of its own, ``cli/host-<id>`` in the data folder. A program is
logged in by hand with that folder; nothing else is kept there.

Only ``version_of`` starts a program; it ends with whoever waits for the answer.
Source: Claude Code documentation, "Settings" (CLAUDE_CONFIG_DIR) and "Authentication";
Gemini CLI documentation, "Configuration" (GEMINI_CLI_HOME) and "Authentication".
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.conf import settings

CLI_TYPES: Final = ("claude_cli", "gemini_cli")
NO_LOGIN: Final = "Nobody has logged the program in for this host yet."
FOUND_FOR_S: Final = 60.0
"""How long the place of a program is remembered, also that there is none."""
VERSION_WITHIN_S: Final = 20.0
GEMINI_LOGIN_FILES: Final = (
    "oauth_creds.json",
    "google_accounts.json",
    "gemini-credentials.json",
)
"""What a login of the Gemini CLI leaves in the ``.gemini`` folder of its home."""

_SETTINGS: Final = {
    "claude_cli": "CORTEX_CLAUDE_CLI",
    "gemini_cli": "CORTEX_GEMINI_CLI",
}
_VERSION: Final = re.compile(r"\d+\.\d+[\w.+-]*")
_found: Final[dict[str, tuple[float, Path | None]]] = {}
_versions: Final[dict[tuple[Path, int], str]] = {}


def program_name(host_type: str) -> str:
    """Return what the setting says: the name or path of the type's program."""
    return str(getattr(settings, _SETTINGS[host_type]))


def find_program(host_type: str) -> Path | None:
    """Return the file to start, ``None`` if there is none (or no such type)."""
    if host_type not in _SETTINGS:
        return None
    name = program_name(host_type)
    until, path = _found.get(name, (0.0, None))
    if time.monotonic() >= until:
        where = shutil.which(name)
        path = Path(where).absolute() if where else None
        _found[name] = (time.monotonic() + FOUND_FOR_S, path)
    return path


def forget_programs() -> None:
    """Look again at the next call, for somebody who has just installed one."""
    _found.clear()
    _versions.clear()


def not_found_sentence(host_type: str) -> str:
    """Return what people are told when the program is missing."""
    name = Path(program_name(host_type)).name
    return f"The program “{name}” was not found."


def config_folder(host_type: str, host_id: int) -> Path:
    """Return the folder of a host; it is made, for its owner alone, if missing."""
    if host_type not in CLI_TYPES:
        raise ValueError(f"Hosts of type {host_type!r} have no folder.")
    folder: Path = settings.DATA_DIR / "cli" / f"host-{int(host_id)}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def remove_config_folder(host_id: int) -> None:
    """Remove a host's folder with the login in it, if there is one."""
    folder = settings.DATA_DIR / "cli" / f"host-{int(host_id)}"
    shutil.rmtree(folder, ignore_errors=True)


def is_logged_in(host_type: str, host_id: int) -> bool:
    """Say whether somebody has logged the program in with the host's folder.

    Whether the login is still good only a call can tell.
    """
    folder = config_folder(host_type, host_id)
    if host_type == "claude_cli":
        # Where a computer keeps passwords itself, only the account is in a file.
        return _has(folder / ".credentials.json", b"claudeAiOauth") or _has(
            folder / ".claude.json", b'"oauthAccount"'
        )
    return any(
        _has(folder / ".gemini" / name, b"{")
        for name in GEMINI_LOGIN_FILES
        if name != "google_accounts.json"
    )


def login_command(host_type: str, host_id: int) -> str:
    """Return the command by which the owner of the machine logs the program in."""
    variable = "CLAUDE_CONFIG_DIR" if host_type == "claude_cli" else "GEMINI_CLI_HOME"
    folder = shlex.quote(str(config_folder(host_type, host_id)))
    arguments = " auth login" if host_type == "claude_cli" else ""
    return f"{variable}={folder} {shlex.quote(program_name(host_type))}{arguments}"


def clean_environment(home: Path, temporary: Path) -> dict[str, str]:
    """Return all that a program sees of this machine; credentials are added to it.

    No proxy, key, certificate or option of the process around it is passed on.
    """
    return {
        "PATH": os.environ.get("PATH") or os.defpath,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }


async def version_of(path: Path) -> str:
    """Return the version that a program states, empty if it does not.

    Takes up to a second or two; remembered until the file changes. Cancelled, it ends
    the program at once.
    """
    try:
        key = (path, (await asyncio.to_thread(path.stat)).st_mtime_ns)
    except OSError:
        return ""
    if key not in _versions:
        _versions[key] = await _ask_version(path)
    return _versions[key]


async def _ask_version(path: Path) -> str:
    with tempfile.TemporaryDirectory(
        prefix="cortex-cli-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        environment = clean_environment(folder, folder)
        environment |= {
            "CLAUDE_CONFIG_DIR": name,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "GEMINI_CLI_HOME": name,
            "GEMINI_CLI_NO_RELAUNCH": "true",
        }
        try:
            process = await asyncio.create_subprocess_exec(
                str(path),
                "--version",
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return ""
        said = await _said_by(process)
    match = _VERSION.search(said.decode(errors="replace"))
    return match.group() if match and process.returncode == 0 else ""


async def _said_by(process: asyncio.subprocess.Process) -> bytes:
    """Return what a program says; it is ended, with all it started, in any case."""
    try:
        async with asyncio.timeout(VERSION_WITHIN_S):
            said, _ = await process.communicate()
            return said
    except TimeoutError:
        return b""
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _has(path: Path, mark: bytes) -> bool:
    try:
        return mark in path.read_bytes()
    except OSError:
        return False
