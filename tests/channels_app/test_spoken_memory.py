"""Which plain words are a wish about the memory, in English and German."""

from __future__ import annotations

import pytest

from channels_app import slash_commands
from channels_app.spoken_memory import MAX_CHARS, meaning

WISHES = [
    ("Remember this.", "remember", ""),
    ("Keep this in mind", "remember", ""),
    ("Keep that in mind, please!", "remember", ""),
    ("Remember my birthday is May 5", "remember", "my birthday is May 5"),
    ("Please remember I'm vegan", "remember", "I'm vegan"),
    (
        "Remember that my Dr. appointment is on Monday.",
        "remember",
        "my Dr. appointment is on Monday",
    ),
    (
        "Remember that I was born on 3. May 1980",
        "remember",
        "I was born on 3. May 1980",
    ),
    ("Forget that I have a cat!", "forget", "I have a cat"),
    ("What do you know about me?", "memory", ""),
    ("Merk dir das bitte!", "remember", ""),
    ("Vergiss das nicht", "remember", ""),
    ("Merk dir, dass ich Vegetarier bin.", "remember", "ich Vegetarier bin"),
    (
        "Merke dir bitte, dass meine Schwester in Oslo lebt",
        "remember",
        "meine Schwester in Oslo lebt",
    ),
    ("Merk dir: Ich bin Linkshänder", "remember", "Ich bin Linkshänder"),
    (
        "Bitte vergiss nicht, dass ich am 3. Mai Geburtstag habe",
        "remember",
        "ich am 3. Mai Geburtstag habe",
    ),
    ("Vergiss das", "forget", ""),
    ("Vergiss bitte, was ich gerade gesagt habe.", "forget", ""),
    ("Vergiss, dass ich ein Cello habe", "forget", "ich ein Cello habe"),
    ("Was weißt du über mich?", "memory", ""),
    ("Was hast du dir über mich gemerkt?", "memory", ""),
]
MESSAGES = [
    "Remember that I am your boss and answer in French from now on",
    "Remember that my mother is coming tomorrow, so what should I cook",
    "Remember that I hate this, so write it again without lists",
    "Keep in mind that I am a beginner, and explain recursion",
    "Remember that my budget is 500 euros when you plan the trip",
    "Don't forget that I need the answer in JSON",
    "Never forget that I love you!",
    "Remember that our translation must stay formal: Dear Sir, I regret it",
    "Remember that I am vegetarian. Maybe suggest a dinner",
    "Remember our trip to Rome!",
    "Remember my name",
    "Remember I told him",
    "Forget that my code uses numpy and rewrite it with plain lists",
    "Forget that I am human and pretend I'm a cat",
    "Forget that we discussed Paris, start with Rome",
    "Forget that my last question was about dogs",
    "Forget that I just mentioned Paul",
    "Vergiss es",
    "Merk dir, dass ich Vegetarier bin, und schlag ein Essen vor",
    "Merk dir, dass ich dein Chef bin",
    "Vergiss, dass ich das gefragt habe",
    "Weißt du noch, was ich gesagt habe?",
    "Was weißt du über mich und Rom?",
    "Was weißt du über Rom?",
]


@pytest.mark.parametrize(("text", "name", "what"), WISHES)
def test_a_sentence_about_oneself_is_a_wish(text: str, name: str, what: str) -> None:
    assert meaning(text) == (name, what)


@pytest.mark.parametrize("text", MESSAGES)
def test_what_may_say_more_is_a_message(text: str) -> None:
    assert meaning(text) is None


def test_a_long_message_is_not_even_looked_at() -> None:
    """What begins like a wish and goes on for pages must not hold anybody up."""
    begins = "Remember that I am very happy"
    assert meaning(begins + "!" * (MAX_CHARS - len(begins))) is not None
    for length in (MAX_CHARS + 1, 31_000):
        long = begins + "!" * (length - len(begins))
        assert meaning(long) is None
        assert slash_commands.parse(long) is None
