"""A vendor's program is started, fed, read and surely ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from routing.backends import cli_process, cli_scratch
from routing.backends.base import TimedOut, Timeouts, UpstreamFailed
from routing.backends.cli_process import Program, room_for_a_program
from routing.backends.cli_scratch import new_scratch
from routing.interrupts import Patience
from tests.routing.cli_programs import script
from tests.support.children import Children
from tests.support.environment import clean_environment
from tests.support.processes import ROOT, wait_until

PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give this process a place of its own for scratch folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    cli_scratch._own_folder.cache_clear()
    yield folder
    cli_scratch._own_folder.cache_clear()


async def start(folder: Path, body: str, *, polite: bool = False) -> Program:
    command = [str(script(folder, body))]
    return await Program.start(command, PATH, new_scratch(), polite=polite)


async def all_lines(program: Program) -> list[bytes]:
    lines = []
    while batch := await program.read_lines():
        lines += batch
    return lines


def group_of(program: Program) -> list[psutil.Process]:
    """Return what runs in a program's group, dead ones left out."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getpgid(process.pid) == program.pid:
                found.append(process)
    return found


async def test_lines_of_json_are_read_and_the_exit_code_is_known(
    tmp_path: Path,
) -> None:
    body = "print('a note'); say(n=1); print('more'); say(n=2); sys.exit(145)"
    program = await start(tmp_path, body)
    assert await all_lines(program) == [b'{"n": 1}', b'{"n": 2}']
    assert program.exit_code == 145
    await program.stop()


async def test_a_huge_line_and_split_characters_arrive_whole(tmp_path: Path) -> None:
    body = (
        "text = '{\"t\": \"' + 'ü🙂' * 400_000 + '\"}\\n'\n"
        "for at in range(0, len(data := text.encode()), 65_537):\n"
        "    os.write(1, data[at:at + 65_537])\n"
    )
    program = await start(tmp_path, body)
    [line] = await all_lines(program)
    assert line.decode() == '{"t": "' + "ü🙂" * 400_000 + '"}'
    await program.stop()


async def test_an_endless_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_process, "MAX_LINE_BYTES", 1_000_000)
    program = await start(tmp_path, "while True: os.write(1, b'{' * 50_000)")
    with pytest.raises(UpstreamFailed):
        await all_lines(program)
    await program.stop()
    assert not group_of(program)


async def test_input_larger_than_the_pipes_meets_output_of_the_same_size(
    tmp_path: Path,
) -> None:
    body = "for line in sys.stdin: sys.stdout.write(line)"
    program = await start(tmp_path, body)
    program.feed(b'{"x": "' + b"y" * 3_000_000 + b'"}\n', then_close=True)
    [line] = await all_lines(program)
    assert len(line) == 3_000_009
    await program.stop()


async def test_much_on_standard_error_blocks_nothing_and_its_end_is_kept(
    tmp_path: Path,
) -> None:
    body = "sys.stderr.write('noise ' * 300_000 + 'unknown option'); say(n=1)"
    program = await start(tmp_path, body)
    assert await all_lines(program) == [b'{"n": 1}']
    await program.stop()
    assert program.last_words.endswith("unknown option")
    assert len(program.last_words) <= cli_process.STDERR_BYTES


async def test_a_program_that_cannot_start_ends_with_the_shells_code() -> None:
    program = await Program.start(["/no/such/program"], PATH, new_scratch())
    assert await all_lines(program) == []
    assert program.exit_code == 127
    await program.stop()


@pytest.mark.parametrize("polite", [False, True])
async def test_stop_ends_one_that_ignores_every_request_and_its_children(
    tmp_path: Path, polite: bool
) -> None:
    body = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0: time.sleep(600)\n"
        "say(n=1); time.sleep(600)\n"
    )
    program = await start(tmp_path, body, polite=polite)
    await program.read_lines()
    assert len(group_of(program)) >= 3
    await program.stop()
    wait_until(lambda: not group_of(program), what="the group to end")


