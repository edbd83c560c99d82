"""Many events at once, and the end of a process between them: R15 with real processes.

Nextcloud sends each event once and never again, so that what was acknowledged must be
answered, whatever happens afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.machine import web_pid
from bench.webhooks import Acknowledged, request_of, send
from channels_app.nextcloud_talk.adapter import REPEATED
from tests.support.nextcloud import SECRET, Nextcloud
from tests.support.processes import ServerProcess, wait_until
from tests.support.seeding import seed
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATH = "/webhook/nextcloud/alice"
ROOMS = tuple(f"room{number:02}" for number in range(50))


@pytest.fixture
def nextcloud() -> Iterator[Nextcloud]:
    """A Nextcloud that knows the bot in all rooms."""
    with Nextcloud() as server:
        server.bot.rooms.update(ROOMS)
        yield server


@pytest.fixture
def cortex(
    start_server: Callable[..., ServerProcess],
    upstream: Upstream,
    nextcloud: Nextcloud,
    tmp_path: Path,
) -> ServerProcess:
    """The whole of Cortex; alice's bot listens in all rooms."""
    server = start_server(CORTEX_ALLOWED_ORIGINS=nextcloud.url, CORTEX_ROLE_CHAT="echo")
    seed(server, upstream.base_url, ["echo"], "alice")
    file = tmp_path / "channels.json"
    talk = {
        "url": nextcloud.url,
        "secret": SECRET,
        "rooms": [*ROOMS],
        "users": ["alice"],
    }
    file.write_text(json.dumps({"alice": {"nextcloud": talk}}))
    server.manage("channels", "import", str(file))
    return server


def requests(nextcloud: Nextcloud, count: int, text: str, sender: str) -> list[bytes]:
    """Return whole signed requests, spread over all rooms."""
    made = []
    for number in range(count):
        event = nextcloud.message(
            f"{text} {number}", room=ROOMS[number % len(ROOMS)], sender=sender
        )
        made.append(request_of(nextcloud, PATH, event))
    return made


def stored(server: ServerProcess) -> Counter[str]:
    """Return how many events there are, by their state."""
    (row,) = json.loads(server.manage("channels", "list", "--json"))
    return Counter(row["events"])


def test_r15_of_a_thousand_at_once_none_is_lost_and_none_counts_twice(
    cortex: ServerProcess, nextcloud: Nextcloud
) -> None:
    """Nobody is named, so that storing is all that happens to them."""
    made = requests(nextcloud, 1000, "among ourselves", "users/greta")
    seen: Acknowledged = asyncio.run(send(cortex.port, made + made[::5], None))
    assert seen.statuses == {200: 1200}
    wait_until(
        lambda: stored(cortex)["ignored"] == 1000, within_s=120, what="all events"
    )
    assert stored(cortex).total() == 1000
    assert nextcloud.posts == []


def test_r15_what_was_acknowledged_before_a_sigkill_is_answered_once(
    cortex: ServerProcess, nextcloud: Nextcloud
) -> None:
    made = requests(nextcloud, 40, "Inara, number", "users/alice")
    seen = asyncio.run(send(cortex.port, made, None))
    os.kill(web_pid(cortex), signal.SIGKILL)
    assert seen.statuses == {200: 40}
    wait_until(
        lambda: len({post.reply_to for post in nextcloud.posts}) == 40,
        within_s=240,
        what="40 answers",
    )
    # The one that was being sent may come twice, and then says so.
    again = [post for post in nextcloud.posts if REPEATED in post.text]
    assert len(nextcloud.posts) == 40 + len(again)
