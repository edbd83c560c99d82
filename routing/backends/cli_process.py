"""One run of a vendor's program: started, fed, read line by line, and surely ended.

The program is started by its guard (``cli_guard``), in a session of their own, so that
no program goes on working for nobody when this process dies.

Nothing that a program writes to its standard error is logged or shown: it may repeat
prompt or key. Its end is kept to be searched for known words.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final
from weakref import WeakKeyDictionary

from routing.backends.base import TimedOut, UpstreamFailed
from routing.backends.cli_guard import exit_code_in, guarded
from routing.backends.cli_scratch import Scratch
from routing.interrupts import Patience

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
MAX_PROGRAMS: Final = 8
"""Answers being written at once in this process; more wait for their turn, because
each program holds 150 MB and many that start together keep all of them waiting."""
READ_BYTES: Final = 256 * 1024
PIPE_BYTES: Final = 1024 * 1024
"""As much as Linux lets anybody have. Programs exit without waiting for their reader:
what their output's pipe cannot hold at that moment is lost, the result first."""
STDERR_BYTES: Final = 16 * 1024
NOT_STARTED: Final = "The program could not be started on this machine."
END_S: Final = 0.1
"""How long to wait for the end before a harder means is used."""
_stopping: Final[set[asyncio.Task[None]]] = set()
_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
    WeakKeyDictionary()
)


@asynccontextmanager
async def room_for_a_program(patience: Patience) -> AsyncIterator[None]:
    """Wait for one of the running loop's places, and hold it within the context.

    Raises:
        TimedOut: None became free in time; nothing was sent.
    """
    loop = asyncio.get_running_loop()
    if loop not in _rooms:
        _rooms[loop] = asyncio.Semaphore(MAX_PROGRAMS)
    try:
        await patience.wait(_rooms[loop].acquire)
    except TimedOut as error:
        error.worked = False
        raise
    try:
        yield
    finally:
        _rooms[loop].release()


