"""Whether the supervisor's Unix socket is that of this account.

Who may write to its folder could have put another socket in its place, which would be
told what Cortex asks and believed what it answers.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_own_socket(path: Path) -> bool:
    """Return whether ``path`` is a socket of this account that nobody can replace.

    Its folder may also be the system's, as mounted data folders sometimes are.
    """
    try:
        socket, folder = path.lstat(), path.parent.lstat()
    except OSError:
        return False
    return (
        stat.S_ISSOCK(socket.st_mode)
        and socket.st_uid == os.getuid()
        and stat.S_ISDIR(folder.st_mode)
        and folder.st_uid in (0, os.getuid())
        and not folder.st_mode & stat.S_IWOTH
    )
