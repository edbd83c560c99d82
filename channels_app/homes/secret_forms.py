"""Tells by its form alone whether a text holds a secret.

Keys of well-known services begin with letters of their own. Other secrets are long and
random: they change between small letters, capitals and digits far more often than the
names of models, files and hosts do.

Source: the prefixes are those that GitHub's page "Supported secret scanning patterns"
and the services' own pages name.
"""

from __future__ import annotations

import re
import uuid
from itertools import pairwise
from typing import Final

_KNOWN: Final = re.compile(
    r"""-----BEGIN | \bbearer\s+\S | "private_key"
    | \b(?-i:
        (sk|rk|pk)[-_][A-Za-z0-9_-]{8}          # OpenAI, Anthropic, Stripe
      | gh[pousr]_[A-Za-z0-9]{8} | github_pat_ | glpat-
      | xox[a-z]-[A-Za-z0-9] | xapp-[0-9]       # Slack
      | (AKIA|ASIA)[A-Z0-9]{12}                 # Amazon
      | AIza[A-Za-z0-9_-]{16} | ya29\.          # Google
      | hf_[A-Za-z0-9]{8} | npm_[A-Za-z0-9]{8} | SG\.[A-Za-z0-9_-]{8}
      | eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+       # JSON Web Tokens
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_LONG: Final = re.compile(r"[A-Za-z0-9_+=~-]{20,}")
_PIECE: Final = re.compile(r"[A-Za-z0-9]{20,}")
_OFTEN_IN_PIECE: Final = 0.25
_OFTEN: Final = 0.4
"""Changes of the kind of character, as a share of all; names with dashes have less."""


def has_known_form(text: str) -> bool:
    """Say whether a private key, a bearer or the key of a known service is in it."""
    return _KNOWN.search(text) is not None


def has_random_word(text: str) -> bool:
    """Say whether a long random word is in it; an id alone (a UUID) is none."""
    return not _is_id(text) and any(
        _is_random(found[0]) for found in _LONG.finditer(text)
    )


def _is_random(word: str) -> bool:
    if any(_changes(piece) >= _OFTEN_IN_PIECE for piece in _PIECE.findall(word)):
        return True
    return _changes("".join(filter(str.isalnum, word))) >= _OFTEN


def _changes(word: str) -> float:
    """Return how often the kind of character changes; 0 without letters or digits."""
    kinds = [(char.isdigit(), char.isupper()) for char in word]
    if word.isalpha() or word.isdigit() or not word:
        return 0.0
    return sum(one != next for one, next in pairwise(kinds)) / len(word)


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
