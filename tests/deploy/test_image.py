"""The Dockerfile: its steps in an empty root, and what the result does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import dockerfile
from tests.support.dockerfile import Ignored, instructions
from tests.support.environment import SECRET_KEY
from tests.support.image_root import ImageRoot
from tests.support.processes import ROOT, free_port, wait_until

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KEYS_AND_DATA = re.compile(r"secret\.key|\.sqlite3|\.env$|ledger\.jsonl|id_rsa|\.pem$")


def first_process(image: ImageRoot, outer: subprocess.Popen[bytes]) -> int:
    """Return the number, as seen here, of process 1 of the namespace."""

    def found() -> int:
        assert outer.poll() is None, image.log.read_text()
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
        return int(children.split()[0]) if children.split() else 0

    return int(wait_until(found, what="the container's process"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_image_is_built_starts_is_healthy_and_stops(tmp_path: Path) -> None:
    with ImageRoot(tmp_path / "image") as image:
        image.build(DOCKERFILE)
        assert image.base.startswith("python:3.11-slim")
        assert image.user not in {"", "root", "0"}
        assert image.volumes == ["/data"]
        assert list(image.inside("/data").iterdir()) == []
        built = image.files()
        ours = [path for path in built if not path.startswith("opt/venv/")]
        assert not [path for path in ours if KEYS_AND_DATA.search(path)]
        assert "app/staticfiles/css/app.css" in built
        for path in ("tests", ".git", "docs", "node_modules", ".venv", "data"):
            assert not image.inside(f"/app/{path}").exists(), path

        port = {"PORT": str(free_port())}
        outer = image.start(image.command, **port)
        try:
            inner = first_process(image, outer)
            wait_until(
                lambda: (
                    image.run(image.health, **port) == 0 or outer.poll() is not None
                ),
                within_s=60,
                what="a healthy container",
            )
            assert image.run(["pg_dump", "--version"]) == 0
            owner = Path(f"/proc/{inner}").stat().st_uid
            assert owner == image.inside("/data").stat().st_uid != 0
            begun = time.monotonic()
            os.kill(inner, signal.SIGTERM)
            assert outer.wait(25) == 0, image.log.read_text()
            assert time.monotonic() - begun < 25
        finally:
            outer.kill()
            outer.wait()
        log = image.log.read_text()
        assert re.search(r"^Open http\S+/setup/\S+ to set up Cortex$", log, re.M), log
        assert "Traceback" not in log
        after = image.files()
        changed = [path for path in after if built.get(path) != after[path]]
        assert changed and all(path.startswith("data/") for path in changed), changed
        key = image.inside("/data/secret.key").stat()
        assert (key.st_uid, key.st_mode & 0o777) == (owner, 0o600)
        assert image.run(image.health, **port) == 1


# --- what needs no root ----------------------------------------------------------


def steps(name: str) -> list[dockerfile.Instruction]:
    text = DOCKERFILE.read_text(encoding="utf-8")
    return [step for step in instructions(text) if step.name == name]


def test_packages_are_pinned_by_their_hashes() -> None:
    installs = [
        part
        for step in steps("RUN")
        for part in re.split(r"&&|;|then", step.value)
        if "pip install" in part
    ]
    assert len(installs) == 2
    assert all("--require-hashes -r requirements" in part for part in installs)


def test_the_image_ends_as_another_user_than_root() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    names = [step.name for step in instructions(text)]
    assert names.index("USER") > max(
        number for number, name in enumerate(names) if name in {"RUN", "COPY"}
    )


def test_the_client_of_postgresql_is_that_of_the_composition() -> None:
    (base,) = steps("FROM")
    assert base.value.endswith("-slim-trixie")  # which has PostgreSQL 17
    assert "image: postgres:17-" in (ROOT / "deploy" / "compose.yaml").read_text()


def test_what_is_sent_to_a_builder_is_what_runs() -> None:
    sent = set(dockerfile.context(ROOT))
    assert {"manage.py", "cortex_site/settings.py", "deploy/healthcheck.py"} <= sent
    assert {"pyproject.toml", "requirements.txt", "requirements-model.txt"} <= sent
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    assert sent <= set(tracked)
    assert not [path for path in sent if path.startswith(("tests/", "docs/", "bench/"))]


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("manage.py", False),
        ("deploy/.env", True),
        ("deploy/healthcheck.py", False),
        ("data/secret.key", True),
        ("accounts/models.py", False),
        ("accounts/__pycache__/models.cpython-311.pyc", True),
        (".env", True),
    ],
)
def test_rules_of_the_ignore_file(path: str, left_out: bool) -> None:
    text = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert Ignored(text)(path) is left_out


def test_the_reader_of_dockerfiles_passes_over_nothing() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        instructions("FROM x\nADD http://example.org/x /")
    (run,) = instructions("RUN --mount=type=cache,target=/c a \\\n  # no\n  && b")
    assert (run.flags, run.value) == ({"mount": "type=cache,target=/c"}, "a    && b")
    assert dockerfile.assignments("A=$B/c D=${E}", {"B": "b"}) == {"A": "b/c", "D": ""}
    assert SECRET_KEY not in DOCKERFILE.read_text()
