"""Addresses below ``/people/``."""

from __future__ import annotations

from django.urls import path

from channels_app.web import people

urlpatterns = [
    path("", people.people_page, name="people"),
    path("invite/", people.invite_person, name="people_invite"),
    path("invites/<int:invite_id>/renew/", people.renew_invite, name="invite_renew"),
    path("invites/<int:invite_id>/revoke/", people.revoke_invite, name="invite_revoke"),
    path("<str:username>/delete/", people.remove_person, name="person_delete"),
    path("<str:username>/<str:verb>/", people.change_person, name="person_change"),
]
