"""Fixtures of the tests of Nextcloud Talk."""

from __future__ import annotations

from tests.support.talk import *  # noqa: F403
