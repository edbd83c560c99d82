from __future__ import annotations

import functools
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app.api.moments import read_moment
from channels_app.jobs import leases, queue
from channels_app.jobs.kinds import Done
from channels_app.jobs.task_ids import read_id
from channels_app.models import QueuedTask
from personas.models import Persona
from tests.support.api import Api, api_of, await_text
from tests.support.chat_fixtures import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("transactional_db")


async def queued(api: Api, **fields: Any) -> dict[str, Any]:
    """Queue a task and return the answer."""
    response = await api.post("/queue", {"task": "Compute"} | fields)
    assert response.status_code == 200, await_text(response)
    answer: dict[str, Any] = response.json()
    return answer


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# --- queueing -----------------------------------------------------------------


async def test_a_task_is_queued_and_waits_in_line(alice: User, seen: Any) -> None:
    api = await api_of(alice)

    first = await queued(api)
    second = await queued(api, task="Write", force_tier="opus")

    assert list(first) == ["id", "status", "position"]
    assert first["id"].startswith("queued-") and uuid.UUID(first["id"][7:])
    assert (first["status"], first["position"]) == ("queued", 1)
    assert second["position"] == 2
    rows = await seen(lambda: list(QueuedTask.objects.order_by("created_at")))
    assert [(row.text, row.tier, row.source, row.kind) for row in rows] == [
        ("Compute", None, "api", "task"),
        ("Write", 3, "api", "task"),
    ]


@pytest.mark.parametrize("in_header", [False, True])
async def test_the_same_key_is_queued_once(
    alice: User, seen: Any, in_header: bool
) -> None:
    api = await api_of(alice)
    headers = {"Idempotency-Key": "morning 1"} if in_header else {}
    fields = {} if in_header else {"idempotency_key": "morning 1"}

    first = await api.post("/queue", {"task": "Compute"} | fields, **headers)
    again = await api.post("/queue", {"task": "Compute"} | fields, **headers)
    other = await api.post("/queue", {"task": "Else"} | fields, **headers)

    assert first.json() == again.json()
    assert error_of(other) == (409, "conflict")
    assert await seen(QueuedTask.objects.count) == 1


async def test_a_key_means_something_to_its_person_alone(
    alice: User, bob: User, seen: Any
) -> None:
    mine = await queued(await api_of(alice), idempotency_key="k")
    his = await queued(await api_of(bob), idempotency_key="k", task="Else")

    assert mine["id"] != his["id"]


async def test_the_repeat_of_a_task_that_is_over_says_so(
    alice: User, seen: Any
) -> None:
    api = await api_of(alice)
    task = await queued(api, idempotency_key="k")
    await seen(_do_next)

    again = await queued(api, idempotency_key="k")

    assert again == {"id": task["id"], "status": "done", "position": None}


def _do_next(**fields: Any) -> None:
    (task,) = leases.claim("test", 1)
    done = Done(result="42", cost_nano_usd=5_000_000, **fields)
    assert leases.settle_done(task, done)


async def test_a_result_that_is_not_whole_is_there_and_says_why(
    alice: User, seen: Any
) -> None:
    api = await api_of(alice)
    answers = []
    for fields in ({}, {"error_code": "too_long", "error": "Too long."}):
        task = await queued(api)
        await seen(functools.partial(_do_next, **fields))
        answers.append((await api.get(f"/queue/{task['id']}")).json())

    assert [each["state"] for each in answers] == ["done", "done"]
    assert [each["result"] for each in answers] == ["42", "42"]
    assert [each["incomplete"] for each in answers] == [False, True]
    fault = {"code": "too_long", "message": "Too long."}
    assert [each["error"] for each in answers] == [None, fault]


@pytest.mark.parametrize("key", ["", " k", "k ", "a\x1fb", "ü", "x" * 201])
async def test_keys_that_no_header_can_carry_are_refused(alice: User, key: str) -> None:
    api = await api_of(alice)
    response = await api.post("/queue", {"task": "x", "idempotency_key": key})
    assert error_of(response) == (400, "bad_request")


