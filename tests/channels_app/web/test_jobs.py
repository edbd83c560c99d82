from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import leases, queue, tick
from channels_app.jobs.kinds import Done
from channels_app.jobs.queue import NewTask
from channels_app.models import QueuedTask, Schedule
from personas.models import Persona

pytestmark = pytest.mark.django_db


def queued(owner: User, text: str = "Compute", **fields: Any) -> QueuedTask:
    return queue.enqueue(owner, NewTask(text, **fields))


def claimed(task: QueuedTask) -> QueuedTask:
    running = leases.claim_this("test", task.pk)
    assert running is not None
    return running


def done(task: QueuedTask, result: str = "42") -> None:
    assert leases.settle_done(claimed(task), Done(result, cost_nano_usd=12_000_000))


def failed(task: QueuedTask, code: str = "no_model", sentence: str = "None.") -> None:
    assert leases.settle_failed(claimed(task), code, sentence, retryable=False)


@pytest.fixture
def client(alice: User, client_for: Callable[..., Client]) -> Client:
    return client_for(alice)


def page_at(client: Client, address: str = "/jobs/", status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    text: str = response.content.decode()
    return text


def polled(page: str) -> str:
    """Return the address that a page asks again, and how often; empty = none."""
    found = re.search(r'hx-get="([^"]+)" hx-trigger="every (\w+)"', page)
    return "" if found is None else " ".join(found.groups())


# --- queueing -----------------------------------------------------------------


def test_a_task_is_queued_by_the_form(
    client: Client, alice: User, persona: Persona
) -> None:
    alice.time_zone = "Europe/Berlin"
    alice.save()
    fields = {
        "text": "Compute",
        "persona": "inara",
        "tier": "2",
        "not_before": "2034-07-01T07:00",
        "key": str(uuid.uuid4()),
    }

    for _ in range(2):  # a second click changes nothing
        assert client.post("/jobs/", fields)["Location"] == "/jobs/"

    task = QueuedTask.objects.get()
    assert (task.text, task.persona, task.tier) == ("Compute", persona, 2)
    assert (task.owner, task.source) == (alice, "page")
    assert task.not_before == datetime(2034, 7, 1, 5, tzinfo=UTC)
    assert "1 Jul 2034, 07:00" in page_at(client)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text": ""}, "Say what is to be done."),
        ({"text": "  "}, "The message is empty."),
        ({"text": "x" * 32_001}, "32,000 fit"),
        ({"text": "a", "persona": "stranger"}, "not one of the available"),
        ({"text": "a", "tier": "4"}, "not one of the available"),
        ({"text": "a", "not_before": "soon"}, "Choose a day and a time"),
        ({"text": "a", "not_before": "2099-01-01T00:00"}, "At most ten years"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_lost(
    client: Client, fields: dict[str, str], says: str
) -> None:
    response = client.post("/jobs/", fields)

    assert response.status_code == 400
    page = response.content.decode()
    assert says in page
    assert fields["text"].strip()[:20] in page
    assert not QueuedTask.objects.exists()


def test_the_form_sent_again_with_another_text_is_another_task(client: Client) -> None:
    for text in ("One", "Two", "Two"):
        page = client.post("/jobs/", {"text": text, "key": "k"}, follow=True)
    assert QueuedTask.objects.count() == 2
    assert "This task was queued before." in page.content.decode()


def test_somebody_elses_persona_cannot_be_chosen(
    client_for: Callable[..., Client], bob: User, persona: Persona
) -> None:
    response = client_for(bob).post("/jobs/", {"text": "a", "persona": persona.name})
    assert response.status_code == 400


def test_a_full_queue_keeps_the_text(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise queue.QueueRefused("too_many", "You have 1,000 open tasks.")

    monkeypatch.setattr(queue, "check_room", refuse)
    response = client.post("/jobs/", {"text": "Keep this"})

    assert response.status_code == 429
    assert "You have 1,000 open tasks." in response.content.decode()
    assert "Keep this" in response.content.decode()


# --- looking ------------------------------------------------------------------


def test_an_empty_queue_says_so_and_is_not_asked_again(client: Client) -> None:
    page = page_at(client)
    assert "Nothing is queued" in page
    assert polled(page) == ""


def test_tasks_stand_in_groups_by_how_they_go(
    client: Client, alice: User, bob: User
) -> None:
    for state in QueuedTask.State.values:
        QueuedTask.objects.create(
            owner=alice, text=f"A {state} task", state=state, started_at=timezone.now()
        )
    queued(bob, "Somebody else's")

    page = page_at(client)

    headings = re.findall(r'<h2 id="jobs-(\w+)">(\w+(?: up)?) <span', page)
    assert headings == [
        ("processing", "Running"),
        ("pending", "Waiting"),
        ("failed", "Failed"),
        ("dead", "Gave up"),
        ("done", "Done"),
        ("cancelled", "Cancelled"),
    ]
    for state in QueuedTask.State.values:
        assert f"A {state} task" in page
    assert "Somebody else" not in page
    assert (page.count(">Cancel<"), page.count(">Retry<")) == (2, 3)


def test_groups_are_cut_and_open_page_by_page(
    client: Client, alice: User, django_assert_max_num_queries: Any
) -> None:
    QueuedTask.objects.bulk_create(
        QueuedTask(owner=alice, text=f"Number {n}.", state="done") for n in range(70)
    )
    with django_assert_max_num_queries(12):
        page = page_at(client)
    assert page.count('class="job"') == 10
    assert "All 70" in page

    seen: list[str] = []
    address = "/jobs/?state=done"
    while address:
        page = page_at(client, address)
        seen += re.findall(r"Number (\d+)\.", page)
        older = re.search(r'href="([^"]+)">Older', page)
        address = older[1].replace("&amp;", "&") if older else ""
    assert sorted(set(seen), key=int) == [str(n) for n in range(70)]
    assert page_at(client, "/jobs/?state=dead").count('class="job"') == 0
    page_at(client, "/jobs/?state=gone", 404)
    page_at(client, f"/jobs/?state=done&before={uuid.uuid4()}", 404)
    page_at(client, "/jobs/?state=done&before=x", 404)


def test_a_run_of_a_brief_has_its_name(
    client: Client, alice: User, persona: Persona
) -> None:
    brief = Schedule.objects.create(
        owner=alice,
        persona=persona,
        name="Morning news",
        prompt="What is new?",
        cron="0 7 * * *",
        time_zone="UTC",
    )
    task = queued(alice, "What is new?", persona=persona, schedule=brief, kind="brief")

    assert "Morning news</a>" in page_at(client)
    page = page_at(client, f"/jobs/{task.pk}/")
    assert f"/jobs/briefs/{brief.pk}/" in page


def test_a_result_that_is_cut_is_shown_with_why(client: Client, alice: User) -> None:
    task = queued(alice)
    cut = Done("Once upon", error_code="too_long", error="It is too long.")
    assert leases.settle_done(claimed(task), cut)

    for address in ("/jobs/", f"/jobs/{task.pk}/"):
        page = page_at(client, address)
        assert "done, cut short" in page and "It is too long." in page
        assert f"/jobs/{task.pk}/retry/" not in page
    assert "Once upon" in page and "alert warning" in page


def test_days_of_another_year_have_their_year(client: Client, alice: User) -> None:
    alice.time_zone = "Asia/Tokyo"
    alice.save()
    ended = claimed(queued(alice, "Of now"))
    assert leases.settle_done(ended, Done("42"))
    at = datetime(2033, 12, 31, 20, 5, tzinfo=UTC)
    queued(alice, "Much later", not_before=at)
    old = queue.cancel(queued(alice, "Long ago"))
    QueuedTask.objects.filter(pk=old.pk).update(
        finished_at=datetime(2021, 3, 4, 1, 2, tzinfo=UTC)
    )

    page = page_at(client)

    assert "1 Jan 2034, 05:05</time>" in page  # by the clock of the reader
    assert "4 Mar 2021, 10:02</time>" in page
    here = timezone.now().astimezone(ZoneInfo("Asia/Tokyo"))
    assert f">{here.day} {here:%b}, " in page


def test_results_and_texts_are_never_html(client: Client, alice: User) -> None:
    task = queued(alice, "<b>bold</b> <script>alert(1)</script>")
    done(task, "<img src=x onerror=alert(1)> **strong**")

    for address in ("/jobs/", f"/jobs/{task.pk}/", f"/jobs/{task.pk}/delete/"):
        page = page_at(client, address)
        assert "<script>alert" not in page and "<img" not in page
        assert "<b>bold" not in page
    page = page_at(client, f"/jobs/{task.pk}/")
    assert "&lt;img src=x onerror=alert(1)&gt; **strong**</div>" in page
    assert "$0.012" in page


@pytest.mark.parametrize(
    ("code", "words", "address"),
    [
        ("budget_exceeded", "Ask for more", "/money/budgets/#ask"),
        ("no_model", "Set up models", "/settings/models/"),
        ("upstream_auth", "Look at its host", "/settings/models/"),
    ],
)
def test_an_error_says_what_to_do(
    client: Client, alice: User, code: str, words: str, address: str
) -> None:
    task = queued(alice)
    failed(task, code, "It is <so>.")

    page = page_at(client, f"/jobs/{task.pk}/")
    assert "It is &lt;so&gt;." in page
    assert f'href="{address}">{words}' in page


# --- live ---------------------------------------------------------------------


def test_only_what_can_change_is_asked_for_again(client: Client, alice: User) -> None:
    task = queued(alice)
    address, every = polled(page_at(client)).split()
    assert every == "2s"
    assert client.get(address).status_code == 204

    done(task)
    changed = client.get(address).content.decode()
    assert "<h2" in changed and "<html" not in changed
    assert polled(changed) == ""
    assert polled(page_at(client, f"/jobs/{task.pk}/")) == ""


def test_what_waits_for_hours_is_looked_at_seldom(client: Client, alice: User) -> None:
    task = queued(alice, not_before=timezone.now() + timedelta(hours=3))
    for address in ("/jobs/", f"/jobs/{task.pk}/"):
        assert polled(page_at(client, address)).endswith("30s")


def test_a_place_in_line_is_told_when_it_changes(client: Client, alice: User) -> None:
    first, second = queued(alice), queued(alice)
    page = page_at(client, f"/jobs/{second.pk}/")
    assert "number 2 in line" in page
    address, _ = polled(page).split()
    assert client.get(address).status_code == 204
    claimed(first)
    assert "number 1 in line" in client.get(address).content.decode()


def test_the_page_of_a_task_follows_it(client: Client, alice: User) -> None:
    task = queued(alice)
    address, _ = polled(page_at(client, f"/jobs/{task.pk}/")).split()
    assert client.get(address).status_code == 204

    running = claimed(task)
    address, _ = polled(client.get(address).content.decode()).split()
    assert client.get(address).status_code == 204
    queue.cancel(running)
    assert "being cancelled" in client.get(address).content.decode()
    leases.settle_cancelled(running)
    ended = client.get(address).content.decode()
    assert polled(ended) == "" and "Retry" in ended


# --- changing -----------------------------------------------------------------


def test_cancel_retry_and_delete(client: Client, alice: User) -> None:
    task = queued(alice)
    here = f"/jobs/{task.pk}/"

    assert client.get(f"{here}delete/")["Location"] == here
    back = client.post(f"{here}cancel/", {"back": "list"})
    assert back["Location"] == "/jobs/"
    task.refresh_from_db()
    assert task.state == "cancelled"
    assert (
        "This task is over"
        in client.post(f"{here}cancel/", follow=True).content.decode()
    )
    assert client.post(f"{here}retry/")["Location"] == here
    task.refresh_from_db()
    assert task.state == "pending"
    assert client.post(f"{here}delete/")["Location"] == here
    client.post(f"{here}cancel/")
    assert "goes with its result" in page_at(client, f"{here}delete/")
    assert client.post(f"{here}delete/")["Location"] == "/jobs/"
    assert not QueuedTask.objects.exists()


def test_a_running_task_is_not_deleted(alice: User) -> None:
    task = claimed(queued(alice))
    with pytest.raises(queue.QueueRefused):
        queue.forget(task)
    assert QueuedTask.objects.exists()


def test_it_is_said_where_nobody_works(client: Client) -> None:
    assert "No worker runs at present" in client.get("/jobs/").content.decode()
    tick.tick(())
    assert "No worker runs" not in client.get("/jobs/").content.decode()
    assert "No worker runs" not in client.get("/jobs/briefs/").content.decode()
