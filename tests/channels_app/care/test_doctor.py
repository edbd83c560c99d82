"""``manage.py doctor``: a healthy installation, broken ones, checks that misbehave."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import shutil
import socketserver
import threading
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from accounts import secrets
from accounts.models import User
from channels_app.care import (
    backup,
    checks_data,
    checks_outside,
    checks_work,
    doctor,
    nightly,
    running,
)
from channels_app.care.findings import Check, Finding, ok
from channels_app.jobs import signs, tick
from channels_app.models import Beat, Clock, QueuedTask
from ledger import journal, triggers
from ledger.models import LedgerEntry
from routing.models import Host
from tests.support.ledger import book
from tests.support.processes import free_port
from tests.support.upstream import Upstream

Usage = namedtuple("Usage", "total used free")


def found(name: str, check: Any) -> Finding:
    """Return what a check says under a name; it says nothing else under it."""
    (finding,) = [each for each in check() if each.name == name]
    return finding


def assert_found(finding: Finding, status: str, words: str, cure: str = "") -> None:
    """Check a finding; whatever is not right has a cure."""
    assert finding.status == status, finding
    assert words in finding.sentence
    assert cure in finding.cure
    assert finding.status != "fail" or finding.cure


# --- the whole ------------------------------------------------------------------------


@pytest.fixture
def healthy(
    installation: Path,
    admin_user: User,
    upstream: Upstream,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return the data folder of an installation in which everything is well."""
    Host.objects.create(
        name="House",
        type="local_openai",
        base_url=f"{upstream.url}/v1",
        owner=None,
        key_encrypted=secrets.encrypt("host_key", "sk-stored"),
    )
    book(admin_user)
    Beat.objects.create(finished_at=timezone.now(), running=None)
    tick.tick(())
    nightly.run()
    settings.CORTEX_PUBLIC_URL = upstream.url

    async def answers(url: str) -> str:
        return ""

    monkeypatch.setattr(checks_outside, "_why_not_healthy", answers)
    return installation


def run(*words: str, code: int = 0) -> str:
    """Run the command, check its exit code and return what it prints."""
    out = io.StringIO()
    try:
        call_command("doctor", *words, stdout=out)
    except SystemExit as end:
        assert end.code == code
    else:
        assert code == 0, out.getvalue()
    return out.getvalue()


def test_healthy_installation_has_nothing_to_cure(
    healthy: Path, mail_server: int, settings: Any
) -> None:
    record = json.loads(run("--json"))
    assert record["ok"] is True
    by_name = {each["name"]: each for each in record["checks"]}
    assert {each["status"] for each in by_name.values()} == {"ok"}, record
    expected = "database migrations disk secrets ledger backup worker heartbeat queue"
    assert {*expected.split(), "data folder", "key file", "host House", "mail"} <= {
        *by_name
    }
    assert "sk-stored" not in json.dumps(record)


def test_broken_installation_fails_and_each_fault_has_a_cure(
    healthy: Path, settings: Any
) -> None:
    healthy.chmod(0o755)
    (healthy / "secret.key").unlink()
    settings.SECRET_KEY = "another-key-Q7Zk81mVxLw0RtYpCnDs5-uEaBhFgJ2"
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Clock.objects.update(last_at=an_hour_ago)
    Beat.objects.update(finished_at=an_hour_ago)
    lines = run(code=1).splitlines()
    failed = [line.split("  ")[1].strip() for line in lines if line.startswith("fail")]
    assert {"data folder", "key file", "secrets", "worker", "heartbeat"} <= {*failed}
    for number, line in enumerate(lines):
        if line.startswith("fail"):
            assert "→ " in lines[number + 1], line
    assert any(f"chmod 700 {healthy}" in line for line in lines)
    assert "sk-stored" not in "".join(lines)
    assert json.loads(run("--json", code=1))["ok"] is False


def hangs() -> Iterator[Finding]:
    yield ok("hangs", "first")
    threading.Event().wait(5)


def breaks() -> Iterator[Finding]:
    raise RuntimeError("a secret may stand here")
    yield


def asks_for_nothing_there() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")
    yield ok("tables", "never")


