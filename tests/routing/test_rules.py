"""What plain rules make of messages, in both languages."""

from __future__ import annotations

import json

import pytest

from routing.rules import (
    HEAD_CHARACTERS,
    KINDS,
    Judgement,
    features_of,
    judge,
    kind_of,
)


@pytest.mark.parametrize(
    ("text", "kind", "tier"),
    [
        ("Hi", "greeting", 1),
        ("Guten Morgen!", "greeting", 1),
        ("Danke dir!", "greeting", 1),
        ("What is the capital of France?", "short question", 1),
        ("Wie hoch ist der Eiffelturm?", "short question", 1),
        ("Übersetze: guten Tag", "rewording", 1),
        ("Summarize this: it rained.", "rewording", 1),
        ("Fasse zusammen: " + "Es regnete den ganzen Tag. " * 100, "rewording", 2),
        ("Write a letter to my landlord about the heating.", "writing", 2),
        ("Schreibe ein Gedicht über den Herbst", "writing", 2),
        ("Fix this:\n```\ndef f(x): return x\n```", "code", 2),
        ("import os\ndef main():\n    return os.getcwd()", "code", 2),
        ("Refactor the architecture of this python module", "code", 3),
        ("```\n" + "x = 1\n" * 2000 + "```", "code", 3),
        ("Erkläre, warum der Himmel blau ist", "analysis", 2),
        ("Analysiere den Vertrag und bewerte die Konsequenzen", "analysis", 3),
        ("Prove the theorem step by step", "analysis", 3),
        ("It was a dark night. " * 500, "long text", 2),
    ],
)
def test_kind_and_tier(text: str, kind: str, tier: int) -> None:
    features = features_of(text)
    judgement = judge(features)
    assert judgement is not None
    assert (kind_of(features), judgement.kind, judgement.tier) == (kind, kind, tier)
    assert 0.5 < judgement.confidence < 1
    assert judgement.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I went to the market and it rained, so I went home and read a book instead.",
        "no, that is wrong and you know it",
        "Was kann python?",
    ],
)
def test_where_rules_cannot_tell_they_say_so(text: str) -> None:
    assert judge(features_of(text)) is None


def test_attachments_count() -> None:
    assert judge(features_of("Look at this", attachments=2)) == Judgement(
        2, 0.7, "attachments", "attachments"
    )


def test_greeting_in_front_of_a_task_is_a_task() -> None:
    text = "Hello, please analyse this contract and assess the legal consequences"
    judgement = judge(features_of(text))
    assert judgement is not None
    assert judgement.tier == 3


def test_a_question_at_the_end_of_a_long_text_counts() -> None:
    text = "lorem ipsum " * 2000 + "\nAnalyse this strategy and evaluate it."
    judgement = judge(features_of(text))
    assert judgement is not None
    assert (judgement.kind, judgement.tier) == ("analysis", 3)


def test_features_hold_no_words_and_can_be_stored() -> None:
    features = features_of("Xanthippe asks: what does ```secret()``` do?", 1)
    stored = json.dumps(features.as_json())
    assert "anthippe" not in stored
    assert "secret" not in stored
    assert features.as_json()["fenced"] is True
    assert features_of("").as_json() == {}


def test_every_kind_has_a_verdict() -> None:
    kinds = {
        kind_of(features_of(text, attachments))
        for text, attachments in [
            ("hi", 0), ("What is up?", 0), ("```x```", 0), ("prove the theorem", 0),
            ("write a poem", 0), ("translate it", 0), ("see", 1), ("a " * 9000, 0),
            ("The weather", 0),
        ]
    }  # fmt: skip
    assert kinds == set(KINDS)


@pytest.mark.parametrize(
    "text",
    ["\n" * 32_000, " " * 32_000, "{" + " " * 31_998 + "x", "w(" * 16_000,
     "f(" + ")" * 31_998, "x()\n" * 8_000],
)  # fmt: skip
def test_only_a_part_of_a_long_text_is_searched(text: str) -> None:
    """The work is bounded: what is searched does not grow with the text."""
    features = features_of(text)
    assert features.characters == len(text)
    assert features.words <= HEAD_CHARACTERS
    assert features_of(text * 4).code_lines <= features.code_lines + 1
