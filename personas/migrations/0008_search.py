"""Give the entries of search the full text index of their database."""

from __future__ import annotations

from django.db import migrations

from personas.search.index import text_index


def install(apps, schema_editor):
    """Create the index, and fill it from the entries that are there."""
    connection = schema_editor.connection
    text_index(connection.vendor).install(connection)


def remove(apps, schema_editor):
    """Drop the index; the entries stay."""
    connection = schema_editor.connection
    text_index(connection.vendor).remove(connection)


class Migration(migrations.Migration):
    """Install the index of ``personas.search.index``."""

    dependencies = [("personas", "0007_home_sessions")]

    operations = [migrations.RunPython(install, remove, elidable=False)]
