"""Rows of the registry as ``manage.py registry --json`` prints them."""

from __future__ import annotations

from typing import Any

from routing.host_check import HostReport
from routing.models import Host, Model


def host_row(host: Host) -> dict[str, Any]:
    """Return a host, without its key."""
    return {
        "name": host.name,
        "type": host.type,
        "base_url": host.base_url,
        "local": host.is_local,
        "enabled": host.enabled,
        "credential": host.credential,
        "waits": host.auto_enable and not host.enabled,
        "key": bool(host.key_encrypted),
        "flagged": host.flagged,
    }


def host_line(host: Host) -> str:
    """Return a host in words, and why it is not in use."""
    words = [f"{host.type} {host.base_url}".strip()]
    if host.is_local:
        words.append("in the house")
    if host.credential == Host.Credential.LOGIN:
        words.append("login made by hand")
    else:
        words.append(f"{'a' if host.key_encrypted else 'no'} {host.credential} stored")
    why = f": {host.flagged}" if host.flagged else ""
    if host.enabled:
        words += [f"needs attention{why}"] if why else []
    elif host.auto_enable:
        words.append(f"not in use, waits until it can answer{why}")
    else:
        words.append(f"not in use{why}")
    return f"host {host.name}: {'; '.join(words)}"


def model_line(model: Model) -> str:
    """Return a model in words."""
    unused = "" if model.enabled else ", not in use"
    return (
        f"model {model.label}: {model.name} on {model.host.name}, "
        f"tier {model.tier}{unused}"
    )


def model_row(model: Model) -> dict[str, Any]:
    """Return a model."""
    return {
        "label": model.label,
        "name": model.name,
        "host": model.host.name,
        "tier": model.tier,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "enabled": model.enabled,
    }


def report_row(report: HostReport) -> dict[str, Any]:
    """Return what a test found out."""
    return {
        "ok": report.ok,
        "failed_step": report.failed_step,
        "models": list(report.models),
        "steps": [
            {
                "name": step.name,
                "ok": step.ok,
                "detail": step.detail,
                "elapsed_ms": step.elapsed_ms,
                "cost_usd": step.cost_usd or None,
            }
            for step in report.steps
        ],
    }
