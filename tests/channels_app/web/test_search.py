"""The page for searching: hits, filters, pages, and others' things."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse

from accounts.models import User
from personas.files import save_file
from personas.models import Persona
from tests.personas.search.said import say_and_index

SignIn = Callable[[User], Client]


def page(client: Client, **query: str) -> str:
    """Return the page for a search."""
    response = client.get(reverse("search"), query)
    assert response.status_code == 200
    return response.content.decode()


def test_it_asks_for_a_sign_in(client: Client, db: None) -> None:
    """Strangers are sent to the sign-in page."""
    response = client.get(reverse("search"), {"q": "x"})
    assert response.status_code == 302 and "login" in response.headers["Location"]


def test_hits_link_to_their_messages(persona: Persona, client_for: SignIn) -> None:
    """Words are marked, texts escaped, and the hit opens at its message."""
    (message,) = say_and_index(
        persona, "A <b>red</b> suitcase", title="Packing", private=True
    )
    save_file(persona, "MEMORY_LONG.md", "- 2026-03-04 Owns a suitcase.", author=None)
    text = page(client_for(persona.owner), q="suitcase")
    assert "A &lt;b&gt;red&lt;/b&gt; <mark>suitcase</mark>" in text
    assert f'href="{reverse("message", args=[message.pk])}"' in text
    assert f'href="{reverse("persona_memory", args=["inara"])}"' in text
    assert "Packing" in text and "private" in text and "4 Mar 2026" in text


def test_htmx_gets_the_hits_alone(persona: Persona, client_for: SignIn) -> None:
    """While somebody types only the list is rendered, also with a bad filter."""
    client = client_for(persona.owner)
    response = client.get(
        reverse("search"), {"q": "before:x"}, headers={"HX-Request": "true"}
    )
    text = response.content.decode()
    assert response.status_code == 200
    assert "is no date" in text and "<html" not in text
    assert client.get(reverse("search"), {"q": "before:x"}).status_code == 400


def test_pages(persona: Persona, client_for: SignIn) -> None:
    """Twenty hits stand on a page, and the query goes along."""
    say_and_index(persona, *(f"kite & string {n}" for n in range(25)))
    client = client_for(persona.owner)
    first, second = page(client, q="kite &"), page(client, q="kite &", page="2")
    assert first.count('class="hit ') == 20 and second.count('class="hit ') == 5
    assert "?q=kite%20%26&amp;page=2" in first and 'rel="next"' not in second
    for odd in ("0", "-1", "x", "9" * 9, "²"):
        page(client, q="kite", page=odd)


def test_nothing_of_others(persona: Persona, bob: User, client_for: SignIn) -> None:
    """Somebody else finds nothing, and reads how to search."""
    say_and_index(persona, "lighthouse")
    text = page(client_for(bob), q="lighthouse")
    assert "Nothing was found" in text and "How to search" in text
    assert 'class="hit ' not in text
    assert "Nothing was found" not in page(client_for(bob))


def test_doors(persona: Persona, client_for: SignIn) -> None:
    """``in:`` takes the names of doors as people call them."""
    (message,) = say_and_index(persona, "through the bot")
    type(message).objects.filter(pk=message.pk).update(channel="nextcloud_talk")
    for name in ("talk", '"Nextcloud Talk"', "nextcloud_talk"):
        assert "Nextcloud Talk</span>" in page(
            client_for(persona.owner), q=f"bot in:{name}"
        )


def test_a_null_character_is_a_blank(persona: Persona, client_for: SignIn) -> None:
    """Whatever is pasted is searched; other pages refuse such an address."""
    say_and_index(persona, "A kite on a string")
    client = client_for(persona.owner)
    assert "kite" not in page(client, q="\0")
    assert "<mark>kite</mark>" in page(client, q="kite\0string")
    assert client.get(reverse("search"), {"q": "from:me\0x kite"}).status_code == 200
    assert client.get("/personas/", {"q": "\0"}).status_code == 404
