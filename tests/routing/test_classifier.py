"""What counts as an answer of the classifier, and what it is asked."""

from __future__ import annotations

import pytest

from routing.classifier import parse, prompt_for


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"tier": 2, "confidence": 0.8, "reason": "some code"}', (2, 0.8)),
        ('```json\n{"tier": 3, "confidence": 1}\n```', (3, 1.0)),
        ('Sure! {"tier": "1", "confidence": 0} Bye {', (1, 0.0)),
        ('{"a": {"b": 1}} {"tier": 1, "confidence": 0.5, "more": []}', (1, 0.5)),
        ('{"tier":1,"confidence":0.9} no: {"tier":2,"confidence":0.9}', (2, 0.9)),
        ("", None),
        ("tier 2", None),
        ('{"tier": 2}', None),
        ('{"tier": 4, "confidence": 0.5}', None),
        ('{"tier": 0, "confidence": 0.5}', None),
        ('{"tier": true, "confidence": 0.5}', None),
        ('{"tier": 2.5, "confidence": 0.5}', None),
        ('{"tier": 2, "confidence": 85}', None),
        ('{"tier": 2, "confidence": "high"}', None),
        ('{"tier": 2, "confidence": NaN}', None),
        ('{"tier": 2, "confidence": true}', None),
        ('{"tier": "haiku", "confidence": 0.5}', None),
        ("[1, 2]", None),
        ("{" * 5000, None),
        ('{"a":' * 5000, None),
    ],
)
def test_answer(answer: str, expected: tuple[int, float] | None) -> None:
    judgement = parse(answer, "other")
    found = (judgement.tier, judgement.confidence) if judgement else None
    assert found == expected


def test_reason_is_one_short_line() -> None:
    answer = '{"tier": 1, "confidence": 1, "reason": "' + "a\\n b " * 100 + '"}'
    judgement = parse(answer, "other")
    assert judgement is not None
    assert "\n" not in judgement.reason
    assert len(judgement.reason) == 120


def test_middle_of_a_long_message_is_left_out() -> None:
    text = prompt_for("a" * 10_000 + "END").messages[0].text
    assert len(text) < 4_100
    assert text.endswith("END\n</message>")
    assert prompt_for("short").messages[0].text == "<message>\nshort\n</message>"
