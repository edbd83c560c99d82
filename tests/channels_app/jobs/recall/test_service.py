"""The worker fills in what messages mean and answers on its socket."""

from __future__ import annotations

import asyncio
import json
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from accounts.models import User
from channels_app.jobs.recall import sentence_model, service, vectors
from channels_app.jobs.recall.service import RecallService
from channels_app.jobs.worker import Worker
from personas.conversations import start_conversation
from personas.models import Message, Persona, SearchEntry
from personas.search import meaning
from personas.search.indexing import index_new
from routing.db_pool import run_in_db_pool
from tests.support.recall import model

DATABASE = pytest.mark.django_db(transaction=True)
TEXTS = ("The kitten is called Pickle.", "Rent went up to 1,140.", "It rains.")


@pytest.fixture
def said(alice: User, persona: Persona) -> dict[uuid.UUID, str]:
    """Three messages that search knows by their words."""
    conversation = start_conversation(alice, persona)
    messages = [
        Message(conversation=conversation, owner=alice, role="user", text=text)
        for text in TEXTS
    ]
    Message.objects.bulk_create(messages)
    index_new()
    return {message.pk: message.text for message in messages}


@pytest.fixture
async def serving(tmp_path: Path, settings: Any) -> AsyncIterator[RecallService]:
    """A service that has not looked after anything yet."""
    model()
    settings.CORTEX_RECALL_SOCKET = tmp_path / "recall.sock"
    meaning._Patience.silent_until = 0.0
    made = RecallService(settings.CORTEX_RECALL_SOCKET)
    yield made
    await made.close()


async def ask(path: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@DATABASE
async def test_it_computes_and_answers(
    serving: RecallService,
    said: dict[uuid.UUID, str],
    alice: User,
    bob: User,
    persona: Persona,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meaning, "WITHIN_S", 20.0)  # the machine may be busy
    assert await serving.see_to() == len(TEXTS)
    assert await serving.see_to() == 0
    found = await asyncio.to_thread(
        meaning.nearest, alice.pk, persona.pk, "What is our cat's name?", 2
    )
    assert said[found[0][0]] == TEXTS[0]
    assert len(found) == 2
    assert found[0][1] > found[1][1]
    everywhere = await asyncio.to_thread(meaning.nearest, alice.pk, None, "cat", 9)
    assert {id for id, _ in everywhere} == set(said)
    for owner, other in ((bob.pk, None), (bob.pk, persona.pk), (alice.pk, 0)):
        assert await asyncio.to_thread(meaning.nearest, owner, other, "cat", 9) == []
    mode = settings.CORTEX_RECALL_SOCKET.stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@DATABASE
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello\n",
        b"[]\n",
        b'{"owner": "1", "persona": null, "text": "x", "limit": 5}\n',
        b'{"owner": 1, "persona": null, "text": 5, "limit": 5}\n',
        b'{"owner": 1, "persona": null, "text": "x", "limit": 0}\n',
        b'{"text": "' + b"x" * service.LINE_BYTES * 2 + b'"}\n',
    ],
)
async def test_what_is_no_question_gets_no_answer(
    serving: RecallService, settings: Any, line: bytes
) -> None:
    await serving.see_to()
    path = settings.CORTEX_RECALL_SOCKET
    assert await ask(path, line) == b""
    good = {"owner": 1, "persona": None, "text": "cat", "limit": 1}
    answer = await ask(path, json.dumps(good).encode() + b"\n")
    assert json.loads(answer) == {"found": []}


@DATABASE
async def test_the_first_worker_serves_and_another_takes_over(
    serving: RecallService, settings: Any
) -> None:
    await serving.see_to()
    second = RecallService(settings.CORTEX_RECALL_SOCKET)
    await second.see_to()
    assert second._server is None
    await serving.close()
    await second.see_to()
    assert second._server is not None
    await second.close()


@DATABASE
@pytest.mark.parametrize("where", ["forget_others", "start_unix_server"])
async def test_a_start_that_fails_is_tried_again(
    where: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is given back, which else would keep this very process out."""
    path = settings.CORTEX_RECALL_SOCKET = tmp_path / "recall.sock"
    made = RecallService(path)
    made.__dict__["_folder"] = tmp_path
    owner = vectors if where == "forget_others" else asyncio
    with monkeypatch.context() as once:
        once.setattr(owner, where, Mock(side_effect=OSError("database is locked")))
        with pytest.raises(OSError):
            await made.see_to()
    await made.see_to()
    assert made._server is not None
    await made.close()


@DATABASE
async def test_the_worker_gives_up_the_socket_when_it_ends(
    serving: RecallService, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serving.see_to()
    monkeypatch.setattr(service._Here, "service", serving)
    await Worker._end(asyncio.create_task(asyncio.sleep(0)), [])
    assert not settings.CORTEX_RECALL_SOCKET.exists()


def test_the_longest_question_of_emoji_fits_one_line(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    def hear(path: Path, line: bytes) -> bytes:
        sent.append(line)
        return b'{"found": []}'

    monkeypatch.setattr(meaning, "_ask", hear)
    monkeypatch.setattr(meaning._Patience, "silent_until", 0.0)
    meaning.nearest(1, 1, "\U0001f600" * 5_000, 5)
    assert len(sent[0]) < service.LINE_BYTES


@DATABASE
async def test_another_models_vectors_are_computed_anew(
    serving: RecallService, said: dict[uuid.UUID, str]
) -> None:
    def as_of_old() -> None:
        SearchEntry.objects.update(vector=b"old", vector_model="old")

    await run_in_db_pool(as_of_old)
    assert await serving.see_to() == len(said)


@DATABASE
def test_the_vectors_of_a_message_go_with_it(said: dict[uuid.UUID, str]) -> None:
    vectors.store(vectors.computed(model(), vectors.waiting(9)))
    Message.objects.all().delete()
    assert not SearchEntry.objects.exists()


@pytest.mark.parametrize("why", ["switched off", "not installed", "long path"])
async def test_without_what_it_needs_it_does_nothing(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("x" * 200 if why == "long path" else "recall.sock")
    if why == "not installed":
        monkeypatch.setattr(sentence_model, "folder", lambda: None)
    idle = RecallService(path, threads=0 if why == "switched off" else 1)
    assert await idle.see_to() == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["nobody", "a dead one", "one that is silent"])
async def test_a_worker_that_is_away_costs_no_answer(
    kind: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one question in vain a silent one is left alone for a while."""
    asked = 0
    path = settings.CORTEX_RECALL_SOCKET = tmp_path / "recall.sock"
    monkeypatch.setattr(meaning._Patience, "silent_until", 0.0)

    async def say_nothing(reader: Any, writer: Any) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()

    if kind != "nobody":
        server = await asyncio.start_unix_server(say_nothing, str(path))
        if kind == "a dead one":
            server.close()
            path.touch()
    for _ in range(3):
        assert await asyncio.to_thread(meaning.nearest, 1, None, "cat", 5) == []
    if kind == "one that is silent":
        assert asked == 1
        server.close()
