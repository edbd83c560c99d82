"""A person's models and channels in an old home: taken over, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from accounts.models import User
from accounts.secrets import Undecryptable
from channels_app.homes.channels_text import channels_text
from channels_app.homes.masking import masked, storable
from channels_app.homes.report import Report
from channels_app.homes.secret_files import (
    CHANNELS_FILE,
    LIMITS,
    NEVER,
    Kept,
    keep_file,
    kept_file,
    state_to_keep,
)
from channels_app.management import channel_file, channel_import
from channels_app.management.channel_file import NotUnderstood
from personas.home.disk import Folder, Refused
from personas.home.json_text import parsed, text_of
from routing import registry_file, registry_import
from routing.backends.base import AuthenticationFailed
from routing.registry_export import registry_json
from routing.registry_file import LOCAL_FILE, REGISTRY_FILE

REGISTRY_FILES: Final = (REGISTRY_FILE, LOCAL_FILE)
_NOBODY: Final = User(id=0)
"""Owns nothing: the states of somebody without hosts and channels."""


def read_files(folder: Folder, where: str, report: Report) -> dict[str, str]:
    """Return the texts of the known files in a person's folder."""
    texts = {}
    for name in LIMITS:
        if not folder.is_there(name):
            continue
        try:
            text = text_of(folder.read(name, LIMITS[name]).raw)
            if not storable(parsed(text)):
                raise Refused("contains something that is not text.")
            texts[name] = text
        except Refused as error:
            report.left(f"{where}/{name}", str(error))
    return texts


def take_registry(user: User, texts: Mapping[str, str], report: Report) -> None:
    """Make the person's own hosts, models and chains of their files."""
    good = {}
    for name in REGISTRY_FILES:
        if name not in texts:
            continue
        raw = texts[name].encode()
        try:
            registry_file.read_texts({name: raw})
            good[name] = raw
        except registry_file.UnusableFile as error:
            report.left(f"{user.username}/{name}", str(error))
    if not good:
        return
    before = _registry_state(user)
    found = registry_import.take_over(registry_file.read_texts(good), user)
    where = f"{user.username}/{'+'.join(good)}"
    for text in found.did:
        report.taken(where, text)
    for text in found.kept:
        report.kept(where, text)
    for text in found.could_not:
        report.left(where, text)
    if any(text.startswith("The host “") for text in found.could_not):
        # Somebody who runs the machine may add what its owner may not.
        report.hints += [
            f"manage.py registry import HOME/{user.username}/{name} "
            f"--user {user.username} --share-hosts"
            for name in good
        ]
    after = _registry_state(user)
    for name in good:
        state = _State(before, _registry_state(_NOBODY), after)
        _keep(user, name, texts[name], state, report)


def take_channels(user: User, text: str, folder: Folder, report: Report) -> None:
    """Make the person's channels of their file; key files stand beside it."""

    def read_key(name: str) -> str:
        try:
            data = folder.read(name, channel_import.LARGEST_KEY_BYTES)
            return text_of(data.raw)
        except Refused as error:
            raise ValueError(str(error)) from None

    where = f"{user.username}/{CHANNELS_FILE}"
    try:
        found = channel_file.read_of_person(user.username, CHANNELS_FILE, text.encode())
    except channel_file.UnusableChannelFile as error:
        report.left(where, str(error))
        return
    before = _channels_state(user)
    for each in found:
        if isinstance(each, NotUnderstood):
            report.left(where, f"{each.where}: {each.why}")
    taking = channel_import.take_over(
        found, read_key=read_key, only=user, dry_run=False
    )
    for text_ in taking.taken:
        report.taken(where, text_)
    for text_ in taking.kept:
        report.kept(where, text_)
    for text_ in taking.not_taken:
        report.left(where, text_)
    after = _channels_state(user)
    state = _State(before, _channels_state(_NOBODY), after)
    _keep(user, CHANNELS_FILE, text, state, report)


def files_to_write(user: User, report: Report, *, with_secrets: bool) -> dict[str, str]:
    """Return the texts to write into a person's folder, by their names."""
    return {
        **_channels_to_write(user, report, with_secrets),
        **_registry_to_write(user, report, with_secrets),
    }


def _channels_to_write(
    user: User, report: Report, with_secrets: bool
) -> dict[str, str]:
    state = _channels_state(user)
    kept = kept_file(user, CHANNELS_FILE)
    if kept is not None and kept.state == state:
        return {CHANNELS_FILE: kept.text if with_secrets else masked(kept.text)}
    if state == _channels_state(_NOBODY):
        return {}
    if with_secrets and state == NEVER:
        report.left(f"{user.username}/{CHANNELS_FILE}", "has a secret it cannot read.")
        with_secrets = False
    return {CHANNELS_FILE: channels_text(user, with_secrets=with_secrets)}


def _registry_to_write(
    user: User, report: Report, with_secrets: bool
) -> dict[str, str]:
    state = _registry_state(user)
    kept = {name: kept_file(user, name) for name in REGISTRY_FILES}
    old = {name: file for name, file in kept.items() if file is not None}
    if old and all(file.state == state for file in old.values()):
        return {
            name: file.text if with_secrets else masked(file.text)
            for name, file in old.items()
        }
    if state == _registry_state(_NOBODY):
        return {}
    if with_secrets and state == NEVER:
        report.left(f"{user.username}/{REGISTRY_FILE}", "has a key it cannot read.")
        with_secrets = False
    return {REGISTRY_FILE: registry_json(user, with_secrets=with_secrets)}


class _State(NamedTuple):
    """What Cortex holds of a person's hosts or channels, around an import."""

    before: str
    empty: str
    """It would be this for somebody without any."""
    after: str


def _keep(user: User, name: str, text: str, state: _State, report: Report) -> None:
    """Keep a file's text; one that is kept already stays with its state."""
    earlier = kept_file(user, name)
    if earlier is None or earlier.text != text:
        keep_file(user, name, Kept(text, state_to_keep(earlier, *state)))
        if earlier is None:
            told = "is kept, encrypted, to be written back."
            report.taken(f"{user.username}/{name}", told)


def _registry_state(user: User) -> str:
    try:
        return registry_json(user, with_secrets=True)
    except AuthenticationFailed:
        return NEVER


def _channels_state(user: User) -> str:
    try:
        return channels_text(user, with_secrets=True)
    except Undecryptable:
        return NEVER
