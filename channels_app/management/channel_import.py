"""Takes the channels of an old file over: adds what is missing, changes nothing else.

Whoever runs it twice changes nothing the second time, and what its owner changed since
stays. Each entry is taken whole or not at all; each room and account for itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import people
from accounts.models import User
from accounts.secrets import Undecryptable
from channels_app.bots import channel_rules as rules
from channels_app.bots.channel_settings import ChannelTerms, add_channel, link_identity
from channels_app.bots.channels import channels_visible_to, secret
from channels_app.bots.rooms import set_room
from channels_app.management.channel_file import TALK, Entry, Found, NotUnderstood
from channels_app.models import Channel, ChannelRoom
from personas.models import Persona
from personas.personas import personas_visible_to

SHORTEST_SECRET_BYTES = 40
"""Nextcloud installs a bot with no shorter one."""
LARGEST_KEY_BYTES = 64 * 1024
ADDRESS = "address"
KeyReader = Callable[[str], str]
"""Returns the text of a key file; raises ``OSError`` or ``ValueError``."""


@dataclass
class Report:
    """What became of a file, one sentence for each thing in it."""

    taken: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    not_taken: list[str] = field(default_factory=list)


def take_over(
    found: list[Found], *, read_key: KeyReader, only: User | None, dry_run: bool
) -> Report:
    """Set up the channels that a file names.

    Args:
        found: What ``channel_file.read`` gave.
        read_key: Reads the key files that it names.
        only: Leave everybody else's entries out.
        dry_run: Tell what would happen, and change nothing.
    """
    report = Report()
    with transaction.atomic():
        for each in found:
            if isinstance(each, NotUnderstood):
                if only is None:
                    report.not_taken.append(f"{each.where}: {each.why}")
            elif only is None or each.user == only.username:
                _Taking(each, read_key, report).run()
        if dry_run:
            transaction.set_rollback(True)
    return report


def keys_in(folder: Path) -> KeyReader:
    """Return a reader of the key files beside a file that somebody named."""

    def read(name: str) -> str:
        with open(folder / name, encoding="utf-8") as file:
            return file.read(LARGEST_KEY_BYTES)

    return read


class _Taking:
    """One entry on its way into the database."""

    def __init__(self, entry: Entry, read_key: KeyReader, report: Report) -> None:
        self.entry = entry
        self.read_key = read_key
        self.report = report
        self.label = f"{entry.user} · {Channel.Kind(entry.kind).label}"

    def run(self) -> None:
        """Take it, or say why not."""
        for key in self.entry.unknown:
            self._refuse(f"the key “{key}” has no meaning here")
        user = people.find_person(self.entry.user)
        if user is None:
            self._refuse("there is no such person; invite them first")
            return
        try:
            channel = self._channel(user)
        except ValidationError as error:
            self._refuse(" ".join(error.messages).rstrip("."))
            return
        if channel is None:
            return
        for room in _items(self.entry.values.get("rooms")):
            self._room(user, channel, room)
        self._people(user, channel)

    def _channel(self, user: User) -> Channel | None:
        """Return the channel; ``None`` = it leads elsewhere now.

        There the same names may be other people's, so none of them is taken.
        """
        present = channels_visible_to(user).filter(kind=self.entry.kind).first()
        terms = self._terms(user)
        if present is None:
            channel = add_channel(user, self.entry.kind, terms)
            where = terms.settings.get("url") or terms.settings.get("endpoint") or ""
            details = ", ".join(filter(None, [where, f"persona {terms.persona.name}"]))
            self._take(f"set up ({details})")
            return channel
        different = list(_differences(present, terms))
        if not different:
            self._keep("is set up already")
            return present
        words = " and ".join(different)
        self._keep(f"is set up already, with another {words}; it stays so")
        return None if ADDRESS in different else present

    def _terms(self, user: User) -> ChannelTerms:
        values = self.entry.values
        settings, secrets = (
            _talk(user, values)
            if self.entry.kind == TALK
            else _google(values, self.read_key)
        )
        return ChannelTerms(
            persona=_persona(user, values.get("persona")),
            enabled=values.get("enabled", True) is not False,
            thread=Channel.Thread.OWN,
            strangers=Channel.Strangers.PAIRING,
            guest_daily_messages=Channel._meta.get_field(
                "guest_daily_messages"
            ).get_default(),
            settings=settings,
            secrets=secrets,
        )

    def _room(self, user: User, channel: Channel, item: Any) -> None:
        """Allow a room; whether others read there is for its owner to say."""
        text = item.get("token") or item.get("id") if isinstance(item, dict) else item
        try:
            room_id = rules.clean_room_id(self.entry.kind, str(text))
        except ValidationError as error:
            self._refuse(f"room “{text}”: {error.messages[0].rstrip('.')}")
            return
        if channel.rooms.filter(external_id=room_id).exists():
            self._keep(f"room {room_id} is known already")
            return
        set_room(user, channel, room_id, ChannelRoom.State.ALLOWED, alone=False)
        self._take(f"room {room_id} is allowed, as one where others read")

    def _people(self, user: User, channel: Channel) -> None:
        """Link the account that is the owner's own.

        A list of several says who might write, not who the owner is: whoever is linked
        gets what the owner alone may read.
        """
        items = _items(self.entry.values.get("users"))
        for item in items:
            try:
                identity = rules.clean_identity_id(self.entry.kind, str(item))
            except ValidationError as error:
                self._refuse(f"account “{item}”: {error.messages[0].rstrip('.')}")
                continue
            own = identity == f"users/{user.username}"
            if channel.identities.filter(external_id=identity).exists():
                self._keep(f"{identity} is linked already")
            elif own or len(items) == 1:
                link_identity(channel, identity, actor=user)
                self._take(f"{identity} is linked as {user.username}'s own account")
            else:
                self._refuse(
                    f"{identity} is not linked, because one of several may not be "
                    f"{user.username}; in allowed rooms they are guests"
                )

    def _take(self, text: str) -> None:
        self.report.taken.append(f"{self.label}: {text}.")

    def _keep(self, text: str) -> None:
        self.report.kept.append(f"{self.label}: {text}.")

    def _refuse(self, text: str) -> None:
        self.report.not_taken.append(f"{self.label}: {text}.")


def _talk(user: User, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return settings and secrets of a Talk channel."""
    url, shared = values.get("url"), values.get("secret")
    if not isinstance(url, str):
        raise ValidationError("it names no server")
    if not isinstance(shared, str):
        raise ValidationError("it has no secret")
    if len(shared.encode()) < SHORTEST_SECRET_BYTES:
        raise ValidationError(
            f"its secret is shorter than the {SHORTEST_SECRET_BYTES} characters that "
            "Nextcloud demands"
        )
    secrets = {"secret": shared}
    if isinstance(values.get("previous"), str):
        secrets["previous"] = values["previous"]
    return {"url": rules.clean_nextcloud_address(user, url)}, secrets


