"""What a line in the log looks like.

Every event is one line on standard error, as text or as JSON (``CORTEX_LOG``). Words of
people never enter a line: exceptions are cut to the first line of their text, paths
lose their query and every secret in them. Imports no Django; the supervisor uses it.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from channels_app.request_ids import request_id

EXCEPTION_LIMIT = 200
"""Characters of an exception's own text that are logged."""
FRAMES = 4
"""Innermost stack frames that stand in a text line."""

_SECRETS = (
    (re.compile(r"(/setup/)[^/\s?\"']{8,}"), r"\1…"),
    (re.compile(r"(/reset/key/)[^/\s\"']+"), r"\1…"),
    (re.compile(r"(/confirm-email/)[^/\s\"']+"), r"\1…"),
    (re.compile(r"\bctx_[A-Za-z0-9]+_[A-Za-z0-9_-]+"), "ctx_…"),
    (re.compile(r"(\s/[^\s?\"']*)\?[^\s\"']*"), r"\1"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
Failure = tuple[type[BaseException], BaseException, TracebackType | None]


def without_secrets(text: str) -> str:
    """Return ``text`` without the tokens and query strings that addresses may carry.

    >>> without_secrets("Gone: /setup/0123456789abcdef")
    'Gone: /setup/…'
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:EXCEPTION_LIMIT] if lines else ""


def _short_failure(failure: Failure) -> str:
    """Return type, text and innermost frames of an exception in one line."""
    kind, error, trace = failure
    frames = [
        f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}"
        for frame in traceback.extract_tb(trace)[-FRAMES:]
    ]
    return f"{kind.__name__}: {_first_line(error)} ({' > '.join(frames)})"


def _failure(record: logging.LogRecord) -> Failure | None:
    given = record.exc_info
    if given and given[0] is not None and given[1] is not None:
        return given[0], given[1], given[2]
    return None


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return the plain values that the caller gave with ``extra=``."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD
        and isinstance(value, str | int | float | bool | None)
        and name not in {"server_time", "alias", "sql", "params"}
    }


class TextFormatter(logging.Formatter):
    """One line: time, level, logger, request id, event, fields as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line without secrets."""
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        parts = [at, f"{record.levelname:<7}", record.name]
        if current := request_id.get():
            parts.append(f"[{current}]")
        parts.append(record.getMessage())
        parts += [f"{name}={value}" for name, value in _extras(record).items()]
        if failure := _failure(record):
            parts.append(_short_failure(failure))
        line = " ".join(parts)
        return without_secrets(line.replace("\r", "").replace("\n", " "))


class JsonFormatter(logging.Formatter):
    """One object: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``event``, fields.

    ``request_id`` is there inside a request, ``error`` where an exception was logged.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON without secrets."""
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": without_secrets(record.getMessage()),
        }
        if current := request_id.get():
            fields["request_id"] = current
        for name, value in _extras(record).items():
            fields[name] = without_secrets(value) if isinstance(value, str) else value
        if failure := _failure(record):
            fields["error"] = without_secrets(_short_failure(failure))
        return json.dumps(fields, ensure_ascii=False)


def configuration(style: str) -> dict[str, Any]:
    """Return the logging configuration for ``style`` ("text" or "json")."""
    formatter = JsonFormatter if style == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        },
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # The access log has a line of its own for each of these requests.
            "django.request": {"level": "ERROR"},
            "django.server": {"handlers": [], "propagate": False},
            "daphne": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            # Two lines for each task; our own log says what a task did.
            "procrastinate": {"level": "WARNING"},
        },
    }
