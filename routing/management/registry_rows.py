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
