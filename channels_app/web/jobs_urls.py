"""Addresses below ``/jobs/``: the queue, briefs and heartbeats."""

from __future__ import annotations

from django.urls import path

from channels_app.web import brief_buttons, briefs, heartbeats, jobs

urlpatterns = [
    path("", jobs.queue, name="jobs"),
    path("live/", jobs.queue_live, name="jobs_live"),
    path("<uuid:task_id>/", jobs.task, name="task"),
    path("<uuid:task_id>/live/", jobs.task_live, name="task_live"),
    path("<uuid:task_id>/cancel/", jobs.task_cancel, name="task_cancel"),
    path("<uuid:task_id>/retry/", jobs.task_retry, name="task_retry"),
    path("<uuid:task_id>/delete/", jobs.task_delete, name="task_delete"),
    path("briefs/", briefs.briefs, name="briefs"),
    path("briefs/new/", briefs.brief_new, name="brief_new"),
    path(
        "briefs/proposals/<uuid:proposal_id>/",
        brief_buttons.brief_proposal,
        name="brief_proposal",
    ),
    path("briefs/tries/<uuid:task_id>/", brief_buttons.brief_try, name="brief_try"),
    path("briefs/<uuid:brief_id>/", briefs.brief, name="brief"),
    path("briefs/<uuid:brief_id>/run/", brief_buttons.brief_run, name="brief_run"),
    path(
        "briefs/<uuid:brief_id>/switch/",
        brief_buttons.brief_switch,
        name="brief_switch",
    ),
    path(
        "briefs/<uuid:brief_id>/delete/",
        brief_buttons.brief_delete,
        name="brief_delete",
    ),
    path(
        "briefs/<uuid:brief_id>/history/",
        brief_buttons.brief_history,
        name="brief_history",
    ),
    path("heartbeat/", heartbeats.heartbeat, name="heartbeat"),
    path("heartbeat/now/", heartbeats.heartbeat_now, name="heartbeat_now"),
]
