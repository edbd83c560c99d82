"""Amounts in templates: ``{{ nano|usd }}``."""

from __future__ import annotations

from django import template

from channels_app.web.money_amounts import write_amount

register = template.Library()
register.filter("usd", write_amount)
