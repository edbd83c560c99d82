"""What may be typed into a channel's settings: checks only, no changes.

Every check returns the value as it is kept, or refuses it with one sentence.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.exceptions import ValidationError
from yarl import URL

from accounts.models import User
from channels_app.bots.channels import trusted_origins_for
from channels_app.models import Channel
from routing.addresses import (
    looks_local,
    origin_of_url,
    parse_url,
    refuse_private_literal,
)
from routing.errors import BadAddress, BlockedAddress

_PAGES_OF_NEXTCLOUD: Final = ("/index.php", "/apps/", "/call/")
_ADDON_ACCOUNT: Final = re.compile(
    r"service-\d+@gcp-sa-gsuiteaddons\.iam\.gserviceaccount\.com"
)
_PROJECT_DIGITS: Final = range(6, 21)
_TALK_TOKEN: Final = re.compile(r"[A-Za-z0-9]{3,64}")
_TALK_USER: Final = re.compile(r"(?:users|federated_users)/\S{1,180}")
_GOOGLE_SPACE: Final = re.compile(r"(?:spaces?|room|dm)/([A-Za-z0-9_-]{4,100})")
_GOOGLE_USER: Final = re.compile(r"(?:users/)?(\d{5,30})")
ADDON_ACCOUNT: Final = "service-{}@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
"""The account that signs for the add-ons of a project, by the project's number."""


def clean_nextcloud_address(owner: User, text: str) -> str:
    """Return the address of a Nextcloud server, without a slash at its end.

    The address of one of its pages is cut to that of the server.

    Raises:
        ValidationError: It is no address, or leads into a private network that is not
            allowed to this person.
    """
    try:
        url = parse_url(text.strip())
        path = url.path
        for page in _PAGES_OF_NEXTCLOUD:
            path = path.partition(page)[0]
        address = f"{url.origin()}{path.rstrip('/')}"
        if origin_of_url(url) not in trusted_origins_for(owner, address):
            _refuse_private(url, address)
    except (BadAddress, BlockedAddress) as error:
        raise ValidationError(str(error)) from None
    if url.path == path and (url.query_string or url.fragment):
        raise ValidationError("Leave out everything after ? or #.")
    return address


def _refuse_private(url: URL, address: str) -> None:
    refuse_private_literal(url)
    if looks_local(address):
        raise BlockedAddress


def clean_project_number(text: str) -> str:
    """Return the number of a Google Cloud project; raises ``ValidationError``."""
    if not (text.isascii() and text.isdigit()):
        raise ValidationError(
            "The project number is digits only; it is not the project's name or id."
        )
    if len(text) not in _PROJECT_DIGITS:
        least, most = _PROJECT_DIGITS[0], _PROJECT_DIGITS[-1]
        raise ValidationError(
            f"A project number has {least} to {most} digits, not {len(text)}; Google's "
            "console shows it on the project's dashboard."
        )
    return text


def clean_audience_address(text: str) -> str:
    """Return an address that Google calls, unchanged; raises ``ValidationError``."""
    try:
        parse_url(text)
    except BadAddress as error:
        raise ValidationError(str(error)) from None
    return text


def clean_addon_account(text: str) -> str:
    """Return the account that signs for an add-on; raises ``ValidationError``."""
    if not _ADDON_ACCOUNT.fullmatch(text):
        raise ValidationError(f"The account looks like {ADDON_ACCOUNT.format('123…')}.")
    return text


def clean_service_account(text: str) -> str:
    """Return the key file of a Google service account as compact JSON.

    Source: https://cloud.google.com/iam/docs/keys-create-delete

    Raises:
        ValidationError: What is missing or cannot be used; never with a part of it.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError(
            "This is not JSON; paste the whole key file, from { to }."
        ) from None
    if not isinstance(found, dict) or found.get("type") != "service_account":
        raise ValidationError("This is not the key file of a service account.")
    if "@" not in _text(found, "client_email"):
        raise ValidationError("The key file names no account (client_email).")
    if not _is_rsa_key(_text(found, "private_key")):
        raise ValidationError(
            "The private key in this file cannot be read; paste the file unchanged."
        )
    return json.dumps(found, separators=(",", ":"))


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _is_rsa_key(pem: str) -> bool:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return isinstance(key, RSAPrivateKey)


def clean_room_id(kind: str, text: str) -> str:
    """Return the id of a room; a link to it is taken too.

    Raises:
        ValidationError: It looks like no id of this kind of channel.
    """
    if kind == Channel.Kind.GOOGLE_CHAT:
        found = _GOOGLE_SPACE.search(text)
        if not found:
            raise ValidationError("The id of a space looks like spaces/AAAA1234.")
        return f"spaces/{found[1]}"
    token = re.split(r"[?#]", text.strip().rpartition("/call/")[2])[0].rstrip("/")
    if not _TALK_TOKEN.fullmatch(token):
        raise ValidationError("The id of a room is letters and digits, like abc123de.")
    return token


def clean_identity_id(kind: str, text: str) -> str:
    """Return the id of an account on the other side, never one that can change hands.

    Raises:
        ValidationError: It looks like no account of this kind of channel.
    """
    if kind == Channel.Kind.GOOGLE_CHAT:
        found = _GOOGLE_USER.fullmatch(text.strip())
        if not found:
            raise ValidationError(
                "The id looks like users/1234567890; an e-mail address is none."
            )
        return f"users/{found[1]}"
    name = text.strip()
    identity = name if "/" in name else f"users/{name}"
    if not _TALK_USER.fullmatch(identity):
        raise ValidationError("The id looks like users/alice; guests have none.")
    return identity
