"""The addresses of the installation; pages never share one with the API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.token_views import token_list, token_revoke
from accounts.views import profile
from channels_app.api.app import api
from channels_app.google_chat.views import google_chat
from channels_app.nextcloud_talk.views import talk_webhook
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
    path("settings/tokens/", token_list, name="tokens"),
    path("settings/tokens/<uuid:token_id>/revoke/", token_revoke, name="token_revoke"),
    path("settings/models/", include("routing.urls")),
    path("settings/routing/", preferences, name="routing_preferences"),
    path("settings/channels/", include("channels_app.web.channels_urls")),
    path("settings/webhooks/", include("channels_app.webhooks.urls")),
    path("people/", include("channels_app.web.people_urls")),
    path("money/", include("channels_app.web.money_urls")),
    path("jobs/", include("channels_app.web.jobs_urls")),
    path("personas/", include("personas.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("channels_app.api.urls")),
    path("webhook/nextcloud/<str:username>", talk_webhook, name="talk_webhook"),
    path("channels/google-chat/<str:username>", google_chat, name="google_chat"),
    path("", api.urls),
]
