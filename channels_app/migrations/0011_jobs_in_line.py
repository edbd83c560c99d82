"""Let a worker find the next job at once, however many wait for a later time.

Procrastinate's tables are there on PostgreSQL only.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import migrations

CREATE = (
    # By the negative priority, so that no index of the library's own, which holds the
    # scheduled jobs as well, is ever taken for it.
    """
    CREATE INDEX cortex_jobs_in_line ON procrastinate_jobs ((-priority), id)
    WHERE status = 'todo' AND scheduled_at IS NULL
    """,
    """
    CREATE INDEX cortex_jobs_for_later ON procrastinate_jobs (scheduled_at)
    WHERE status = 'todo' AND scheduled_at IS NOT NULL
    """,
)
DROP = ("DROP INDEX cortex_jobs_in_line", "DROP INDEX cortex_jobs_for_later")


def create(_: Any, schema_editor: Any) -> None:
    """Create the indexes."""
    _execute(schema_editor, CREATE)


def drop(_: Any, schema_editor: Any) -> None:
    """Take them away."""
    _execute(schema_editor, DROP)


def _execute(schema_editor: Any, statements: tuple[str, ...]) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in statements:
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("channels_app", "0010_task_cap")]
    if apps.is_installed("procrastinate.contrib.django"):
        dependencies.append(("procrastinate", "0041_post_retry_failed_job"))

    operations = [migrations.RunPython(create, drop)]
