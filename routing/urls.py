"""The addresses under ``/settings/models/``."""

from __future__ import annotations

from django.urls import path

from routing import views

urlpatterns = [
    path("", views.overview, name="models"),
    path("people/", views.free_urls, name="free_urls"),
    path("hosts/add/", views.host_add, name="host_add"),
    path("hosts/<int:host_id>/", views.host_edit, name="host"),
    path("hosts/<int:host_id>/delete/", views.host_delete, name="host_delete"),
    path("hosts/<int:host_id>/test/", views.host_test, name="host_test"),
    path("hosts/<int:host_id>/models/add/", views.model_add, name="model_add"),
    path("hosts/<int:host_id>/models/list/", views.model_list, name="model_list"),
    path("models/<int:model_id>/", views.model_edit, name="model"),
    path("models/<int:model_id>/delete/", views.model_delete, name="model_delete"),
    path("chains/<str:scope>/<str:role>/", views.chain, name="chain"),
    path("chains/<str:scope>/<str:role>/move/", views.chain_move, name="chain_move"),
]
