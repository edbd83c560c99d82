"""The figures for Prometheus: equal to the ledger, cheap, bounded, for few."""

from __future__ import annotations

import asyncio
import datetime
import threading
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families

from accounts import tokens
from accounts.models import User
from channels_app.api import metrics as api_metrics
from channels_app.care import metrics, metrics_ledger
from channels_app.care.metrics_ledger import LedgerSums
from channels_app.care.metrics_values import Names
from channels_app.care.metrics_work import QueueCounts
from channels_app.jobs import tick
from channels_app.models import Beat, InboundEvent, QueuedTask
from ledger import entries, statistics
from ledger.models import LedgerEntry
from ledger.types import Prices
from personas.models import Persona
from routing.backends.base import Finished, TextDelta, Usage, UsageReported
from routing.backends.scripted import playing
from tests.support.api import Api, api_of
from tests.support.chat import connected, session_for
from tests.support.chat_fixtures import *  # noqa: F403
from tests.support.ledger import book, make_caller, make_reservation

LATER = datetime.timedelta(minutes=5)
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """Begin with empty sums, as a new process does."""
    fresh = metrics.new_registry()
    monkeypatch.setattr(metrics.written, "__defaults__", (fresh,))
    return fresh


def parsed(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(text)
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float | None:
    return values.get((name, frozenset(labels.items())))


def scraped() -> Values:
    return parsed(metrics.written("")[0].decode())


def collected(sums: LedgerSums, after: datetime.timedelta) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in sums.collect(timezone.now() + after)
        for sample in family.samples
    }


# --- what is told ---------------------------------------------------------------


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_after_turns_the_figures_are_those_of_the_ledger(
    alice: User, admin_user: User, seen: Any
) -> None:
    hers, admins = await api_of(alice), await api_of(admin_user, scopes=["admin"])
    usage = UsageReported(Usage(input_tokens=12, output_tokens=5))
    with playing(scripted=[TextDelta("a word"), usage, Finished()]):
        await hers.chat("a canary in the text")
        await hers.post("/task", {"task": "another canary", "force_tier": 1})

    response = await admins.get("/metrics")
    text = response.content.decode()
    values = parsed(text)

    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response["Cache-Control"] == "no-store"
    whole = await seen(statistics.totals)
    model = {"model": "scripted"}
    assert whole.calls == 2
    assert (
        value(
            values,
            "cortex_attempts_total",
            **model,
            host_type="scripted",
            outcome="complete",
            error_code="",
        )
        == whole.calls
    )
    for kind in ("input", "output"):
        total = value(values, "cortex_tokens_total", **model, kind=kind)
        assert total == getattr(whole, f"{kind}_tokens")
    cost = value(values, "cortex_cost_dollars_total", **model, billing="local")
    assert cost == whole.cost_usd
    channels = {
        dict(labels)["channel"]: count
        for (name, labels), count in values.items()
        if name == "cortex_turns_total"
    }
    assert channels == {"api": 2}
    assert value(values, "cortex_call_duration_seconds_count", **model) == 2
    first = value(values, "cortex_first_token_seconds_count", **model)
    assert first == await seen(
        LedgerEntry.objects.filter(first_token_ms__isnull=False).count
    )
    for word in ("canary", "a word", "alice", "inara"):
        assert word not in text


@pytest.mark.django_db
def test_every_kind_of_row_is_counted_where_it_belongs() -> None:
    book(input_tokens=100, output_tokens=10)
    book(outcome="incomplete", prices=Prices())
    corrected = book(input_tokens=100, output_tokens=10)
    entries.adjust(corrected, note="credit", cost_nano_usd=-5_000, output_tokens=-3)
    released = make_reservation()
    entries.reserve(released)
    entries.release(released.attempt_id, "unreachable")
    entries.reserve(make_reservation())

    values = scraped()

    of_model = {"model": "haiku", "host_type": "anthropic_api"}
    for outcome, code, count in (
        ("complete", "", 2),
        ("incomplete", "", 1),
        ("failed", "unreachable", 1),
    ):
        labels = of_model | {"outcome": outcome, "error_code": code}
        assert value(values, "cortex_attempts_total", **labels) == count
    assert value(values, "cortex_unknown_cost_calls_total", model="haiku") == 1
    paid = {"model": "haiku", "billing": "metered"}
    cost = value(values, "cortex_cost_dollars_total", **paid)
    correction = value(values, "cortex_corrections_dollars", **paid)
    assert cost == pytest.approx(2 * (100 * 3 + 10 * 15) / 1e6)
    assert correction == -5e-6
    whole = statistics.totals()
    assert round((cost + correction) * 1e9) == whole.cost_nano_usd
    output = {"model": "haiku", "kind": "output"}
    assert value(values, "cortex_tokens_total", **output) == 22
    assert value(values, "cortex_corrections_tokens", **output) == -3


