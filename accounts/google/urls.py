"""Addresses below ``/account/google/``; allauth finds them by their package."""

from __future__ import annotations

from allauth.socialaccount.providers.oauth2.urls import default_urlpatterns

from accounts.google.provider import CortexGoogleProvider

urlpatterns = default_urlpatterns(CortexGoogleProvider)
