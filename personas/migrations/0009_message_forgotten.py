"""A message that its person asked to forget is not recalled."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("personas", "0008_search")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="forgotten_at",
            field=models.DateTimeField(
                null=True,
                help_text="When its person asked to forget it: never recalled.",
            ),
        ),
    ]
