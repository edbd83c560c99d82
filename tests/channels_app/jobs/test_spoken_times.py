"""What is said about times, and which messages are no wishes at all."""

from __future__ import annotations

import pytest

from channels_app.jobs import cron
from channels_app.jobs.spoken_times import asks_for_a_brief, read

JOKE = "Tell me a joke"


@pytest.mark.parametrize(
    ("when", "expression"),
    [
        ("every morning at seven", "0 7 * * *"),
        ("every morning", "0 7 * * *"),
        ("each evening at 7", "0 19 * * *"),
        ("every evening", "0 18 * * *"),
        ("every night at ten", "0 22 * * *"),
        ("every night at 2", "0 2 * * *"),
        ("every day at 7:30", "30 7 * * *"),
        ("every day at 19.05", "5 19 * * *"),
        ("every day", "0 8 * * *"),
        ("daily at 6 pm", "0 18 * * *"),
        ("daily at 12 am", "0 0 * * *"),
        ("daily at 12 p.m.", "0 12 * * *"),
        ("every day at noon", "0 12 * * *"),
        ("every day at midnight", "0 0 * * *"),
        ("every day at half past seven in the evening", "30 19 * * *"),
        ("every day at quarter to eight", "45 7 * * *"),
        ("every weekday at 8:30", "30 8 * * 1-5"),
        ("on weekdays at nine o'clock", "0 9 * * 1-5"),
        ("every weekend at 10", "0 10 * * 6,0"),
        ("every Monday at 9", "0 9 * * 1"),
        ("every Monday and Thursday at 18:00", "0 18 * * 1,4"),
        ("every Sunday, Tuesday and Friday evening at 8", "0 20 * * 2,5,0"),
        ("on Fridays at 5pm", "0 17 * * 5"),
        ("every Monday morning", "0 7 * * 1"),
        ("weekly on Friday at noon", "0 12 * * 5"),
        ("on the 1st of every month at 9", "0 9 1 * *"),
        ("every month on the 15th at 10:00", "0 10 15 * *"),
        ("every day at seven thirty", "30 7 * * *"),
        ("every evening at six forty-five", "45 18 * * *"),
        ("each first of the month at 8am", "0 8 1 * *"),
        ("every hour", "0 * * * *"),
        ("hourly", "0 * * * *"),
        ("every 15 minutes", "*/15 * * * *"),
        ("every half hour", "*/30 * * * *"),
        ("every two hours", "0 */2 * * *"),
        ("at 7 every morning", "0 7 * * *"),
        ("at 6 pm every Friday", "0 18 * * 5"),
    ],
)
def test_times_are_read_before_and_after_what_is_asked(
    when: str, expression: str
) -> None:
    for text in (
        f"{when} tell me a joke",
        f"{when.capitalize()}, please tell me a joke",
        f"Inara, {when}: tell me a joke",
        f"Tell me a joke {when}",
        f"Could you please tell me a joke {when}?",
    ):
        wish = read(text)
        assert wish is not None, text
        assert (wish.cron, wish.prompt) == (expression, JOKE), text
        assert asks_for_a_brief(text), text
    cron.check(expression, "Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every morning at seven",
        "Tell me a joke",
        "Every morning at seven my cat wakes me up",
        "Every day I drink coffee. Is that bad?",
        "Why does the sun rise every morning?",
        "What do you do every day at noon",
        "Write a poem about a man who runs every morning at seven",
        "Explain why it rains every Monday",
        "Tell me if the shop opens every day at 9",
        "I see the doctor every Monday at 9",
        "every day at 27:00 tell me a joke",
        "every day at 7:75 tell me a joke",
        "every 7 minutes tell me a joke",
        "every day at 13 pm tell me a joke",
        "tell me a joke " + "now " * 2000 + "every day at 7",
    ],
)
def test_other_texts_are_ordinary_messages(text: str) -> None:
    assert not asks_for_a_brief(text)


@pytest.mark.parametrize(
    ("text", "expression", "prompt"),
    [
        (
            "Remind me every Monday at 9:30 to water the plants",
            "30 9 * * 1",
            "Remind me to water the plants",
        ),
        (
            "Please tell me every morning at seven the weather.",
            "0 7 * * *",
            "Tell me the weather.",
        ),
        ("Send us on Fridays at 5pm: a poem", "0 17 * * 5", "Send us a poem"),
    ],
)
def test_the_time_may_stand_behind_the_verb(
    text: str, expression: str, prompt: str
) -> None:
    wish = read(text)
    assert wish is not None
    assert (wish.cron, wish.prompt) == (expression, prompt)
    assert asks_for_a_brief(text)


def test_what_comes_too_often_is_a_wish_that_is_refused_later() -> None:
    wish = read("Tell me a joke every minute")
    assert wish is not None and wish.cron == "* * * * *"


@pytest.mark.parametrize(
    "text",
    [
        "every friday at noon Europe/Paris list three films",
        "every morning at seven twenty tell me the news",
        "every day at 7 and 19 tell me the news",
        "every morning and evening tell me the news",
        "every weekday at 7 UTC tell me the news",
        "every weekday at 7 New York time tell me the news",
        "every day at 8 for the next week tell me the news",
        "every day at 8 until Friday tell me the news",
    ],
)
def test_more_than_is_understood_is_not_guessed_at(text: str) -> None:
    assert read(text) is None


def test_an_hour_that_was_not_said_is_marked() -> None:
    said, unsaid = read("every day at 8 say hi"), read("every day say hi")
    assert said is not None and unsaid is not None
    assert said.cron == unsaid.cron
    assert (said.assumed, unsaid.assumed) == (False, True)


def test_the_words_of_the_request_stay_as_they_were_written() -> None:
    wish = read("Every weekday at 8:30 send me:\n- the Weather in Köln\n- My tasks")
    assert wish is not None
    assert wish.prompt == "Send me:\n- the Weather in Köln\n- My tasks"
