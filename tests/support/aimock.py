"""The vendors' mock ``llmock`` on a free port, with its chaos and its journal.

It knows all three wire formats and answers every question with one text and one
count of tokens. Chaos: of the rates for ``drop``, ``malformed``, ``rateLimit`` and
``disconnect`` each is tried in turn for every request. Its dice are seeded, so that a
run can be repeated.

Source: aimock, README ("Chaos testing", "Fixtures") and ``llmock --help``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Final

from tests.support import programs
from tests.support.processes import Process, wait_until

ANSWER: Final = "It is a quiet evening, and the kettle has just begun to sing."
USAGE: Final = {"prompt_tokens": 40, "completion_tokens": 15, "total_tokens": 55}


class AIMock:
    """One server in a folder of its own; a context manager."""

    def __init__(self, *, seed: int = 1, chaos: float = 0.0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cortex-aimock-"))
        self.seed = seed
        self.chaos = chaos
        self.process: Process | None = None
        self.url = ""

    def __enter__(self) -> AIMock:
        """Start it and wait until it answers, or skip where it is not installed."""
        fixture = {"match": {}, "response": {"content": ANSWER, "usage": USAGE}}
        file = self.folder / "fixtures.json"
        file.write_text(json.dumps({"fixtures": [fixture]}), encoding="utf-8")
        self.process = Process(
            [
                *(programs.node(), f"--random-seed={self.seed}"),
                *(str(programs.llmock_program()), "--fixtures", str(file)),
                *("--port", "0", "--host", "127.0.0.1", "--journal-max", "0"),
                *self._chaos_options(),
            ],
            log_path=self.folder / "log",
            environment={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            cwd=self.folder,
        )
        self.process.start()
        try:
            self.url = wait_until(self._address, within_s=20, what="aimock")
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}\n{self.process.log}") from None
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and remove its folder."""
        if self.process:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def journal(self) -> list[dict[str, Any]]:
        """Return every request for an answer, oldest first."""
        with urllib.request.urlopen(f"{self.url}/__aimock/journal?limit=100000") as got:
            entries: list[dict[str, Any]] = json.load(got)
        return [entry for entry in entries if entry["method"] == "POST"]

    def _chaos_options(self) -> list[str]:
        names = ("drop", "malformed", "disconnect", "ratelimit") if self.chaos else ()
        return [word for n in names for word in (f"--chaos-{n}", str(self.chaos))]

    def _address(self) -> str | None:
        assert self.process
        found = re.search(r"listening on (http://\S+)", self.process.log)
        return found[1] if found else None
