"""The pages about briefs as a browser without scripts sees them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from channels_app.bots.channels import set_secrets
from channels_app.jobs import schedules
from channels_app.models import (
    Channel,
    ChannelRoom,
    QueuedTask,
    Schedule,
    WebhookEndpoint,
)
from channels_app.templatetags import days
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]
LIST, NEW = "/jobs/briefs/", "/jobs/briefs/new/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def inara(alice: User) -> Persona:
    """A persona of alice."""
    return create_persona(
        alice, template="companion", name="inara", display_name="Inara"
    )


@pytest.fixture
def client(client_for: ClientFor, alice: User) -> Client:
    """A browser in which alice is signed in."""
    return client_for(alice)


@pytest.fixture
def brief(inara: Persona) -> Schedule:
    """A brief of every morning."""
    return schedules.save(
        Schedule(
            owner=inara.owner,
            persona=inara,
            name="Morning paper",
            prompt="What is on my list?",
            cron="30 7 * * 1-5",
            time_zone="Europe/Berlin",
        )
    )


def filled(**changes: Any) -> dict[str, Any]:
    """Return a form as somebody filled it in."""
    return {
        "name": "Evening",
        "persona": "inara",
        "prompt": "How was my day?",
        "how": "daily",
        "time": "19:15",
        "time_zone": "Europe/Berlin",
        "target": "own",
        "tier": "",
        "cap": "",
        "enabled": "on",
        "do": "save",
    } | changes


def text(answer: Any) -> str:
    """Return what a page says, without its marks."""
    body = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return " ".join(html.unescape(body).split())


def talk_room(owner: User, *, alone: bool) -> ChannelRoom:
    channel = Channel(owner=owner, kind=Channel.Kind.NEXTCLOUD_TALK)
    set_secrets(channel, {"secret": "x" * 40})
    channel.save()
    return ChannelRoom.objects.create(
        channel=channel, external_id="abc", name="Kitchen", state="allowed", alone=alone
    )


def task_of(brief: Schedule, **fields: Any) -> QueuedTask:
    return QueuedTask.objects.create(
        owner=brief.owner,
        kind="brief",
        schedule=brief,
        text=brief.prompt,
        source="schedule",
        **fields,
    )


# --- making one ---------------------------------------------------------------


def test_the_empty_page_explains_what_a_brief_is(
    client: Client, inara: Persona
) -> None:
    page = text(client.get(LIST))
    assert "A brief is a prompt with a time" in page
    assert "Make your first brief" in page


@pytest.mark.parametrize(
    ("chosen", "cron"),
    [
        ({}, "15 19 * * *"),
        ({"how": "workdays"}, "15 19 * * 1-5"),
        ({"how": "weekly", "weekdays": ["6", "0"]}, "15 19 * * 0,6"),
        ({"how": "monthly", "month_day": "L"}, "15 19 L * *"),
        ({"how": "hourly", "hours": "6", "time": "07:00"}, "0 1-23/6 * * *"),
        ({"how": "cron", "cron": " 0  7 * * 1#2 ", "time": ""}, "0 7 * * 1#2"),
    ],
)
def test_a_time_in_plain_words_makes_a_brief(
    client: Client, inara: Persona, chosen: dict[str, Any], cron: str
) -> None:
    answer = client.post(NEW, filled(**chosen))
    brief = Schedule.objects.get()
    assert answer.headers["Location"] == f"{LIST}{brief.pk}/"
    assert (brief.cron, brief.time_zone) == (cron, "Europe/Berlin")
    assert brief.next_at is not None
    # The same choice is shown again.
    shown = client.get(f"{LIST}{brief.pk}/").content.decode()
    how = chosen.get("how", "daily")
    assert re.search(rf'name="how" value="{how}"[^>]*checked', shown)


def test_everything_that_was_said_is_kept(
    client: Client, inara: Persona, alice: User
) -> None:
    room = talk_room(alice, alone=False)
    values = filled(tier="2", cap="0.05", target=f"room:{room.pk}", enabled="")
    client.post(NEW, values)
    brief = Schedule.objects.get()
    assert (brief.tier, brief.cap_nano_usd, brief.enabled) == (2, 50_000_000, False)
    assert (brief.delivery, brief.room) == ("nextcloud_talk", room)
    page = client.get(f"{LIST}{brief.pk}/").content.decode()
    assert 'value="0.05"' in page
    assert "Others read there: private files and memory stay out." in page


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": ""}, "Give the brief a name."),
        ({"prompt": " "}, "Write what is to be asked."),
        ({"how": "weekly"}, "Choose at least one day."),
        ({"time": "25:00"}, "Enter a time such as 07:00."),
        ({"time": ""}, "Enter a time such as 07:00."),
        ({"how": "cron", "cron": "* * * * *"}, "at most once every 5 minutes"),
        ({"how": "cron", "cron": "0 7"}, "Write five fields"),
        ({"cap": "0"}, "Enter an amount above 0."),
        ({"target": "room:1"}, "That place is gone: choose another one."),
        ({"target": ""}, "Choose where the answer goes."),
        ({"persona": "tina"}, "There is no such persona."),
        ({"time_zone": "Mars/Olympus"}, "There is no such time zone."),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_lost(
    client: Client, inara: Persona, wrong: dict[str, Any], sentence: str
) -> None:
    answer = client.post(NEW, filled(**wrong))
    assert answer.status_code == 400
    assert sentence in text(answer)
    body = answer.content.decode()
    for name in {"name", "prompt"} - wrong.keys():
        assert html.escape(filled()[name]) in body
    assert not Schedule.objects.exists()


def test_the_next_runs_are_shown_without_a_script_and_nothing_is_saved(
    client: Client, inara: Persona
) -> None:
    answer = client.post(NEW, filled(do="preview"))
    page = text(answer)
    assert answer.status_code == 200
    assert "Every day at 19:15 (Europe/Berlin)" in page
    assert page.count(", 19:15") == 5
    assert "How was my day?" in answer.content.decode()
    assert "Free (in the house); answered by builtin." in page
    assert not Schedule.objects.exists()


def test_htmx_gets_the_part_that_changes(client: Client, inara: Persona) -> None:
    values = filled(name="", time="06:00")
    del values["do"]
    answer = client.post(NEW, values, headers=HTMX)
    assert answer.status_code == 200
    assert "<html" not in answer.content.decode()
    assert text(answer).count(", 06:00") == 5
    unfinished = client.post(NEW, values | {"how": "weekly"}, headers=HTMX)
    assert "Choose at least one day." in text(unfinished)


def test_no_time_zone_of_the_machine_is_offered(client: Client, inara: Persona) -> None:
    body = client.get(NEW).content.decode()
    assert '<option value="Europe/Berlin"' in body
    assert '"localtime"' not in body
    assert '"Factory"' not in body
    answer = client.post(NEW, filled(time_zone="localtime"))
    assert answer.status_code == 400
    assert "There is no such time zone." in text(answer)


def test_a_price_above_the_cap_is_told(
    client: Client, inara: Persona, brief: Schedule
) -> None:
    task_of(brief, state="done", cost_nano_usd=3_000_000, model="x")
    values = filled(name=brief.name, prompt=brief.prompt, do="preview")
    address = f"{LIST}{brief.pk}/"
    page = text(client.post(address, values | {"cap": "0.002"}))
    assert "About $0.003 a run, about $0.091 a month; answered by x." in page
    assert "more than a run may cost" in page
    page = text(client.post(address, values | {"cap": "0.003"}))
    assert "more than a run may cost" not in page


def test_a_prompt_is_tried_once_for_a_form(
    client: Client, inara: Persona, alice: User
) -> None:
    values = filled(do="try", tier="1", cap="0.02", try_key="one-form")
    for _ in range(2):
        answer = client.post(NEW, values)
        assert answer.status_code == 200
        assert "Your prompt waits for its turn" in text(answer)
    task = QueuedTask.objects.get()
    assert (task.kind, task.text, task.by_hand) == ("trial", "How was my day?", True)
    assert (task.tier, task.cap_nano_usd, task.schedule) == (1, 20_000_000, None)
    assert not Schedule.objects.exists()

    QueuedTask.objects.update(
        state="done", result="It was <fine>.", cost_nano_usd=4_000_000, model="paid"
    )
    address = f"{LIST}tries/{task.pk}/"
    assert client.get(address).headers["Location"] == f"/jobs/{task.pk}/"
    shown = client.get(address, headers=HTMX)
    assert "Answered by paid, $0.004." in text(shown)
    assert "It was &lt;fine&gt;." in shown.content.decode()


def test_nothing_is_tried_without_a_prompt(client: Client, inara: Persona) -> None:
    answer = client.post(NEW, filled(do="try", prompt=" "))
    assert answer.status_code == 400
    assert "What to ask: Write what is to be asked." in text(answer)
    assert not QueuedTask.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cap": "0,5"}, "A run may cost at most (USD): Enter a number."),
        ({"cap": "0"}, "A run may cost at most (USD): Enter an amount above 0."),
        ({"tier": "9"}, "How much thought: Select a valid choice."),
        ({"persona": "nobody"}, "Who answers: There is no such persona."),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["form", "htmx"])
def test_nothing_is_tried_while_what_limits_it_is_wrong(
    client: Client,
    inara: Persona,
    wrong: dict[str, str],
    sentence: str,
    headers: dict[str, str],
) -> None:
    answer = client.post(NEW, filled(do="try", **wrong), headers=headers)
    assert sentence in text(answer)
    assert not QueuedTask.objects.exists()
    # A name or a time is not needed for it.
    assert client.post(NEW, filled(do="try", name="", time="")).status_code == 200
    assert QueuedTask.objects.count() == 1


# --- where it goes ------------------------------------------------------------


def test_only_what_exists_is_offered_and_the_rest_is_one_link_away(
    client: Client, inara: Persona, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(email="")
    page = client.get(NEW)
    assert page.content.decode().count('name="target"') == 1
    for link in ("/settings/channels/", "/account/email/", "/settings/webhooks/"):
        assert f'href="{link}"' in page.content.decode()

    User.objects.filter(pk=alice.pk).update(email="a@example.org")
    room = talk_room(alice, alone=True)
    talk_only_heard = ChannelRoom.objects.create(
        channel=room.channel, external_id="x", name="Street", state="waiting"
    )
    WebhookEndpoint.objects.create(
        owner=alice, url="https://hooks.example.org/key", secret="x", events=[]
    )
    offered = text(client.get(NEW))
    assert "Nextcloud Talk: Kitchen" in offered
    assert str(talk_only_heard) not in offered
    assert "E-mail to a@example.org" in offered
    assert "Webhook: hooks.example.org" in offered
    assert "/key" not in offered


def test_another_place_begins_another_conversation(
    client: Client, inara: Persona, alice: User, brief: Schedule
) -> None:
    """What was said alone is not carried to where others read."""
    chat = start_conversation(alice, inara)
    Schedule.objects.filter(pk=brief.pk).update(conversation=chat)
    address = f"{LIST}{brief.pk}/"
    kept = filled(target=f"conversation:{chat.pk}")
    assert client.post(address, kept).status_code == 302
    assert Schedule.objects.get().conversation == chat
    room = talk_room(alice, alone=False)
    assert client.post(address, filled(target=f"room:{room.pk}")).status_code == 302
    saved = Schedule.objects.get()
    assert (saved.room, saved.conversation) == (room, None)


# --- made of a conversation ---------------------------------------------------


@pytest.fixture
def chat(alice: User, inara: Persona) -> Conversation:
    """A conversation with two branches; the older one is shown."""
    chat = start_conversation(alice, inara, first_text="Plans")
    said = {"conversation": chat, "owner": alice, "role": "user"}
    asked = Message.objects.create(text="First question", **said)
    answer = Message.objects.create(
        conversation=chat, owner=alice, role="assistant", text="A", parent=asked
    )
    shown = Message.objects.create(text="What of it <today>?", parent=answer, **said)
    Message.objects.create(text="On another branch", parent=answer, **said)
    chat.current_message = shown
    chat.save()
    return chat


def test_a_conversation_becomes_a_brief_that_goes_on_in_it(
    client: Client, chat: Conversation
) -> None:
    assert (
        f'href="{NEW}?conversation={chat.pk}"'
        in client.get(f"/c/{chat.pk}").content.decode()
    )
    page = client.get(f"{NEW}?conversation={chat.pk}")
    body = page.content.decode()
    assert "What of it &lt;today&gt;?</textarea>" in body
    assert "On another branch" not in text(page)
    target = f"conversation:{chat.pk}"
    assert re.search(rf'value="{target}"[^>]*checked', body)
    client.post(f"{NEW}?conversation={chat.pk}", filled(target=target))
    assert Schedule.objects.get().conversation == chat


@pytest.mark.parametrize(
    ("said", "prompt", "how", "holds", "note"),
    [
        (
            "every day at noon name a colour",
            "Name a colour",
            "daily",
            'name="time" value="12:00"',
            "When it comes was read from your message.",
        ),
        (
            "Every 30 minutes tell me the time",
            "Tell me the time",
            "cron",
            'name="cron" value="*/30 * * * *"',
            "When it comes was read from your message.",
        ),
        (
            "Name a colour every evening",
            "Name a colour",
            "daily",
            'name="time" value="18:00"',
            "says no hour, so one was assumed",
        ),
        ("Name a colour", "Name a colour", "daily", 'name="time" value="07:00"', ""),
    ],
)
def test_the_time_that_the_message_says_is_the_time_of_the_brief(
    client: Client,
    chat: Conversation,
    said: str,
    prompt: str,
    how: str,
    holds: str,
    note: str,
) -> None:
    shown = chat.current_message
    assert shown is not None
    Message.objects.filter(pk=shown.pk).update(text=said)
    page = client.get(f"{NEW}?conversation={chat.pk}")
    body = page.content.decode()
    assert f"\n{prompt}</textarea>" in body
    assert re.search(rf'name="how" value="{how}"[^>]*checked', body)
    assert holds in body
    assert note in text(page)
    assert ("alert info" in body) is bool(note)


def test_a_conversation_goes_on_with_its_own_persona_alone(
    client: Client, chat: Conversation, alice: User
) -> None:
    create_persona(alice, template="developer", name="tina", display_name="Tina")
    values = filled(persona="tina", target=f"conversation:{chat.pk}")
    answer = client.post(f"{NEW}?conversation={chat.pk}", values)
    assert answer.status_code == 400
    assert "In this conversation Inara answers." in text(answer)
    assert not Schedule.objects.exists()


def test_a_temporary_conversation_stays_what_it_is(
    client: Client, chat: Conversation
) -> None:
    Conversation.objects.update(temporary=True)
    page = client.get(f"{NEW}?conversation={chat.pk}")
    assert "is temporary and will be gone" in text(page)
    assert f"conversation:{chat.pk}" not in page.content.decode()
    assert re.search(r'value="own"[^>]*checked', page.content.decode())


def test_a_shared_conversation_goes_into_its_room_or_stays_out_of_sight(
    client: Client, chat: Conversation, alice: User
) -> None:
    Conversation.objects.update(shared=True)
    page = client.get(f"{NEW}?conversation={chat.pk}")
    assert "where only you read" in text(page)
    room = talk_room(alice, alone=False)
    ChannelRoom.objects.update(conversation=chat)
    page = client.get(f"{NEW}?conversation={chat.pk}")
    assert "answers go into that room, without private files" in text(page)
    assert re.search(rf'value="room:{room.pk}"[^>]*checked', page.content.decode())


@pytest.mark.parametrize("id", ["hers", "nonsense", "0" * 32])
def test_nobody_makes_a_brief_of_anothers_conversation(
    client_for: ClientFor, bob: User, chat: Conversation, id: str
) -> None:
    id = str(chat.pk) if id == "hers" else id
    assert client_for(bob).get(f"{NEW}?conversation={id}").status_code == 404


# --- its buttons and its history ----------------------------------------------


def test_the_list_tells_when_it_comes_and_how_it_went(
    client: Client, brief: Schedule
) -> None:
    task_of(brief, state="failed", error="The host did not answer.", model="x")
    page = text(client.get(LIST))
    assert "Inara · Every weekday at 07:30 (Europe/Berlin)" in page
    assert re.search(r"Next .* from now , \w{3} \d+ \w+, 07:30", page)
    assert "Last failed now , unknown" in page
    assert "The host did not answer." in page
    Schedule.objects.update(fault="The room is gone.")
    assert "The room is gone." in text(client.get(LIST))


def test_pause_resume_run_now_and_delete(client: Client, brief: Schedule) -> None:
    address = f"{LIST}{brief.pk}/"
    assert "is paused" in text(
        client.post(f"{address}switch/", {"on": "0"}, follow=True)
    )
    brief.refresh_from_db()
    assert (brief.enabled, brief.next_at) == (False, None)
    assert "Paused" in text(client.get(LIST))
    client.post(f"{address}switch/", {"on": "1", "back": "brief"})
    brief.refresh_from_db()
    assert brief.enabled
    assert brief.next_at is not None

    ran = client.post(f"{address}run/", follow=True)
    assert "“Morning paper” runs now." in text(ran)
    task = QueuedTask.objects.get()
    assert (task.schedule, task.by_hand, task.state) == (brief, True, "pending")
    assert 'hx-trigger="every 1500ms"' in ran.content.decode()
    assert "waiting by hand" in text(ran)
    again = text(client.post(f"{address}run/", follow=True))
    assert "“Morning paper” is running already." in again
    assert "runs now." not in again
    assert QueuedTask.objects.get() == task

    assert "It never runs again." in text(client.get(f"{address}delete/"))
    client.post(f"{address}delete/")
    assert not Schedule.objects.exists()
    task.refresh_from_db()
    assert task.state == "cancelled"


def test_dates_of_another_year_show_it(
    client: Client, brief: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_year = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)  # 2027 in Berlin
    clock = SimpleNamespace(now=lambda: new_year + timedelta(hours=12))
    monkeypatch.setattr(days, "timezone", clock)
    for moment in (new_year, new_year - timedelta(hours=1)):
        task_of(brief, state="done", due_at=moment, started_at=moment)
    history = text(client.get(f"{LIST}{brief.pk}/history/"))
    assert "1 Jan, 00:30 1 Jan, 00:30:00" in history
    assert "31 Dec 2026, 23:30 31 Dec 2026, 23:30:00" in history

    Schedule.objects.update(next_at=new_year + timedelta(days=1))
    assert ", Sat 2 Jan, 00:30 ." in text(client.get(LIST))
    Schedule.objects.update(next_at=new_year + timedelta(days=365))
    assert ", Sat 1 Jan 2028, 00:30 ." in text(client.get(LIST))


def test_a_paused_brief_does_not_promise_its_runs(
    client: Client, brief: Schedule
) -> None:
    address, paused = f"{LIST}{brief.pk}/", "It is switched off. Switched on, it would"
    page = text(client.get(address))
    assert "The next runs" in page
    assert "from now" in page
    schedules.switch(brief, False)
    page = text(client.get(address))
    assert f"{paused} come" in page
    assert "The next runs" not in page
    assert "from now" not in page
    switched_on = client.post(address, filled(do="preview"), headers=HTMX)
    assert paused not in text(switched_on)


def test_the_history_is_paged_and_its_part_alone_goes_to_htmx(
    client: Client, brief: Schedule
) -> None:
    chat = start_conversation(brief.owner, brief.persona)
    for number in range(12):
        task_of(brief, state="done", model=f"m{number}", cost_nano_usd=0)
    QueuedTask.objects.filter(model="m11").update(late=True, conversation=chat)
    address = f"{LIST}{brief.pk}/history/"
    first = client.get(address)
    assert "Page 1 of 2" in text(first)
    assert "late" in text(first)
    assert f'href="/c/{chat.pk}"' in first.content.decode()
    assert "hx-trigger" not in first.content.decode().split("brief-runs")[1]
    second = client.get(f"{address}?page=2", headers=HTMX)
    assert "m0" in text(second)
    assert "m11" not in text(second)
    assert "<html" not in second.content.decode()
    assert client.get(f"{address}?page=nonsense").status_code == 200


def test_an_expression_that_is_no_simple_choice_opens_as_advanced(
    client: Client, brief: Schedule
) -> None:
    Schedule.objects.update(cron="0 7 * * 1#2")
    body = client.get(f"{LIST}{brief.pk}/").content.decode()
    assert re.search(r'name="how" value="cron"[^>]*checked', body)
    assert 'value="0 7 * * 1#2"' in body


def test_what_was_asked_for_in_a_chat_waits_for_a_yes(
    client: Client, client_for: ClientFor, bob: User, brief: Schedule
) -> None:
    until = timezone.now() + timedelta(minutes=30)
    Schedule.objects.update(proposed_until=until, next_at=None)
    page = text(client.get(LIST))
    assert "Waiting for your yes" in page
    assert "Inara is asked: “What is on my list?”" in page
    address = f"{LIST}proposals/{brief.pk}/"
    assert client_for(bob).post(address, {"answer": "yes"}).status_code == 404
    assert client.post(address).status_code == 302  # neither yes nor no
    assert Schedule.objects.get().proposed_until == until
    client.post(address, {"answer": "yes"})
    saved = Schedule.objects.get()
    assert saved.proposed_until is None
    assert saved.next_at is not None
    assert client.post(address, {"answer": "no"}).status_code == 404

    Schedule.objects.update(proposed_until=until)
    client.post(address, {"answer": "no"})
    assert not Schedule.objects.exists()


def test_strangers_find_nothing(
    client_for: ClientFor, bob: User, brief: Schedule
) -> None:
    his = client_for(bob)
    assert brief.name not in text(his.get(LIST))
    for end in ("", "history/", "delete/"):
        assert his.get(f"{LIST}{brief.pk}/{end}").status_code == 404
    for end in ("run/", "switch/", "delete/", ""):
        assert his.post(f"{LIST}{brief.pk}/{end}", filled()).status_code == 404
    assert Client().get(LIST).status_code == 302
