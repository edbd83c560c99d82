"""Foreign folders: nothing outside is reached, whatever is swapped in between."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from personas.home import disk
from personas.home.disk import Folder, Refused, Unreadable, make_root, open_root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "SOUL.md").write_text("somebody else's")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "inara").mkdir(parents=True)
    (folder / "inara" / "SOUL.md").write_text("mine")
    return folder


@pytest.fixture
def root(home: Path) -> Iterator[Folder]:
    with disk.opened(open_root(home)) as folder:
        yield folder


@pytest.fixture
def after_look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that has something done just after a name was looked at."""

    def arrange(act: Callable[[], object]) -> None:
        real = os.stat
        done: list[bool] = []

        def stat_and_act(*args: Any, **options: Any) -> os.stat_result:
            found = real(*args, **options)
            if not done:
                done.append(True)
                act()
            return found

        monkeypatch.setattr(os, "stat", stat_and_act)

    return arrange


def test_a_folder_that_becomes_a_link_before_it_is_opened_is_refused(
    root: Folder, home: Path, outside: Path, after_look: Callable[..., None]
) -> None:
    def swap() -> None:
        (home / "inara").rename(home / "aside")
        (home / "inara").symlink_to(outside)

    after_look(swap)

    with pytest.raises(Refused):
        root.folder("inara")


def test_a_folder_that_becomes_a_link_once_it_is_open_stays_itself(
    root: Folder, home: Path, outside: Path
) -> None:
    with disk.opened(root.folder("inara")) as inara:
        (home / "inara").rename(home / "aside")
        (home / "inara").symlink_to(outside)

        assert inara.read("SOUL.md", 100).raw == b"mine"


@pytest.mark.parametrize("swap_in", [Path.symlink_to, Path.hardlink_to])
def test_a_file_that_becomes_a_link_before_it_is_opened_is_refused(
    root: Folder,
    home: Path,
    outside: Path,
    after_look: Callable[..., None],
    swap_in: Callable[[Path, Path], None],
) -> None:
    soul = home / "inara" / "SOUL.md"

    def swap() -> None:
        soul.unlink()
        swap_in(soul, outside / "SOUL.md")

    with disk.opened(root.folder("inara")) as inara:
        after_look(swap)

        with pytest.raises(Refused, match="link"):
            inara.read("SOUL.md", 100)


def test_a_file_that_grows_while_it_is_read_is_refused(
    root: Folder, home: Path, after_look: Callable[..., None]
) -> None:
    with disk.opened(root.folder("inara")) as inara:
        after_look(lambda: (home / "inara" / "SOUL.md").write_text("x" * 2000))

        with pytest.raises(Refused, match="larger than 1 KB"):
            inara.read("SOUL.md", 1024)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_hold_anything_up(
    root: Folder, home: Path, after_look: Callable[..., None]
) -> None:
    soul = home / "inara" / "SOUL.md"

    def swap() -> None:
        soul.unlink()
        os.mkfifo(soul)

    with disk.opened(root.folder("inara")) as inara:
        after_look(swap)

        with pytest.raises(Refused, match="pipe"):
            inara.read("SOUL.md", 100)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../outside/SOUL.md", "/etc/hostname", "inara/SOUL.md", "a\0"],
)
def test_names_that_are_paths_are_refused(root: Folder, name: str) -> None:
    with pytest.raises(Refused, match="no name"):
        root.read(name, 100)
    with pytest.raises(Refused, match="no name"):
        root.folder(name)
    with pytest.raises(Refused, match="no name"):
        root.write(name, b"")
    assert not root.is_there(name)


def test_devices_and_sockets_are_refused(home: Path, root: Folder) -> None:
    with (
        disk.opened(open_root(Path("/dev"))) as devices,
        pytest.raises(Refused, match="device"),
    ):
        devices.read("null", 100)
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            os.chdir(home)  # paths of sockets are short
            server.bind("talk.md")
        finally:
            os.chdir(here)
        with pytest.raises(Refused, match="socket"):
            root.read("talk.md", 100)


def test_a_folder_with_very_many_entries_is_refused(
    root: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root.names() == ["inara"]
    monkeypatch.setattr(disk, "MOST_ENTRIES", 0)

    with pytest.raises(Refused, match="more than 0 entries"):
        root.names()


def test_what_is_written_is_for_its_owner_alone_and_never_over_something(
    tmp_path: Path, outside: Path
) -> None:
    before = os.umask(0)
    try:
        with disk.opened(make_root(tmp_path / "out")) as root:
            root.write("a.md", b"text")
            (tmp_path / "out" / "b.md").symlink_to(outside / "new.md")
            for name in ("a.md", "b.md"):
                with pytest.raises(Unreadable, match="exists"):
                    root.write(name, b"other")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "out" / "a.md").stat().st_mode) == 0o600
    assert not (outside / "new.md").exists()
    with pytest.raises(Unreadable, match="not empty"):
        make_root(tmp_path / "out")


def test_a_folder_to_write_into_that_is_too_full_to_look_through_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "MOST_ENTRIES", 0)

    with pytest.raises(Unreadable, match=f"{home}” holds more than 0 entries"):
        make_root(home)


@pytest.mark.parametrize("path", ["nowhere", "file", "a\0b"])
def test_what_is_no_folder_cannot_be_opened(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Unreadable):
        open_root(tmp_path / path)
