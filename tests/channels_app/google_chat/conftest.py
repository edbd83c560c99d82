"""Fixtures of the tests of Google Chat."""

from __future__ import annotations

from tests.support.google_chat import *  # noqa: F403
