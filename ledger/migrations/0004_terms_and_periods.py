"""What rolls over counts from a change of terms on; periods outlast a change of zone."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from ledger import triggers


def remove(apps, schema_editor):
    """Drop the triggers, whichever version made them."""
    triggers.remove(schema_editor.connection)


def install(apps, schema_editor):
    """Create the triggers; SQLite drops them where it rebuilds a table."""
    triggers.remove(schema_editor.connection)
    triggers.install(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ("ledger", "0003_budgets_and_grants"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(remove, install),
        migrations.RenameField("budget", "created_at", "terms_since"),
        migrations.AlterField(
            model_name="budget",
            name="terms_since",
            field=models.DateTimeField(
                default=django.utils.timezone.now,
                editable=False,
                help_text="Since when it says this; nothing rolls over from before.",
            ),
        ),
        migrations.CreateModel(
            name="BudgetPeriod",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "period",
                    models.CharField(
                        choices=[("day", "Day"), ("week", "Week"), ("month", "Month")],
                        max_length=8,
                    ),
                ),
                ("zone", models.CharField(max_length=64)),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "period"), name="ledger_one_period_kept"
                    )
                ]
            },
        ),
        migrations.RunPython(install, remove),
    ]
