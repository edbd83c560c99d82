"""A mail server on loopback that keeps what it takes and refuses what it is told to.

It knows as much of SMTP as Python's client says. ``refuse["RCPT"] = 550`` answers that
command so; 0 hangs up instead of answering.

Source: RFC 5321, section 4.
"""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from email.message import EmailMessage
from typing import Final, Self

HANG_UP: Final = 0
_REPLIES: Final = {"QUIT": "221 bye"}


class MailServer:
    """One server in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.refuse: dict[str, int] = {}
        self.commands: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer._talk(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[0.02], daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _talk(self, talk: socketserver.StreamRequestHandler) -> None:
        talk.wfile.write(b"220 ready\r\n")
        while line := talk.rfile.readline():
            command = line.decode("ascii", "replace").strip().upper()[:4]
            self.commands.append(command)
            code = self.refuse.get(command)
            if code == HANG_UP:
                return
            if code is None and command == "DATA":
                talk.wfile.write(b"354 go on\r\n")
                code = self._take(talk)
                if code == HANG_UP:
                    return
            reply = _REPLIES.get(command, "250 ok") if code is None else f"{code} no"
            talk.wfile.write(f"{reply}\r\n".encode())
            if command == "QUIT":
                return

    def _take(self, talk: socketserver.StreamRequestHandler) -> int | None:
        """Read a mail; ``refuse["."]`` is the answer after its last line."""
        lines = []
        while (line := talk.rfile.readline()).rstrip(b"\r\n") != b".":
            lines.append(line)
        if "." not in self.refuse:
            mail = email.message_from_bytes(
                b"".join(lines), policy=email.policy.default
            )
            self.received.append(mail)
        return self.refuse.get(".")
