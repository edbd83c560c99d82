"""The guard of a program: a few lines of shell that end it when Cortex is gone.

The shell runs in any place that has a POSIX shell and costs a millisecond and about a
megabyte. It starts the program, and beside it a watcher that reads from a pipe whose
other end only Cortex holds. The pipe ends when Cortex lets go of it or dies, and the
watcher kills the program. When the program has ended, the guard tells its exit code in
a last line, and kills what the program has left running in its group.

A request to end (SIGTERM) reaches the program alone: guard and watcher stay to see it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_EXIT_LINE: Final = re.compile(rb"cortex-exit (\d+)")
_SHELL: Final = "/bin/sh"
_SCRIPT: Final = """
exec 3<"/dev/fd/$1" 4<&0
shift
trap : TERM
"$@" <&4 3<&- 4<&- &
program=$!
exec 0<&- 4<&- 2>/dev/null
{ trap '' TERM; read -r _ <&3; kill -KILL "$program"; } >/dev/null &
watch=$!
exec 3<&-
wait "$program"
code=$?
while kill -0 "$program"; do
    wait "$program"
    code=$?
done
trap '' PIPE
printf '\\ncortex-exit %s\\n' "$code" || {
    sleep 1
    printf '\\ncortex-exit %s\\n' "$code"
}
kill -KILL "$watch"
wait "$watch"
kill -KILL 0
"""


def guarded(command: Sequence[str], lifeline: int) -> list[str]:
    """Return the command that runs another one under guard.

    ``lifeline`` is the number of the pipe's reading end, which the guard inherits.
    """
    return [_SHELL, "-c", _SCRIPT, "guard", str(lifeline), *command]


def exit_code_in(line: bytes) -> int | None:
    """Return the exit code if this is the guard's last line; signals count from 128."""
    match = _EXIT_LINE.fullmatch(line)
    return int(match[1]) if match else None
