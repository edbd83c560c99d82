"""The self-test of a Google Chat channel, step by step.

1. The settings say how Google proves who it is.
2. This installation's own address refuses a request without Google's token.
3. Google's public keys can be fetched.
4. The service account gets a fresh access token.
5. A message can be posted in the chosen space; it is taken back at once.

It stops at the first step that fails, and says what to do.
"""

from __future__ import annotations

import uuid
from typing import Final

from channels_app.bots.adapters import ChannelInfo, TestStep
from channels_app.deliveries import DeliveryError
from channels_app.google_chat import client
from channels_app.google_chat.access import account_of, fresh_token
from channels_app.google_chat.key_sets import KeysUnavailable, key_set
from channels_app.google_chat.tokens import expected_of
from routing import net
from routing.addresses import origin_of
from routing.errors import NetError

SETTINGS: Final = "Settings"
OWN_ADDRESS: Final = "Cortex refuses a request that Google has not signed"
KEYS: Final = "Google's public keys can be fetched"
ACCOUNT: Final = "The service account gets an access token"
MESSAGE: Final = "A message can be posted in the space"
GREETING: Final = "Cortex: this is the self-test; messages from here arrive."
TIMEOUT_S: Final = 15.0


async def run(channel: ChannelInfo, room_id: str) -> list[TestStep]:
    """Try each step in order and return those that were tried."""
    steps = [_settings(channel)]
    for step in (_own_address, _keys, _account, _message):
        if not steps[-1].ok:
            break
        if step is _message and not channel.secrets.get("service_account"):
            break
        steps.append(await step(channel, room_id))
    return steps


def _settings(channel: ChannelInfo) -> TestStep:
    expected = expected_of(channel.settings)
    if expected is None:
        return TestStep(
            SETTINGS,
            False,
            "Choose the audience as in Google's console, and fill in "
            "what belongs to it.",
        )
    address = channel.address
    if channel.settings.get("audience") != "project" and expected.audience != address:
        return TestStep(
            SETTINGS,
            False,
            f"The address of the settings is {expected.audience}, but Cortex is at "
            f"{address}. Both, and the one in Google's console, must be equal to the "
            "letter.",
        )
    return TestStep(SETTINGS, True, f"Audience: {expected.audience}")


async def _own_address(channel: ChannelInfo, room_id: str) -> TestStep:
    address = channel.address
    try:
        reply = await net.request(
            "POST",
            address,
            json_body={},
            trusted_origins=channel.trusted_origins | {origin_of(address)},
            timeout_s=TIMEOUT_S,
            max_redirects=0,
        )
    except NetError as error:
        return TestStep(
            OWN_ADDRESS,
            False,
            f"{address}: {error} Check CORTEX_PUBLIC_URL and the proxy in front.",
        )
    if reply.status == 401:
        return TestStep(OWN_ADDRESS, True, address)
    if reply.status == 404:
        return TestStep(
            OWN_ADDRESS,
            False,
            f"{address} answers 404: the channel is switched off, has no persona, or "
            "CORTEX_PUBLIC_URL leads to another program.",
        )
    return TestStep(
        OWN_ADDRESS,
        False,
        f"{address} answers {reply.status} instead of 401: something in front of "
        "Cortex, such as a proxy, answers in its place.",
    )


async def _keys(channel: ChannelInfo, room_id: str) -> TestStep:
    expected = expected_of(channel.settings)
    assert expected is not None  # noqa: S101 -- the first step has checked it
    keys = key_set(expected.keys_path)
    try:
        count = await keys.fetch()
    except KeysUnavailable as error:
        return TestStep(KEYS, False, f"{error} Cortex must be able to reach {keys.url}")
    return TestStep(KEYS, True, f"From {keys.url}: {count}")


async def _account(channel: ChannelInfo, room_id: str) -> TestStep:
    if not channel.secrets.get("service_account"):
        return TestStep(
            ACCOUNT,
            True,
            "There is none, so that nothing can be posted and no message was tried: "
            "answers must be ready within 25 seconds, later ones stand on the web page "
            "only.",
        )
    try:
        account = account_of(channel)
        await fresh_token(account)
    except DeliveryError as error:
        return TestStep(ACCOUNT, False, str(error))
    return TestStep(ACCOUNT, True, account.email)


async def _message(channel: ChannelInfo, room_id: str) -> TestStep:
    if not room_id:
        return TestStep(
            MESSAGE,
            False,
            "Write to the app in Google Chat, allow the space, and choose it here.",
        )
    try:
        posted = await client.create(
            channel, room_id, GREETING, request_id=str(uuid.uuid4())
        )
    except DeliveryError as error:
        return TestStep(MESSAGE, False, str(error))
    try:
        await client.delete(channel, posted.name)
    except DeliveryError as error:
        return TestStep(MESSAGE, True, f"It was posted, and stays: {error}")
    return TestStep(MESSAGE, True, "It was posted and taken back again.")
