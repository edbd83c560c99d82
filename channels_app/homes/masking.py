"""Takes the secrets out of a JSON text and leaves every other character as it is.

A value is secret, and becomes ``""``, when

* one of the words of its key is in ``SECRET_WORDS``, whatever stands between the words
  (``bot_secret``, ``apiKey``, ``X-Api-Key``), or ``SECRET_PARTS`` occur in it
  (``accesstoken``); everything below such a key is secret, lists and objects included;
* it stands beside a ``name`` that is such a key, or behind such an option in a list
  (``"--api-key", "…"``);
* its text looks like a secret, see ``secret_forms``: a private key, ``Bearer …``, a key
  as well-known services write them, a long random word, an address with a user and
  password, with a secret in its query or with a random part.

Amounts of tokens are no secrets: ``max_output_tokens`` and the like with a number. Nor
is the kind of a credential, where it is one of the words that Cortex knows. ``true``,
``false`` and ``null`` stay everywhere, since they tell nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from channels_app.homes.secret_forms import has_known_form, has_random_word
from personas.home.json_text import fields_at, items_at, parsed, skipped
from routing.models import Host

SECRET_WORDS: Final = frozenset(
    {
        *("apikey", "apikeys", "auth", "authorization", "bearer", "cookie", "cookies"),
        *("credential", "credentials", "env", "environ", "environment", "headers"),
        *("jwt", "key", "keys", "oauth"),
        *("pass", "passphrase", "passwd", "password", "passwords", "pin", "private"),
        *("pwd", "secret", "secrets", "signature", "token", "tokens"),
    }
)
SECRET_PARTS: Final = (
    *("secret", "token", "password", "passwd", "credential", "apikey"),
    *("privatekey", "accesskey", "serviceaccount"),
    # the same in German, French and Spanish, without accents
    *("passwort", "kennwort", "geheim", "schlussel", "schluessel"),
    *("motdepasse", "contrasena"),
)
_AMOUNT: Final = re.compile(r"(context|max|min|input|output|prompt|total)\w*tokens?")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")
_NAMES: Final = frozenset({"name", "header", "variable", "param", "field", "option"})
_VALUES: Final = frozenset({"value", "values", "val", "content", "data", "default"})
"""Keys of an object that says the name of a setting and its value side by side."""
_KINDS: Final = frozenset(Host.Credential.values)


def masked(text: str) -> str:
    """Return a JSON text without its secrets; raises ``Refused`` where it is none."""
    parsed(text)
    begin = skipped(text, 1 if text.startswith("\ufeff") else 0)
    kept, last = [], 0
    for start, end in _secrets(text, begin, False):
        kept.append(f'{text[last:start]}""')
        last = end
    return "".join([*kept, text[last:]])


def _secrets(text: str, place: int, secret: bool) -> Iterator[tuple[int, int]]:
    """Yield where each secret of the value at a place begins and ends."""
    if text[place] == "{":
        fields = [field for field in fields_at(text, place) if field[1] < field[2]]
        named = any(
            name.lower() in _NAMES and _is_secret_name(text[begin:end])
            for name, begin, end in fields
        )
        for name, begin, end in fields:
            inner = secret or is_secret_key(name, text[begin:end])
            beside = named and name.lower() in _VALUES
            yield from _in_value(text, begin, end, inner or beside)
    elif text[place] == "[":
        behind = False
        for _, begin, end in items_at(text, place):
            if begin < end:
                yield from _in_value(text, begin, end, secret or behind)
                behind = text[begin:end].startswith('"-') and _is_secret_name(
                    text[begin:end]
                )


def _is_secret_name(value: str) -> bool:
    """Say whether a JSON text is the name of something secret."""
    return value[0] == '"' and is_secret_key(json.loads(value), "")


def _in_value(
    text: str, begin: int, end: int, secret: bool
) -> Iterator[tuple[int, int]]:
    value = text[begin:end]
    if value[0] in "{[":
        yield from _secrets(text, begin, secret)
    elif value not in {"true", "false", "null"} and (
        secret or (value[0] == '"' and looks_secret(json.loads(value)))
    ):
        yield begin, end


def is_secret_key(name: str, value: str) -> bool:
    """Say whether what stands under a key is secret; ``value`` is its JSON text."""
    plain = "".join(
        char
        for char in unicodedata.normalize("NFKD", name)
        if not unicodedata.combining(char)
    )
    words = _NO_WORD.split(_CAMEL.sub("_", plain).lower())
    joined = "".join(words)
    if _AMOUNT.fullmatch(joined) and value[:1].isdigit():
        return False
    if joined == "credential" and value.strip('"') in _KINDS:
        return False
    return not SECRET_WORDS.isdisjoint(words) or any(
        part in joined for part in SECRET_PARTS
    )


def looks_secret(text: str) -> bool:
    """Say whether a text is a secret by its own form, whatever its key."""
    if has_known_form(text) or has_random_word(text):
        return True
    option, is_option, _ = text.partition("=")
    if is_option and option.startswith("-") and is_secret_key(option, ""):
        return True
    if "://" not in text:
        return False
    try:
        url = urlsplit(text)
        named = [name for name, _ in parse_qsl(url.query)]
    except ValueError:
        return True
    return "@" in url.netloc or any(is_secret_key(name, "") for name in named)


def storable(value: Any) -> bool:
    """Say whether every text of a JSON value can be stored in any database."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text