async def test_two_different_keys_are_refused(alice: User) -> None:
    response = await (await api_of(alice)).post(
        "/queue", {"task": "x", "idempotency_key": "a"}, **{"Idempotency-Key": "b"}
    )
    assert error_of(response) == (409, "conflict")
    bad = await (await api_of(alice)).post(
        "/queue", {"task": "x"}, **{"Idempotency-Key": "\tü"}
    )
    assert error_of(bad) == (400, "bad_request")


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"force_tier": "gpt"}, 422, "“force_tier” must be"),
        ({"not_before": "2030-01-01T07:00:00"}, 422, "“not_before” needs a time zone"),
        ({"not_before": "tomorrow"}, 422, "“not_before” must be a time"),
        ({"not_before": 5}, 422, "“not_before” must be a time"),
        ({"not_befor": None}, 422, "“not_befor” is not known here."),
        ({"": 1}, 422, "“” is not known here."),
        ({"task": " "}, 400, "“task”"),
        ({"task": "a\0"}, 400, "“task”"),
        ({"task": "x" * 32_001}, 413, "“task”"),
        ({"persona": "nobody"}, 404, "There is no such persona"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_queued(
    alice: User, seen: Any, fields: dict[str, Any], status: int, says: str
) -> None:
    response = await (await api_of(alice)).post("/queue", {"task": "x"} | fields)

    assert response.status_code == status, await_text(response)
    assert response.json()["error"]["message"].startswith(says)
    assert await seen(QueuedTask.objects.count) == 0


async def test_a_task_may_be_put_off(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    await queued(api, not_before="2020-01-01T00:00:00+02:00")
    later = await queued(api, task="Later", not_before="2034-01-01T00:00:00+02:00")

    past, future = await seen(lambda: list(QueuedTask.objects.order_by("created_at")))
    assert past.not_before >= timezone.now() - timedelta(minutes=5)
    assert future.not_before == datetime(2033, 12, 31, 22, tzinfo=UTC)
    assert later["position"] == 2


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22t07:00:60.1234567+01:00", "2026-11-22T06:01:00.123456+00:00"),
        ("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_every_form_of_a_time_is_read(text: str, moment: str) -> None:
    assert read_moment(text).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-10:00",
        "2026-02-30T00:00:00Z",
        "2026-02-20T00:00:00+25:00",
        "2026-W05-1T00:00:00Z",
        "20260220T000000Z",
    ],
)
def test_other_times_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(lies|is|must)"):
        read_moment(text)


# --- looking ------------------------------------------------------------------


async def test_a_task_tells_how_it_goes_and_what_came_of_it(
    alice: User, persona: Persona, seen: Any
) -> None:
    api = await api_of(alice)
    task = await queued(api, persona="inara", force_tier=2)

    waiting = (await api.get(f"/queue/{task['id']}")).json()
    await seen(_do_next)
    done = (await api.get(f"/queue/{task['id'].removeprefix('queued-')}")).json()

    assert (waiting["state"], waiting["position"], waiting["result"]) == (
        "pending",
        1,
        None,
    )
    assert waiting["estimated_cost_usd"] == 0
    assert (done["state"], done["position"], done["result"]) == ("done", None, "42")
    assert (done["id"], done["persona"], done["tier"]) == (task["id"], "inara", 2)
    assert (done["attempts"], done["estimated_cost_usd"]) == (1, 0.005)
    assert done["error"] is None and done["brief"] is None
    for name in ("created_at", "started_at", "finished_at", "not_before"):
        assert datetime.fromisoformat(done[name]).tzinfo is not None


async def test_the_list_is_ones_own_newest_first_in_pages(
    alice: User, bob: User, seen: Any
) -> None:
    api = await api_of(alice)
    await queued(await api_of(bob))
    ids = [(await queued(api, task=f"Task {n}"))["id"] for n in range(5)]

    first = (await api.get("/queue?limit=3")).json()
    rest = (await api.get(f"/queue?limit=3&before={first['next']}")).json()

    assert [task["id"] for task in first["tasks"]] == ids[:1:-1]
    assert [task["id"] for task in rest["tasks"]] == ids[1::-1]
    assert first["next"] == ids[2] and rest["next"] is None
    assert "result" not in first["tasks"][0]


async def test_tasks_of_one_moment_come_once_each(alice: User, seen: Any) -> None:
    def make() -> None:
        now = timezone.now()
        QueuedTask.objects.bulk_create(
            [QueuedTask(owner=alice, text=str(n), created_at=now) for n in range(7)]
        )

    await seen(make)
    api, found, before = await api_of(alice), [], ""
    while True:
        page = (await api.get(f"/queue?limit=2{before}")).json()
        found += [task["id"] for task in page["tasks"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert len(found) == len(set(found)) == 7


async def test_the_list_is_filtered_by_states(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    done, waiting, gone = [(await queued(api, task=f"T{n}"))["id"] for n in range(3)]
    await seen(_do_next)
    await api.post(f"/queue/{gone}/cancel", None)

    async def listed(query: str) -> list[str]:
        answer = (await api.get(f"/queue?{query}")).json()
        return [task["id"] for task in answer["tasks"]]

    assert await listed("state=pending") == [waiting]
    assert await listed("state=done&state=cancelled") == [gone, done]
    assert error_of(await api.get("/queue?state=gone")) == (400, "bad_request")
    assert error_of(await api.get("/queue?limit=0")) == (400, "bad_request")
    assert error_of(await api.get("/queue?before=x")) == (404, "not_found")


# --- changing -----------------------------------------------------------------


async def test_cancel_and_retry(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    task = await queued(api)
    address = f"/queue/{task['id']}"

    cancelled = (await api.post(f"{address}/cancel", None)).json()
    twice = await api.post(f"{address}/cancel", None)
    again = (await api.post(f"{address}/retry", None)).json()
    waiting = await api.post(f"{address}/retry", None)

    assert cancelled["state"] == "cancelled"
    assert error_of(twice) == (409, "conflict")
    assert (again["state"], again["position"]) == ("pending", 1)
    assert error_of(waiting) == (409, "conflict")


async def test_a_running_task_is_asked_to_end(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    task = await queued(api)
    await seen(leases.claim, "test", 1)

    answer = (await api.post(f"/queue/{task['id']}/cancel", None)).json()

    assert (answer["state"], answer["cancel_asked"]) == ("processing", True)


async def test_failures_are_told_with_their_sentence(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    task = await queued(api)

    def fail() -> None:
        (claimed,) = leases.claim("test", 1)
        leases.settle_failed(claimed, "no_model", "No model.", retryable=False)

    await seen(fail)
    answer = (await api.get(f"/queue/{task['id']}")).json()

    assert answer["state"] == "failed"
    assert answer["error"] == {"code": "no_model", "message": "No model."}


@pytest.mark.parametrize("end", ["", "/cancel", "/retry"])
async def test_others_and_nonsense_find_nothing(
    alice: User, bob: User, seen: Any, end: str
) -> None:
    task = await queued(await api_of(alice))
    his = await api_of(bob)
    for given in (task["id"], task["id"][7:], "queued-1", str(uuid.uuid4()), "x"):
        path = f"/queue/{given}{end}"
        response = await (his.post(path, None) if end else his.get(path))
        assert error_of(response) == (404, "not_found"), given
    row = await seen(lambda: QueuedTask.objects.get())
    assert (row.state, row.cancel_asked) == ("pending", False)


async def test_a_line_has_its_end(
    alice: User, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise queue.QueueRefused("too_many", "You have 1,000 open tasks.")

    monkeypatch.setattr(queue, "check_room", refuse)
    response = await (await api_of(alice)).post("/queue", {"task": "x"})

    assert error_of(response) == (429, "too_many")
    assert int(response.headers["Retry-After"]) > 0


def test_ids_are_read_with_their_prefix_and_without() -> None:
    plain = uuid.uuid4()
    assert read_id(f"queued-{plain}") == read_id(str(plain)) == plain
    for text in ("", "queued-", f"task-{plain}", f"queued-queued-{plain}", plain.hex):
        assert read_id(text) is None


async def test_a_body_that_is_no_object_is_refused(alice: User) -> None:
    for body in ("[]", "1", json.dumps("x"), "{"):
        response = await (await api_of(alice)).post("/queue", body)
        assert response.status_code == 400
