"""The addresses under ``/settings/models/``."""

from __future__ import annotations

from django.urls import path

from routing import chain_views, host_views, model_views, views

urlpatterns = [
    path("", views.overview, name="models"),
    path("drill/", views.drill_page, name="drill"),
    path("people/", views.free_urls, name="free_urls"),
    path("hosts/add/", host_views.host_add, name="host_add"),
    path("hosts/<int:host_id>/", host_views.host_edit, name="host"),
    path("hosts/<int:host_id>/delete/", host_views.host_delete, name="host_delete"),
    path("hosts/<int:host_id>/test/", host_views.host_test, name="host_test"),
    path("hosts/<int:host_id>/models/add/", model_views.model_add, name="model_add"),
    path("hosts/<int:host_id>/models/list/", model_views.model_list, name="model_list"),
    path("models/<int:model_id>/", model_views.model_edit, name="model"),
    path(
        "models/<int:model_id>/delete/", model_views.model_delete, name="model_delete"
    ),
    path("chains/<str:scope>/<str:role>/", chain_views.chain, name="chain"),
    path(
        "chains/<str:scope>/<str:role>/move/", chain_views.chain_move, name="chain_move"
    ),
]
