"""Webhooks that Cortex sends, after the Standard Webhooks convention.

Source: https://github.com/standard-webhooks/standard-webhooks, "spec".
"""

from __future__ import annotations

from channels_app.webhooks.sending import announce as announce
from channels_app.webhooks.sending import deliver_due as deliver_due
from channels_app.webhooks.sending import wake_due as wake_due
