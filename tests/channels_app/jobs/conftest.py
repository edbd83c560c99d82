"""Fixtures of the tests of jobs."""

from tests.support.bot_fixtures import *  # noqa: F403
