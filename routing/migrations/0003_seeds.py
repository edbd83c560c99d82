from django.db import migrations

from routing.seeds import seed_registry


def add_seeds(apps, schema_editor):
    seed_registry(apps.get_model("routing", "Host"), apps.get_model("routing", "Model"))


class Migration(migrations.Migration):
    """Every installation begins with the shared hosts of the vendors, not in use."""

    dependencies = [("routing", "0002_more_hosts_and_decisions")]

    operations = [migrations.RunPython(add_seeds, migrations.RunPython.noop)]
