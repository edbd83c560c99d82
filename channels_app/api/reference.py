"""What the page about the API shows of each call, read from the OpenAPI document."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from channels_app.api.document import operations

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "array": "list",
}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One parameter, or one field of a body."""

    name: str
    where: str
    """``path``, ``query``, ``header`` or ``body``."""
    type: str
    required: bool
    description: SafeString


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API."""

    id: str
    method: str
    path: str
    summary: str
    description: list[SafeString]
    fields: list[FieldRow]
    statuses: str
    example: str
    """A body to begin with; empty for calls without one."""
    curl: str

    @property
    def inputs(self) -> list[FieldRow]:
        """What is typed into fields of its own: everything but the body."""
        return [field for field in self.fields if field.where != "body"]


def calls_of(document: dict[str, Any]) -> dict[str, list[Call]]:
    """Return all calls by the words that head them, in the document's order."""
    found: dict[str, list[Call]] = {}
    for path, method, operation in operations(document):
        heading = (operation.get("tags") or ["Others"])[0]
        call = _call(document, path, method, operation)
        found.setdefault(heading, []).append(call)
    return found


def with_code(text: str) -> SafeString:
    """Return a text in HTML, with what stands between backquotes as code."""
    parts = [
        format_html("<code>{}</code>", part) if number % 2 else part
        for number, part in enumerate(text.split("`"))
    ]
    return format_html_join("", "{}", ((part,) for part in parts))


def paragraphs(text: str) -> list[SafeString]:
    """Return the paragraphs of a text in HTML."""
    return [with_code(part) for part in text.strip().split("\n\n")]


def _call(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> Call:
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {})
    example = json.dumps(body["example"]) if "example" in body else ""
    return Call(
        id="-".join([method, *re.findall(r"\w+", path)]),
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=paragraphs(operation.get("description", "")),
        fields=_parameters(operation) + _body_fields(document, body.get("schema", {})),
        statuses=", ".join(sorted(operation["responses"])),
        example=example,
        curl=_curl(document["servers"][0]["url"], path, method, operation, example),
    )


def _curl(
    base: str, path: str, method: str, operation: dict[str, Any], example: str
) -> str:
    """Return the command with which a terminal makes the call."""
    parts = ["curl"]
    if method != "get":
        parts.append("-N")
    if operation.get("security"):
        parts.append('-H "Authorization: Bearer $CORTEX_TOKEN"')
    if example:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {shlex.quote(example)}")
    return " ".join([*parts, f"{base}{path}"])


def _parameters(operation: dict[str, Any]) -> list[FieldRow]:
    return [
        FieldRow(
            name=each["name"],
            where=each["in"],
            type=_type_words(each["schema"]),
            required=each.get("required", False),
            description=with_code(each.get("description", "")),
        )
        for each in operation.get("parameters", [])
    ]


def _body_fields(document: dict[str, Any], schema: dict[str, Any]) -> list[FieldRow]:
    schema = _resolved(document, schema)
    required = schema.get("required", [])
    return [
        FieldRow(
            name=name,
            where="body",
            type=_type_words(each),
            required=name in required,
            description=with_code(each.get("description", "")),
        )
        for name, each in schema.get("properties", {}).items()
    ]


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"].get(name, schema)
    return found


def _type_words(schema: dict[str, Any]) -> str:
    """Say in words what a value must be; null is said by its being optional."""
    if "enum" in schema:
        values = [value for value in schema["enum"] if value is not None]
        return ", ".join(
            value if isinstance(value, str) else json.dumps(value) for value in values
        )
    if "anyOf" in schema:
        words = (_type_words(each) for each in schema["anyOf"] if not _is_null(each))
        return " or ".join(dict.fromkeys(words))
    return _TYPES.get(schema.get("type", ""), "object")


def _is_null(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "null"
