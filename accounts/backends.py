"""Sign-in with a password, in the same steps for known and unknown accounts."""

from __future__ import annotations

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.hashers import make_password
from django.db.models import Q
from django.db.models.functions import Lower
from django.http import HttpRequest

from accounts.models import User


class PasswordBackend(AuthenticationBackend):  # type: ignore[misc]
    """Find a person by user name or e-mail address and check the password.

    Every attempt costs one query and one hash, whether or not there is such a person,
    whether or not they have a password. (allauth's own back end takes between three
    and five queries and up to two hashes, depending on the account.)
    """

    def authenticate(
        self, request: HttpRequest | None, **credentials: Any
    ) -> User | None:
        """Return the person when the password is right and they are active.

        A deactivated person with the right password is handed to allauth by its stash,
        which shows the page about deactivated accounts.
        """
        password = credentials.get("password")
        login = credentials.get("username") or credentials.get("email")
        if not password or not login:
            return None
        user = self._find(str(login).strip().lower())
        if user is None:
            make_password(password)
            return None
        if request is not None:
            request.META["cortex.login_subject"] = user.username
        if not user.check_password(password):
            return None
        if not self.user_can_authenticate(user):
            self._stash_user(user)
            return None
        return user

    @staticmethod
    def _find(login: str) -> User | None:
        matches = Q(username=login) | (Q(email_lower=login) & ~Q(email=""))
        return User.objects.annotate(email_lower=Lower("email")).filter(matches).first()
