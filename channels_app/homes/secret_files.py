"""The files of an old home that hold secrets, kept for the way back.

``channels.json``, ``model_registry.json`` and ``local_llm.json`` become channels, hosts
and chains, which say the same in other words. So that the files can be written back as
they were, their text is kept, encrypted, together with what Cortex had made of it. As
soon as that is another thing, the old text is no longer true and is not written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from accounts import secrets
from accounts.models import User
from channels_app.models import HomeFile
from routing.registry_file import LOCAL_FILE, REGISTRY_FILE

PURPOSE: Final = "home_file"
CHANNELS_FILE: Final = "channels.json"
LIMITS: Final = {
    CHANNELS_FILE: 1024 * 1024,
    REGISTRY_FILE: 1024 * 1024,
    LOCAL_FILE: 1024 * 1024,
}
"""The files beside a person's personas, with the bytes that each may have."""
NEVER: Final = "-"
"""A state that nothing is ever equal to: the text was not the whole truth."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it came, and what its part of Cortex was like right after."""

    text: str
    state: str


def kept_file(owner: User, name: str) -> Kept | None:
    """Return what is kept of a person's file; ``None`` = nothing that can be read."""
    row = HomeFile.objects.filter(owner=owner, name=name).first()
    if row is None:
        return None
    try:
        value = json.loads(secrets.decrypt(PURPOSE, row.encrypted))
    except secrets.Undecryptable:
        return None
    return Kept(value["text"], value["state"])


def keep_file(owner: User, name: str, kept: Kept) -> None:
    """Keep a file's text in place of the earlier one."""
    value = json.dumps({"text": kept.text, "state": kept.state})
    HomeFile.objects.update_or_create(
        owner=owner,
        name=name,
        defaults={"encrypted": secrets.encrypt(PURPOSE, value)},
    )


def state_to_keep(earlier: Kept | None, before: str, empty: str, after: str) -> str:
    """Return the state to keep with a text that has just been taken over.

    The text is the whole truth only if there was nothing before it, or nothing but what
    an earlier text had brought.
    """
    known = empty if earlier is None else earlier.state
    return after if before == known else NEVER