def _stop_once_started(task: asyncio.Task[Program]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().begin_to_stop()


def _wide_pipe() -> tuple[int, int]:
    """Return the ends of a pipe for output, as large as the system lets it be."""
    ends = os.pipe()
    if widen := getattr(fcntl, "F_SETPIPE_SZ", None):
        with suppress(OSError):
            fcntl.fcntl(ends[1], widen, PIPE_BYTES)
    return ends


class Program:
    """A running program. ``stop`` must be called, whatever happens."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdout: asyncio.StreamReader,
        lifeline: int,
        scratch: Scratch,
        polite: bool,
    ) -> None:
        assert process.stdin and process.stderr  # noqa: S101 -- both are pipes
        self._process = process
        self._stdout = stdout
        self._lifeline = lifeline
        self._scratch = scratch
        self._polite = polite
        self._stdin = process.stdin
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._stderr_end = b""
        self._drain = asyncio.create_task(self._drain_stderr(process.stderr))
        self._feeder: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None
        self.exit_code: int | None = None
        """What the program ended with; ``None`` while it runs or if it was killed."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        scratch: Scratch,
        *,
        polite: bool = False,
    ) -> Program:
        """Start a command in the scratch folder, which ``stop`` removes.

        A caller who is cancelled meanwhile leaves nothing behind.

        Args:
            polite: It keeps files that outlive it, so it is asked to end before it is
                made to.

        Raises:
            UpstreamFailed: The machine cannot start it.
        """
        task = asyncio.create_task(cls._spawn(command, environment, scratch, polite))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_stop_once_started)
            raise

    @classmethod
    async def _spawn(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        scratch: Scratch,
        polite: bool,
    ) -> Program:
        for_guard, lifeline = os.pipe()
        output, for_program = _wide_pipe()
        stdout = asyncio.StreamReader(limit=READ_BYTES)
        try:
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(output, "rb", 0)
            )
            process = await asyncio.create_subprocess_exec(
                *guarded(command, for_guard),
                stdin=asyncio.subprocess.PIPE,
                stdout=for_program,
                stderr=asyncio.subprocess.PIPE,
                cwd=scratch.cwd,
                env=dict(environment),
                start_new_session=True,
                pass_fds=(for_guard,),
            )
        except BaseException as error:
            os.close(lifeline)
            scratch.remove()
            if isinstance(error, OSError):
                raise UpstreamFailed(NOT_STARTED) from None
            raise
        finally:
            os.close(for_guard)
            os.close(for_program)
        return cls(process, stdout, lifeline, scratch, polite)

    @property
    def pid(self) -> int:
        """The id of the guard, and of the group with everything that it started."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the program still runs, as far as is known here."""
        return self._process.returncode is None and not self._stdout.at_eof()

    @property
    def last_words(self) -> str:
        """The end of its standard error: to be searched, never to be shown."""
        return self._stderr_end.decode(errors="replace")

    def feed(self, data: bytes, *, then_close: bool) -> None:
        """Give the program input; it is written while output is read.

        A program that has ended already is left for ``read_lines`` to tell.
        """
        self._feeder = asyncio.create_task(self._write(data, then_close))

    async def _write(self, data: bytes, then_close: bool) -> None:
        with suppress(OSError):
            self._stdin.write(data)
            await self._stdin.drain()
        if then_close:
            self._stdin.close()

    async def read_lines(self) -> list[bytes]:
        """Return the JSON lines that have come; an empty list = the output ended.

        Lines that do not begin with ``{`` are left out: some builds print notes.

        Raises:
            UpstreamFailed: A line is longer than anything of use.
        """
        while data := await self._stdout.read(READ_BYTES):
            *ended, rest = data.split(b"\n")
            lines = []
            for part in ended:
                lines.append(b"".join([*self._parts, part]))
                self._parts.clear()
                self._parts_bytes = 0
            self._parts.append(rest)
            self._parts_bytes += len(rest)
            if self._parts_bytes > MAX_LINE_BYTES:
                raise UpstreamFailed("The program sent something unreadable.")
            if lines := [line for line in lines if self._is_json(line)]:
                return lines
        return []

    def _is_json(self, line: bytes) -> bool:
        if (code := exit_code_in(line)) is not None:
            self.exit_code = code
        return line.startswith(b"{")

    async def stop(self) -> None:
        """End the program with all it started, and remove its folder.

        Takes little more than ``END_S`` and goes on where the caller is cancelled.
        """
        await asyncio.shield(self.begin_to_stop())

    def begin_to_stop(self) -> asyncio.Task[None]:
        """Do as ``stop`` does in a task of its own; again returns the same."""
        if self._end is None or self._end.cancelled():
            self._end = asyncio.create_task(self._finish())
            _stopping.add(self._end)
            self._end.add_done_callback(_stopping.discard)
        return self._end

    async def _finish(self) -> None:
        try:
            if self._polite:
                self._signal(signal.SIGTERM)
                await self._ended_within(END_S)
            self._let_go()
            self._stdin.close()
            if not await self._ended_within(END_S):
                self._signal(signal.SIGKILL)
                await self._read_to_end()
        finally:
            # Also where the event loop ends meanwhile and cancels everything.
            self._let_go()
            remove = asyncio.get_running_loop().run_in_executor
            await remove(None, self._scratch.remove)

    def _let_go(self) -> None:
        """Close the guard's pipe, so that it kills the program; again is harmless."""
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._read_to_end()
        except TimeoutError:
            return False
        return True

    async def _read_to_end(self) -> None:
        """Wait until all have let go of the output and the guard has ended."""
        while await self._stdout.read(READ_BYTES):
            pass
        await asyncio.shield(self._drain)
        await self._process.wait()
        if self._feeder is not None:
            await self._feeder

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _drain_stderr(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(READ_BYTES):
            self._stderr_end = (self._stderr_end + data)[-STDERR_BYTES:]
