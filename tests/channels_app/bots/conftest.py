"""Fixtures of the tests of what all bots share."""

from tests.support.bot_fixtures import *  # noqa: F403
