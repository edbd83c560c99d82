from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command

from accounts import keyfile, secrets
from accounts.models import User

OLD = "old-key-old-key-old-key-old-key-0123456789"
NEW = "new-key-new-key-new-key-new-key-9876543210"


def test_text_comes_back() -> None:
    token = secrets.encrypt("host_key", "sk-ünïcode")

    assert "sk-" not in token
    assert secrets.decrypt("host_key", token) == "sk-ünïcode"


def test_another_purpose_does_not_open_it() -> None:
    with pytest.raises(secrets.Undecryptable):
        secrets.decrypt("preview", secrets.encrypt("host_key", "text"))


@pytest.mark.parametrize("damaged", ["", "nonsense", "gAAAAA==", "ü"])
def test_damaged_text_is_undecryptable(damaged: str) -> None:
    with pytest.raises(secrets.Undecryptable):
        secrets.decrypt("host_key", damaged)


def test_older_keys_still_open(settings) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    token = secrets.encrypt("host_key", "text")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]

    assert secrets.decrypt("host_key", token) == "text"

    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(secrets.Undecryptable):
        secrets.decrypt("host_key", token)


@pytest.mark.django_db
def test_rotation_moves_every_secret_to_the_new_key(
    alice: User, settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORTEX_SECRET_KEY", raising=False)
    settings.DATA_DIR = tmp_path
    settings.CORTEX_CONTROL_SOCKET = tmp_path / "control.sock"
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    (tmp_path / "secret.key").write_text(OLD + "\n")
    factor = Authenticator.objects.create(
        user=alice,
        type=Authenticator.Type.TOTP,
        data={"secret": secrets.encrypt("mfa", "SEED")},
    )

    out = io.StringIO()
    call_command("secrets", "rotate", "--json", stdout=out)

    keys = (tmp_path / "secret.key").read_text().split()
    assert json.loads(out.getvalue()) == {"reencrypted": 1, "new_key": True}
    assert len(keys) == 2 and keys[1] == OLD
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = keys[0], []
    factor.refresh_from_db()
    assert secrets.decrypt("mfa", factor.data["secret"]) == "SEED"


@pytest.mark.django_db
def test_rotation_with_an_unreadable_secret_changes_nothing(
    alice: User, settings
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    data = {"secret": "not encrypted at all"}
    Authenticator.objects.create(user=alice, type=Authenticator.Type.TOTP, data=data)

    with pytest.raises(secrets.Undecryptable, match=r"mfa\.Authenticator"):
        secrets.reencrypt_all([NEW, OLD])

    assert Authenticator.objects.get().data == data


@pytest.mark.django_db
def test_rotation_refuses_while_cortex_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "cortex_is_running", lambda: True)

    with pytest.raises(CommandError, match="Stop Cortex first"):
        call_command("secrets", "rotate")
