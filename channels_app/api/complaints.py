"""Turns what the validator says of wrong fields into one sentence for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from channels_app.errors import CODES

OWN = "cortex."
"""Stands before one of our ``CODES`` where a check of ours complains."""
UNPROCESSABLE = {"force_tier", "not_before"}
"""Fields whose wrong values are answered with 422; the first as Symbiont did."""


class Complaint(NamedTuple):
    """What is wrong with a request: code, one sentence, and the HTTP status."""

    code: str
    message: str
    status: int = 400


_EXPECTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "string_too_short": lambda ctx: "must not be empty",
    "string_pattern_mismatch": lambda ctx: "has a form that is not possible here",
    "string_type": lambda ctx: "must be a text",
    "int_type": lambda ctx: "must be a whole number",
    "int_parsing": lambda ctx: "must be a whole number",
    "int_from_float": lambda ctx: "must be a whole number",
    "float_type": lambda ctx: "must be a number",
    "bool_type": lambda ctx: "must be true or false",
    "list_type": lambda ctx: "must be a list",
    "dict_type": lambda ctx: "must be an object",
    "model_attributes_type": lambda ctx: "must be an object",
    "model_type": lambda ctx: "must be an object",
    "uuid_parsing": lambda ctx: "must be an id",
    "uuid_type": lambda ctx: "must be an id",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "string_too_long": lambda ctx: f"has more than {ctx['max_length']:,} characters",
    "too_long": lambda ctx: f"has more than {ctx['max_length']:,} parts",
    "too_short": lambda ctx: "must not be empty",
    "greater_than_equal": lambda ctx: f"must be at least {ctx['ge']:,}",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']:,}",
    "value_error": lambda ctx: str(ctx["error"]),
}
"""What to say after the name of a field, by the validator's kind of error."""


def sentence_of(errors: Sequence[Mapping[str, Any]]) -> Complaint:
    """Return the complaint about the first wrong field, which it names."""
    first = errors[0]
    where = [str(part) for part in first["loc"]]
    field = ".".join(_field_path(where))
    kind = str(first["type"])
    context = first.get("ctx", {})
    if kind == "extra_forbidden":
        return Complaint("bad_request", f"“{field}” is not known here.", 422)
    if not field:
        if kind == "missing":
            return Complaint("bad_request", "The request has no body.")
        return Complaint("bad_request", "The body must be a JSON object.")
    if kind.startswith(OWN):
        code = kind.removeprefix(OWN)
        return Complaint(code, f"“{field}”: {context['said']}", CODES[code])
    if kind == "missing":
        return Complaint("bad_request", f"“{field}” is missing.")
    say = _EXPECTED.get(kind, _impossible)
    status = 422 if field in UNPROCESSABLE else 400
    return Complaint("bad_request", f"“{field}” {say(context)}.", status)


def _impossible(context: Mapping[str, Any]) -> str:
    return "has a value that is not possible here"


def _field_path(where: list[str]) -> list[str]:
    """Return the names that the caller wrote, without those of our own code.

    Positions look like ``("body", "request", "text")`` or ``("query", "limit")``.
    """
    source, *rest = where
    return rest[1:] if source == "body" else rest
