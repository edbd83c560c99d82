"""The starter personas: complete, compact, and different from each other."""

from __future__ import annotations

import re

import pytest

from personas.files import IDENTITY, SOUL, USER
from personas.starters import STARTER_KEYS, starter_texts
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


@pytest.mark.parametrize("key", STARTER_KEYS)
def test_soul_has_between_250_and_600_words(key: str) -> None:
    assert 250 <= len(words(starter_texts(key)[SOUL])) <= 600


@pytest.mark.parametrize("key", STARTER_KEYS)
def test_identity_and_user_leave_room_in_the_built_in_models_prompt(key: str) -> None:
    texts = starter_texts(key)
    tokens = sum(estimate_tokens(texts[name]) + 1 for name in (IDENTITY, USER))
    assert tokens + MESSAGE_OVERHEAD_TOKENS <= 250


@pytest.mark.parametrize("key", STARTER_KEYS)
def test_texts_are_clean_markdown_without_placeholders(key: str) -> None:
    for name, text in starter_texts(key).items():
        assert text.startswith("# "), name
        assert text.endswith("\n") and not text.endswith("\n\n"), name
        assert not re.search(r"\{\{|\$\{|<[a-z]|\bTODO\b", text), name


def test_voices_share_no_sentence() -> None:
    sentences: list[str] = []
    for key in STARTER_KEYS:
        text = starter_texts(key)[SOUL]
        sentences += {s.strip() for s in re.split(r"[.!?:\n]+", text) if len(s) > 25}
    assert len(sentences) == len(set(sentences))


def test_unknown_starter_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        starter_texts("../assistant")
