"""The addresses of the installation; pages never share one with the API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.views import profile
from channels_app.api.app import api
from channels_app.web.setup import setup, setup_persona
from routing.preferences_views import preferences

handler400 = "channels_app.web.error_pages.bad_request"
handler403 = "channels_app.web.error_pages.forbidden"
handler404 = "channels_app.web.error_pages.not_found"
handler500 = "channels_app.web.error_pages.server_error"

urlpatterns = [
    path("", include("channels_app.web.urls")),
    path("account/", include("accounts.urls")),
    path("account/", include("allauth.urls")),
    path("setup/persona", setup_persona, name="setup_persona"),
    path("setup/<str:token>", setup, name="setup"),
    path("settings/", RedirectView.as_view(pattern_name="profile")),
    path("settings/profile/", profile, name="profile"),
    path("settings/models/", include("routing.urls")),
    path("settings/routing/", preferences, name="routing_preferences"),
    path("people/", include("channels_app.web.people_urls")),
    path("money/", include("channels_app.web.money_urls")),
    path("personas/", include("personas.urls")),
    path("admin/", admin.site.urls),
    path("", api.urls),
]
