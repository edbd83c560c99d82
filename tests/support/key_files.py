"""A key file as Google hands them out for a service account, with a key made here."""

from __future__ import annotations

import functools
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@functools.cache
def key_file() -> str:
    """Return the JSON text; the same for the whole run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "house",
            "client_email": "cortex@house.iam.gserviceaccount.com",
            "private_key_id": "abc",
            "private_key": pem,
        }
    )