@pytest.mark.django_db(transaction=True)
def test_no_check_keeps_the_others_from_being_told() -> None:
    checks = [
        Check("hangs", hangs, within_s=0.2),
        Check("breaks", breaks),
        Check("tables", asks_for_nothing_there),
        Check("nothing", lambda: []),
        Check("last", lambda: [ok("last", "well")]),
    ]
    result = doctor.examine(checks)
    told = [(each.status, each.name) for each in result]
    assert told == [
        ("ok", "hangs"),
        ("fail", "hangs"),
        ("fail", "breaks"),
        ("warn", "tables"),
        ("ok", "last"),
    ]
    assert "secret" not in str(result)
    assert "(RuntimeError)" in result[2].sentence


# --- data -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_database_says_what_it_is() -> None:
    assert found("database", checks_data.database).status == "ok"
    assert found("migrations", checks_data.database).status == "ok"


@pytest.mark.django_db
def test_tables_of_another_version_are_found() -> None:
    MigrationRecorder.Migration.objects.create(app="ledger", name="0099_later")
    finding = found("migrations", checks_data.database)
    assert_found(finding, "fail", "newer than this version: it has ledger.0099_later")
    MigrationRecorder.Migration.objects.filter(name="0099_later").delete()
    MigrationRecorder.Migration.objects.filter(app="sessions").delete()
    finding = found("migrations", checks_data.database)
    assert_found(finding, "fail", "1 migrations are not applied", "manage.py prepare")


@pytest.mark.parametrize(
    ("free", "status"), [(199e6, "fail"), (999e6, "warn"), (1e9, "ok")]
)
def test_full_disk_is_found(
    monkeypatch: pytest.MonkeyPatch, free: float, status: str
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(int(1e12), 0, int(free))
    )
    assert found("disk", checks_data.disk).status == status


def test_modes_of_folder_and_key_are_checked(installation: Path) -> None:
    assert {each.status for each in checks_data.folder()} == {"ok"}
    (installation / "secret.key").chmod(0o640)
    finding = found("key file", checks_data.folder)
    assert_found(finding, "fail", "has mode 0640", "chmod 600 ")


def test_key_from_the_environment_needs_no_file(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installation / "secret.key").unlink()
    monkeypatch.setenv("CORTEX_SECRET_KEY", "x" * 40)
    finding = found("key file", checks_data.folder)
    assert_found(finding, "ok", "comes from CORTEX_SECRET_KEY")


def test_ledger_is_compared_with_its_file(installation: Path) -> None:
    assert found("ledger", checks_data.ledger).status == "ok"
    book()
    assert found("ledger", checks_data.ledger).status == "ok"
    whole = journal.path().read_text()
    head = LedgerEntry.objects.latest("id").hash
    journal.path().write_text(whole.replace(head, "f" * 64))
    finding = found("ledger", checks_data.ledger)
    assert_found(finding, "fail", "Row 2 of ledger.jsonl is not in the database")
    journal.path().write_text(whole.replace('"id":2', '"id":9'))
    assert_found(found("ledger", checks_data.ledger), "fail", "Row 9 of ledger.jsonl")
    journal.path().write_text("nonsense\n")
    assert_found(found("ledger", checks_data.ledger), "fail", "cannot be read")


