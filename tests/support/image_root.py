"""An empty root in which the steps of a Dockerfile are carried out for real.

Where there is no builder this stands in for one. The base image's part is this
machine's ``/usr``, ``/etc`` and ``/var`` beneath an overlay and its Python at
``/usr/local``; everything else begins empty. All mounts are in a private mount
namespace, so nothing of it is seen outside, and nothing outside can be written.
Needs root. Source: unshare(1), nsenter(1), overlayfs in the Linux documentation.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import dockerfile
from tests.support.dockerfile import Instruction
from tests.support.environment import PROXY_NAMES
from tests.support.missing import could_not_run
from tests.support.processes import ROOT

BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
OVERLAID = ("usr", "etc", "var")
LINKS = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
EMPTY = ("app", "data", "dev", "home", "opt", "proc", "root", "run", "tmp")
READY = "mounted"


class ImageRoot:
    """Carries out a Dockerfile and runs what it made; use with ``with``."""

    def __init__(self, folder: Path) -> None:
        """Describe it; ``__enter__`` mounts it below ``folder``."""
        self.folder = folder
        self.root = folder / "root"
        self.variables: dict[str, str] = {"PATH": BASE_PATH}
        self.arguments: dict[str, str] = {}
        self.workdir = "/"
        self.user = "root"
        self.command: list[str] = []
        self.health: list[str] = []
        self.volumes: list[str] = []
        self._holder: subprocess.Popen[str] | None = None

    # --- mounts -------------------------------------------------------------------

    def __enter__(self) -> ImageRoot:
        if os.getuid() != 0 or not shutil.which("unshare"):
            could_not_run("an empty root for the Dockerfile needs root and unshare")
        for name in (*EMPTY, *OVERLAID):
            readable_folder(self.root / name)
        for name in LINKS:
            if os.path.islink(f"/{name}"):
                (self.root / name).symlink_to(os.readlink(f"/{name}"))
        script = "\n".join(["set -e", *self._mounts(), f"echo {READY}; exec sleep 600"])
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout and self._holder.stderr
        if self._holder.stdout.readline().strip() != READY:
            reason = self._holder.stderr.read().strip().splitlines()
            could_not_run(f"an empty root for the Dockerfile: {reason[-1:]}")
        return self

    def _mounts(self) -> Iterator[str]:
        root = shlex.quote(str(self.root))
        for name in OVERLAID:
            upper, work = self.folder / "upper" / name, self.folder / "work" / name
            readable_folder(upper)
            readable_folder(work)
            layers = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            yield f"mount -t overlay overlay -o {shlex.quote(layers)} {root}/{name}"
        if sys.base_prefix != "/usr":
            base = shlex.quote(sys.base_prefix)
            yield f"mount --bind {base} {root}/usr/local"
            yield f"mount -o remount,bind,ro {root}/usr/local"
        else:
            yield f"ln -sf ../../bin/python3 {root}/usr/local/bin/python"
        yield f"mount --rbind /dev {root}/dev"
        yield f"mount --rbind /proc {root}/proc"
        yield f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp"  # noqa: S108
        yield f"chroot {root} /sbin/ldconfig"

    def __exit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- building -----------------------------------------------------------------

    def build(self, path: Path, **arguments: str) -> None:
        """Carry out all instructions; raises ``AssertionError`` where one fails."""
        self.arguments = {}
        for step in dockerfile.instructions(path.read_text(encoding="utf-8")):
            getattr(self, f"_{step.name.lower()}")(step, arguments)

    def _from(self, step: Instruction, given: Mapping[str, str]) -> None:
        self.base = dockerfile.expand(step.value, self.arguments)
        self.arguments = {}

    def _arg(self, step: Instruction, given: Mapping[str, str]) -> None:
        name, _, default = step.value.partition("=")
        self.arguments[name] = given.get(name, default)

    def _env(self, step: Instruction, given: Mapping[str, str]) -> None:
        known = self.arguments | self.variables
        self.variables |= dockerfile.assignments(step.value, known)

    def _workdir(self, step: Instruction, given: Mapping[str, str]) -> None:
        self.workdir = step.value
        readable_folder(self.inside(step.value))

    def _copy(self, step: Instruction, given: Mapping[str, str]) -> None:
        assert not step.flags, step
        *sources, target = step.words
        for path in dockerfile.context(ROOT):
            if sources == ["."] or path in sources:
                folder = self.inside(self.workdir) / target
                for part in reversed(Path(path).parents[:-1]):
                    if not (folder / part).exists():
                        (folder / part).mkdir()
                        shutil.copymode(ROOT / part, folder / part)
                shutil.copy2(ROOT / path, folder / path)

    def _run(self, step: Instruction, given: Mapping[str, str]) -> None:
        assert set(step.flags) <= {"mount"}, step
        mount = step.flags.get("mount", "type=cache,target=")
        # The cache begins empty: what would use it makes its folder.
        assert mount.startswith("type=cache,target="), step
        variables = self.variables | self.arguments | builders_network()
        done = subprocess.run(
            [*self.within(self.user, variables), "/bin/sh", "-c", step.value],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            umask=0o022,
        )
        assert done.returncode == 0, f"RUN {step.value}\n{done.stdout}{done.stderr}"

    def _user(self, step: Instruction, given: Mapping[str, str]) -> None:
        self.user = step.value

    def _volume(self, step: Instruction, given: Mapping[str, str]) -> None:
        self.volumes += step.words

    def _healthcheck(self, step: Instruction, given: Mapping[str, str]) -> None:
        word, _, command = step.value.partition(" ")
        assert word == "CMD"
        self.health = Instruction("CMD", {}, command.strip()).words

    def _cmd(self, step: Instruction, given: Mapping[str, str]) -> None:
        self.command = step.words

    def _expose(self, step: Instruction, given: Mapping[str, str]) -> None:
        assert step.value.isdigit(), step

    def _stopsignal(self, step: Instruction, given: Mapping[str, str]) -> None:
        assert step.value == "SIGTERM", step

    # --- running ------------------------------------------------------------------

    def inside(self, path: str) -> Path:
        """Return where a path of the image is, outside of the overlays."""
        return self.root / path.lstrip("/")

    def within(
        self, user: str, variables: Mapping[str, str], *, as_first: bool = False
    ) -> list[str]:
        """Return the beginning of a command line that runs in the root as ``user``.

        ``as_first``: as process number 1 of a process namespace of its own.
        """
        assert self._holder is not None
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]
        line = [*enter, "chroot", str(self.root)]
        if as_first:
            line += ["unshare", "--pid", "--fork", "--kill-child", "/bin/sh", "-c"]
            line += ['mount -t proc proc /proc && exec "$@"', "sh"]
        if user != "root":
            line += ["setpriv", f"--reuid={user}", f"--regid={user}"]
            line += ["--clear-groups", "--no-new-privs", "--inh-caps=-all"]
        home = {"HOME": "/root" if user == "root" else "/data"}
        pairs = [f"{name}={value}" for name, value in (home | dict(variables)).items()]
        return [*line, "env", "-i", "-C", self.workdir, *pairs]

    def start(self, command: Sequence[str], **variables: str) -> subprocess.Popen[Any]:
        """Start a command as a container would, with its output in ``log``."""
        line = self.within(self.user, self.variables | variables, as_first=True)
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                [*line, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=0o022,
            )

    def run(self, command: Sequence[str], **variables: str) -> int:
        """Run a command beside the container's process; return its exit status."""
        line = self.within(self.user, self.variables | variables)
        done = subprocess.run([*line, *command], capture_output=True, timeout=30)
        return done.returncode

    @property
    def log(self) -> Path:
        """What the container's process printed."""
        return self.folder / "log"

    def files(self) -> dict[str, tuple[int, int, int]]:
        """Return owner, size and time of every file that the image does not share."""
        found = {}
        for top in (self.root, self.folder / "upper"):
            for folder, folders, names in os.walk(top):
                if Path(folder) == self.root:
                    folders[:] = [name for name in folders if name not in OVERLAID]
                for name in names:
                    path = os.path.join(folder, name)
                    state = os.lstat(path)
                    about = (state.st_uid, state.st_size, state.st_mtime_ns)
                    found[os.path.relpath(path, top)] = about
        return found


def readable_folder(path: Path) -> None:
    """Make a folder that everybody may enter, whatever this process's mask is."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    path.parent.chmod(0o755)


def builders_network() -> dict[str, str]:
    """Return how this machine's pip reaches packages, as a builder would know it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower() in PROXY_NAMES
    }
