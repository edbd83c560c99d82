"""Restores that fail, are ended by a signal, or are killed."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from channels_app.care import archive, pending, restore, restore_parts
from channels_app.server.alone import refuse_unprepared
from cortex_site import startup
from ledger import restores
from ledger.verify import verify
from tests.support.environment import clean_environment
from tests.support.ledger import book
from tests.support.processes import ROOT
from tests.support.restoring import nothing_changes, run, same_on_every_database


@same_on_every_database
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(("where", "name"), [(restores, "mark"), (archive, "extract")])
def test_signal_on_the_way_changes_everything_back(
    written: Path,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    number: signal.Signals,
) -> None:
    done = getattr(where, name)

    def and_then_a_signal_comes(*words: Any) -> Any:
        result = done(*words)
        signal.raise_signal(number)
        return result

    monkeypatch.setattr(where, name, and_then_a_signal_comes)
    handler = signal.getsignal(number)
    why = f"The restore was ended by {number.name}. Nothing was changed."
    with nothing_changes(), pytest.raises(CommandError, match=re.escape(why)):
        run(str(written), "--force")
    assert signal.getsignal(number) is handler
    assert verify().ok


@same_on_every_database
def test_restore_that_was_killed_is_told_of_until_it_is_done_again(
    installation: Path, written: Path, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = connection.settings_dict["NAME"]
    (installation / "media" / "new.txt").write_text("later")
    code = (
        "import os, pathlib, django; django.setup()\n"
        "from channels_app.care import restore\n"
        "restore.restore_parts.restores.mark = lambda: os._exit(9)\n"
        f"restore.restore(pathlib.Path({str(written)!r}), force=True)"
    )
    environment = clean_environment(
        installation,
        DATABASE_URL=f"sqlite:///{name}",
        DJANGO_SETTINGS_MODULE="cortex_site.settings",
    )
    del environment["CORTEX_SECRET_KEY"]
    connection.close()
    words = [sys.executable, "-c", code]
    assert subprocess.run(words, cwd=ROOT, env=environment).returncode == 9

    (put,) = (installation / "backups").glob("before-restore-*")
    told = pending.sentence()
    assert str(written) in told
    assert str(put) in told
    assert [each.sentence for each in pending.look()] == [told]
    monkeypatch.setattr("channels_app.server.lifeline.is_held", lambda: False)
    for start in (refuse_unprepared, lambda: call_command("prepare")):
        with pytest.raises(CommandError, match="was cut off half way"):
            start()
    monkeypatch.setenv("CORTEX_DATA_DIR", str(installation))
    with pytest.raises(startup.CannotStart, match="was cut off half way"):
        startup.check_machine()
    # An attempt that comes to nothing takes away nothing, and says how things are.
    (left,) = installation.glob(".restore-*")
    with pytest.raises(CommandError, match=r"There is no file .* was cut off half way"):
        run("/nofile", "--force")
    assert (left / "old-media" / "new.txt").exists()

    run(str(put), "--force")
    assert User.objects.filter(username="bob").exists()
    assert (installation / "media" / "new.txt").read_text() == "later"
    assert pending.sentence() == ""
    assert not list(installation.glob(".restore-*"))
    assert verify().ok


@same_on_every_database
def test_what_cannot_be_put_back_is_said(
    installation: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(restores, "mark", fails)
    monkeypatch.setattr(restore_parts.os, "truncate", fails)
    with pytest.raises(CommandError, match=r"put back: .*Input.* was cut off half way"):
        run(str(written), "--force")
    assert pending.sentence()


@same_on_every_database
def test_fault_of_the_last_check_is_not_called_no_change(
    written: Path, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(restore, "verify", fails)
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("restore", str(written), "--force", stdout=out)
    assert "It is restored, but could not be verified" in out.getvalue()
    assert not User.objects.filter(username="bob").exists()
    assert pending.sentence() == ""


def test_fault_on_the_way_changes_everything_back(
    installation: Path, written: Path, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(bob)
    (installation / "media" / "new.txt").write_text("later")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(restores, "mark", full)
    with nothing_changes(), pytest.raises(CommandError, match=r"No space .* changed\."):
        run(str(written), "--force")
    assert verify().ok
    book(bob)
    assert verify().ok
