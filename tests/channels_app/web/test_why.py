"""“Why this model?”: what is stored, nothing else, and for the owner alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient, Client

from accounts.models import User
from channels_app.web.explanation import explain, redo_steps
from ledger import entries
from ledger.money import write_amount
from ledger.types import Reservation, Settlement
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona
from routing.models import Host, Model, RouteDecision
from tests.support.ledger import make_caller, make_reservation

SignIn = Callable[..., Client]
ATTEMPTS = [
    {
        "label": "near",
        "model_name": "near-1",
        "host": "Box",
        "tier": 1,
        "outcome": "failed",
        "error_code": "upstream_timeout",
        "error": "The host did not answer in time.",
        "elapsed_ms": 10_040,
        "first_token_ms": None,
        "input_tokens": 1200,
        "output_tokens": None,
        "cost_nano_usd": None,
        "estimated": True,
        "starts_at": 0,
    },
    {
        "label": "far",
        "model_name": "far-2",
        "host": "Vendor",
        "tier": 2,
        "outcome": "complete",
        "error_code": "",
        "error": "",
        "elapsed_ms": 2_300,
        "first_token_ms": 400,
        "input_tokens": 1234,
        "output_tokens": 56,
        "cost_nano_usd": 3_100_000,
        "estimated": True,
        "starts_at": 0,
    },
]


@pytest.fixture
def answer(alice: User, persona: Persona) -> Message:
    """An answer that alice got from a model of tier 2."""
    chat = start_conversation(alice, persona)
    asked = Message.objects.create(conversation=chat, owner=alice, role="user")
    answer = Message.objects.create(
        conversation=chat,
        owner=alice,
        role="assistant",
        parent=asked,
        text="Hello",
        model="far",
        tier=2,
        attempts=2,
        input_tokens=1234,
        output_tokens=None,
        cost_nano_usd=None,
        estimated=True,
    )
    Conversation.objects.filter(pk=chat.pk).update(current_message=answer)
    return answer


def decided(answer: Message, **fields: Any) -> RouteDecision:
    values = {
        "role": "chat",
        "requested": "auto",
        "tier": 1,
        "decided_by": "classifier",
        "kind": "short question",
        "confidence": 0.84,
        "reason": "a plain question",
        "plan": [
            {"label": "near", "tier": 1, "reason": "cheapest"},
            {"label": "far", "tier": 2, "reason": "next"},
            {"label": "spare", "tier": 3, "reason": "next"},
            {"label": "shut", "reason": "its host is resting", "left_out": True},
        ],
        "notices": ["Half of your budget is used."],
        "chosen": "far",
        "attempts": ATTEMPTS,
        "neighbours": {
            "1": {"label": "near", "cost_nano_usd": 0},
            "3": {"label": "spare", "cost_nano_usd": None},
        },
    }
    return RouteDecision.objects.create(
        owner=answer.owner, turn_id=answer.pk, **(values | fields)
    )


def page_of(client: Client, answer: Message, **options: Any) -> str:
    response = client.get(f"/c/{answer.conversation_id}/why/{answer.pk}", **options)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_the_page_shows_what_was_stored(answer: Message, client_for: SignIn) -> None:
    decided(answer)

    html = page_of(client_for(answer.owner), answer)

    for text in (
        "A small model judged the message.",
        "a plain question",
        "84 %",
        "short question",
        "The host did not answer in time.",
        "10.0 s in all · 1,200 in, – out · –",
        "first text after 400 ms · 2.3 s in all · 1,234 in, 56 out",
        "$0.0031 (estimated)",
        "Half of your budget is used.",
        "Stood ready: spare",
        "Left out: shut (its host is resting)",
        '<td>1 · Quick</td><td>near</td><td class="num">free</td>',
        '<td>3 · Deep</td><td>spare</td><td class="num">–</td>',
    ):
        assert text in html
    assert "No decision was stored" not in html


def test_an_answer_without_a_decision_says_so(
    answer: Message, client_for: SignIn
) -> None:
    html = page_of(client_for(answer.owner), answer)

    assert "No decision was stored for this answer" in html
    assert "<dt>Tokens</dt><dd>1,234 in, – out</dd>" in html
    assert "<dt>Cost</dt><dd>–</dd>" in html
    assert "Who was asked" not in html


def test_a_decision_without_attempts_says_so(
    answer: Message, client_for: SignIn
) -> None:
    decided(answer, attempts=[], neighbours={})
    client = client_for(answer.owner)

    assert "How the calls went was not stored" in page_of(client, answer)

    Message.objects.filter(pk=answer.pk).update(state="generating")
    html = page_of(client, answer)
    assert "is still being written; how its calls go" in html
    assert "not stored" not in html


def booked(answer: Message, **changes: Any) -> Reservation:
    """Reserve a call for the answer, as its turn does."""
    user = changes.pop("user", answer.owner)
    caller = make_caller(user, turn_id=answer.pk)
    reservation = make_reservation(user, caller=caller, **changes)
    entries.reserve(reservation)
    return reservation


def test_after_a_crash_the_calls_are_those_of_the_ledger(
    answer: Message, charlie: User, client_for: SignIn
) -> None:
    decided(answer, attempts=[], neighbours={})
    judge = booked(answer, role="classify", model_id="judge")
    entries.settle(judge.attempt_id, Settlement("complete", 1, input_tokens=1))
    first = booked(answer, model_id="far", model_name="far-2", tier=2)
    client = client_for(answer.owner)

    html = page_of(client, answer)
    assert '<strong>far</strong> <span class="badge warn">not closed yet</span>' in html
    assert "not stored" not in html

    used = Settlement(
        "interrupted",
        1500,
        error_code=entries.ABANDONED,
        input_tokens=1000,
        output_tokens=200,
        estimated=True,
    )
    cost = entries.settle(first.attempt_id, used).cost_nano_usd
    booked(answer, user=charlie, model_id="not hers", attempt_number=2)
    html = page_of(client, answer)
    for text in (
        '<strong>far</strong> <span class="badge warn">stopped</span>',
        "Cortex stopped during this call.",
        "1.5 s in all · 1,000 in, 200 out",
        f"{write_amount(cost)} (estimated)",
        "is what the ledger has booked.",
        "Stood ready: near, spare",
    ):
        assert text in html
    for text in ("<strong>judge", "not hers", "not stored"):
        assert text not in html


def test_calls_that_the_decision_knows_are_not_told_twice(
    answer: Message, client_for: SignIn
) -> None:
    decided(answer, attempts=ATTEMPTS[:1])
    booked(answer, model_id="near")
    booked(answer, model_id="far", attempt_number=2)
    found = explain(answer.owner, answer)
    assert [each.label for each in found.asked] == ["near", "far"]
    answer.state = Message.State.GENERATING
    assert [each.label for each in explain(answer.owner, answer).asked] == ["near"]


def test_a_turn_that_asked_nobody_says_so(answer: Message, client_for: SignIn) -> None:
    Message.objects.filter(pk=answer.pk).update(
        state="failed", text="", model="", attempts=0, error_message="None is set up."
    )
    html = page_of(client_for(answer.owner), answer)
    assert "No model was asked. None is set up." in html
    assert "No decision was stored" not in html


def test_a_script_gets_the_part_without_the_page(
    answer: Message, client_for: SignIn
) -> None:
    part = page_of(
        client_for(answer.owner), answer, headers={"X-Requested-With": "fetch"}
    )

    assert part.startswith('<div class="why-panel">')


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_else_sees_or_asks(
    answer: Message, charlie: User, admin_user: User, client_for: SignIn, method: str
) -> None:
    decided(answer)
    address = "why" if method == "get" else "redo"
    for other in (charlie, admin_user):
        call = getattr(client_for(other), method)
        path = f"/c/{answer.conversation_id}/{address}/{answer.pk}"
        assert call(path, {"tier": "1"}).status_code == 404
    assert explain(charlie, answer).known is False


def test_only_answers_of_the_conversation_are_explained(
    answer: Message, persona: Persona, client_for: SignIn
) -> None:
    other = start_conversation(answer.owner, persona)
    client = client_for(answer.owner)
    assert client.get(f"/c/{other.pk}/why/{answer.pk}").status_code == 404
    path = f"/c/{answer.conversation_id}/why/{answer.parent_id}"
    assert client.get(path).status_code == 404


# --- another try ------------------------------------------------------------------


def make_model(label: str, tier: int, *, is_local: bool = False) -> Model:
    host = Host.objects.create(
        name=label, type=Host.Type.SCRIPTED, is_local=is_local, base_url="http://box/v1"
    )
    return Model.objects.create(host=host, label=label, name=label, tier=tier)


def refusals(answer: Message) -> tuple[str, str]:
    down, up = redo_steps(answer.owner, answer)
    assert (down.tier, up.tier) == ((answer.tier or 1) - 1, (answer.tier or 1) + 1)
    return down.refusal, up.refusal


def test_a_tier_without_a_model_is_refused_with_a_reason(answer: Message) -> None:
    make_model("small", 1)
    assert refusals(answer) == ("", "No model of the tier “3 · Deep” is set up.")
    make_model("big", 3)
    assert refusals(answer) == ("", "")


def test_there_is_nothing_beyond_the_ends(answer: Message) -> None:
    for tier in (1, 2, 3):
        make_model(f"m{tier}", tier)
    answer.tier = 1
    assert refusals(answer) == ("There is no tier below “Quick”.", "")
    answer.tier = 3
    assert refusals(answer) == ("", "There is no tier above “Deep”.")


def test_private_chats_are_answered_again_in_the_house_alone(answer: Message) -> None:
    make_model("outside", 1)
    make_model("inside", 3, is_local=True)
    answer.conversation.private = True
    assert refusals(answer) == (
        "No model of the tier “1 · Quick” is set up in the house.",
        "",
    )


def test_an_answer_being_written_is_not_asked_for_again(answer: Message) -> None:
    answer.state = Message.State.GENERATING
    assert set(refusals(answer)) == {"This answer is still being written."}


@pytest.mark.usefixtures("turns_running")
async def test_the_form_asks_again_without_a_script(
    answer: Message, seen: Callable[..., Any]
) -> None:
    await seen(make_model, "big", 3)
    client = AsyncClient()
    await client.aforce_login(answer.owner)
    form = {"tier": "3", "client_id": str(uuid.uuid4())}
    path = f"/c/{answer.conversation_id}/redo/{answer.pk}"

    for _ in range(2):  # sent twice, asked once
        response = await client.post(path, form)
        assert response.status_code == 302
        assert response["Location"] == f"/c/{answer.conversation_id}"

    def answers() -> list[Message]:
        return list(
            Message.objects.filter(parent=answer.parent_id).exclude(state="generating")
        )

    async with asyncio.timeout(10):
        while len(await seen(answers)) < 2:
            await asyncio.sleep(0.02)
    newest = (await seen(answers))[-1]
    assert (newest.model, newest.tier, newest.state) == ("big", 3, "complete")
    decision = await seen(lambda: RouteDecision.objects.get(turn_id=newest.pk))
    assert decision.redo_of == answer.pk
    assert decision.decided_by == "explicit"


@pytest.mark.usefixtures("turns_running")
async def test_a_wrong_tier_leads_back_with_a_sentence(answer: Message) -> None:
    client = AsyncClient()
    await client.aforce_login(answer.owner)
    path = f"/c/{answer.conversation_id}/redo/{answer.pk}"

    response = await client.post(path, {"tier": "9"}, follow=True)

    assert "The tier must be 1, 2 or 3." in response.content.decode()


def test_a_call_that_never_happened_has_no_price(answer: Message) -> None:
    Message.objects.filter(pk=answer.pk).update(
        state="failed", text="", input_tokens=0, output_tokens=0, cost_nano_usd=0
    )
    answer.refresh_from_db()
    failed = {**ATTEMPTS[0], "input_tokens": 0, "output_tokens": 0, "cost_nano_usd": 0}
    decided(answer, attempts=[failed])

    told = explain(answer.owner, answer)

    assert (told.cost, told.neighbours) == ("–", ())
    assert [each.cost for each in told.attempts] == ["–"]
