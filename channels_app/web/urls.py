"""The addresses of the chat pages."""

from __future__ import annotations

from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from channels_app.web import (
    leaving,
    message_views,
    persona_end,
    policy,
    search,
    views,
    why,
)

urlpatterns = [
    path("", views.home, name="home"),
    path("c/<uuid:id>", views.conversation, name="conversation"),
    path("c/<uuid:id>/messages", views.thread, name="conversation_thread"),
    path("c/<uuid:id>/branch", views.show_branch, name="conversation_branch"),
    path("c/<uuid:id>/rename", views.rename, name="conversation_rename"),
    path("c/<uuid:id>/policy", policy.policy, name="conversation_policy"),
    path("c/<uuid:id>/memory", message_views.switch_memory, name="conversation_memory"),
    path(
        "c/<uuid:id>/messages/<uuid:message_id>/delete",
        message_views.delete,
        name="message_delete",
    ),
    path(
        "c/<uuid:id>/messages/<uuid:message_id>/undelete",
        message_views.undelete,
        name="message_undelete",
    ),
    path(
        "c/<uuid:id>/messages/<uuid:message_id>/notes/<int:note_id>/undo",
        message_views.undo_memory,
        name="memory_note_undo",
    ),
    path("m/<uuid:message_id>", message_views.open_message, name="message"),
    path("c/<uuid:id>/why/<uuid:message_id>", why.why, name="why"),
    path("c/<uuid:id>/redo/<uuid:message_id>", why.redo, name="redo"),
    path("c/<uuid:id>/delete", views.delete, name="conversation_delete"),
    path("c/<uuid:id>/undelete", views.undelete, name="conversation_undelete"),
    path(
        "c/of/<str:name>/",
        views.conversations_of_persona,
        name="conversations_of_persona",
    ),
    path(
        "favicon.ico", RedirectView.as_view(url=static("img/icon.svg")), name="favicon"
    ),
    path(
        "personas/<str:name>/delete/", persona_end.persona_delete, name="persona_delete"
    ),
    path("settings/leaving/", leaving.leaving, name="leaving"),
    path("search/", search.search_page, name="search"),
    path("settings/theme/", views.theme, name="theme"),
]
