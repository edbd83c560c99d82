"""Real proxies before a server: nginx and Caddy with the files of ``deploy/``.

What an installation has to change there is replaced: names, ports and certificate.
The rest is used as it is.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.missing import program
from tests.support.processes import ROOT, Process, free_port, wait_until

DEPLOY = ROOT / "deploy"
NGINX_MAIN = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/cortex.conf;
}}
"""
CADDY_MAIN = """\
{{
    admin off
    auto_https disable_redirects
}}
import {folder}/site
"""


@dataclass(frozen=True)
class Place:
    """Where a proxy stands: a folder with its certificate, its port, what is behind."""

    folder: Path
    port: int
    behind: int

    @property
    def certificate(self) -> tuple[Path, Path]:
        """The certificate and its key, see ``tests.support.certificates``."""
        return self.folder / "server.pem", self.folder / "server-key.pem"


def replaced(text: str, **changes: str) -> str:
    """Return ``text`` with words replaced; every word must occur."""
    for old, new in changes.items():
        assert old in text, f"{old} is no longer there"
        text = text.replace(old, new)
    return text


def nginx_files(place: Place) -> Path:
    """Write the configuration for nginx and return its main file."""
    pem, key = place.certificate
    site = replaced(
        (DEPLOY / "nginx.conf").read_text(encoding="utf-8"),
        **{
            "cortex.example.org;": "127.0.0.1;",
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            "    listen [::]:80;\n": "",
            "listen 443 ": f"listen 127.0.0.1:{place.port} ",
            "    listen [::]:443 ssl http2;\n": "",
            "127.0.0.1:8000": f"127.0.0.1:{place.behind}",
            "/etc/letsencrypt/live/cortex.example.org/fullchain.pem": str(pem),
            "/etc/letsencrypt/live/cortex.example.org/privkey.pem": str(key),
        },
    )
    (place.folder / "cortex.conf").write_text(site, encoding="utf-8")
    main = place.folder / "nginx.conf"
    main.write_text(NGINX_MAIN.format(folder=place.folder), encoding="utf-8")
    return main


def caddy_files(place: Place) -> Path:
    """Write the configuration for Caddy and return its main file."""
    pem, key = place.certificate
    site = replaced(
        (DEPLOY / "Caddyfile").read_text(encoding="utf-8"),
        **{"\trequest_body {": f"\ttls {pem} {key}\n\trequest_body {{"},
    )
    (place.folder / "site").write_text(site, encoding="utf-8")
    main = place.folder / "Caddyfile"
    main.write_text(CADDY_MAIN.format(folder=place.folder), encoding="utf-8")
    return main


def command_of(kind: str, place: Place) -> tuple[list[str], dict[str, str]]:
    """Return the command line that runs a proxy, and its environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(place.folder)}
    if kind == "nginx":
        name = program("nginx")
        main = nginx_files(place)
        log = str(place.folder / "error.log")
        return [name, "-e", log, "-p", str(place.folder), "-c", str(main)], environment
    name = program("caddy")
    main = caddy_files(place)
    environment |= {
        "CORTEX_SITE": f"https://127.0.0.1:{place.port}",
        "CORTEX_UPSTREAM": f"127.0.0.1:{place.behind}",
    }
    return [name, "run", "--config", str(main), "--adapter", "caddyfile"], environment


@contextmanager
def proxy(kind: str, place: Place) -> Iterator[Process]:
    """Run a proxy until the end of the block."""
    command, environment = command_of(kind, place)
    process = Process(
        command, log_path=place.folder / f"{kind}.log", environment=environment
    )
    process.start()

    def listens() -> bool:
        assert process.exit_code is None, f"{kind} ended:\n{process.log}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", place.port)) == 0

    try:
        wait_until(listens, what=kind)
        yield process
    finally:
        process.stop()
