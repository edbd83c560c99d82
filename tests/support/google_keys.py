"""Keys with which the stand-in for Google signs, and the claims of its tokens.

Keys are made once in a process, by name, because making one takes a tenth of a second.

Source: developers.google.com/workspace/chat/verify-requests-from-chat.
"""

from __future__ import annotations

import datetime
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

CHAT = "chat@system.gserviceaccount.com"
ADDON_ACCOUNT = "service-424242@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"
X509_PATH = f"/service_accounts/v1/metadata/x509/{CHAT}"
OIDC_PATH = "/oauth2/v1/certs"
CHAT_KEYS = ("chat-1", "chat-2")
OIDC_KEYS = ("oidc-1", "oidc-2")


@dataclass(frozen=True)
class SigningKey:
    """An RSA key with its id."""

    kid: str
    private: rsa.RSAPrivateKey

    @property
    def public(self) -> rsa.RSAPublicKey:
        """Its public half."""
        return self.private.public_key()

    @property
    def private_pem(self) -> str:
        """As it stands in a service account's key file."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    @property
    def public_pem(self) -> str:
        """The public half as text."""
        return self.public.public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        ).decode()

    @property
    def certificate_pem(self) -> str:
        """A certificate that it signed itself."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.kid)])
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .sign(self.private, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half in a key set."""
        entry: dict[str, Any] = json.loads(
            jwt.algorithms.RSAAlgorithm.to_jwk(self.public)
        )
        return {**entry, "kid": self.kid, "alg": "RS256", "use": "sig"}

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        """Return a token signed with RS256, whatever the claims are."""
        return jwt.api_jws.encode(
            json.dumps(claims).encode(),
            self.private,
            algorithm="RS256",
            headers={"kid": self.kid, **headers},
        )


@cache
def signing_key(kid: str, bits: int = 2048) -> SigningKey:
    """Return the key of a name, made on first use."""
    return SigningKey(kid, rsa.generate_private_key(65537, bits))


def claims_for(signed_for: str, audience: str) -> dict[str, Any]:
    """Return the claims of a token of one kind of audience."""
    now = int(time.time())
    claims: dict[str, Any] = {"aud": audience, "iat": now, "exp": now + 3600}
    if signed_for == "project":
        return {**claims, "iss": CHAT}
    return {
        **claims,
        "iss": "https://accounts.google.com",
        "azp": "112233445566778899001",
        "sub": "112233445566778899001",
        "email": CHAT if signed_for == "url" else ADDON_ACCOUNT,
        "email_verified": True,
    }


def post_json(url: str, payload: Any, token: str) -> tuple[int, Any]:
    """Post as Google's servers do; return the status and the JSON of the answer."""
    request = urllib.request.Request(
        url,
        data=json.dumps(payload).encode(),
        headers={
            "Content-Type": "application/json",
            "User-Agent": "Google-Dynamite",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
        try:
            return error.code, json.loads(body or b"null")
        except ValueError:
            return error.code, None
