"""One contract for streams in memory and over Redis.

``hubs`` is the hub that writes and the hub that reads: the same one in memory, those of
two processes over Redis.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from channels_app import stream_hub, streams
from channels_app.stream_hub import StreamHub
from channels_app.streams import MAX_FRAME_CHARS, Frame, TurnStream
from channels_app.streams_redis import RedisStreamHub
from tests.support.redis import RedisServer

OWNER = 7
Hubs = tuple[StreamHub, StreamHub]


@pytest_asyncio.fixture(params=["memory", "redis"])
async def hubs(request: pytest.FixtureRequest) -> AsyncIterator[Hubs]:
    if request.param == "memory":
        hub = StreamHub()
        yield hub, hub
        await hub.close()
        return
    url = request.getfixturevalue("redis_url")
    writer, reader = RedisStreamHub(url), RedisStreamHub(url)
    yield writer, reader
    await reader.close()
    await writer.close()


async def found(hub: StreamHub, turn: uuid.UUID) -> TurnStream:
    """Wait until a stream of another process can be found."""
    async with asyncio.timeout(5):
        while (stream := await hub.find(turn, OWNER)) is None:
            await asyncio.sleep(0.01)
    return stream


async def read_all(stream: TurnStream, after: int = -1) -> list[Frame]:
    async with asyncio.timeout(10):
        return [frame async for batch in stream.read(after) for frame in batch]


def text_of(frames: list[Frame]) -> str:
    return "".join(
        frame.fields["text"] for frame in frames if frame.type == "turn.delta"
    )


def write_answer(hub: StreamHub, pieces: list[str]) -> TurnStream:
    stream = hub.open(uuid.uuid4(), OWNER)
    stream.append("turn.started", persona="inara")
    for piece in pieces:
        stream.append_text("turn.delta", piece)
    stream.append("turn.finished", outcome="complete")
    hub.finish(stream)
    return stream


async def test_a_reader_gets_every_event_in_order(hubs: Hubs) -> None:
    writer, reader = hubs
    stream = write_answer(writer, ["Hello", ", ", "world “é” 🌍"])
    frames = await read_all(await found(reader, stream.turn))
    assert [frame.type for frame in frames] == [
        "turn.started",
        "turn.delta",
        "turn.finished",
    ]
    assert [frame.seq for frame in frames] == [0, 3, 4]
    assert text_of(frames) == "Hello, world “é” 🌍"
    for frame in frames:
        fields = json.loads(frame.json)
        assert fields["turn"] == str(stream.turn)
        assert (fields["type"], fields["seq"]) == (frame.type, frame.seq)
    assert frames[0].fields["persona"] == "inara"


async def test_a_replay_from_any_number_continues_exactly_there(hubs: Hubs) -> None:
    writer, reader = hubs
    chance = random.Random(5)
    pieces = ["x" * chance.randint(1, 9) + str(n) for n in range(3000)]
    stream = write_answer(writer, pieces)
    copy = await found(reader, stream.turn)
    whole = "".join(pieces)
    for after in [-1, 0, 1, 1023, 1024, 1025, 2999, *chance.sample(range(3000), 20)]:
        frames = await read_all(copy, after)
        seen = "".join(pieces[: max(after, 0)])
        assert seen + text_of(frames) == whole
        assert frames[0].seq > after
        assert frames[-1].seq == 3001
    assert await read_all(copy, 3001) == []
    assert await read_all(copy, 10_000) == []


async def test_readers_that_come_while_it_grows_lose_nothing(hubs: Hubs) -> None:
    writer, reader = hubs
    stream = writer.open(uuid.uuid4(), OWNER)
    stream.append("turn.started")
    pieces = [f"{n} " for n in range(400)]
    copy = await found(reader, stream.turn)
    readers = [asyncio.create_task(read_all(copy))]
    for number, piece in enumerate(pieces):
        stream.append_text("turn.delta", piece)
        if number % 50 == 0:
            await asyncio.sleep(0.01)
            readers.append(asyncio.create_task(read_all(copy)))
    stream.append("turn.finished")
    writer.finish(stream)
    for frames in await asyncio.gather(*readers):
        assert text_of(frames) == "".join(pieces)
        numbers = [frame.seq for frame in frames]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 0
        assert numbers[-1] == 401


async def test_thinking_and_text_are_not_mixed(hubs: Hubs) -> None:
    writer, reader = hubs
    stream = writer.open(uuid.uuid4(), OWNER)
    stream.append_text("turn.thinking", "a")
    stream.append_text("turn.thinking", "b")
    stream.append("turn.stage", stage="writing")
    stream.append_text("turn.delta", "c")
    stream.append("turn.finished")
    writer.finish(stream)
    frames = await read_all(await found(reader, stream.turn))
    assert [(frame.type, frame.seq) for frame in frames] == [
        ("turn.thinking", 1),
        ("turn.stage", 2),
        ("turn.delta", 3),
        ("turn.finished", 4),
    ]


async def test_somebody_elses_stream_is_not_found(hubs: Hubs) -> None:
    writer, reader = hubs
    stream = write_answer(writer, ["secret"])
    await found(reader, stream.turn)
    assert await reader.find(stream.turn, OWNER + 1) is None
    assert await reader.find(uuid.uuid4(), OWNER) is None


async def test_a_finished_stream_goes_after_its_time(
    hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, _ = hubs
    monkeypatch.setattr(stream_hub, "KEEP_FINISHED_S", 0.01)
    stream = write_answer(writer, ["gone soon"])
    assert writer.local(stream.turn) is stream
    async with asyncio.timeout(5):
        while writer.local(stream.turn) is not None:
            await asyncio.sleep(0.01)


async def test_finished_streams_are_bounded(
    hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, _ = hubs
    monkeypatch.setattr(stream_hub, "MAX_KEPT_CHARS", 1000)
    old = write_answer(writer, ["x" * 600])
    new = write_answer(writer, ["x" * 600])
    assert writer.local(old.turn) is None
    assert writer.local(new.turn) is new


async def test_a_stop_reaches_the_process_that_runs_the_turn(hubs: Hubs) -> None:
    writer, reader = hubs
    if writer is reader:
        assert not await reader.request_stop(uuid.uuid4())
        return
    stopped: asyncio.Queue[uuid.UUID] = asyncio.Queue()
    writer.on_stop = stopped.put_nowait
    turn = writer.open(uuid.uuid4(), OWNER).turn
    async with asyncio.timeout(5):
        while not await reader.request_stop(turn):
            await asyncio.sleep(0.01)
        assert await stopped.get() == turn


# --- in memory ---------------------------------------------------------------------


async def test_what_is_buffered_comes_as_one_frame() -> None:
    stream = TurnStream(uuid.uuid4(), OWNER)
    reading = stream.read()
    for _ in range(100):
        stream.append_text("turn.delta", "ab")
    (frame,) = await anext(reading)
    assert frame.seq == 99
    assert frame.fields["text"] == "ab" * 100


async def test_readers_at_the_same_place_share_one_encoding() -> None:
    stream = TurnStream(uuid.uuid4(), OWNER)
    stream.append_text("turn.delta", "ab")
    first, second = await anext(stream.read()), await anext(stream.read())
    assert first[0].json is second[0].json


async def test_a_frame_stays_small_however_much_there_is() -> None:
    hub = StreamHub()
    stream = write_answer(hub, ["y" * 1000] * 500)
    frames = await read_all(stream)
    assert text_of(frames) == "y" * 500_000
    assert max(len(frame.json) for frame in frames) < MAX_FRAME_CHARS + 200
    assert len(frames) <= 20
    await hub.close()


async def test_nothing_can_follow_the_end() -> None:
    stream = TurnStream(uuid.uuid4(), OWNER)
    stream.finish()
    with pytest.raises(RuntimeError):
        stream.append("turn.stage")


def test_packing_can_begin_anywhere_and_repeat_itself() -> None:
    stream = TurnStream(uuid.uuid4(), OWNER)
    stream.append("turn.started")
    for number in range(1500):
        stream.append_text("turn.delta", str(number))
    stream.append("turn.finished")
    copy = TurnStream(stream.turn, OWNER)
    copy.unpack(stream.pack(0)[0][:2])
    copy.unpack(stream.pack(700)[0])
    copy.unpack(stream.pack(0)[0])
    assert copy.next_seq == stream.next_seq
    assert copy.text("turn.delta") == stream.text("turn.delta")


def test_a_gap_is_noticed() -> None:
    stream = TurnStream(uuid.uuid4(), OWNER)
    stream.append("turn.started")
    stream.append("turn.finished")
    with pytest.raises(ValueError, match="missing"):
        TurnStream(stream.turn, OWNER).unpack(stream.pack(1)[0])


def test_packing_stops_when_there_is_enough_and_goes_on_there() -> None:
    stream = TurnStream(uuid.uuid4(), OWNER)
    for _ in range(5000):
        stream.append_text("turn.delta", "abcd")
    stream.append("turn.finished")
    copy = TurnStream(stream.turn, OWNER)
    rounds = 0
    while copy.next_seq < stream.next_seq:
        packed, end = stream.pack(copy.next_seq, 2000)
        assert sum(len(text) for *_, text in packed) <= 2000 + 4 * 1024
        copy.unpack(packed)
        assert copy.next_seq == end
        rounds += 1
    assert rounds > 2
    assert copy.text("turn.delta") == "abcd" * 5000


def test_a_long_stream_stays_small_in_memory() -> None:
    """Every piece costs its text and eight bytes once it is no longer at the end."""
    stream = TurnStream(uuid.uuid4(), OWNER)
    for _ in range(50_000):
        stream.append_text("turn.delta", "abcd")
    standing_alone = sum(len(run.pieces) for run in stream._runs)
    assert standing_alone < 1100 + 50_000 / streams.PIECES_PER_RUN


# --- over Redis ----------------------------------------------------------------------


async def test_a_finished_frame_comes_from_the_row_when_its_process_died(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.streams_redis.BLOCK_MS", 20)
    writer, reader = RedisStreamHub(redis_url), RedisStreamHub(redis_url)
    stream = writer.open(uuid.uuid4(), OWNER)
    stream.append_text("turn.delta", "half an ans")

    async def ending(turn: uuid.UUID) -> dict[str, Any] | None:
        return {"outcome": "interrupted"}

    reader.ending = ending
    frames = await read_all(await found(reader, stream.turn))
    assert [frame.type for frame in frames] == ["turn.delta", "turn.finished"]
    assert frames[-1].fields["outcome"] == "interrupted"
    await reader.close()
    await writer.close()


async def test_many_pieces_are_published_in_few_round_trips(redis_url: str) -> None:
    writer = RedisStreamHub(redis_url)
    stream = writer.open(uuid.uuid4(), OWNER)
    for _ in range(100):
        stream.append_text("turn.delta", "ab")
        await asyncio.sleep(0.001)
    stream.append("turn.finished")
    writer.finish(stream)
    await writer.close()
    reader = RedisStreamHub(redis_url)
    entries = await reader._redis.xlen(f"cortex:turn:{stream.turn}")
    assert 1 <= entries <= 15
    copy = await found(reader, stream.turn)
    assert text_of(await read_all(copy)) == "ab" * 100
    await reader.close()


@pytest_asyncio.fixture
async def own_redis() -> AsyncIterator[RedisServer]:
    """A Redis that the test may stop and start."""
    with RedisServer() as server:
        yield server


async def test_nothing_is_packed_or_kept_for_a_redis_that_is_away(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.streams_redis.RETRY_S", 0.01)
    monkeypatch.setattr("channels_app.streams_redis.LONGEST_RETRY_S", 0.01)
    packings: list[int] = []
    pack = TurnStream.pack

    def counted(stream: TurnStream, start: int, *room: float) -> Any:
        packings.append(start)
        return pack(stream, start, *room)

    monkeypatch.setattr(TurnStream, "pack", counted)
    own_redis.stop()
    writer = RedisStreamHub(own_redis.url)
    monkeypatch.setattr("channels_app.stream_hub.KEEP_FINISHED_S", 0)
    gone = writer.open(uuid.uuid4(), OWNER)
    gone.append_text("turn.delta", "nobody will read this")
    await asyncio.sleep(0.3)
    assert len(packings) == 1
    writer.finish(gone)
    monkeypatch.setattr("channels_app.stream_hub.KEEP_FINISHED_S", 600)
    kept = writer.open(uuid.uuid4(), OWNER)
    kept.append_text("turn.delta", "but this")
    kept.append("turn.finished")
    writer.finish(kept)
    await asyncio.sleep(0.05)
    assert set(writer._published) == writer._dirty == {kept}
    own_redis.start()
    reader = RedisStreamHub(own_redis.url)
    assert text_of(await read_all(await found(reader, kept.turn))) == "but this"
    assert await reader.find(gone.turn, OWNER) is None
    await reader.close()
    await writer.close()


async def test_an_unforeseen_error_does_not_end_publishing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.streams_redis.RETRY_S", 0.01)
    pack = TurnStream.pack
    errors = [RuntimeError("on purpose"), RuntimeError("once more")]

    def failing(stream: TurnStream, start: int, *room: float) -> Any:
        if errors:
            raise errors.pop()
        return pack(stream, start, *room)

    monkeypatch.setattr(TurnStream, "pack", failing)
    writer, reader = RedisStreamHub(redis_url), RedisStreamHub(redis_url)
    stream = writer.open(uuid.uuid4(), OWNER)
    stream.append_text("turn.delta", "all the same")
    stream.append("turn.finished")
    assert text_of(await read_all(await found(reader, stream.turn))) == "all the same"
    await reader.close()
    await writer.close()


async def test_a_reader_of_a_trimmed_log_hears_of_the_end(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.streams_redis.ASK_ROW_EVERY_S", 0.01)
    answers: list[Any] = [OSError("the database is away"), None]

    async def ending(turn: uuid.UUID) -> dict[str, Any] | None:
        answer = answers.pop(0) if answers else {"outcome": "complete"}
        if isinstance(answer, Exception):
            raise answer
        return answer

    writer, reader = RedisStreamHub(redis_url), RedisStreamHub(redis_url)
    reader.ending = ending
    stream = writer.open(uuid.uuid4(), OWNER)
    for _ in range(3):
        stream.append_text("turn.delta", "piece")
        while writer._dirty:
            await asyncio.sleep(0.01)
    key = f"cortex:turn:{stream.turn}"
    await writer._redis.xtrim(key, maxlen=1, approximate=False)
    frames = await read_all(await found(reader, stream.turn))
    assert [frame.type for frame in frames] == ["turn.finished"]
    await reader.close()
    await writer.close()


async def test_nobody_else_finds_a_turn_of_another_process(redis_url: str) -> None:
    writer, reader = RedisStreamHub(redis_url), RedisStreamHub(redis_url)
    stream = writer.open(uuid.uuid4(), OWNER)
    stream.append("turn.finished")
    writer.finish(stream)
    while writer._dirty:
        await asyncio.sleep(0.01)
    assert await reader.find(stream.turn, OWNER + 1) is None
    copy = await found(reader, stream.turn)
    assert copy.owner_id == OWNER
    assert await reader.find(stream.turn, OWNER + 1) is None
    await reader.close()
    await writer.close()


async def test_copies_count_among_the_finished_streams(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.stream_hub.MAX_KEPT_CHARS", 5000)
    writer, reader = RedisStreamHub(redis_url), RedisStreamHub(redis_url)
    for _ in range(4):
        stream = writer.open(uuid.uuid4(), OWNER)
        stream.append_text("turn.delta", "a" * 2000)
        stream.append("turn.finished")
        await read_all(await found(reader, stream.turn))
        await asyncio.sleep(0.01)
    assert len(reader._copies) == 2
    await reader.close()
    await writer.close()
