"""Reads a Dockerfile and a .dockerignore: as much of both as ours use.

What is not understood raises, so that a test never passes over an instruction.
Source: Docker documentation, "Dockerfile reference" and "Build context".
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

KNOWN = {
    *("FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER"),
    *("VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"),
}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Instruction:
    """One instruction with its flags, such as ``--mount=…``, split off."""

    name: str
    flags: dict[str, str]
    value: str

    @property
    def words(self) -> list[str]:
        """The value as a list: of the exec form, or of words."""
        if self.value.startswith("["):
            words: list[str] = json.loads(self.value)
            return words
        return shlex.split(self.value)


def instructions(text: str) -> list[Instruction]:
    """Return the instructions in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, value = line.strip().split(None, 1)
        if name not in KNOWN or "<<" in value:
            raise ValueError(f"cannot be read: {line}")
        flags = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", value):
            flags[match[1]] = match[2]
            value = value[match.end() :]
        found.append(Instruction(name, flags, value.strip()))
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$NAME`` and ``${NAME}``; unknown names become empty."""
    return _VARIABLE.sub(lambda m: variables.get(m[1] or m[2], ""), text)


def assignments(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return what ``ENV A=b C=d`` sets."""
    pairs = (word.partition("=") for word in shlex.split(expand(text, variables)))
    return {name: value for name, _, value in pairs}


class Ignored:
    """The rules of a .dockerignore; of several that match, the last one counts."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, str, re.Pattern[str]]] = []
        for line in text.splitlines():
            rule = line.strip()
            if not rule or rule.startswith("#"):
                continue
            kept = rule.startswith("!")
            rule = rule.removeprefix("!").strip("/")
            self._rules.append((kept, rule, re.compile(_as_expression(rule))))

    def __call__(self, path: str) -> bool:
        """Say whether a path, relative to the context, is left out."""
        parts = path.split("/")
        prefixes = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        ignored = False
        for kept, _, pattern in self._rules:
            if any(pattern.fullmatch(prefix) for prefix in prefixes):
                ignored = not kept
        return ignored

    def may_be_left_out(self, folder: str) -> bool:
        """Say whether nothing below an ignored folder is kept by another rule."""
        within = [rule for kept, rule, _ in self._rules if kept]
        return self(folder) and not any(
            rule.startswith(folder + "/") or rule.startswith("**") for rule in within
        )


def _as_expression(rule: str) -> str:
    expression = re.escape(rule)
    for escaped, meaning in (
        (r"\*\*/", "(?:.*/)?"),
        (r"\*\*", ".*"),
        (r"\*", "[^/]*"),
        (r"\?", "[^/]"),
    ):
        expression = expression.replace(escaped, meaning)
    return expression


def context(folder: Path) -> Iterator[str]:
    """Yield the files that a builder is sent, relative to the folder."""
    ignored = Ignored((folder / ".dockerignore").read_text(encoding="utf-8"))
    for root, folders, names in os.walk(folder):
        where = Path(root).relative_to(folder)
        folders[:] = sorted(
            name for name in folders if not ignored.may_be_left_out(str(where / name))
        )
        for name in sorted(names):
            path = str(where / name)
            if not ignored(path):
                yield path