def test_rows_that_the_file_lacks_for_long_are_found(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book()
    journal.path().write_text("")
    assert found("ledger", checks_data.ledger).status == "ok"
    later = timezone.now() + timedelta(minutes=5)
    monkeypatch.setattr(checks_data.timezone, "now", lambda: later)
    assert_found(found("ledger", checks_data.ledger), "warn", "lacks the last 2 rows")


def test_missing_trigger_is_found(installation: Path) -> None:
    triggers.remove(connection)
    try:
        assert_found(found("ledger", checks_data.ledger), "fail", "is missing")
    finally:
        triggers.install(connection)


def test_age_of_the_newest_backup_is_told(
    installation: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = found("backup", checks_data.backup_age)
    assert_found(finding, "ok", "There is no backup yet. The next one is due at 03:30")
    in_a_week = datetime.now(UTC) + timedelta(days=7)
    monkeypatch.setattr(checks_data.timezone, "now", lambda: in_a_week)
    finding = found("backup", checks_data.backup_age)
    assert_found(finding, "warn", "There is no backup yet.", "manage.py backup FILE")
    nightly.run(in_a_week - timedelta(days=3))
    assert found("backup", checks_data.backup_age).status == "warn"
    settings.CORTEX_BACKUP_AT = None
    finding = found("backup", checks_data.backup_age)
    assert_found(finding, "ok", "Nightly backups are off.")


def test_backup_written_by_hand_elsewhere_counts(installation: Path) -> None:
    call_command(
        "backup", str(installation.parent / "mine.tar.gz"), stdout=io.StringIO()
    )
    finding = found("backup", checks_data.backup_age)
    assert_found(finding, "ok", f"written at {datetime.now(UTC):%Y-%m-}")
    assert list(backup.folder().glob("*.tar.gz")) == []


# --- work -----------------------------------------------------------------------------


def test_worker_is_asked_for_only_when_cortex_runs(installation: Path) -> None:
    assert_found(found("worker", checks_work.worker), "warn", "No worker has run")
    with open(running.lock_path(), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert found("worker", checks_work.worker).status == "fail"
        assert checks_work.is_alive()
    assert not checks_work.is_alive()


def test_heartbeats_are_judged_by_their_end(installation: Path, settings: Any) -> None:
    settings.CORTEX_HEARTBEAT_S = 100
    assert found("heartbeat", checks_work.beat).status == "warn"
    beat = Beat.objects.create(
        finished_at=timezone.now() - timedelta(seconds=290), running=None
    )
    assert found("heartbeat", checks_work.beat).status == "ok"
    beat.failed = {"digest": "The mail server said something long."}
    beat.save()
    finding = found("heartbeat", checks_work.beat)
    assert_found(finding, "warn", "These steps failed: digest.")
    assert "said something" not in finding.sentence
    beat.finished_at = timezone.now() - timedelta(seconds=301)
    beat.save()
    assert found("heartbeat", checks_work.beat).status == "fail"


def test_heartbeats_are_judged_as_on_the_status_page(
    installation: Path, settings: Any
) -> None:
    settings.CORTEX_HEARTBEAT_S = 100
    long_ago = timezone.now() - timedelta(seconds=301)
    # One that never gets to its end is none, however often it begins.
    tick.tick(())
    Clock.objects.update(first_at=long_ago)
    Beat.objects.create(running=None)
    assert signs.signs().is_late
    assert_found(found("heartbeat", checks_work.beat), "fail", "None has got to its")
    # One that runs may take its time, as for a backup.
    Beat.objects.create(finished_at=long_ago, running=None)
    running_now = Beat.objects.create(running=True)
    assert not signs.signs().is_late
    assert found("heartbeat", checks_work.beat).status == "ok"
    running_now.delete()
    assert signs.signs().is_late
    assert found("heartbeat", checks_work.beat).status == "fail"


def test_tasks_that_wait_long_or_were_given_up_are_counted(alice: User) -> None:
    assert found("queue", checks_work.queue).status == "ok"
    long_ago = timezone.now() - timedelta(hours=2)
    for state in ("pending", "dead", "dead", "done"):
        QueuedTask.objects.create(
            owner=alice, text="a private text", state=state, not_before=long_ago
        )
    said = [each.sentence for each in checks_work.queue()]
    assert said[0].startswith("1 tasks have waited")
    assert said[1].startswith("2 tasks were given up")
    assert "private" not in str(said)


def test_clock_that_went_back_is_found(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book()
    assert found("clock", checks_work.clock).status == "ok"
    earlier = timezone.now() - timedelta(hours=1)
    monkeypatch.setattr(checks_work.timezone, "now", lambda: earlier)
    assert_found(found("clock", checks_work.clock), "fail", "lies in the future", "NTP")


# --- outside --------------------------------------------------------------------------


def test_hosts_are_reached_without_calling_a_model(
    installation: Path, admin_user: User, alice: User, upstream: Upstream
) -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    for name, url, owner in (
        ("Good", f"{upstream.url}/v1", None),
        ("Dead", dead, None),
        ("Own", dead, alice),
    ):
        Host.objects.create(name=name, type="local_openai", base_url=url, owner=owner)
    Host.objects.create(
        name="Off", type="local_openai", base_url=dead, owner=None, enabled=False
    )
    by_name = {each.name: each for each in checks_outside.hosts()}
    assert {name: each.status for name, each in by_name.items()} == {
        "host Good": "ok",
        "host Dead": "fail",
        "host Own": "warn",
    }
    assert not LedgerEntry.objects.exists()


def test_many_hosts_that_are_silent_are_all_told_of(
    installation: Path, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(checks_outside, "list_models", silent)
    monkeypatch.setattr(checks_outside, "HOST_WITHIN_S", 0.3)
    monkeypatch.setattr(checks_outside, "BEGUN_WITHIN_S", 0.2)
    for number in range(checks_outside.AT_ONCE + 2):
        Host.objects.create(name=str(number), type="local_openai", owner=None)
    findings = list(checks_outside.hosts())
    assert [each.status for each in findings] == ["fail"] * 32 + ["warn"] * 2
    assert {each.sentence for each in findings[-2:]} == {checks_outside.NOT_ASKED}
    (check,) = [each for each in doctor.CHECKS if each.name == "hosts"]
    monkeypatch.undo()
    longest_s = checks_outside.BEGUN_WITHIN_S + checks_outside.HOST_WITHIN_S
    assert longest_s < check.within_s


@pytest.mark.django_db
def test_installation_that_nobody_answers_in_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert found("hosts", checks_outside.hosts).status == "ok"
    monkeypatch.setattr(checks_outside, "_has_other_models", lambda: False)
    assert_found(found("hosts", checks_outside.hosts), "fail", "No host is in use")


def test_programs_must_be_there_and_logged_in(
    transactional_db: None, installation: Path, alice: User, settings: Any
) -> None:
    settings.CORTEX_CLAUDE_CLI = str(installation / "claude")
    Host.objects.create(name="C", type="claude_cli", owner=None)
    finding = found("program C", checks_outside.programs)
    assert_found(finding, "fail", "“claude” was not found", "docs/backends.md")
    program = installation / "other" / "claude"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    settings.CORTEX_CLAUDE_CLI = str(program)
    assert_found(found("program C", checks_outside.programs), "fail", "No API key")
    Host.objects.update(key_encrypted=secrets.encrypt("host_key", "sk-stored"))
    assert found("program C", checks_outside.programs).status == "ok"


def test_programs_that_wait_are_named(
    transactional_db: None, installation: Path, settings: Any
) -> None:
    settings.CORTEX_CLAUDE_CLI = str(installation / "claude")
    Host.objects.create(name="W", type="claude_cli", enabled=False, auto_enable=True)
    finding = found("program W", checks_outside.programs)
    assert finding.status == "ok"
    assert "Not in use. The program “claude” was not found" in finding.sentence


class Greeter(socketserver.StreamRequestHandler):
    """The least of a mail server."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail.example.org\r\n")
        answers = {b"ehlo": b"250 hello\r\n", b"quit": b"221 bye\r\n"}
        for line in self.rfile:
            self.wfile.write(answers[line.split()[0].lower()])


@pytest.fixture
def mail_server(settings: Any) -> Iterator[int]:
    """Run a mail server that takes a greeting and nothing else."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        settings.EMAIL_USE_SSL = settings.EMAIL_USE_TLS = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield settings.EMAIL_PORT
        server.shutdown()
        thread.join()


def test_mail_server_is_greeted_and_no_mail_is_sent(
    mail_server: int, settings: Any
) -> None:
    assert found("mail", checks_outside.mail).status == "ok"
    settings.EMAIL_PORT = free_port()
    finding = found("mail", checks_outside.mail)
    assert_found(finding, "fail", "does not answer", "EMAIL_URL")
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert_found(found("mail", checks_outside.mail), "warn", "kind: console")


def test_public_address_must_answer_as_cortex(
    installation: Path, settings: Any, upstream: Upstream
) -> None:
    settings.CORTEX_PUBLIC_URL = f"http://127.0.0.1:{free_port()}"
    finding = found("public address", checks_outside.public_address)
    assert_found(finding, "warn", "Cortex does not run", "manage.py serve")
    tick.tick(())
    finding = found("public address", checks_outside.public_address)
    assert_found(finding, "fail", "does not answer as Cortex")
    settings.CORTEX_PUBLIC_URL = upstream.url  # somebody else
    finding = found("public address", checks_outside.public_address)
    assert_found(finding, "fail", "and something else", "CORTEX_PUBLIC_URL")


@pytest.mark.parametrize(
    ("name", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("cortex.lan", False)],
)
def test_address_without_https_is_only_for_this_machine(
    name: str, loopback: bool
) -> None:
    assert checks_outside._is_loopback(name) is loopback


def test_redis_is_left_out_where_it_is_not_used(settings: Any) -> None:
    assert list(checks_outside.redis_server()) == []
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    finding = found("redis", checks_outside.redis_server)
    assert_found(finding, "fail", "Redis does not answer", "REDIS_URL")
