"""What search finds, in which order, and what it must not find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from personas.conversations import delete_conversation
from personas.deletion import delete_message
from personas.files import save_file
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from personas.search.finding import Found, search
from personas.search.queries import BadFilter
from personas.search.snippets import snippet
from personas.search.words import MAX_TERM, term_of
from tests.personas.search.said import marked, say, say_and_index


def texts(found: Found) -> list[str]:
    """Return the whole snippets of the hits."""
    return ["".join(piece for piece, _ in hit.snippet) for hit in found.hits]


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("suitcase", True),
        ("SUITCASE red", True),
        ("suit", True),  # the beginning of a word
        ("case", False),  # not its end, while other hits exist
        ('"red suitcase"', True),
        ('"suitcase red"', False),
        ("suitcase blue", False),
        ("cafe", True),  # Café
        ("Straße", True),
        ("strasse", True),
        ("東京", True),
        ("京東", False),
        ("是", True),
        ("u2", True),
        ("u", False),  # one letter begins too many words
        ("a", True),
        ("안녕하", True),
        ("o'neill", True),
        ("foo:bar", True),
        ("-- ' ) * ^ NEAR(", False),
        ('"', False),
        ("owner_id", False),
        ("o'neill AND foo", False),
    ],
)
def test_words_of_messages(persona: Persona, query: str, is_found: bool) -> None:
    """Words, phrases, beginnings, accents, short words and other scripts."""
    say_and_index(
        persona,
        "A red suitcase stands in the Café of the Straße, 我是东京人, 東京 "
        "U2 by O'Neill, 안녕하세요, foo: bar",
        "case owner",
    )
    found = [text for text in texts(search(persona.owner, query)) if "red" in text]
    assert bool(found) is is_found


def test_the_words_are_marked(persona: Persona) -> None:
    """The snippet shows the words in their place, however they are written."""
    long = "nothing here " * 100
    say_and_index(persona, f"{long}My CAFÉ in the Old Town <b>sells</b> tea. {long}")
    (hit,) = search(persona.owner, 'cafe "old town" sel').hits
    assert marked(hit.snippet) == ["CAFÉ", "Old Town", "sells"]
    whole = "".join(piece for piece, _ in hit.snippet)
    assert whole.startswith("… ") and whole.endswith(" …") and len(whole) < 400


def test_what_fits_best_stands_first(persona: Persona) -> None:
    """More of the word in less text counts; of equals the newest does."""
    old = timezone.now() - timedelta(days=400)
    say_and_index(persona, "The boat.", at=old)
    filler = "and many other things that happened on that long day " * 4
    say_and_index(persona, "The boat, the boat!", f"A boat {filler}", "The boat.")
    found = texts(search(persona.owner, "boat"))
    assert found[:2] == ["The boat, the boat!", "The boat."] and len(found) == 4
    assert search(persona.owner, "boat").hits[1].said_at > old  # type: ignore[operator]


def test_misspelt_words_find_similar_ones(persona: Persona) -> None:
    """A search that finds nothing tries words that are spelt alike, and says so."""
    say_and_index(persona, "I will receive the violoncello on Wednesday", "Handkoffer")
    for query, word in (
        ("recieve", "receive"),
        ("violonchelo wednesday", "violoncello"),
        ("koffer", "Handkoffer"),
    ):
        found = search(persona.owner, query)
        assert word in [w for hit in found.hits for w in marked(hit.snippet)], query
        assert word.lower() in found.notice
    assert search(persona.owner, "xylophone").hits == ()


@pytest.fixture
def filtered(persona: Persona) -> Persona:
    """Two personas, three doors, two years."""
    max_ = create_persona(
        persona.owner, template="companion", name="max", display_name="Max Müller"
    )
    day = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    say_and_index(persona, "tent one", at=day, title="Summer holidays")
    say_and_index(max_, "tent two", at=datetime(2025, 3, 1, tzinfo=UTC))
    (answer,) = say_and_index(persona, "tent three", role="assistant")
    (guest,) = say_and_index(persona, "tent four", title="Room")
    Message.objects.filter(pk=guest.pk).update(
        from_guest=True, author_name="Greta Gast", channel="nextcloud_talk"
    )
    return persona


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tent", "one two three four"),
        ("tent persona:max", "two"),
        ('tent persona:"max muller"', "two"),
        ("tent from:me", "one two"),
        ("tent from:inara", "three"),
        ("tent from:greta", "four"),
        ("tent before:2026-01-01", "two"),
        ("tent after:2026-03-01 before:2026-03-03", "one"),
        ("tent in:holidays", "one"),
        ('tent in:"summer holidays"', "one"),
        ("tent in:talk", "four"),
        ("in:talk", "four"),
        ("from:me", "one two"),
        ("tent before:2026-03-02", "two"),  # in Helsinki it was 00:30 of the 2nd
    ],
)
def test_filters(filtered: Persona, query: str, expected: str) -> None:
    """Each filter narrows; days are those of the place where the person lives."""
    filtered.owner.time_zone = "Europe/Helsinki"
    doors = {"talk": "nextcloud_talk"}
    found = search(filtered.owner, query, doors=doors)
    said = [text.removeprefix("tent ") for text in texts(found) if "tent" in text]
    assert sorted(said) == sorted(expected.split())


@pytest.mark.parametrize(
    "query",
    [
        "x persona:nobody",
        "from:nobody",
        "x before:soon",
        "after:",
        "in:",
        "x in:nowhere",
        'in:"!?"',
        "after:2026-03-02 before:2026-03-01",
        "after:2026-03-01 before:2026-03-01",
        "tent -summer",
    ],
)
def test_a_bad_filter_says_so(persona: Persona, query: str) -> None:
    """The sentence names what was not understood."""
    with pytest.raises(BadFilter):
        search(persona.owner, query)


def test_nothing_of_others_and_nothing_hidden(persona: Persona, bob: User) -> None:
    """Only one's own, visible, lasting things are found – whatever the index says."""
    theirs = create_persona(bob, template="companion", name="bo", display_name="Bo")
    say_and_index(theirs, "secret lighthouse")
    say_and_index(persona, "temporary lighthouse", temporary=True)
    (gone,) = say_and_index(persona, "deleted lighthouse")
    delete_message(persona.owner, gone.pk)
    (thread,) = say_and_index(persona, "lighthouse of a deleted chat")
    delete_conversation(thread.conversation)
    say_and_index(persona, "private lighthouse", private=True)
    save_file(theirs, "MEMORY_LONG.md", "- Loves the lighthouse.", author=None)
    assert texts(search(persona.owner, "lighthouse")) == ["private lighthouse"]
    assert texts(search(persona.owner, "lighthoose")) == ["private lighthouse"]
    assert search(persona.owner, "secrets").hits == ()
    assert search(persona.owner, "from:me").hits[0].persona == persona


