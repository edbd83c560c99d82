from __future__ import annotations

import pytest

from accounts import checks


@pytest.mark.parametrize(
    ("listed", "faults"),
    [([], 0), (["127.0.0.1", "10.0.0.0/8", "::1"], 0), (["nginx"], 1), (["1.2.3"], 1)],
)
def test_proxies_must_be_addresses(settings, listed: list[str], faults: int) -> None:
    settings.CORTEX_TRUSTED_PROXIES = listed

    found = checks.check_proxies(None)

    assert len(found) == faults
    assert all("CORTEX_TRUSTED_PROXIES" in str(fault.msg) for fault in found)


@pytest.mark.parametrize(
    ("client_id", "secret", "faults"),
    [("", "", 0), ("id", "secret", 0), ("id", "", 1), ("", "secret", 1)],
)
def test_google_needs_both_settings(
    settings, client_id: str, secret: str, faults: int
) -> None:
    settings.GOOGLE_CLIENT_ID, settings.GOOGLE_CLIENT_SECRET = client_id, secret

    assert len(checks.check_google(None)) == faults
