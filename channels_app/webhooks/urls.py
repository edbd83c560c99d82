"""Addresses below ``/settings/webhooks/``."""

from __future__ import annotations

from django.urls import path

from channels_app.webhooks import views

urlpatterns = [
    path("", views.webhooks, name="webhooks"),
    path("<int:webhook_id>/", views.webhook, name="webhook"),
    path("<int:webhook_id>/secret/", views.rotate, name="webhook_secret"),
    path("<int:webhook_id>/test/", views.test, name="webhook_test"),
    path("<int:webhook_id>/delete/", views.delete, name="webhook_delete"),
    path(
        "<int:webhook_id>/deliveries/<uuid:delivery_id>/again/",
        views.again,
        name="webhook_again",
    ),
]
