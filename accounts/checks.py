"""Settings about sign-in that cannot work are refused at the start, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

from accounts import proxies


@register(Tags.security)
def check_proxies(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse names and typing errors in ``CORTEX_TRUSTED_PROXIES``."""
    try:
        proxies.trusted_networks()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="accounts.E001")]
    return []


@register(Tags.security)
def check_google(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse half of the settings of Google sign-in."""
    if bool(settings.GOOGLE_CLIENT_ID) != bool(settings.GOOGLE_CLIENT_SECRET):
        text = "Set both GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET, or neither."
        return [Error(text, id="accounts.E002")]
    return []
