
from __future__ import annotations

from django.urls import path

from channels_app.web import briefs, jobs

urlpatterns = [
    path("", jobs.queue, name="jobs"),
    path("briefs/", briefs.briefs, name="briefs"),
    path("briefs/new/", briefs.brief_new, name="brief_new"),
    path("briefs/tries/<uuid:task_id>/", briefs.brief_try, name="brief_try"),
    path("briefs/<uuid:brief_id>/", briefs.brief, name="brief"),
    path("briefs/<uuid:brief_id>/run/", briefs.brief_run, name="brief_run"),
    path("briefs/<uuid:brief_id>/switch/", briefs.brief_switch, name="brief_switch"),
    path("briefs/<uuid:brief_id>/delete/", briefs.brief_delete, name="brief_delete"),
    path("briefs/<uuid:brief_id>/history/", briefs.brief_history, name="brief_history"),
]