def test_lines_of_memory_and_titles(persona: Persona) -> None:
    """They come from the files and the list of chats, without an index."""
    save_file(
        persona,
        "MEMORY_MID.md",
        "# Things\n- 2026-02-01 Plays the accordion. <!-- pin -->\naccordion no line",
        author=None,
    )
    Conversation.objects.create(
        owner=persona.owner, persona=persona, title="About accordions"
    )
    line, title = search(persona.owner, "accordion").hits
    assert (line.file, texts(Found((line,)))) == (
        "MEMORY_MID.md",
        ["Plays the accordion."],
    )
    assert title.message_id is None and marked(title.snippet) == ["accordions"]
    assert len(search(persona.owner, "accordion after:2026-02-02").hits) == 0
    assert len(search(persona.owner, "accordion before:2026-02-02").hits) == 1
    assert search(persona.owner, "accordion from:me").hits == ()


def test_pages(persona: Persona) -> None:
    """Each hit stands on one page."""
    say_and_index(persona, *(f"kite number{n}" for n in range(7)))
    first = search(persona.owner, "kite", limit=4)
    second = search(persona.owner, "kite", limit=4, offset=4)
    assert first.more and not second.more
    assert len({*texts(first), *texts(second)}) == 7


def test_what_is_not_indexed_yet_is_not_found(persona: Persona) -> None:
    """The index is filled in the background."""
    say(persona, "fresh words")
    assert search(persona.owner, "fresh").hits == ()
    assert search(persona.owner, " ").hits == ()


def test_a_long_phrase_of_characters_is_cut() -> None:
    """Its cost would be the length of the text times its own."""
    term = term_of("的" * 400)
    assert term is not None and len(term.words) == MAX_TERM
    shown = snippet("的" * 32_000, [term])
    assert len(marked(shown)) > 1


def test_titles_are_compared_like_words(persona: Persona) -> None:
    """Marks and accents of a title do not matter, parts of its words are enough."""
    say_and_index(persona, "first lantern", title="Hello, I am at the Café!")
    say_and_index(persona, "second lantern", title="Hello itself")
    for where in ('"hello i am"', '"hello, I"', "cafe", '"the caf"'):
        found = search(persona.owner, f"lantern in:{where}")
        assert texts(found)[-1] == "first lantern", where
    assert len(search(persona.owner, "lantern in:hello").hits) == 2


def test_words_with_a_dash_and_a_minus_in_quotation_marks(persona: Persona) -> None:
    """Only a word that begins with a minus is refused."""
    say_and_index(persona, "a well-known -verbose flag at -5 degrees")
    for query in ("well-known", '"-verbose"', "-5", "flag -"):
        assert len(search(persona.owner, query).hits) == 1, query
