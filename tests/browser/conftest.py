"""Fixtures of the tests in a browser."""

from tests.support.browser_fixtures import *  # noqa: F403
