"""Make the ledger append-only in the database itself."""

from __future__ import annotations

from django.db import migrations

from ledger import triggers


def install(apps, schema_editor):
    """Create the triggers."""
    triggers.install(schema_editor.connection)


def remove(apps, schema_editor):
    """Drop the triggers, so that the table can be changed or removed."""
    triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    """Install the triggers of ``ledger.triggers``."""

    dependencies = [("ledger", "0001_initial")]

    operations = [migrations.RunPython(install, remove, elidable=False)]
