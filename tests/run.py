"""Run every check of the project and say at the end what failed or could not run.

``python tests/run.py`` is what ``make test`` calls; ``--fast`` leaves out browsers,
external databases and everything that takes seconds; ``--soak`` plays the long chaos
run instead. A step that fails does not keep
the others from running. The exit code is 1 when a step failed, or, where ``CI`` is
true, when a step or a test could not run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.environment import (  # noqa: E402
    DATABASE_FOR_TESTS,
    MISSING_REPORT,
    SOAK,
    clean_environment,
)
from tests.support.missing import find_program  # noqa: E402

PYTHON = sys.executable
BIN = Path(PYTHON).parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
WORKERS = "3"
NOT_FAST = "not browser and not postgres and not redis and not slow"
PYTEST_WITHIN_S = 30 * 60
"""A test that hangs beyond its own time limit must not hang the run."""


@dataclass
class Run:
    """What happened so far."""

    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: list[tuple[str, float]] = field(default_factory=list)


Step = Callable[["Run"], bool]


def command(
    *words: str,
    environment: dict[str, str] | None = None,
    within_s: float | None = None,
) -> bool:
    """Run a program from the project's folder; ``True`` when it succeeded in time."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=within_s is not None,
    )
    try:
        return process.wait(within_s) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        say(f"Ended after {within_s} s: it hangs.")
        return False
    except BaseException:
        # A session of its own does not hear Ctrl-C.
        process.terminate()
        raise


def manage(*words: str, **variables: str) -> bool:
    """Run a ``manage.py`` command on an empty data folder."""
    with tempfile.TemporaryDirectory(prefix="cortex-check-") as folder:
        environment = clean_environment(Path(folder), **variables)
        return command(PYTHON, "manage.py", *words, environment=environment)


def lint(run: Run) -> bool:
    """Check style and format of Python, templates and requirements."""
    checked = command(str(BIN / "ruff"), "check", "--quiet")
    formatted = command(str(BIN / "ruff"), "format", "--check", "--quiet")
    templates = sorted(str(path) for path in (ROOT / "templates").rglob("*.html"))
    tidy = command(str(BIN / "djade"), "--target-version", "5.2", "--check", *templates)
    return checked and formatted and tidy


def types(run: Run) -> bool:
    """Check types, strictly."""
    with tempfile.TemporaryDirectory(prefix="cortex-check-") as folder:
        environment = clean_environment(Path(folder))
        return command(PYTHON, "-m", "mypy", environment=environment)


def layers(run: Run) -> bool:
    """Check who imports whom."""
    return command(str(BIN / "lint-imports"), "--no-logo")


def migrations(run: Run) -> bool:
    """Check that the migrations describe the models."""
    return manage("makemigrations", "--check", "--dry-run")


def deploy(run: Run) -> bool:
    """Check the settings as they are behind https."""
    return manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        CORTEX_PUBLIC_URL="https://cortex.example.org",
    )


def scripts(run: Run) -> bool:
    """Check and test the browser's scripts."""
    npm = shutil.which("npm")
    if npm is None or not (ROOT / "node_modules" / ".bin" / "eslint").exists():
        run.missing.append("the checks of the browser's scripts: npm packages")
        return True
    linted = command(npm, "run", "--silent", "lint")
    return command(npm, "test", "--silent") and linted


def pytest(run: Run, *words: str, **variables: str) -> bool:
    """Run tests in parallel; remembers what could not run."""
    with tempfile.TemporaryDirectory(prefix="cortex-check-") as folder:
        report = Path(folder) / "missing"
        environment = {**os.environ, MISSING_REPORT: str(report), **variables}
        done = command(
            *(PYTHON, "-m", "pytest", "-q", "-n", WORKERS, "--dist", "worksteal"),
            *words,
            environment=environment,
            within_s=PYTEST_WITHIN_S,
        )
        if report.exists():
            run.missing += report.read_text(encoding="utf-8").splitlines()
        return done


def tests(run: Run) -> bool:
    """Run all tests on SQLite."""
    return pytest(run)


def fast_tests(run: Run) -> bool:
    """Run the tests that need nothing but Python."""
    return pytest(run, "-m", NOT_FAST)


def soak_tests(run: Run) -> bool:
    """Run the tests that can be as long as wanted, long."""
    crashes = "tests/requirements/test_queue.py::" + (
        "test_r09_nothing_is_lost_and_nothing_has_its_effect_twice_while_workers_die"
    )
    return pytest(run, "tests/routing/test_chaos.py", crashes, **{SOAK: "1"})


def postgres_tests(run: Run) -> bool:
    """Run the tests that use the database again, on PostgreSQL."""
    if find_program("initdb") is None:
        run.missing.append("the tests on PostgreSQL: it is not installed")
        return True
    with postgres_server() as url:
        return pytest(run, "-m", NOT_FAST, **{DATABASE_FOR_TESTS: url})


@contextmanager
def postgres_server():  # type: ignore[no-untyped-def]
    """Start a PostgreSQL server of its own and give its address."""
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.support.postgres"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("PostgreSQL did not start; its output is above.")
        yield url
    finally:
        process.stdin.close()
        process.wait(30)


FAST: dict[str, Step] = {
    "lint": lint,
    "import layers": layers,
    "missing migrations": migrations,
    "tests": fast_tests,
}
ALL: dict[str, Step] = {
    "lint": lint,
    "types": types,
    "import layers": layers,
    "missing migrations": migrations,
    "deployment settings": deploy,
    "browser scripts": scripts,
    "tests on PostgreSQL": postgres_tests,
    "tests": tests,
}
SOAK_STEPS: dict[str, Step] = {"long chaos and crashes": soak_tests}
LINT: dict[str, Step] = {
    "lint": lint,
    "types": types,
    "import layers": layers,
    "browser scripts": scripts,
}


def say(text: str) -> None:
    """Print a line at once, between the output of the steps."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Run the steps and return the exit code."""
    run = Run()
    choices = {"--fast": FAST, "--lint": LINT, "--soak": SOAK_STEPS}
    steps = choices.get("".join(arguments), ALL)
    for name, step in steps.items():
        say(f"== {name}")
        started = time.monotonic()
        if not step(run):
            run.failed.append(name)
        run.seconds.append((name, time.monotonic() - started))
    say("")
    for name, seconds in run.seconds:
        outcome = "FAILED" if name in run.failed else "ok"
        say(f"{name:<22}{seconds:6.1f} s  {outcome}")
    for missing in dict.fromkeys(run.missing):
        say(f"could not run: {missing}")
    return 1 if run.failed or (IN_CI and run.missing) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
