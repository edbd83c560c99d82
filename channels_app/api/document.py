"""The OpenAPI document: what the routes say of themselves, and what holds for all.

The routes give parameters, bodies and answers; added here are how one is recognised,
the headers of refusals, and ``/health``, which answers before any route.
Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from django.conf import settings

from channels_app.api.app import api
from channels_app.web import health

METHODS = ("get", "post", "put", "patch", "delete")
INTRODUCTION = """\
Talk to your personas from programs of your own. Every answer goes through the same
pipeline as on the web page, with the same memory, the same budget and the same ledger.

Programs use a token of the page “Access tokens”, or of `manage.py users token`. Pages
of this installation may use the session cookie; with it, everything that changes
something needs the CSRF token too.

Errors are `{"error": {"code", "message"}}`: the code is for programs, the message is
one sentence for people. Below `/v1/` they have the shape of OpenAI's instead, with
`type` and `param` too. After 429, `Retry-After` says how many seconds to wait.
"""
SCHEMES: dict[str, Any] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token, `ctx_…`.",
    },
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same token, for programs that send it so.",
    },
}
ANY_SIGNED_IN: list[dict[str, list[str]]] = [
    {"token": []},
    {"key": []},
    {"session": []},
]
ANY_WITH_CSRF: list[dict[str, list[str]]] = [
    {"token": []},
    {"key": []},
    {"session": [], "csrf": []},
]
"""As ``ANY_SIGNED_IN``, for what changes something."""
EXAMPLES: dict[str, Any] = {
    "/chat": {"persona": "inara", "text": "Good morning!"},
    "/task": {"task": "Name three rivers in Asia.", "force_tier": "haiku"},
    "/queue": {
        "task": "Name three rivers in Asia.",
        "idempotency_key": "rivers-1",
    },
    "/v1/chat/completions": {
        "model": "inara",
        "messages": [{"role": "user", "content": "Good morning!"}],
        "stream": True,
    },
}
"""Bodies to begin with, by path."""
REFUSAL_HEADERS: dict[str, dict[str, Any]] = {
    "401": {
        "WWW-Authenticate": {
            "required": True,
            "schema": {"type": "string", "const": "Bearer"},
        }
    },
    "429": {
        "Retry-After": {
            "description": "Seconds to wait.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
    },
}
HEALTH = {
    "operationId": "health",
    "summary": "Whether this process answers",
    "description": "Asks no database and no sign-in; for supervisors and probes.",
    "tags": ["Status"],
    "security": [],
    "responses": {
        "200": {
            "description": "OK",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["runtime", "status"],
                        "properties": {
                            "runtime": {"const": "python/django"},
                            "status": {"const": "ok"},
                        },
                    }
                }
            },
        }
    },
}


@functools.cache
def openapi_text() -> str:
    """Return the document as JSON; made once in a process."""
    return json.dumps(openapi_document(), ensure_ascii=False)


def openapi_document() -> dict[str, Any]:
    """Return the document, with nothing in it but JSON's own types."""
    document: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema()))
    document["info"] = {
        "title": "Cortex",
        "version": "1",
        "description": INTRODUCTION,
    }
    document["servers"] = [{"url": settings.CORTEX_PUBLIC_URL}]
    document["components"]["securitySchemes"] = SCHEMES | {
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The session of a signed-in browser.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": f"The value of the cookie `{settings.CSRF_COOKIE_NAME}`.",
        },
    }
    for path, method, operation in operations(document):
        operation["security"] = ANY_SIGNED_IN if method == "get" else ANY_WITH_CSRF
        for status, headers in REFUSAL_HEADERS.items():
            if status in operation["responses"]:
                operation["responses"][status]["headers"] = headers
        if "requestBody" in operation and path in EXAMPLES:
            content = operation["requestBody"]["content"]["application/json"]
            content["example"] = EXAMPLES[path]
    document["paths"][health.PATH] = {"get": HEALTH}
    return document


def operations(
    document: dict[str, Any],
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the description of every operation."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]
