"""The supervisor's Unix socket, and the built-in model that is started on demand.

A client sends one line, ``builtin``, and reads one line of JSON: ``{"url": "http://…"}``
or ``{"error": "one sentence"}``. The first demand starts ``cortex_site.builtin_model``;
it ends when its standard input closes, so it cannot outlive the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
import sys
import time
from pathlib import Path

from cortex_site.children import Backoff, describe_exit
from cortex_site.env import BASE_DIR
from cortex_site.startup import CannotStart

logger = logging.getLogger("cortex.serve")

READY_WITHIN_S = 60.0
"""Time the model may take to load on a slow disk."""
LAST_WORDS_S = 1.0
"""A model that says something else than that it is ready may take this long to end."""
LINE_LIMIT = 1024


class ModelUnavailable(Exception):
    """The model cannot be reached; the text is one sentence for people."""


class BuiltinModel:
    """The one process that serves the built-in model to web and worker."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = asyncio.Lock()
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._url = ""
        self._error = ""
        self._retry_at = 0.0

    async def url(self) -> str:
        """Return the model's address, starting it first when it does not run.

        Raises:
            ModelUnavailable: when it cannot start, or failed a moment ago.
        """
        async with self._lock:
            if self._url and self._process and self._process.returncode is None:
                return self._url
            if time.monotonic() < self._retry_at:
                raise ModelUnavailable(self._error)
            started = time.monotonic()
            try:
                self._url = await self._start()
            except ModelUnavailable as error:
                self._error = str(error)
                now = time.monotonic()
                self._retry_at = now + self._backoff.delay_s(now - started)
                raise
            return self._url

    async def _start(self) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cortex_site.builtin_model",
            cwd=BASE_DIR,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        errors = _LastLine(process.stderr)
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)
        except TimeoutError:
            process.kill()
            line = b""
        word, _, url = line.decode("utf-8", "replace").strip().partition(" ")
        if word == "ready" and url:
            logger.info("the built-in model is ready")
            self._watch = asyncio.create_task(self._wait(process, errors))
            return url
        # Killed at once, a process that is about to end would lose its exit code.
        try:
            code = await asyncio.wait_for(process.wait(), LAST_WORDS_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
        said = (await errors.last()) or line.decode("utf-8", "replace").strip()
        raise ModelUnavailable(
            said or f"The built-in model did not start ({describe_exit(code)})."
        )

    async def _wait(
        self, process: asyncio.subprocess.Process, errors: _LastLine
    ) -> None:
        """Note the end of a running model, so that the next demand starts it again."""
        started = time.monotonic()
        code = await process.wait()
        if process is not self._process:
            return
        now = time.monotonic()
        self._url = ""
        self._retry_at = now + self._backoff.delay_s(now - started)
        self._error = (await errors.last()) or "The built-in model is being restarted."
        logger.warning("the built-in model ended (%s)", describe_exit(code))

    async def stop(self) -> None:
        """End the process, by force when it does not end within three seconds."""
        process, self._process = self._process, None
        if self._watch is not None:
            self._watch.cancel()
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 3)
        except TimeoutError:
            process.kill()
            await process.wait()


class _LastLine:
    """Reads a stream to its end and keeps the last line that was not empty."""

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        self._line = ""
        self._task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        while stream is not None:
            try:
                raw = await stream.readline()
            except ValueError:  # a line longer than the reader's buffer
                continue
            if not raw:
                return
            self._line = raw.decode("utf-8", "replace").strip() or self._line

    async def last(self) -> str:
        """Return the last line; waits at most a second for the end of the stream."""
        await asyncio.wait([self._task], timeout=1)
        return self._line


class ControlSocket:
    """Answers the questions of the children; only this account may connect."""

    def __init__(self, path: Path, model: BuiltinModel) -> None:
        """Listen nowhere yet."""
        self._path = path
        self._model = model
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, replacing a socket that a killed supervisor left behind.

        The caller holds the lock of the data folder, so nobody else listens there.

        Raises:
            CannotStart: Its folder is not this account's alone.
        """
        _make_own_folder(self._path.parent)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self._path), limit=LINE_LIMIT
        )
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 5)
            writer.write(json.dumps(await self._answer(line.strip())).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the child went away or sent no line; it will ask again
        finally:
            writer.close()

    async def _answer(self, question: bytes) -> dict[str, str]:
        if question != b"builtin":
            return {"error": "The supervisor does not know this question."}
        try:
            return {"url": await self._model.url()}
        except ModelUnavailable as error:
            return {"error": str(error)}


def _make_own_folder(folder: Path) -> None:
    """Make sure that no other account can put a socket of its own in there.

    In the temporary folder everybody may have taken the name before.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.getuid())
    if not own or found.st_mode & stat.S_IWOTH:
        raise CannotStart(
            f"Other accounts can write to the folder {folder}, where the supervisor "
            "listens; remove it or give CORTEX_DATA_DIR a shorter path."
        )
