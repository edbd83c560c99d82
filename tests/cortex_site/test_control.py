"""The supervisor's socket and the built-in model behind it, with stand-in programs."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from accounts.control import is_own_socket
from cortex_site import control, env
from cortex_site.control import BuiltinModel, ControlSocket
from cortex_site.startup import CannotStart

READY = "import sys\nprint('ready http://127.0.0.1:9', flush=True)\nsys.stdin.read()\n"
NO_WHEEL = (
    "import sys\n"
    "print('The built-in model is not installed: run make model.', file=sys.stderr)\n"
    "sys.exit(3)\n"
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a program in the place of the built-in model."""
    package = tmp_path / "cortex_site"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(control, "BASE_DIR", tmp_path)

    def write(text: str) -> None:
        (package / "builtin_model.py").write_text(text)

    return write


@pytest_asyncio.fixture
async def socket_path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    model = BuiltinModel()
    server = ControlSocket(path, model)
    await server.start()
    yield path
    await server.stop()
    await model.stop()
    assert not path.exists()


async def ask(path: Path, question: bytes = b"builtin\n") -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(question)
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


async def test_first_demand_starts_the_model_and_all_share_it(
    program: Callable[[str], None], socket_path: Path
) -> None:
    program(READY)
    answers = await asyncio.gather(*(ask(socket_path) for _ in range(5)))
    assert answers == [{"url": "http://127.0.0.1:9"}] * 5


async def test_only_this_account_may_connect(socket_path: Path) -> None:
    assert os.stat(socket_path).st_mode & 0o777 == 0o600


async def test_clients_trust_only_the_socket_of_their_account(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_own_socket(socket_path)
    socket_path.parent.chmod(0o777)
    assert not is_own_socket(socket_path)
    socket_path.parent.chmod(0o700)
    link = socket_path.with_name("link.sock")
    link.symlink_to(socket_path)
    assert not is_own_socket(link)
    assert not is_own_socket(socket_path.with_name("none.sock"))
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert not is_own_socket(socket_path)


async def test_long_data_folder_gets_a_socket_in_a_folder_of_this_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEX_DATA_DIR", "/" + "long/" * 30)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = env.control_socket()
    folder = path.parent
    assert folder.parent == tmp_path
    server = ControlSocket(path, BuiltinModel())
    await server.start()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert is_own_socket(path)
    await server.stop()
    folder.chmod(0o777)  # as if somebody else had made it
    with pytest.raises(CannotStart, match="Other accounts"):
        await server.start()
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(CannotStart, match="Other accounts"):
        await server.start()


async def test_missing_wheel_is_the_model_s_own_sentence(
    program: Callable[[str], None], socket_path: Path
) -> None:
    program(NO_WHEEL)
    sentence = "The built-in model is not installed: run make model."
    assert await ask(socket_path) == {"error": sentence}
    # It is not started again for every question.
    program(READY)
    assert await ask(socket_path) == {"error": sentence}


async def test_model_that_says_nothing_is_named_with_its_exit(
    program: Callable[[str], None], socket_path: Path
) -> None:
    program("raise SystemExit(5)")
    assert "exit 5" in (await ask(socket_path))["error"]


async def test_model_that_died_is_started_again(
    program: Callable[[str], None],
    socket_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cortex_site.children.FIRST_DELAY_S", 0.0)
    program("print('ready http://127.0.0.1:8', flush=True)")
    await ask(socket_path)
    program(READY)
    while (answer := await ask(socket_path)) != {"url": "http://127.0.0.1:9"}:
        assert answer == {"url": "http://127.0.0.1:8"} or "error" in answer
        await asyncio.sleep(0.02)


async def test_other_questions_are_answered_with_an_error(socket_path: Path) -> None:
    assert "error" in await ask(socket_path, b"weather\n")
