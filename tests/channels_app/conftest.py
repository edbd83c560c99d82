"""Fixtures of the tests of turns, streams and sockets."""

from tests.support.chat_fixtures import *  # noqa: F403
