"""What was deleted is found quickly when its hour is over."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("personas", "0005_memory")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["deleted_at"],
                name="message_deleted",
            ),
        ),
    ]
