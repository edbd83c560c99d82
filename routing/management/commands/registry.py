"""``manage.py registry …``: hosts, models and chains from the command line.

Each verb prints sentences, or one JSON value with ``--json``. A key is read from
standard input (``--key-stdin``), never from the arguments, which other accounts of the
machine can see. Whatever cannot be done is one sentence on standard error and exit 1.
"""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.commands import person_named
from accounts.models import User
from ledger.types import Caller
from routing import hosts
from routing.backends.programs import login_command
from routing.catalogue import PLAIN_IDS
from routing.discovery import enable_if_proved
from routing.forms import PriceField
from routing.host_check import test_host
from routing.management import registry_files
from routing.management.registry_rows import (
    host_line,
    host_row,
    model_line,
    model_row,
    report_row,
)
from routing.models import Host, Model, RoleSlot
from routing.registry import info_for, may_add_free_url

_VERBS = {
    "import": registry_files.import_verb,
    "export": registry_files.export_verb,
    "drill": registry_files.drill_verb,
}
ADDRESS_HELP = (
    "of a server; vendors have their own and take one only to go through a gateway"
)
MOST_TOKENS = 2_147_483_647
"""What a database keeps."""
WORDS = {None: "not tried", True: "ok", False: "FAILED"}


class Command(BaseCommand):
    """The verbs of ``manage.py registry``."""

    help = "List and change hosts, models and chains."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

        def verb(name: str, text: str) -> ArgumentParser:
            sub = verbs.add_parser(name, help=text, description=text)
            sub.add_argument("--json", action="store_true", help="print JSON")
            sub.add_argument("--user", help="a person's own instead of the shared ones")
            return sub

        verb("list", "list hosts, models and chains")
        sub = verb("add-host", "add a host")
        sub.add_argument("name")
        sub.add_argument("base_url", nargs="?", default="", help=ADDRESS_HELP)
        sub.add_argument(
            "--type",
            default=Host.Type.LOCAL_OPENAI,
            metavar="type",
            help=f"{', '.join(hosts.addable_types())}; default %(default)s",
        )
        sub.add_argument(
            "--credential",
            choices=Host.Credential.values,
            default=Host.Credential.KEY,
            help="how a program signs in",
        )
        sub.add_argument("--local", action="store_true", help="it is in the house")
        sub.add_argument("--key-stdin", action="store_true", help="read a key")
        verb("remove-host", "remove a host").add_argument("name")
        sub = verb("add-model", "add a model to a host")
        sub.add_argument("host")
        sub.add_argument("name")
        sub.add_argument("--label", default="", help="the name people pick")
        sub.add_argument("--tier", type=int, choices=[1, 2, 3], default=1)
        sub.add_argument("--context", type=int, default=8192, help="in tokens")
        sub.add_argument("--max-output", type=int, default=2048, help="in tokens")
        sub.add_argument("--no-tools", action="store_true", help="cannot call tools")
        for price in ("input", "output", "cache-read", "cache-write"):
            sub.add_argument(f"--{price}-price", help="USD per million tokens")
        verb("remove-model", "remove a model").add_argument("label")
        sub = verb("set-chain", "set a role's chain; without models remove it")
        sub.add_argument("role", choices=settings.MODEL_ROLES)
        sub.add_argument("models", nargs="*", metavar="label", help="or a plain id")
        verb("test", "test hosts step by step").add_argument("host", nargs="?")
        sub = verb("drill", "say what would answer if hosts were down")
        sub.add_argument("--down", action="append", default=[], metavar="host")
        sub = verb("import", "take over model_registry.json and local_llm.json")
        sub.add_argument("path", type=Path, metavar="file or folder")
        sub.add_argument("--dry-run", action="store_true", help="change nothing")
        sub.add_argument(
            "--share-hosts", action="store_true", help="servers become shared hosts"
        )
        sub = verb("export", "write what import reads")
        sub.add_argument("--output", type=Path, help="a new file, for its owner alone")
        sub.add_argument("--with-secrets", action="store_true", help="with keys")
        verb("allow-addresses", "let a person add hosts at any public address")
        verb("refuse-addresses", "take that back")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb; turn every refusal into one sentence and exit code 1."""
        owner = person_named(options["user"]) if options["user"] else None
        try:
            verb = _VERBS.get(options["verb"]) or getattr(
                self, "_" + options["verb"].replace("-", "_")
            )
            value, sentence = verb(owner, options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(json.dumps(value) if options["json"] else sentence)
        if isinstance(value, dict) and value.get("ok") is False:
            reason = value.get("error", "A host cannot be used.")
            raise CommandError(reason, returncode=1)

    def _list(self, owner: User | None, options: dict[str, Any]) -> tuple[Any, str]:
        models = Model.objects.filter(host__owner=owner).order_by("label")
        models = models.select_related("host")
        slots = RoleSlot.objects.filter(owner=owner).select_related("model")
        chains: dict[str, list[str]] = {}
        for slot in slots:
            label = slot.model.label if slot.model else slot.plain_id
            chains.setdefault(slot.role, []).append(label)
        rows = Host.objects.filter(owner=owner).order_by("name")
        host_rows = [host_row(host) for host in rows]
        model_rows = [model_row(model) for model in models]
        value = {"hosts": host_rows, "models": model_rows, "chains": chains}
        lines = [*map(host_line, rows), *map(model_line, models)]
        lines += [f"chain {role}: {' → '.join(c)}" for role, c in chains.items()]
        return value, "\n".join(lines) or "Nothing is set up."

    def _add_host(self, owner: User | None, options: dict[str, Any]) -> tuple[Any, str]:
        types = hosts.addable_types()
        if options["type"] not in types:
            known = ", ".join(types)
            raise CommandError(f"A host's type is one of these: {known}.")
        host = Host(
            owner=owner,
            name=options["name"],
            type=options["type"],
            base_url=options["base_url"],
            credential=options["credential"],
            is_local=options["local"],
        )
        key = sys.stdin.readline().strip() if options["key_stdin"] else None
        host.full_clean(exclude=["owner"], validate_constraints=False)
        hosts.save_host(host, key=key, actor=owner)
        value, sentence = host_row(host), f"Host “{host.name}” is added."
        if host.credential == Host.Credential.LOGIN:
            value["login_command"] = command = login_command(host.type, host.id)
            sentence += f" Log its program in: {command}"
        return value, sentence

    def _remove_host(
        self, owner: User | None, options: dict[str, Any]
    ) -> tuple[Any, str]:
        host = self._host(owner, options["name"])
        hosts.delete_host(host, actor=owner)
        return {"removed": host.name}, f"Host “{host.name}” is removed."

    def _add_model(
        self, owner: User | None, options: dict[str, Any]
    ) -> tuple[Any, str]:
        for name in ("context", "max_output"):
            if not 1 <= options[name] <= MOST_TOKENS:
                option = name.replace("_", "-")
                raise CommandError(
                    f"--{option} is a number of tokens from 1 to {MOST_TOKENS:,}."
                )
        host = self._host(owner, options["host"])
        # As the page suggests it: most models of servers can; vendors' are known.
        takes_tools = host.type == Host.Type.LOCAL_OPENAI and not options["no_tools"]
        model = Model(
            host=host,
            name=options["name"],
            label=options["label"] or options["name"],
            tier=options["tier"],
            context_tokens=options["context"],
            max_output_tokens=options["max_output"],
            tags=["tools"] if takes_tools else [],
            input_price_nano_usd_per_mtok=_nano(options["input_price"]),
            output_price_nano_usd_per_mtok=_nano(options["output_price"]),
            cache_read_price_nano_usd_per_mtok=_nano(options["cache_read_price"]),
            cache_write_price_nano_usd_per_mtok=_nano(options["cache_write_price"]),
        )
        model.full_clean(validate_constraints=False)
        hosts.save_model(model, actor=owner)
        return model_row(model), f"Model “{model.label}” is added."

    def _remove_model(
        self, owner: User | None, options: dict[str, Any]
    ) -> tuple[Any, str]:
        model = self._model(owner, options["label"])
        hosts.delete_model(model, actor=owner)
        return {"removed": model.label}, f"Model “{model.label}” is removed."

    def _set_chain(
        self, owner: User | None, options: dict[str, Any]
    ) -> tuple[Any, str]:
        role = options["role"]
        rows = [
            label if label in PLAIN_IDS else self._model(owner, label)
            for label in options["models"]
        ]
        hosts.set_chain(owner, role, rows, actor=owner)
        labels = [row if isinstance(row, str) else row.label for row in rows]
        chain = " → ".join(labels) or "empty"
        return {"role": role, "chain": labels}, f"The chain for {role}: {chain}."

    def _test(self, owner: User | None, options: dict[str, Any]) -> tuple[Any, str]:
        tester = owner or User.objects.filter(is_superuser=True, is_active=True).first()
        if tester is None:
            raise CommandError(
                "A test needs an administrator on whose account it runs."
            )
        rows = Host.objects.filter(owner=owner).order_by("name")
        if options["host"]:
            rows = rows.filter(id=self._host(owner, options["host"]).id)
        caller = Caller(tester.id, tester.username, channel="cli")
        reports = {
            host.name: asyncio.run(
                test_host(tester, info_for(tester, host), caller=caller)
            )
            for host in rows
        }
        enabled = [
            host.name for host in rows if enable_if_proved(host, reports[host.name])
        ]
        value = {
            "ok": all(report.ok for report in reports.values()),
            "hosts": {name: report_row(report) for name, report in reports.items()},
            "enabled": enabled,
        }
        lines = [
            f"{name}: {step.name}: {WORDS[step.ok]} ({step.detail})"
            for name, report in reports.items()
            for step in report.steps
        ]
        lines += [f"{name} is in use from now on." for name in enabled]
        return value, "\n".join(lines) or "There is no host to test."

    def _allow_addresses(
        self, owner: User | None, options: dict[str, Any]
    ) -> tuple[Any, str]:
        return self._addresses(owner, True)

    def _refuse_addresses(
        self, owner: User | None, options: dict[str, Any]
    ) -> tuple[Any, str]:
        return self._addresses(owner, False)

    def _addresses(self, owner: User | None, allowed: bool) -> tuple[Any, str]:
        if owner is None:
            raise CommandError("Name the person with --user.")
        hosts.allow_free_urls(owner, allowed, actor=None)
        fresh = User.objects.get(id=owner.id)
        word = "may" if may_add_free_url(fresh) else "may not"
        value = {"user": owner.username, "allowed": word == "may"}
        return value, f"{owner.username} {word} add hosts at any public address."

    def _host(self, owner: User | None, name: str) -> Host:
        try:
            return Host.objects.get(owner=owner, name=name)
        except Host.DoesNotExist:
            raise CommandError(f"There is no host “{name}”.") from None

    def _model(self, owner: User | None, label: str) -> Model:
        rows = Model.objects.filter(label=label).select_related("host")
        model = rows.filter(host__owner=owner).first()
        model = model or rows.filter(host__owner=None).first()
        if model is None:
            raise CommandError(f"There is no model “{label}”.")
        return model


def _nano(dollars: str | None) -> Any:
    """Return dollars per million tokens in nano-dollars; ``None`` = unknown."""
    try:
        return PriceField("").clean(dollars)
    except ValidationError:
        raise CommandError(f"{dollars!r} is not a price.") from None
