"""Webhooks that Cortex sends, after the Standard Webhooks convention.

Source: https://github.com/standard-webhooks/standard-webhooks, "spec".
"""

from __future__ import annotations