def _google(
    values: dict[str, Any], read_key: KeyReader
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return settings and secrets of a Google Chat channel."""
    settings: dict[str, Any] = {}
    if number := values.get("project_number"):
        settings["project_number"] = rules.clean_project_number(str(number))
    if endpoint := values.get("endpoint"):
        settings["endpoint"] = rules.clean_audience_address(str(endpoint))
    if account := values.get("addon_account"):
        settings["addon_account"] = rules.clean_addon_account(str(account))
    settings["audience"] = _audience(values.get("audience"), settings)
    key = values.get("service_account")
    if key is None:
        return settings, {}
    text = json.dumps(key) if isinstance(key, dict) else _key_file(str(key), read_key)
    return settings, {"service_account": rules.clean_service_account(text)}


def _audience(said: Any, settings: dict[str, Any]) -> str:
    """Return what the tokens of this channel are made out to."""
    if isinstance(said, str) and said in {"project", "url", "addon"}:
        needed = {"project": "project_number", "url": "endpoint", "addon": "endpoint"}
        if needed[said] in settings:
            return str(said)
    elif "addon_account" in settings and "endpoint" in settings:
        return "addon"
    elif "project_number" in settings:
        return "project"
    elif "endpoint" in settings:
        return "url"
    raise ValidationError("it names neither a project number nor an endpoint")


def _key_file(text: str, read_key: KeyReader) -> str:
    """Return the text of a key: it stands in the file itself, or in another one."""
    if text.lstrip().startswith("{"):
        return text
    try:
        return read_key(text)
    except (OSError, ValueError):
        raise ValidationError(f"its key file “{text}” cannot be read") from None


def _persona(user: User, name: Any) -> Persona:
    """Return the persona that is named, or the only one."""
    own = list(personas_visible_to(user))
    if name is None:
        if len(own) == 1:
            return own[0]
        raise ValidationError("it names no persona, and there is not exactly one")
    for persona in own:
        if str(name).lower() in {persona.name.lower(), persona.display_name.lower()}:
            return persona
    raise ValidationError(f"{user.username} has no persona “{name}”; create it first")


def _differences(channel: Channel, terms: ChannelTerms) -> Iterator[str]:
    """Name what differs between a channel and a file, in people's words."""
    if channel.persona_id != terms.persona.pk:
        yield "persona"
    if any(
        channel.settings.get(name) != terms.settings[name] for name in terms.settings
    ):
        yield ADDRESS
    if any(not _has(channel, name, text) for name, text in terms.secrets.items()):
        yield "secret"


def _has(channel: Channel, name: str, text: str) -> bool:
    try:
        return secret(channel, name) == text
    except Undecryptable:
        return False


def _items(value: Any) -> list[Any]:
    """Return a list of names, however it was written."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, dict):
        return list(value)
    return value if isinstance(value, list) else []
