"""The price tag of a brief: from its last runs, or by a rehearsal that calls nobody."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from accounts.models import User
from channels_app.jobs import prices
from channels_app.jobs.price_words import price_in_words, price_source
from channels_app.models import Channel, ChannelRoom, QueuedTask, Schedule
from ledger.models import LedgerEntry
from personas.conversations import start_conversation
from personas.files import USER
from personas.models import Message, Persona, PersonaFile
from personas.personas import create_persona
from routing.models import Host, Model, RoleSlot

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def inara(alice: User) -> Persona:
    """A persona of alice."""
    return create_persona(
        alice, template="companion", name="inara", display_name="Inara"
    )


@pytest.fixture
def paid() -> Model:
    """A model that costs a dollar in and ten out, the first of the chain."""
    host = Host.objects.create(name="Paid", type=Host.Type.LOCAL_OPENAI)
    model = Model.objects.create(
        host=host,
        label="paid",
        name="paid",
        input_price_nano_usd_per_mtok=1_000_000_000,
        output_price_nano_usd_per_mtok=10_000_000_000,
    )
    RoleSlot.objects.create(role="chat", position=0, model=model)
    return model


@pytest.fixture
def brief(inara: Persona) -> Schedule:
    """A brief of every morning."""
    return Schedule.objects.create(
        owner=inara.owner,
        persona=inara,
        name="Morning",
        prompt="What is on my list?",
        cron="0 7 * * *",
        time_zone="Europe/Berlin",
    )


def ran(brief: Schedule, cost: int | None, model: str = "paid") -> None:
    QueuedTask.objects.create(
        owner=brief.owner,
        kind="brief",
        schedule=brief,
        text=brief.prompt,
        state="done",
        cost_nano_usd=cost,
        model=model,
    )


def test_a_rehearsal_prices_the_model_that_would_answer(
    brief: Schedule, paid: Model
) -> None:
    tag = prices.price_of(brief, NOW)
    assert (tag.kind, tag.model, tag.runs) == ("amount", "paid", 0)
    # 500 tokens out are half a cent; the persona's files come on top.
    assert tag.run_nano_usd is not None
    assert 5_000_000 < tag.run_nano_usd < 8_000_000
    assert tag.month_nano_usd == round(tag.run_nano_usd * 365 / 12)
    assert price_in_words(tag).startswith("About $0.005")
    assert "answered by paid" in price_in_words(tag)
    assert not LedgerEntry.objects.exists()
    assert not QueuedTask.objects.exists()
    assert not Message.objects.exists()


def test_what_others_read_is_rehearsed_without_private_files(
    brief: Schedule, paid: Model, inara: Persona
) -> None:
    PersonaFile.objects.filter(persona=inara, name=USER).update(text="words " * 600)
    channel = Channel.objects.create(
        owner=inara.owner, kind="nextcloud_talk", persona=inara
    )
    whole = prices.rehearse(brief).run_nano_usd
    brief.room = ChannelRoom.objects.create(channel=channel, external_id="abc")
    without = prices.rehearse(brief).run_nano_usd
    assert whole is not None
    assert without is not None
    assert whole > without + 300_000


def test_what_was_said_before_belongs_to_the_prompt(
    brief: Schedule, paid: Model, inara: Persona
) -> None:
    alone = prices.rehearse(brief).run_nano_usd
    chat = start_conversation(inara.owner, inara)
    chat.current_message = Message.objects.create(
        conversation=chat, owner=inara.owner, role="user", text="words " * 2000
    )
    chat.save()
    brief.conversation = chat
    going_on = prices.rehearse(brief).run_nano_usd
    assert alone is not None
    assert going_on is not None
    assert going_on > alone + 1_000_000


def test_an_unknown_price_is_never_zero(brief: Schedule, paid: Model) -> None:
    Model.objects.update(
        input_price_nano_usd_per_mtok=None, output_price_nano_usd_per_mtok=None
    )
    tag = prices.price_of(brief, NOW)
    assert (tag.kind, tag.run_nano_usd, tag.month_nano_usd) == ("unknown", None, None)
    assert price_in_words(tag).startswith("Unknown price; answered by paid.")
    assert "$" not in price_in_words(tag)


def test_what_runs_in_the_house_is_free(brief: Schedule, paid: Model) -> None:
    Model.objects.update(
        input_price_nano_usd_per_mtok=0, output_price_nano_usd_per_mtok=0
    )
    Host.objects.filter(pk=paid.host_id).update(is_local=True)
    assert price_in_words(prices.price_of(brief, NOW)) == (
        "Free (in the house); answered by paid."
    )


def test_nobody_to_answer_is_told_with_its_reason(
    brief: Schedule, paid: Model, inara: Persona
) -> None:
    inara.private = True
    tag = prices.price_of(brief, NOW)
    assert tag.kind == "refused"
    assert price_in_words(tag).startswith("Nobody would answer now.")
    assert "private" in price_in_words(tag)


def test_the_last_runs_are_the_price_of_what_ran_before(
    brief: Schedule, paid: Model
) -> None:
    for cost in (9_000_000, 1_000_000, 2_000_000, None):
        ran(brief, cost)
    tag = prices.price_of(brief, NOW)
    assert (tag.run_nano_usd, tag.low_nano_usd, tag.high_nano_usd) == (
        2_000_000,
        1_000_000,
        9_000_000,
    )
    assert price_in_words(tag) == (
        "About $0.002 ($0.001 to $0.009) a run, about $0.061 a month; answered by paid."
    )
    assert price_source(tag) == "From the last 3 runs; 1 more of unknown cost."


def test_runs_of_unknown_cost_make_an_unknown_price(
    brief: Schedule, paid: Model
) -> None:
    ran(brief, None)
    tag = prices.price_of(brief, NOW)
    assert (tag.kind, tag.run_nano_usd) == ("unknown", None)
    assert price_source(tag) == "From its last runs, whose cost is unknown."


def test_another_prompt_is_rehearsed_anew(brief: Schedule, paid: Model) -> None:
    ran(brief, 1_000_000)
    assert prices.price_of(brief, NOW).runs == 1
    brief.prompt = "Something else"
    assert prices.price_of(brief, NOW).runs == 0


@pytest.mark.parametrize(
    ("cron", "a_month"),
    [
        ("0 7 * * *", 30.4),
        ("0 7 * * 1-5", 21.7),
        ("0 7 1 * *", 1.0),
        ("0 7 24 12 *", 1 / 12),
        ("*/5 * * * *", 8766.0),
        ("nonsense", 0.0),
    ],
)
def test_how_often_it_comes_in_a_month(
    brief: Schedule, cron: str, a_month: float
) -> None:
    brief.cron = cron
    assert prices.runs_a_month(brief, NOW) == pytest.approx(a_month, rel=0.01)


def test_without_a_time_no_month_is_told(brief: Schedule, paid: Model) -> None:
    ran(brief, 2_000_000)
    brief.cron = ""
    said = price_in_words(prices.price_of(brief, NOW))
    assert said == "About $0.002 a run; answered by paid."


def test_what_a_subscription_covers_is_told_at_list_prices(
    brief: Schedule, paid: Model
) -> None:
    Host.objects.filter(pk=paid.host_id).update(
        type=Host.Type.CLAUDE_CLI, credential=Host.Credential.LOGIN
    )
    said = price_in_words(prices.price_of(brief, NOW))
    assert said.startswith("Covered by a subscription ($0.005")
    assert said.endswith("at list prices); answered by paid.")
