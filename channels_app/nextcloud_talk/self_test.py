"""The self-test of a Talk channel: signed requests both ways, step by step.

1. The channel has a server and a secret.
2. This installation's own address takes a signed event (Join) of the chosen room.
3. The server of the settings answers as a Nextcloud with Talk does.
4. A silent message into the chosen room is accepted.

It stops at the first step that fails, and says what to do.
"""

from __future__ import annotations

import json
import secrets as random_source
from typing import Any, Final

from channels_app.bots.adapters import ChannelInfo, TestStep
from channels_app.deliveries import DeliveryError
from channels_app.nextcloud_talk import client
from channels_app.nextcloud_talk.signature import (
    BACKEND_HEADER,
    RANDOM_HEADER,
    SIGNATURE_HEADER,
    signature,
)
from routing import net
from routing.addresses import origin_of
from routing.errors import BadAddress, BadCertificate, NetError

SETTINGS: Final = "Settings"
OWN_ADDRESS: Final = "Cortex takes a signed event at its own address"
SERVER: Final = "Nextcloud answers"
MESSAGE: Final = "A message arrives in the room"
GREETING: Final = "Cortex: this is the self-test; messages from here arrive."
RESPONSE: Final = 2
"""Bit of the feature “response”."""
TIMEOUT_S: Final = 15.0


async def run(channel: ChannelInfo, room_id: str) -> list[TestStep]:
    """Try each step in order and return those that were tried."""
    steps = [_settings(channel)]
    for step in (_own_address, _server, _message):
        if not steps[-1].ok:
            break
        steps.append(await step(channel, room_id))
    return steps


def _settings(channel: ChannelInfo) -> TestStep:
    if not channel.settings.get("url"):
        return TestStep(SETTINGS, False, "Enter the address of your Nextcloud.")
    if not channel.secrets.get("secret"):
        return TestStep(SETTINGS, False, "Set the secret of the bot.")
    return TestStep(SETTINGS, True, str(channel.settings["url"]))


async def _own_address(channel: ChannelInfo, room_id: str) -> TestStep:
    """Send a signed Join to ourselves, by the address that Nextcloud calls."""
    address = channel.address
    body, headers = signed_join(channel, room_id)
    try:
        reply = await net.request(
            "POST",
            address,
            headers=headers,
            body=body,
            trusted_origins=channel.trusted_origins | {_origin(address)},
            timeout_s=TIMEOUT_S,
            max_redirects=0,
        )
    except BadCertificate as error:
        why = client.certificate_sentence(address, error.why)
        return TestStep(OWN_ADDRESS, False, why)
    except BadAddress:
        return TestStep(
            OWN_ADDRESS,
            False,
            f"{address} leads to another address; CORTEX_PUBLIC_URL must be the one "
            "that answers.",
        )
    except NetError as error:
        return TestStep(
            OWN_ADDRESS,
            False,
            f"{address}: {error} Check CORTEX_PUBLIC_URL and the proxy in front.",
        )
    if reply.status == 200:
        return TestStep(OWN_ADDRESS, True, address)
    return TestStep(OWN_ADDRESS, False, _own_refusal(address, reply.status))


def _own_refusal(address: str, status: int) -> str:
    if status == 404:
        return (
            f"{address} answers 404: the channel is switched off, has no persona, or "
            "CORTEX_PUBLIC_URL leads to another program."
        )
    if status in {400, 401}:
        return (
            f"{address} answers {status}: something in front of Cortex, such as a "
            "proxy, changes requests or asks for a password."
        )
    return f"{address} answers {status} instead of 200."


async def _server(channel: ChannelInfo, room_id: str) -> TestStep:
    """Ask for the server's capabilities, which needs no account."""
    headers = {"OCS-APIRequest": "true", "Accept": "application/json"}
    try:
        reply = await client.call(
            channel, "GET", client.CAPABILITIES, headers=headers, timeout_s=TIMEOUT_S
        )
    except DeliveryError as error:
        return TestStep(SERVER, False, str(error))
    url = channel.settings["url"]
    if reply.status in net.REDIRECTS:
        text = f"{url} redirects to another address; enter that one."
        return TestStep(SERVER, False, text)
    if reply.status >= 500:
        return TestStep(SERVER, False, _out_of_order(url, reply.status))
    answer = reply.json()
    if not isinstance(answer, dict) or "ocs" not in answer:
        return TestStep(
            SERVER,
            False,
            f"What answers at {url} (status {reply.status}) is no Nextcloud. If yours "
            "lives in a folder such as /nextcloud, the address must end with it.",
        )
    return TestStep(SERVER, True, _version(answer))


def _out_of_order(url: str, status: int) -> str:
    if status == 503:
        return client.SENTENCES[503]
    return (
        f"{url} answers with an error of its own ({status}). Look into the log of your "
        "Nextcloud and of the proxy in front of it."
    )


def _version(answer: dict[str, Any]) -> str:
    try:
        return f"Nextcloud {answer['ocs']['data']['version']['string']}"
    except (KeyError, TypeError):
        return "Nextcloud"


async def _message(channel: ChannelInfo, room_id: str) -> TestStep:
    """Post a silent message; where it is refused, find out why."""
    if not room_id:
        return TestStep(
            MESSAGE,
            False,
            "No room is allowed yet: write something in a room where the bot is "
            "enabled, then allow that room here.",
        )
    room = client.Room(channel, room_id, timeout_s=TIMEOUT_S)
    try:
        await room.post(GREETING, silent=True)
    except DeliveryError as error:
        why = await _why_refused(room) if error.status == 401 else ""
        return TestStep(MESSAGE, False, why or str(error))
    return TestStep(MESSAGE, True, "It stands there now, without a notification.")


async def _why_refused(room: client.Room) -> str:
    """Return what is wrong, if this server can tell; its 401 alone does not."""
    try:
        features = await room.features()
    except DeliveryError as error:
        if error.status != 401:
            return ""
        return (
            "Nextcloud does not know this secret in this room: enable the bot in the "
            "room's settings, or install it again with the secret that is set here."
        )
    if features is None or features & RESPONSE:
        return ""
    return (
        "The bot lacks the feature “response”. Your administrator adds it with "
        "occ talk:bot:state -f webhook -f response -f reaction BOT_ID 1."
    )


# --- the request to ourselves --------------------------------------------------------


def signed_join(channel: ChannelInfo, room_id: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a Join as Nextcloud sends it.

    The bot being enabled where it is enabled already changes nothing. Without a room
    it is an event that has no effect at all.
    """
    event = {
        "type": "Join",
        "actor": {"type": "Application", "id": "bots/self-test", "name": "Self-test"},
        "object": {"type": "Collection", "id": room_id, "name": ""},
    }
    body = json.dumps(event).encode()
    random = random_source.token_hex(32)
    return body, {
        "Content-Type": "application/json",
        "OCS-APIRequest": "true",
        RANDOM_HEADER: random,
        SIGNATURE_HEADER: signature(channel.secrets["secret"], random.encode(), body),
        BACKEND_HEADER: f"{channel.settings['url']}/",
    }


def _origin(address: str) -> str:
    try:
        return origin_of(address)
    except BadAddress:
        return ""
