"""The two roles, kept in step: group, ``is_staff`` and ``is_superuser``."""

from __future__ import annotations

from django.contrib.auth.models import Group

from accounts.models import ADMIN_GROUP, MEMBER_GROUP, User


def set_role(user: User, *, is_admin: bool) -> None:
    """Make a person an administrator or a plain member; saves them."""
    user.is_staff = user.is_superuser = is_admin
    user.save(update_fields=["is_staff", "is_superuser"])
    group, _ = Group.objects.get_or_create(
        name=ADMIN_GROUP if is_admin else MEMBER_GROUP
    )
    user.groups.set([group])


def active_admin_count() -> int:
    """Count the people who can administer the installation now."""
    return User.objects.filter(is_active=True, is_superuser=True).count()
