"""List prices."""

from __future__ import annotations

import logging
import subprocess
import sys
from decimal import Decimal

import pytest
from genai_prices.types import Tier, TieredPrices

from ledger import price_lookup, prices
from ledger.types import Prices

MODELS = [
    ("anthropic_api", "claude-haiku-4-5"),
    ("claude_cli", "claude-sonnet-4-5"),
    ("anthropic_api", "claude-sonnet-5"),
    ("anthropic_api", "claude-opus-4-8"),
    ("gemini_api", "gemini-2.5-flash"),
    ("gemini_api", "gemini-2.5-flash-lite"),
    ("gemini_cli", "gemini-2.5-pro"),
]


@pytest.fixture(autouse=True)
def _forget() -> None:
    prices._list_price.cache_clear()


@pytest.mark.parametrize(("host_type", "model"), MODELS)
def test_price_for_known_models_is_plausible(host_type: str, model: str) -> None:
    found = prices.price_for(host_type, model)
    assert found is not None
    assert found.input is not None
    assert found.output is not None
    assert found.cache_read is not None
    assert 0 < found.cache_read < found.input < found.output
    dollar = 1_000_000_000
    assert dollar / 100 < found.input < 100 * dollar


@pytest.mark.parametrize(
    ("host_type", "name", "same_as"),
    [
        ("claude_cli", "haiku", "claude-haiku-4-5"),
        ("claude_cli", "sonnet", "claude-sonnet-5"),
        ("claude_cli", "sonnet[1m]", "claude-sonnet-5"),
        ("claude_cli", "opus", "claude-opus-4-8"),
        ("gemini_cli", "gemini-2.5-flash-002", "gemini-2.5-flash"),
        ("gemini_api", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("gemini_api", "gemini-2.5-pro-latest", "gemini-2.5-pro"),
        ("gemini_api", "gemini-2.5-pro-preview-12-2031", "gemini-2.5-pro"),
    ],
)
def test_other_names_cost_what_their_model_costs(
    host_type: str, name: str, same_as: str
) -> None:
    expected = prices.price_for(host_type, same_as)
    assert expected is not None
    assert prices.price_for(host_type, name) == expected


def test_short_names_belong_to_their_vendor() -> None:
    assert prices.price_for("gemini_cli", "sonnet") is None
    assert prices.price_for("gemini_cli", "gemini-99-flash") is None


def test_more_capable_models_cost_more() -> None:
    haiku = prices.price_for("anthropic_api", "claude-haiku-4-5")
    sonnet = prices.price_for("anthropic_api", "claude-sonnet-4-5")
    assert haiku is not None
    assert haiku.input is not None
    assert sonnet is not None
    assert sonnet.input is not None
    assert haiku.input < sonnet.input
    assert sonnet.cache_write is not None
    assert sonnet.cache_write > sonnet.input


def test_price_for_models_in_the_house_is_nothing() -> None:
    assert prices.price_for("builtin", "smollm2") == Prices.local()
    assert prices.price_for("local_openai", "llama3", is_local=True) == Prices.local()


def test_price_for_the_unknown_is_none() -> None:
    assert prices.price_for("local_openai", "llama3") is None
    assert prices.price_for("anthropic_api", "no-such-model") is None
    assert prices.price_for("anthropic_api", "") is None
    assert prices.price_for("anthropic_api", "a\0b") is None
    assert prices.price_for("anthropic_api", "--help") is None


def test_price_for_asks_once_and_keeps_the_price_data_out_of_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = (
        "import ledger.prices as p, sys;"
        "assert p.price_for('anthropic_api', 'claude-haiku-4-5');"
        "assert 'genai_prices' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    calls = []

    def answer(*args: object, **kwargs: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(args)
        return subprocess.CompletedProcess([], 0, b"null")

    monkeypatch.setattr(prices.subprocess, "run", answer)
    for _ in range(3):
        assert prices.price_for("anthropic_api", "x") is None
    assert len(calls) == 1


def test_a_failing_look_up_is_unknown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prices.sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING, "ledger.prices"):
        assert prices.price_for("anthropic_api", "claude-haiku-4-5") is None
    assert "No list price for claude-haiku-4-5" in caplog.text


def test_look_up_in_steps_takes_the_price_of_short_prompts() -> None:
    steps = TieredPrices(base=Decimal("3.5"), tiers=[Tier(start=9, price=Decimal(7))])
    assert price_lookup.nano_usd(steps) == 3_500_000_000
    assert price_lookup.nano_usd(Decimal("0.0000001")) == 100
    assert price_lookup.nano_usd(None) is None
