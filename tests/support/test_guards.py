from __future__ import annotations

import os
import socket
import urllib.request

import pytest
from django.conf import settings

from tests.support import missing
from tests.support.postgres import PostgresServer
from tests.support.redis import RedisServer
from tests.support.sockets import OutsideConnection


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80)])
def test_guard_refuses_other_machines(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as connection, pytest.raises(OutsideConnection):
        connection.connect(address)


def test_guard_looks_up_no_names() -> None:
    with pytest.raises(OSError, match="outside names"):
        urllib.request.urlopen("http://example.org/")


def test_environment_is_the_tests_own() -> None:
    assert str(settings.DATA_DIR) == os.environ["CORTEX_DATA_DIR"]
    assert "cortex-test-" in str(settings.DATA_DIR)
    assert "http_proxy" not in {name.lower() for name in os.environ}


def test_missing_program_is_named() -> None:
    with pytest.raises(pytest.skip.Exception, match=f"{missing.MARK}no-such-program"):
        missing.program("no-such-program")


@pytest.mark.redis
@pytest.mark.slow
def test_redis_server_answers_again_after_an_outage() -> None:
    import redis

    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        server.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert client.ping()


@pytest.mark.postgres
@pytest.mark.slow
def test_postgres_server_answers() -> None:
    import psycopg

    with PostgresServer() as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
