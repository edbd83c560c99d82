"""A bundle is of one moment, and nobody waits while it is written or read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from channels_app.homes import bundle_import
from channels_app.homes.bundle_import import take_bundle
from personas.files import save_file
from personas.home import bundle_export
from personas.home.bundle_plan import read_persona
from personas.home.report import Outcome
from personas.memory.wishes import remember
from personas.models import Conversation, Message, Persona
from tests.channels_app.homes.bundles import bundle_of, fill

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(work: Callable[[], object]) -> None:
    """Do something with another connection, as another process does."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed


def test_what_happens_meanwhile_is_not_in_it(
    persona: Persona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(persona)
    Conversation.objects.update(memory_paused=False)
    asked = Message.objects.get(text="I play the cello.")
    last = Message.objects.get(text="Me too!")
    meanwhile: dict[str, Callable[[], object]] = {
        "_revisions": lambda: save_file(persona, "SOUL.md", "New.", author=None),
        "_write_conversation": lambda: remember(
            persona, "Sails on Mondays.", author=persona.owner, source=asked
        ),
        "_messages": lambda: Message.objects.filter(pk=last.pk).update(
            deleted_at=last.created_at
        ),
    }
    done = []

    def after(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: object) -> Any:
            elsewhere(meanwhile[name])
            done.append(name)
            return real(*args)

        return wrapped

    for name in meanwhile:
        real = getattr(bundle_export, name)
        monkeypatch.setattr(bundle_export, name, after(name, real))
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    assert sorted(done) == sorted(meanwhile)
    report = take_bundle(path, "carol", dry_run=False)
    hers = Persona.objects.get(owner__username="carol")
    assert hers.files.get(name="SOUL.md").text != "New."
    assert Message.objects.filter(owner=hers.owner, text=last.text).exists()
    left = [line.text for line in report.of(Outcome.LEFT)]
    assert left == ["has the e-mail address of somebody else here."]


@pytest.mark.parametrize("dry_run", [True, False])
def test_reading_holds_no_transaction(
    persona: Persona,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dry_run: bool,
) -> None:
    fill(persona)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    seen = []

    def watched(*args: Any) -> Any:
        assert not connection.in_atomic_block
        seen.append(read_persona(*args))
        return seen[-1]

    monkeypatch.setattr(bundle_import, "read_persona", watched)
    take_bundle(path, "carol", dry_run=dry_run)
    assert [plan.name for plan in seen] == ["inara"]


def test_no_message_is_written_twice(persona: Persona, tmp_path: Path) -> None:
    fill(persona)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        take_bundle(path, "carol", dry_run=False)
    assert Message.objects.filter(owner__username="carol").count() == 4
    said = [query["sql"] for query in queries.captured_queries]
    assert not [sql for sql in said if sql.startswith('UPDATE "personas_message"')]
