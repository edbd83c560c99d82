"""The check that a container asks whether it is well."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg

from channels_app.jobs import signs, tick
from channels_app.models import Clock
from tests.support.processes import ROOT, free_port
from tests.support.proxies import DEPLOY

PROGRAM = DEPLOY / "healthcheck.py"


def check(*words: str, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.returncode, done.stderr


def test_a_web_server_that_is_away_is_not_well() -> None:
    status, said = check(PORT=str(free_port()))
    assert status == 1
    assert "/health does not answer" in said and "Traceback" not in said


def test_a_database_that_is_away_is_one_sentence() -> None:
    url = f"postgres://cortex:hidden@127.0.0.1:{free_port()}/cortex"
    status, said = check("worker", DATABASE_URL=url)
    assert status == 1
    assert said.startswith("The database cannot be asked: ")
    assert "hidden" not in said and "Traceback" not in said


def test_the_question_is_about_the_clock_of_the_tick() -> None:
    text = PROGRAM.read_text(encoding="utf-8")
    assert f"FROM {Clock._meta.db_table} WHERE name = '{tick.NAME}'" in text
    assert "last_at" in {field.name for field in Clock._meta.fields}
    limit_s = signs.SILENT_AFTER.total_seconds()
    assert f"\nSILENT_AFTER_S = {limit_s:.0f}\n" in text


def test_a_worker_is_well_while_one_ticks(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS channels_app_clock")
        database.execute(
            "CREATE TABLE channels_app_clock (name text, last_at timestamptz)"
        )
        never = check("worker", DATABASE_URL=postgres_url)
        database.execute("INSERT INTO channels_app_clock VALUES ('tick', now())")
        now = check("worker", DATABASE_URL=postgres_url)
        database.execute(
            "UPDATE channels_app_clock SET last_at = now() - interval '2 minutes'"
        )
        status, said = check("worker", DATABASE_URL=postgres_url)
        database.execute("DROP TABLE channels_app_clock")
    assert never == (1, "No worker has ever ticked.\n")
    assert now == (0, "")
    assert status == 1 and said.startswith("No tick for 12")
