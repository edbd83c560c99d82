"""Amounts in templates: ``{{ nano|usd }}``."""

from __future__ import annotations

from django import template

from ledger.money import write_amount

register = template.Library()
register.filter("usd", write_amount)