@pytest.mark.django_db
def test_a_turn_is_counted_once_however_many_models_were_asked() -> None:
    saved, given_up = make_caller(), make_caller(channel="api")
    book(outcome="failed", caller=saved)
    book(role="classify", caller=saved)
    book(outcome="complete", caller=saved)
    book(outcome="failed", caller=given_up)
    book(outcome="complete", caller=make_caller(turn_id=None))
    sums = LedgerSums()

    at_once = collected(sums, datetime.timedelta())
    later = collected(sums, LATER)

    name = "cortex_turns_total"
    assert {key: count for key, count in at_once.items() if key[0] == name} == {
        (name, frozenset({("outcome", "complete"), ("channel", "web")})): 1
    }
    assert value(later, name, outcome="complete", channel="web") == 1
    assert value(later, name, outcome="failed", channel="api") == 1
    assert sum(count for key, count in later.items() if key[0] == name) == 2


@pytest.mark.django_db
def test_histograms_add_up() -> None:
    for first_ms in (50, 100, 700, 100_000):
        reservation = make_reservation()
        entries.reserve(reservation)
        entries.settle(
            reservation.attempt_id,
            entries.Settlement("complete", elapsed_ms=2000, first_token_ms=first_ms),
        )

    values = scraped()

    name = "cortex_first_token_seconds"
    for bound, count in (("0.1", 2), ("0.75", 3), ("80.0", 3), ("+Inf", 4)):
        bucket = value(values, f"{name}_bucket", model="haiku", le=bound)
        assert bucket == count, bound
    assert value(values, f"{name}_sum", model="haiku") == pytest.approx(100.85)
    assert value(values, "cortex_call_duration_seconds_sum", model="haiku") == 8


# --- what a scrape costs --------------------------------------------------------


@pytest.mark.django_db
def test_the_second_scrape_reads_only_new_rows(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    add = LedgerSums._add

    def noting(self: LedgerSums, row: LedgerEntry) -> None:
        read.append(row.id)
        add(self, row)

    monkeypatch.setattr(LedgerSums, "_add", noting)
    sums = LedgerSums()
    for _ in range(5):
        book()
    sums.collect()
    assert len(read) == 10
    read.clear()

    with django_assert_num_queries(1):
        sums.collect()
    assert read == []
    book()
    with django_assert_num_queries(1):
        sums.collect()

    assert (
        read
        == list(LedgerEntry.objects.order_by("-id").values_list("id", flat=True))[1::-1]
    )


@pytest.mark.django_db
def test_a_ledger_that_was_replaced_is_read_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sums = LedgerSums()
    book()
    book()
    before = collected(sums, LATER)
    monkeypatch.setattr(sums, "_last_hash", "that of another ledger")

    assert collected(sums, LATER) == before
    monkeypatch.setattr(sums, "_last_id", sums._last_id + 1000)
    assert collected(sums, LATER) == before


@pytest.mark.django_db
def test_a_whole_scrape_asks_few_questions(django_assert_max_num_queries: Any) -> None:
    for _ in range(3):
        book()
    with django_assert_max_num_queries(12):
        scraped()


@pytest.mark.django_db
def test_names_that_people_choose_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_ledger, "MAX_MODELS", 2)
    for name in ("one", "two", "three", "four", "one"):
        book(model_id=name, prices=Prices())

    values = collected(LedgerSums(), LATER)

    counted = {
        dict(labels)["model"]: count
        for (name, labels), count in values.items()
        if name == "cortex_unknown_cost_calls_total"
    }
    assert counted == {"one": 2, "two": 1, "other": 2}