async def test_a_polite_stop_lets_it_save_its_files(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    body = (
        "def save(*_):\n"
        f"    open({str(saved)!r}, 'w').close()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "say(n=1); time.sleep(600)\n"
    )
    program = await start(tmp_path, body, polite=True)
    await program.read_lines()
    await program.stop()
    assert saved.exists()


async def test_children_of_one_that_ended_by_itself_end_too(tmp_path: Path) -> None:
    program = await start(tmp_path, "if os.fork() == 0: time.sleep(600)\nsay(n=1)\n")
    assert await all_lines(program) == [b'{"n": 1}']
    wait_until(lambda: not group_of(program), what="the child to end")
    await program.stop()


async def test_the_folder_is_private_and_gone_after_the_stop(
    tmp_path: Path, temporary: Path
) -> None:
    scratch = new_scratch()
    secret = scratch.write("home/deep/instructions.md", "hush \ud800")
    assert secret.stat().st_mode & 0o777 == 0o600
    folders = [scratch.root, scratch.cwd, scratch.home, scratch.temporary]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    program = await Program.start(["/bin/pwd"], PATH, scratch)
    await program.stop()
    assert not scratch.root.exists()
    assert [path.name for path in temporary.rglob("*") if path.is_file()] == ["lock"]


async def test_a_caller_cancelled_at_the_start_leaves_nothing_running(
    tmp_path: Path, temporary: Path
) -> None:
    children = Children()
    command = [str(script(tmp_path, "time.sleep(600)"))]
    for turns in range(1, 12):
        task = asyncio.create_task(Program.start(command, PATH, new_scratch()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await (await task).stop()

    def quiet() -> bool:
        return not children() and not list(temporary.glob("*/tmp*"))

    for _ in range(250):
        if quiet():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("Something was left running.")


async def test_a_second_stop_and_a_cancelled_one_still_end_it(tmp_path: Path) -> None:
    program = await start(tmp_path, "say(n=1); time.sleep(600)")
    await program.read_lines()
    task = asyncio.create_task(program.stop())
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await program.stop()
    assert not group_of(program)


async def test_only_so_many_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_process, "MAX_PROGRAMS", 1)
    patience = Patience(Timeouts(first_token_s=0.05))
    async with room_for_a_program(patience):
        with pytest.raises(TimedOut) as caught:
            async with room_for_a_program(patience):
                raise AssertionError("There is only one place.")
    assert not caught.value.worked
    patience.close()


async def test_an_end_that_is_cut_off_kills_the_program_all_the_same(
    tmp_path: Path,
) -> None:
    """An event loop that ends cancels everything that still runs in it."""
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say(n=1); time.sleep(600)"
    program = await start(tmp_path, body, polite=True)
    await program.read_lines()
    task = program.begin_to_stop()
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    wait_until(lambda: not group_of(program), what="the program to end")
    await program.stop()


@pytest.mark.slow
def test_nothing_outlives_a_killed_cortex(tmp_path: Path, temporary: Path) -> None:
    """Kill a process that runs a program: the program ends, its folder goes later."""
    program = script(tmp_path, "say(pid=os.getpid())\ntime.sleep(600)\n")
    code = (
        "import asyncio, tempfile\n"
        f"tempfile.tempdir = {str(temporary)!r}\n"
        "from routing.backends.cli_process import Program\n"
        "from routing.backends.cli_scratch import new_scratch\n"
        "async def main():\n"
        f"    command, path = [{str(program)!r}], {PATH!r}\n"
        "    program = await Program.start(command, path, new_scratch())\n"
        "    print((await program.read_lines())[0].decode(), program.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean_environment(tmp_path / "data"),
        stdout=subprocess.PIPE,
        text=True,
    ) as cortex:
        assert cortex.stdout is not None
        group = int(cortex.stdout.readline().split()[-1])
        assert psutil.pid_exists(group)
        cortex.send_signal(signal.SIGKILL)
    wait_until(lambda: not _runs(group), what="the program to end")
    [left] = temporary.glob(f"{cli_scratch.PREFIX}*")
    new_scratch()
    assert not left.exists()


def _runs(group: int) -> bool:
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group:
                return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_folders_of_living_processes_and_of_others_stay(temporary: Path) -> None:
    mine = new_scratch()
    cli_scratch._own_folder.cache_clear()
    strange = temporary / f"{cli_scratch.PREFIX}link"
    strange.symlink_to(temporary.parent)
    unfinished = temporary / f"{cli_scratch.PREFIX}new"
    unfinished.mkdir()
    new_scratch()
    assert mine.root.exists()
    assert strange.is_symlink()
    assert unfinished.exists()
