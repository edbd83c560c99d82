"""Fixtures of the tests of Google Chat."""

from __future__ import annotations

from tests.support.google_fixtures import *  # noqa: F403
