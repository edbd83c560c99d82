"""Briefs asked for in a chat: proposed, and set up only by the owner's yes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import proposals, schedules
from channels_app.jobs.proposals import Spot
from channels_app.models import Channel, ChannelRoom, Schedule
from channels_app.slash_commands import Place, Result, parse, run
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from tests.support.chat import scripted_model

WISH = "Every morning at seven, tell me three things worth knowing today."
PROMPT = "Tell me three things worth knowing today."


@pytest.fixture
def conversation(alice: User, persona: Persona) -> Conversation:
    alice.time_zone = "Europe/Berlin"
    alice.save()
    return start_conversation(alice, persona, first_text="Hello there")


@pytest.fixture
def place(alice: User, persona: Persona, conversation: Conversation) -> Place:
    return Place(alice, persona, conversation, "web")


def say(text: str, place: Place) -> Result | None:
    """Say something; ``None`` = it is a message like any other."""
    command = parse(text)
    return run(command, place) if command else None


def test_a_wish_becomes_a_brief_by_a_yes_and_not_before(place: Place) -> None:
    told = say(WISH, place)
    assert told is not None
    for words in (
        "Every day at 07:00 (Europe/Berlin)",
        f"“{PROMPT}”",
        "into this conversation",
        "**yes**",
    ):
        assert words in told.text
    assert [(each.text, each.literal) for each in told.choices] == [
        ("/brief yes", False),
        ("/brief no", False),
        (WISH, True),
    ]
    assert not schedules.schedules_visible_to(place.user).exists()
    (proposal,) = Schedule.objects.all()
    assert proposal.next_at is None

    agreed = say("Yes, please!", place)
    assert agreed is not None
    assert "comes every day at 07:00 (Europe/Berlin)" in agreed.text
    (brief,) = schedules.schedules_visible_to(place.user)
    assert brief == proposal
    assert (brief.prompt, brief.cron, brief.enabled) == (PROMPT, "0 7 * * *", True)
    assert brief.conversation == place.conversation
    assert brief.next_at is not None and brief.next_at > timezone.now()
    assert say("yes", place) is None  # nothing waits any more


@pytest.mark.parametrize("words", ["no", "No, thanks.", "never mind", "/brief no"])
def test_a_no_leaves_nothing(place: Place, words: str) -> None:
    say(WISH, place)
    told = say(words, place)
    assert told is not None and told.text == "All right, nothing was set up."
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("words", ["yes", "no", "OK", "sure"])
def test_these_words_are_messages_where_nothing_waits(place: Place, words: str) -> None:
    assert say(words, place) is None


def test_a_yes_counts_for_an_hour_and_in_its_place_alone(
    place: Place, alice: User, persona: Persona
) -> None:
    say(WISH, place)
    elsewhere = start_conversation(alice, persona, first_text="Elsewhere")
    assert say("yes", replace(place, conversation=elsewhere)) is None
    assert say("yes", replace(place, conversation=None)) is None
    Schedule.objects.update(proposed_until=timezone.now() - timedelta(seconds=1))
    assert say("yes", place) is None
    assert say("/brief yes", place) == Result("Nothing waits for your answer here.")
    assert not proposals.ended().exists()
    Schedule.objects.update(proposed_until=timezone.now() - timedelta(hours=2))
    assert proposals.ended().count() == 1


def test_a_yes_to_something_else_sets_nothing_up(place: Place) -> None:
    say(WISH, place)
    assert place.conversation is not None
    Message.objects.create(
        conversation=place.conversation, owner=place.user, role="user", text="Tea?"
    )
    assert say("yes", place) is None
    assert say("sure", place) is None
    assert not schedules.schedules_visible_to(place.user).exists()
    assert say("/brief yes", place) is not None
    assert schedules.schedules_visible_to(place.user).exists()


def test_the_newest_wish_of_a_place_counts(place: Place) -> None:
    say(WISH, place)
    say("Every Friday at noon, send me a poem", place)
    assert Schedule.objects.count() == 1
    say("yes", place)
    (brief,) = schedules.schedules_visible_to(place.user)
    assert brief.cron == "0 12 * * 5"


def test_a_yes_makes_no_other_brief_and_takes_none_away(place: Place) -> None:
    say(WISH, place)
    say("yes", place)
    say("Every Friday at noon, send me a poem", place)
    say("no", place)
    assert schedules.schedules_visible_to(place.user).count() == 1


def test_guests_and_rooms_where_others_read_are_answered_as_usual(
    place: Place,
) -> None:
    assert say(WISH, replace(place, guest=True)) is None
    assert say(WISH, replace(place, alone=False)) is None
    refused = say(f"/brief {WISH}", replace(place, guest=True))
    assert refused is not None and "for the owner" in refused.text
    assert not Schedule.objects.exists()


def test_the_answer_of_a_room_s_brief_comes_into_that_room(
    place: Place, alice: User, persona: Persona
) -> None:
    channel = Channel.objects.create(
        owner=alice, kind=Channel.Kind.NEXTCLOUD_TALK, persona=persona
    )
    room = ChannelRoom.objects.create(
        channel=channel, external_id="r1", state="allowed", alone=True
    )
    here = replace(place, channel=channel.kind, room=room, conversation=None)
    told = say(WISH, here)
    assert told is not None and "into this room" in told.text
    assert say("yes", place) is None
    assert say("yes", replace(here, conversation=place.conversation)) is not None
    (brief,) = schedules.schedules_visible_to(alice)
    assert (brief.delivery, brief.room) == (channel.kind, room)


def test_what_cannot_become_a_brief_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = say("/brief tell me the news", place)
    assert told is not None and "does not say when" in told.text
    told = say("/brief every 2 minutes tell me the news", place)
    assert told is not None and "at most once every 5 minutes" in told.text
    monkeypatch.setattr(schedules, "MAX_PER_PERSON", 0)
    say(WISH, place)
    told = say("yes", place)
    assert told is not None and "There are 0 briefs already" in told.text


def test_briefs_are_listed(place: Place) -> None:
    empty = say("/brief", place)
    assert empty is not None and empty.text.startswith("You have no briefs.")
    say(WISH, place)
    say("yes", place)
    listed = say("/brief", place)
    assert listed is not None
    assert "worth knowing today.”: Every day at 07:00 (Europe/Berlin)" in listed.text


def test_the_price_is_told_before(place: Place) -> None:
    scripted_model()
    told = say(WISH, place)
    assert told is not None
    assert "answered by" in told.text or "Nobody would answer" in told.text


def test_proposals_belong_to_their_owner(
    place: Place, alice: User, bob: User, persona: Persona
) -> None:
    say(WISH, place)
    (proposal,) = proposals.proposals_visible_to(alice)
    assert not proposals.proposals_visible_to(bob).exists()
    other = create_persona(bob, template="companion", name="tom", display_name="Tom")
    assert proposals.waiting_at(Spot(bob, other, place.conversation)) is None
    proposals.drop(proposal)
    proposals.drop(proposal)
    assert not Schedule.objects.exists()
