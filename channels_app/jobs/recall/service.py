"""The worker's part in recall by meaning: it fills in vectors and answers questions.

Only where the extra is installed. Of several workers on one machine the first serves;
another takes over when its lock is free. The socket lies in the data folder and lets
this account alone in; ``personas.search.meaning`` describes what is asked there.

Computing is work for a thread of its own, and rests as long as it worked, so that
filling in many vectors takes half a processor at most.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final

from django.conf import settings

from channels_app.jobs.recall import sentence_model, vectors
from routing.db_pool import run_in_db_pool

logger = logging.getLogger("cortex.recall")

BATCH: Final = 16
LINE_BYTES: Final = 16 * 1024
WITHIN_S: Final = 5.0
"""A client that takes longer to ask or to listen is left."""
QUESTIONS_AT_ONCE: Final = 2
LIMIT: Final = 200
ADDRESS_BYTES: Final = 100
"""Unix socket addresses hold little more."""


class RecallService:
    """One machine's service: ``see_to`` does what there is to do, again and again."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Serve nothing yet.

        Args:
            path: Where to listen.
            threads: For computing; 0 = never serve.
        """
        self._path = path
        self._threads = threads
        self._lock: IO[bytes] | None = None
        self._server: asyncio.Server | None = None
        self._few = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="cortex-recall")

    @cached_property
    def _folder(self) -> Path | None:
        """Where the model lies; ``None`` = there is nothing to serve."""
        if self._threads == 0:
            return None
        folder = sentence_model.folder()
        if folder and len(os.fsencode(self._path)) > ADDRESS_BYTES:
            logger.warning("no recall by meaning: give CORTEX_DATA_DIR a shorter path")
            return None
        return folder

    @cached_property
    def _model(self) -> sentence_model.SentenceModel:
        assert self._folder is not None  # noqa: S101  looked at before it is asked
        return sentence_model.SentenceModel(self._folder, threads=self._threads)

    async def see_to(self) -> int:
        """Begin to listen if nobody does, then compute every vector that is missing.

        Returns:
            How many vectors were computed.
        """
        if self._folder is None or not await self._serves():
            return 0
        loop = asyncio.get_running_loop()
        computed = 0
        while batch := await run_in_db_pool(vectors.waiting, BATCH):
            began = loop.time()
            made = await loop.run_in_executor(self._computing, self._made, batch)
            worked_s = loop.time() - began
            await run_in_db_pool(vectors.store, made)
            computed += len(made)
            await asyncio.sleep(worked_s)
        return computed

    def _made(self, batch: list[tuple[int, str]]) -> list[tuple[int, bytes]]:
        return vectors.computed(self._model, batch)

    async def _serves(self) -> bool:
        """Say whether this process serves, beginning with it where nobody does."""
        if self._server is not None:
            return True
        if not self._locked():
            return False
        try:
            await run_in_db_pool(vectors.forget_others)
            await self._listen()
        except BaseException:
            self._release()  # or this process would wait for its own lock for ever
            raise
        logger.info("recall by meaning is ready")
        return True

    async def _listen(self) -> None:
        self._path.unlink(missing_ok=True)  # left by a worker that was killed
        self._server = await asyncio.start_unix_server(
            self._talk, str(self._path), limit=LINE_BYTES
        )
        self._path.chmod(0o600)

    def _locked(self) -> bool:
        """Take the lock of this machine's service; it ends with the process."""
        file = self._path.with_suffix(".lock").open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._lock = file
        return True

    def _release(self) -> None:
        """Give up the socket and the lock."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def close(self) -> None:
        """Listen no more."""
        self._release()
        self._computing.shutdown(wait=False, cancel_futures=True)

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                answer = await self._answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # it went away, or what it sent is no question
        except Exception:  # one question's fault; the next one may be answered
            logger.exception("a question about meaning failed")
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        owner, persona, text, limit = _question(line)
        async with self._few:
            found = await run_in_db_pool(
                lambda: vectors.nearest(self._model, owner, persona, text, limit)
            )
        return {"found": [[str(id), round(score, 4)] for id, score in found]}


def _question(line: bytes) -> tuple[int, int | None, str, int]:
    """Return owner, persona, text and limit; raises ``ValueError``."""
    told = json.loads(line)
    if not isinstance(told, dict):
        raise ValueError("no question")
    owner, persona = told.get("owner"), told.get("persona")
    text, limit = told.get("text"), told.get("limit")
    if not isinstance(owner, int) or not isinstance(persona, int | None):
        raise ValueError("of nobody")
    if not isinstance(text, str) or not isinstance(limit, int) or limit < 1:
        raise ValueError("no text")
    return owner, persona, text, min(limit, LIMIT)


class _Here:
    """The service of this process."""

    service: RecallService | None = None


async def see_to() -> int:
    """Do what there is to do, for the worker's chores."""
    if _Here.service is None:
        _Here.service = RecallService(
            settings.CORTEX_RECALL_SOCKET, threads=settings.CORTEX_RECALL_THREADS
        )
    return await _Here.service.see_to()


async def close() -> None:
    """Serve no more in this process."""
    if _Here.service is not None:
        await _Here.service.close()
        _Here.service = None