def test_a_name_is_itself_or_other() -> None:
    names = Names(1)
    assert [names.of(name) for name in ("a", "b", "a")] == ["a", "other", "a"]


# --- queue, bots, clocks, process -----------------------------------------------


def put(owner: User, state: str, **fields: Any) -> QueuedTask:
    return QueuedTask.objects.create(
        owner=owner, text="a canary", state=state, **fields
    )


@pytest.mark.django_db
def test_the_queue_is_told_by_state_and_by_waiting(alice: User) -> None:
    now = timezone.now()
    ago = datetime.timedelta
    for _ in range(2):
        put(alice, "pending", not_before=now - ago(seconds=120))
    put(alice, "pending", not_before=now + ago(hours=1))
    put(alice, "dead")

    values = scraped()

    assert value(values, "cortex_queue_tasks", state="pending") == 3
    assert value(values, "cortex_queue_tasks", state="processing") == 0
    assert value(values, "cortex_queue_tasks", state="dead") is None
    oldest = value(values, "cortex_queue_oldest_waiting_seconds")
    assert oldest is not None and 120 <= oldest < 180


@pytest.mark.django_db
def test_waiting_is_counted_once_for_each_attempt(alice: User) -> None:
    began = timezone.now() - datetime.timedelta(minutes=1)
    waits = QueueCounts(began)
    due = began + datetime.timedelta(seconds=10)

    def begun(state: str, waited_s: float, **fields: Any) -> QueuedTask:
        at = due + datetime.timedelta(seconds=waited_s)
        times = {"created_at": began, "not_before": due, "started_at": at}
        return put(alice, state, **times, attempts=1, **fields)

    def counted() -> tuple[float | None, float | None]:
        family, _ = waits.collect()
        samples = {sample.name: sample.value for sample in family.samples}
        return (
            samples["cortex_queue_wait_seconds_count"],
            samples["cortex_queue_wait_seconds_sum"],
        )

    assert counted() == (0, 0)
    running = begun("processing", 2)
    begun("done", 1, finished_at=timezone.now())
    put(alice, "done", started_at=began - LATER, finished_at=began)
    assert counted() == (2, 3)
    running.state, running.finished_at = "done", timezone.now()
    running.save()
    assert counted() == (2, 3)
    running.attempts = 2
    running.save()
    assert counted() == (3, 5)


