"""Web processes and workers that no supervisor started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from channels_app.management.commands import web, worker
from channels_app.server import alone, lifeline, prepare


@pytest.fixture
def applied(transactional_db: None) -> MigrationRecorder:
    """The table of applied migrations; put back as it was."""
    return MigrationRecorder(connection)


def test_tables_of_this_version_are_served(applied: MigrationRecorder) -> None:
    alone.refuse_unprepared()


def test_nobody_serves_tables_that_are_not_prepared(applied: MigrationRecorder) -> None:
    (last,) = MigrationLoader(connection).graph.leaf_nodes("channels_app")
    applied.record_unapplied(*last)
    try:
        with pytest.raises(CommandError, match="run `manage.py prepare` once"):
            alone.refuse_unprepared()
    finally:
        applied.record_applied(*last)


@pytest.mark.parametrize("command", [web, worker])
def test_both_processes_ask_before_they_begin(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise CommandError("refused")

    monkeypatch.setattr(command, "refuse_unprepared", refuse)
    with pytest.raises(CommandError, match="refused"):
        command.Command().handle()


def test_nobody_serves_tables_of_a_later_version(applied: MigrationRecorder) -> None:
    name = ("channels_app", "9999_from_tomorrow")
    applied.record_applied(*name)
    try:
        with pytest.raises(CommandError, match="newer than this version .*from_tomorr"):
            alone.refuse_unprepared()
    finally:
        applied.record_unapplied(*name)


def test_under_a_supervisor_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked() -> None:
        raise AssertionError("serve prepared the tables")

    monkeypatch.setattr(alone, "check_tables", asked)
    monkeypatch.setenv("CORTEX_LIFELINE_FD", "5")
    assert lifeline.is_held()
    alone.refuse_unprepared()


# --- static files of an image ---------------------------------------------------


@pytest.fixture
def static(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A folder of static files, and where they are collected."""
    settings.BASE_DIR = tmp_path
    settings.STATIC_ROOT = tmp_path / "staticfiles"
    source = tmp_path / "static"
    source.mkdir()
    settings.STATICFILES_DIRS = [source]
    settings.STATICFILES_FINDERS = [
        "django.contrib.staticfiles.finders.FileSystemFinder"
    ]
    (source / "a.css").write_text("a {}")
    finders.get_finder.cache_clear()
    yield source
    finders.get_finder.cache_clear()


def test_an_image_collects_static_files_without_a_database(
    static: Path, tmp_path: Path
) -> None:
    call_command("prepare", "--static")

    assert (tmp_path / "staticfiles" / "a.css").read_text() == "a {}"
    assert (tmp_path / ".stamps" / "static").exists()


def test_what_an_image_brought_is_left_alone(
    static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    call_command("prepare", "--static")
    os.utime(static / "a.css", (1, 1))  # an image rounds times
    stamp = tmp_path / ".stamps" / "static"
    before = stamp.read_text()

    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: path != stamp.parent)
        prepare.prepare()
        assert stamp.read_text() == before
    prepare.prepare()
    assert stamp.read_text() != before
