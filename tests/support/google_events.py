"""Events as Google Chat sends them, in both dialects, and the tokens that sign them.

A classic Chat app names the kind of an event at the top; an app that is a Workspace
add-on gets the same facts below ``chat``. ``Event`` holds the facts, ``classic`` and
``addon`` write them down.

Source: developers.google.com/workspace/chat/receive-respond-interactions,
/workspace/chat/convert and /workspace/add-ons/chat/build.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

BOT = {"name": "users/999", "displayName": "Bot", "type": "BOT"}
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened; the defaults are Ann's direct message to the app."""

    kind: str = "message"
    """message, added, removed, command or click."""
    text: str = "hello"
    """As the app shall read it; in a group the mention of it is put in front."""
    room: str = "spaces/AAA"
    direct: bool = True
    user: str = "users/111"
    name: str = "Ann"
    user_type: str = "HUMAN"
    message: str = ""
    """Id of the message; a new one for each event where empty."""
    thread: str = "spaces/AAA/threads/CCC"
    time: str = "2026-01-01T10:00:00Z"
    command_id: int = 0
    parameters: dict[str, str] = field(default_factory=dict)
    attachments: tuple[str, ...] = ()

    @property
    def space(self) -> dict[str, Any]:
        """The space as Google describes it."""
        if self.direct:
            return {
                "name": self.room,
                "type": "DM",
                "spaceType": "DIRECT_MESSAGE",
                "singleUserBotDm": True,
            }
        return {
            "name": self.room,
            "type": "ROOM",
            "spaceType": "SPACE",
            "displayName": "Team",
        }

    @property
    def sender(self) -> dict[str, Any]:
        """The person as Google describes them."""
        return {
            "name": self.user,
            "displayName": self.name,
            "email": "ann@example.org",
            "type": self.user_type,
        }

    @property
    def body(self) -> dict[str, Any]:
        """The message as Google describes it."""
        name = self.message or f"{self.room}/messages/M{next(_NUMBERS)}.M"
        mention = "" if self.direct else "@Bot "
        written: dict[str, Any] = {
            "name": name,
            "sender": self.sender,
            "text": mention + self.text,
            "argumentText": (" " if mention else "") + self.text,
            "thread": {"name": self.thread},
            "createTime": self.time,
        }
        if mention:
            written["annotations"] = [
                {
                    "type": "USER_MENTION",
                    "startIndex": 0,
                    "length": 4,
                    "userMention": {"type": "MENTION", "user": BOT},
                }
            ]
        if self.attachments:
            written["attachment"] = [{"contentName": n} for n in self.attachments]
        return written


def classic(event: Event) -> dict[str, Any]:
    """Write an event as a classic Chat app gets it."""
    types = {
        "message": "MESSAGE",
        "added": "ADDED_TO_SPACE",
        "removed": "REMOVED_FROM_SPACE",
        "command": "APP_COMMAND",
        "click": "CARD_CLICKED",
    }
    payload: dict[str, Any] = {
        "type": types[event.kind],
        "eventTime": event.time,
        "space": event.space,
        "user": event.sender,
    }
    if event.kind == "message":
        payload["message"] = event.body
        payload["thread"] = {"name": event.thread}
        if event.command_id:
            payload["message"]["slashCommand"] = {"commandId": event.command_id}
    elif event.kind == "command":
        payload["appCommandMetadata"] = {"appCommandId": event.command_id}
        payload["thread"] = {"name": event.thread}
    elif event.kind == "click":
        payload["message"] = {**event.body, "sender": BOT}
        pairs = [{"key": k, "value": v} for k, v in event.parameters.items()]
        payload["action"] = {"actionMethodName": "pressed", "parameters": pairs}
        payload["common"] = {
            "invokedFunction": "pressed",
            "parameters": event.parameters,
        }
    return payload


def addon(event: Event) -> dict[str, Any]:
    """Write an event as a Workspace add-on gets it."""
    content: dict[str, Any] = {"space": event.space}
    common: dict[str, Any] = {"hostApp": "CHAT", "userLocale": "en"}
    if event.kind == "message":
        content["message"] = event.body
        payload = "messagePayload"
    elif event.kind == "command":
        content["appCommandMetadata"] = {"appCommandId": event.command_id}
        content["thread"] = {"name": event.thread}
        payload = "appCommandPayload"
    elif event.kind == "click":
        content["message"] = {**event.body, "sender": BOT}
        common["parameters"] = event.parameters
        payload = "buttonClickedPayload"
    else:
        payload = f"{event.kind}{'To' if event.kind == 'added' else 'From'}SpacePayload"
    return {
        "commonEventObject": common,
        "chat": {"eventTime": event.time, "user": event.sender, payload: content},
    }


def text_of(answer: Any) -> str:
    """Return the text of an answer in either dialect, ``""`` where it has none."""
    if not answer:
        return ""
    if "text" in answer:
        return str(answer["text"])
    action = answer["hostAppDataAction"]["chatDataAction"]["createMessageAction"]
    return str(action["message"]["text"])
