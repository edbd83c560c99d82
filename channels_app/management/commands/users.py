"""``manage.py users …``: people, invites and tokens from the command line.

Each verb prints sentences, or one JSON value with ``--json``. Whatever cannot be done
is one sentence on standard error and exit code 1.
"""

from __future__ import annotations

import datetime
import getpass
import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import invites, mails, people, tokens
from accounts.commands import person_named
from channels_app.people import (
    delete_person,
    invited_rows,
    person_rows,
    waiting_rows,
)

VERBS_ON_A_PERSON: dict[str, tuple[Callable[..., None], str, str]] = {
    "deactivate": (
        people.deactivate,
        "deactivated",
        "end sessions, sockets and tokens",
    ),
    "activate": (people.activate, "activated", "let a person sign in again"),
    "forget-2fa": (
        people.forget_second_factor,
        "without a second factor now",
        "remove the second factor of somebody who has lost it",
    ),
    "promote": (people.promote, "promoted to administrator", "make an administrator"),
    "demote": (people.demote, "made a member", "make an administrator a member"),
    "delete": (delete_person, "deleted", "remove a person; ledger amounts stay"),
}


class Command(BaseCommand):
    """The verbs of ``manage.py users``."""

    help = "Invite, list and change people, and create access tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        # Options of the base class must not be taken for verbs' own.
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--json", action="store_true", help="print JSON")
            return sub

        sub = verb("invite", "invite a person: mail the link and print it")
        sub.add_argument("username")
        sub.add_argument("email")
        sub.add_argument("--admin", action="store_true", help="as an administrator")
        sub = verb("google-add", "register an address for Google sign-in")
        sub.add_argument("username")
        sub.add_argument("email")
        verb("google-remove", "withdraw an address from Google sign-in").add_argument(
            "email"
        )
        verb("list", "list people, open invites and waiting Google addresses")
        verb("set", "set a password").add_argument("username")
        verb("check", "check a password: yes or no, exit 0 or 1").add_argument(
            "username"
        )
        sub = verb("token", "create an access token and print only that")
        sub.add_argument("username")
        sub.add_argument(
            "--scope",
            default=",".join(tokens.SCOPES),
            help=f"comma-separated, out of {', '.join(tokens.ALL_SCOPES)}",
        )
        sub.add_argument("--name", default="", help="what the token is for")
        sub.add_argument("--days", type=int, help="valid for so many days")
        for name, (_, _, text) in VERBS_ON_A_PERSON.items():
            sub = verb(name, text)
            sub.add_argument("username")
            if name == "delete":
                sub.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb; a refusal becomes one sentence and exit code 1."""
        self.as_json: bool = options["json"]
        verb: str = options["verb"]
        try:
            if verb in VERBS_ON_A_PERSON:
                self._act_on_person(verb, options)
            else:
                getattr(self, f"_{verb.replace('-', '_')}")(options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None

    def _invite(self, options: dict[str, Any]) -> None:
        invite, token = invites.create_invite(
            username=options["username"],
            email=options["email"],
            is_admin=options["admin"],
        )
        handed = mails.hand_out(invite, token)
        self._print(
            {
                "username": invite.username,
                "email": invite.email,
                "admin": invite.is_admin,
                "link": handed.link,
                "expires_at": _timestamp(invite.expires_at),
                "mailed": handed.mailed,
            },
            f"“{invite.username}” can set up the account within 72 hours:\n"
            f"{handed.link}",
        )
        if not handed.mailed:
            self.stderr.write("The mail could not be sent; pass the link on yourself.")

    def _google_add(self, options: dict[str, Any]) -> None:
        address = people.add_google_address(options["username"], options["email"])
        self._print(
            {"username": address.username, "email": address.email},
            f"“{address.username}” may sign in by Google as {address.email}.",
        )

    def _google_remove(self, options: dict[str, Any]) -> None:
        address = people.remove_google_address(options["email"])
        self._print(
            {"username": address.username, "email": address.email, "removed": True},
            f"{address.email} signs “{address.username}” in no longer.",
        )

    def _list(self, options: dict[str, Any]) -> None:
        rows = person_rows() + invited_rows()
        rows += waiting_rows({row.username for row in rows})
        lines = [
            f"{row.username:<20} {row.state:<12} {row.role:<7} "
            f"password {_yes(row.has_password):<4} {row.google_text:<34} "
            f"{row.email_text:<44} {row.seen_text}".rstrip()
            for row in rows
        ]
        self._print([row.as_json() for row in rows], "\n".join(lines) or "Nobody yet.")

    def _set(self, options: dict[str, Any]) -> None:
        person = person_named(options["username"])
        password = self._ask("New password: ")
        if sys.stdin.isatty() and self._ask("New password again: ") != password:
            raise CommandError("The two passwords are not the same.")
        people.set_password(person, password)
        self._print(
            {"username": person.username, "set": True},
            f"The password of “{person.username}” is set; their sessions are ended.",
        )

    def _check(self, options: dict[str, Any]) -> None:
        person = person_named(options["username"])
        right = person.check_password(self._ask("Password: "))
        self._print(
            {"username": person.username, "correct": right}, "yes" if right else "no"
        )
        if not right:
            sys.exit(1)

    def _token(self, options: dict[str, Any]) -> None:
        person = person_named(options["username"])
        scopes = [word.strip() for word in options["scope"].split(",") if word.strip()]
        with transaction.atomic():
            token = tokens.create_token(
                person, scopes=scopes, days=options["days"], name=options["name"]
            )
        self._print(
            {
                "username": person.username,
                "name": options["name"].strip(),
                "token": token,
                "scopes": sorted(set(scopes)),
            },
            token,
        )

    def _act_on_person(self, verb: str, options: dict[str, Any]) -> None:
        username: str = options["username"]
        person = person_named(username)
        if verb == "delete" and not options["yes"]:
            self._confirm(username)
        act, done, _ = VERBS_ON_A_PERSON[verb]
        act(person)
        self._print({"username": username, verb: True}, f"“{username}” is {done}.")

    def _confirm(self, username: str) -> None:
        """Let the name be typed, because nothing brings back what is deleted."""
        if not sys.stdin.isatty():
            raise CommandError(
                "Without a terminal to ask at, this needs --yes; nothing was deleted."
            )
        # Standard output belongs to the result.
        self.stderr.write(
            f"This deletes “{username}” and all their texts for good. "
            "Type the name to go on: ",
            ending="",
        )
        self.stderr.flush()
        if sys.stdin.readline().strip() != username:
            raise CommandError("That is not the name; nothing was deleted.")

    def _ask(self, prompt: str) -> str:
        """Read a password from the terminal, or a line when there is none."""
        if sys.stdin.isatty():
            return getpass.getpass(prompt)
        return sys.stdin.readline().rstrip("\r\n")

    def _print(self, value: object, text: str) -> None:
        self.stdout.write(
            json.dumps(value, ensure_ascii=False) if self.as_json else text
        )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _timestamp(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
