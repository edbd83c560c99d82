"""The addresses under ``/personas/``.

A persona's name is the first part, so no other word may stand there: making one is a
POST to the list.
"""

from __future__ import annotations

from django.urls import path

from personas import file_views, views
from personas.memory_pages import run_views
from personas.memory_pages import views as memory_views

urlpatterns = [
    path("", views.persona_list, name="personas"),
    path("<str:name>/", views.persona, name="persona"),
    path("<str:name>/prompt/", views.persona_prompt, name="persona_prompt"),
    path("<str:name>/memory/", memory_views.memory, name="persona_memory"),
    path(
        "<str:name>/memory/now/",
        memory_views.memory_now,
        name="persona_memory_now",
    ),
    path(
        "<str:name>/memory/settings/",
        memory_views.memory_settings,
        name="persona_memory_settings",
    ),
    path(
        "<str:name>/memory/runs/",
        run_views.memory_runs,
        name="persona_memory_runs",
    ),
    path(
        "<str:name>/memory/runs/<uuid:run_id>/",
        run_views.memory_run,
        name="persona_memory_run",
    ),
    path("<str:name>/files/", file_views.file_list, name="persona_files"),
    path(
        "<str:name>/files/<str:file_name>/",
        file_views.file_edit,
        name="persona_file",
    ),
    path(
        "<str:name>/files/<str:file_name>/delete/",
        file_views.file_delete,
        name="persona_file_delete",
    ),
    path(
        "<str:name>/files/<str:file_name>/history/",
        file_views.file_history,
        name="persona_file_history",
    ),
    path(
        "<str:name>/files/<str:file_name>/history/<int:number>/",
        file_views.file_revision,
        name="persona_file_revision",
    ),
    path(
        "<str:name>/files/<str:file_name>/history/<int:number>/restore/",
        file_views.file_restore,
        name="persona_file_restore",
    ),
]
