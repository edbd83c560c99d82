"""How messages come into the index, stay in step with it, and leave it."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from personas import deletion
from personas.models import Message, Persona, SearchEntry
from personas.search.finding import search
from personas.search.index import missing, repair, text_index
from personas.search.indexing import index_new, some_wait, waiting
from personas.search.words import MAX_BYTES, MAX_TEXT, fold
from tests.personas.search.said import say, say_and_index


def test_step_by_step_oldest_first(persona: Persona) -> None:
    """Ids of entries follow the time, however many messages waited."""
    say(persona, "three", at=timezone.now())
    say(persona, "one", "two", at=timezone.now() - timedelta(days=900))
    assert [index_new(limit=2), index_new(limit=2), index_new(limit=2)] == [2, 1, 0]
    entries = SearchEntry.objects.order_by("id")
    assert [entry.text for entry in entries] == ["one", "two", "three"]
    assert not some_wait()


def test_unfinished_and_temporary_messages(persona: Persona) -> None:
    """What is being written waits; temporary and empty ones never get an entry."""
    (answer,) = say(persona, "half an ans", role="assistant")
    Message.objects.filter(pk=answer.pk).update(state=Message.State.GENERATING)
    say(persona, "fleeting", temporary=True)
    say(persona, "", "…!")
    assert index_new() == 3
    assert not SearchEntry.objects.exists() and not some_wait()
    Message.objects.filter(pk=answer.pk).update(state=Message.State.COMPLETE)
    assert index_new() == 1
    assert search(persona.owner, "half").hits


def test_entries_go_with_their_messages(persona: Persona) -> None:
    """Purged and emptied messages leave nothing in the index."""
    (kept, gone, emptied) = say_and_index(persona, "the kiwi", "the fig", "the plum")
    gone.delete()
    deletion.delete_message(persona.owner, emptied.pk)
    long_ago = timezone.now() - timedelta(hours=2)
    Message.objects.filter(pk=emptied.pk).update(deleted_at=long_ago)
    deletion.purge_messages()
    assert [e.message_id for e in SearchEntry.objects.all()] == [kept.pk]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT COUNT(*) FROM personas_search_vocabulary "
                "WHERE term IN ('fig', 'plum')"
            )
            assert cursor.fetchone()[0] == 0
            cursor.execute(
                "INSERT INTO personas_search_words (personas_search_words, rank) "
                "VALUES ('integrity-check', 1)"
            )
            cursor.execute(
                "INSERT INTO personas_search_trigrams (personas_search_trigrams, rank)"
                " VALUES ('integrity-check', 1)"
            )


def test_a_changed_entry_is_found_anew(persona: Persona) -> None:
    """The index follows the texts of its entries, not only new ones."""
    (message,) = say_and_index(persona, "walnut")
    SearchEntry.objects.filter(message=message).update(text="hazelnut", vector=b"1")
    assert not search(persona.owner, "walnuts from:me").hits
    assert search(persona.owner, "hazelnut").hits


@pytest.mark.django_db(transaction=True)  # tables are changed
def test_the_repair_finds_what_was_missed(persona: Persona) -> None:
    """An index that was gone is filled again from the entries."""
    text_index().remove(connection)
    say_and_index(persona, "quince")
    assert missing()
    repair()
    assert not missing() and search(persona.owner, "quince").hits


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_do_not_clash(persona: Persona) -> None:
    """Each message gets one entry, whoever takes it."""
    say(persona, *(f"berry {number}" for number in range(60)))
    failures: list[Exception] = []

    def work() -> None:
        try:
            while index_new(limit=10) or waiting().exists():
                pass
        except Exception as error:  # told below
            failures.append(error)
        finally:
            connections.close_all()

    workers = [Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not failures
    assert SearchEntry.objects.count() == 60
    assert search(persona.owner, "berry").more


@pytest.mark.django_db(transaction=True)
def test_a_flush_empties_the_index(persona: Persona) -> None:
    """After the tables were emptied between two tests nothing is left."""
    assert search(persona.owner, "berry").hits == ()
    say_and_index(persona, "berry")
    assert len(search(persona.owner, "berry").hits) == 1


def test_long_messages_are_taken_a_few_at_a_time(persona: Persona) -> None:
    """Everybody else writes between two batches."""
    say(persona, *["word " * 30_000] * 4, "short")
    assert [index_new(), index_new(), index_new()] == [2, 2, 1]
    assert SearchEntry.objects.count() == 5


def test_nothing_is_locked_while_texts_are_read(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding happens outside the transaction; what changed meanwhile waits."""
    emptied, kept = say(persona, "first secret", "second")
    depth = len(connection.savepoint_ids)

    def slowly(text: str) -> str:
        assert len(connection.savepoint_ids) == depth
        Message.objects.filter(pk=emptied.pk).update(text="")
        return fold(text)

    monkeypatch.setattr("personas.search.indexing.fold", slowly)
    index_new()
    assert [e.message_id for e in SearchEntry.objects.all()] == [kept.pk]
    assert index_new() == 1 and not some_wait()
    assert SearchEntry.objects.count() == 1


def test_a_message_that_is_refused_stops_no_other(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked as done without an entry."""
    refused = say(persona, "one", "bad", "two")[1]
    store = type(SearchEntry.objects).bulk_create

    def picky(self: Any, entries: list[SearchEntry], **options: Any) -> object:
        if any(entry.text == "bad" for entry in entries):
            raise OperationalError("string is too long for tsvector")
        return store(self, entries, **options)

    monkeypatch.setattr(type(SearchEntry.objects), "bulk_create", picky)
    assert index_new() == 3
    assert SearchEntry.objects.count() == 2 and not some_wait()
    Message.objects.filter(pk=refused.pk).update(indexed_at=None)
    assert index_new() == 1 and not some_wait()


@pytest.mark.parametrize("what", ["的一是在不了有和人这", "\ufdfa", "Æbcd1 "])
def test_the_longest_texts_can_be_indexed(persona: Persona, what: str) -> None:
    """PostgreSQL takes 1 MB of different words with their places."""
    signs = "".join(chr(0x4E00 + n) + what for n in range(20_000))
    say_and_index(persona, signs[:MAX_TEXT])
    assert SearchEntry.objects.count() == 1
    assert len(fold(signs).encode()) <= MAX_BYTES


def test_old_talk_that_comes_later_is_not_the_newest(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import gives old messages the highest ids."""
    monkeypatch.setattr("personas.search.finding.COMPARED", 3)
    long_ago = timezone.now() - timedelta(days=900)
    say_and_index(persona, "walrus news")
    say_and_index(persona, *(f"walrus old {n}" for n in range(5)), at=long_ago)
    for query in ("walrus", "walrus after:2000-01-01"):
        found = search(persona.owner, query)
        assert found.notice and len(found.hits) == 3
        assert "".join(text for text, _ in found.hits[0].snippet) == "walrus news"