@pytest.mark.django_db
def test_ends_of_tasks_are_counted_once(alice: User) -> None:
    began = timezone.now()
    counts = QueueCounts(began)

    def counted() -> dict[str, float]:
        _, family = counts.collect()
        return {
            sample.labels["state"]: sample.value
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    put(alice, "done", finished_at=began - LATER)
    assert counted() == {"done": 0, "failed": 0, "dead": 0, "cancelled": 0}
    dead = put(alice, "dead", started_at=began, finished_at=timezone.now())
    put(alice, "cancelled", finished_at=timezone.now())
    for _ in range(2):
        assert counted() == {"done": 0, "failed": 0, "dead": 1, "cancelled": 1}
    dead.state, dead.finished_at = "done", timezone.now()  # it was tried again
    dead.save()
    assert counted() == {"done": 1, "failed": 0, "dead": 1, "cancelled": 1}


@pytest.mark.django_db
def test_what_is_over_is_not_read_by_a_scrape() -> None:
    """Every table that grows is asked by an index of what is open or new."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL decides by its statistics, which a test has not")
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, *more: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, *more)

    with connection.execute_wrapper(note):
        scraped()
    grows = ("queuedtask", "inboundevent", "outboundreply", "delivery")
    plans = []
    for sql, params in asked:
        if any(name in sql for name in grows):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
                plans += [row[3] for row in cursor.fetchall()]
    assert len(plans) >= 8
    whole = [plan for plan in plans if "SCAN" in plan and "USING" not in plan]
    assert whole == []


@pytest.mark.usefixtures("turns_running")
async def test_open_events_clocks_and_sockets_are_told(
    alice: User, persona: Persona, alice_session: str, admin_user: User, seen: Any
) -> None:
    def prepare() -> tuple[float, float]:
        channel = persona.owner.channels.create(kind="nextcloud_talk", persona=persona)
        for number, state in enumerate(("received", "received", "done")):
            InboundEvent.objects.create(
                channel=channel, external_id=str(number), kind="message", state=state
            )
        tick.tick([])
        ticked = tick.last_began_at()
        assert ticked is not None
        beat = Beat.objects.create(running=None)
        return ticked.timestamp(), beat.started_at.timestamp()

    ticked, beat = await seen(prepare)
    api = await api_of(admin_user, scopes=["admin"])
    async with connected(alice_session):
        values = parsed((await api.get("/metrics")).content.decode())

    assert value(values, "cortex_bot_events_open", state="received") == 2
    assert value(values, "cortex_deliveries_open", kind="mail", state="pending") == 0
    assert value(values, "cortex_last_beat_timestamp_seconds") == beat
    assert value(values, "cortex_last_tick_timestamp_seconds") == ticked
    assert value(values, "cortex_sockets") == 1
    assert value(values, "cortex_live_turns") == 0
    assert value(values, "process_resident_memory_bytes") is not None
    builds = [dict(labels) for name, labels in values if name == "cortex_build_info"]
    assert [set(labels) for labels in builds] == [{"version", "python", "database"}]


# --- who may, and in which form --------------------------------------------------


@pytest.mark.usefixtures("turns_running")
async def test_only_administrators_see_the_figures(
    alice: User, alice_session: str, admin_user: User, seen: Any
) -> None:
    async def status(api: Api) -> int:
        response = await api.get("/metrics")
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"code", "message"}
        return int(response.status_code)

    async def signed_in(key: str) -> Api:
        api = Api()
        api.client.cookies[settings.SESSION_COOKIE_NAME] = key
        return api

    assert await status(Api()) == 401
    assert await status(Api("ctx_wrong_token")) == 401
    assert await status(await api_of(alice)) == 403
    assert await status(await api_of(admin_user, scopes=["ledger"])) == 403
    assert await status(await signed_in(alice_session)) == 403
    assert await status(await api_of(admin_user, scopes=["admin"])) == 200
    assert await status(await signed_in(await seen(session_for, admin_user))) == 200


@pytest.mark.django_db(transaction=True)
async def test_scrapes_that_were_given_up_hold_one_thread_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    let_go = threading.Event()

    def written(accept: str) -> tuple[bytes, str]:
        begun.append(accept)
        assert let_go.wait(20)
        return b"figures", "text/plain"

    monkeypatch.setattr(metrics, "written", written)
    request = RequestFactory().get("/metrics")
    scrapes = []
    for _ in range(4):
        scrape = asyncio.create_task(api_metrics.show(request))
        scrapes.append(scrape)
        done, _pending = await asyncio.wait([scrape], timeout=0.1)
        assert not done
        scrape.cancel()
    await asyncio.sleep(0.1)
    under_way = len(begun)
    let_go.set()
    ends = await asyncio.gather(*scrapes, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    assert under_way == len(begun) == 1
    assert (await api_metrics.show(request)).content == b"figures"


@pytest.mark.django_db(transaction=True)
def test_other_methods_are_refused(admin_user: User) -> None:
    token = tokens.create_token(admin_user, scopes=["admin"])
    answer = Client().post("/metrics", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.django_db
def test_openmetrics_is_written_where_it_is_asked_for() -> None:
    book()
    asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"

    body, kind = metrics.written(asked)

    assert kind.startswith(metrics.OPENMETRICS)
    found = {
        family.name: family
        for family in openmetrics.text_string_to_metric_families(body.decode())
    }
    assert found["cortex_attempts"].samples[0].name == "cortex_attempts_total"
    assert body.endswith(b"# EOF\n")


@pytest.mark.django_db
def test_names_follow_the_rules_of_prometheus() -> None:
    book()
    for family in families(metrics.written("")[0].decode()):
        assert family.documentation
        if not family.name.startswith("cortex_"):
            continue
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        assert "_ms" not in family.name
