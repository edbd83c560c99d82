"""What a person lets the router do, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from accounts.models import User
from routing.models import RoutingPreferences


@dataclass(frozen=True, slots=True)
class Preferences:
    """The switches of one person; the installation's settings can only switch off."""

    use_rules: bool = True
    use_classifier: bool = True
    fallback_after_refusal: bool = False
    finish_with_another_model: bool = False


_FIELDS = tuple(Preferences.__dataclass_fields__)


def preferences_of(user: User) -> Preferences:
    """Return a person's switches, in one query; without a row the defaults hold."""
    row = RoutingPreferences.objects.filter(owner=user).values_list(*_FIELDS).first()
    chosen = Preferences(*row) if row else Preferences()
    return Preferences(
        use_rules=chosen.use_rules and settings.CORTEX_ROUTE_RULES,
        use_classifier=chosen.use_classifier and settings.CORTEX_ROUTE_CLASSIFIER,
        fallback_after_refusal=chosen.fallback_after_refusal,
        finish_with_another_model=chosen.finish_with_another_model,
    )
