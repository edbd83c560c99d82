"""The address of this test's database, for processes that the test starts."""

from __future__ import annotations

from urllib.parse import quote

from django.db import connection


def database_url() -> str:
    """Return ``DATABASE_URL`` for another process on the same database."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    login = f"{quote(values['USER'])}:{quote(values['PASSWORD'])}"
    address = f"{quote(values['HOST'], safe='')}:{values['PORT']}"
    return f"postgres://{login}@{address}/{values['NAME']}"
