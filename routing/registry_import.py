"""Takes a registry file over: adds what is missing, keeps what is there.

One transaction: an error leaves everything as it was. What the rules do not allow (an
address that a person may not choose, a role that does not exist) is named and left
out, the rest is taken. A second run finds everything in place and changes nothing.

The rules are those of the person for whom it is done, as on the page. Somebody who
runs the machine may have servers at private addresses become shared hosts instead
(``share_hosts``), as an administrator would add them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.models import User
from ledger.prices import price_for
from ledger.types import PRICE_NAMES
from routing import hosts
from routing.addresses import looks_local
from routing.catalogue import PLAIN_IDS, VENDOR_TYPES
from routing.model_facts import context_of, tier_of_name
from routing.models import Host, Model
from routing.registry import FREE_URL_TYPES, models_visible_to
from routing.registry_file import FileHost, FileModel, RegistryFile


@dataclass(slots=True)
class ImportReport:
    """What an import did, each as one sentence without any key."""

    did: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """What was there already."""
    could_not: list[str] = field(default_factory=list)


def take_over(
    file: RegistryFile,
    owner: User | None,
    *,
    share_hosts: bool = False,
    dry_run: bool = False,
) -> ImportReport:
    """Add the hosts, models and chains of a file for ``owner``; ``None`` = shared.

    Args:
        file: What was read.
        owner: Whose they become, and by whose rules.
        share_hosts: Servers at an address become shared hosts.
        dry_run: Say what would be done, and do nothing.
    """
    for model in file.models:
        # Looked up before the transaction, because that takes time; kept for it.
        price_for(model.type, model.name)
    taking = _Import(owner, share_hosts, {host.name for host in file.hosts})
    taking.report.could_not.extend(file.odd)
    with transaction.atomic():
        for host in file.hosts:
            taking.host(host)
        for model in file.models:
            taking.model(model)
        for role, refs in file.roles.items():
            taking.role(role, refs)
        if dry_run:
            transaction.set_rollback(True)
        elif taking.report.did:
            audit.record(
                "registry.imported",
                subject=owner.username if owner else "",
                changes=len(taking.report.did),
            )
    return taking.report


class _Import:
    """One run, with what the ids of the file have become."""

    def __init__(self, owner: User | None, share_hosts: bool, names: set[str]) -> None:
        self.owner = owner
        self.names = names
        """All names of hosts in the file."""
        self.share_hosts = share_hosts
        self.report = ImportReport()
        self.hosts: dict[str, Host | None] = {}
        """``None`` = it was refused."""
        self.plain_hosts: set[str] = set()
        """Ids of hosts without a key, for which a shared one stands."""
        self.rows: dict[str, hosts.ChainRow | None] = {}
        self._added: set[tuple[str, int]] = set()
        """What this run added is not “there already”."""

    # --- hosts ----------------------------------------------------------------------

    def host(self, row: FileHost) -> None:
        """Find or add one host."""
        shared = self.share_hosts and row.type in FREE_URL_TYPES
        owner = None if shared else self.owner
        found = self._find_host(row, owner)
        if found is None and self._is_the_plain_one(row):
            self.plain_hosts.add(row.id)
            self.report.kept.append(
                f"The host “{row.name}” has no key in the file, so the shared "
                f"{PLAIN_IDS[row.type]} stands for it."
            )
            return
        try:
            if found is None:
                found = self._add_host(row, owner)
                unused = "" if found.enabled else ", not in use"
                need = ": it needs a key" if _lacks_key(row) else ""
                self.report.did.append(f"Added the host “{found.name}”{unused}{need}.")
                self._added.add(("host", found.pk))
            elif row.key and not found.key_encrypted:
                hosts.save_host(found, key=row.key, actor=owner)
                self.report.did.append(f"Stored the key of the host “{found.name}”.")
            elif ("host", found.pk) not in self._added:
                self.report.kept.append(f"The host “{found.name}” is there already.")
        except ValidationError as error:
            self._refuse(f"The host “{row.name}”", error)
            found = None
        self.hosts[row.id] = found

    def _find_host(self, row: FileHost, owner: User | None) -> Host | None:
        mine = Host.objects.filter(owner=owner, type=row.type).order_by("id")
        same_place = mine.filter(base_url=row.base_url)
        by_name = same_place.filter(name=row.name).first()
        if by_name is not None or not row.base_url:
            return by_name
        # Another name means the same host, unless the file has a row for that one.
        theirs = [host.id for host in self.hosts.values() if host is not None]
        return same_place.exclude(id__in=theirs).exclude(name__in=self.names).first()

    def _is_the_plain_one(self, row: FileHost) -> bool:
        """Whether a host of the file is only a name for a shared one.

        Our own export says so of no host: what it holds comes back as it was.
        """
        if row.exact or row.type not in PLAIN_IDS or not _lacks_key(row):
            return False
        return Host.objects.filter(owner=None, type=row.type).exists()

    def _add_host(self, row: FileHost, owner: User | None) -> Host:
        is_local = row.is_local
        if is_local is None:
            is_local = row.type not in VENDOR_TYPES and looks_local(row.base_url)
        taken = Host.objects.filter(owner=owner).values_list("name", flat=True)
        host = Host(
            owner=owner,
            name=_free(row.name, set(taken), 64),
            type=row.type,
            base_url=row.base_url,
            credential=row.credential,
            is_local=is_local,
            enabled=row.enabled and (row.exact or not _lacks_key(row)),
        )
        host.full_clean(exclude=["owner"], validate_constraints=False)
        return hosts.save_host(host, key=row.key or None, actor=owner)

    # --- models ---------------------------------------------------------------------

    def model(self, row: FileModel) -> None:
        """Find or add one model, or note which plain id it is."""
        stands_alone = row.id in PLAIN_IDS or not row.name
        if row.type in PLAIN_IDS and stands_alone and not row.host_id:
            self.rows[row.id] = row.type
            self.report.kept.append(f"“{row.label}” is the plain id {row.type}.")
            return
        self.rows[row.id] = None
        try:
            host = self._host_of(row)
            if host is not None:
                self.rows[row.id] = self._on_host(row, host)
        except ValidationError as error:
            self._refuse(f"The model “{row.label}”", error)

    def _host_of(self, row: FileModel) -> Host | None:
        """Return the host of a model; for a vendor's without one, find or add it."""
        if row.host_id in self.plain_hosts:
            self.rows[row.id] = self._shared_or_plain(row)
            return None
        if row.host_id:
            if row.host_id not in self.hosts:
                raise ValidationError("the file has no such host.")
            host = self.hosts[row.host_id]
            if host is None:
                raise ValidationError("its host was left out.")
            return host
        if row.type not in VENDOR_TYPES:
            raise ValidationError("the file names no host for it.")
        visible = Host.objects.filter(type=row.type)
        own = visible.filter(owner=self.owner).order_by("id").first()
        if own is not None:
            return own
        shared = models_visible_to(self.owner) if self.owner else Model.objects.none()
        same = shared.filter(host__owner=None, host__type=row.type, name=row.name)
        if found := same.first():
            self.rows[row.id] = found
            text = f"“{row.label}” is the shared model “{found.label}”."
            self.report.kept.append(text)
            return None
        name = dict(Host.Type.choices)[row.type]
        host = self._add_host(FileHost("", name, row.type, enabled=False), self.owner)
        self.report.did.append(
            f"Added the host “{host.name}”, not in use: it needs a key."
        )
        return host

    def _shared_or_plain(self, row: FileModel) -> hosts.ChainRow:
        """Return the shared model of this name, else the plain id of its type."""
        shared = Model.objects.filter(host__owner=None, host__type=row.type)
        found = shared.filter(name=row.name).first()
        if found is None:
            text = f"“{row.label}” is the plain id {row.type}."
        else:
            text = f"“{row.label}” is the shared model “{found.label}”."
        self.report.kept.append(text)
        return row.type if found is None else found

    def _on_host(self, row: FileModel, host: Host) -> Model:
        name = row.name or row.label
        there = Model.objects.filter(host=host, name=name).first()
        if there is not None:
            if ("model", there.pk) not in self._added:
                self.report.kept.append(f"The model “{there.label}” is there already.")
            return there
        same_owner = Model.objects.filter(host__owner=host.owner_id)
        taken = {*same_owner.values_list("label", flat=True), *PLAIN_IDS}
        model = Model(
            host=host,
            label=_free(row.label, taken, 100),
            name=name,
            tier=row.tier or tier_of_name(name),
            tags=list(row.tags),
            enabled=row.enabled,
        )
        context = row.context_tokens or context_of(host.type, name)
        model.context_tokens = context or model.context_tokens
        model.max_output_tokens = row.max_output_tokens or model.max_output_tokens
        for price in PRICE_NAMES:
            column = f"{price}_price_nano_usd_per_mtok"
            setattr(model, column, row.prices_nano_usd.get(price))
        model.full_clean(validate_constraints=False)
        hosts.save_model(model, actor=self.owner)
        self._added.add(("model", model.pk))
        self.report.did.append(f"Added the model “{model.label}” on “{host.name}”.")
        return model

    # --- chains ---------------------------------------------------------------------

    def role(self, role: str, refs: list[str]) -> None:
        """Set or complete the chain of one role, unless there is another one."""
        if role not in settings.MODEL_ROLES:
            self.report.could_not.append(
                f"The role “{role[:50]}” does not exist here; CORTEX_ROLES adds roles."
            )
            return
        chain: list[hosts.ChainRow] = []
        for ref in refs:
            row = self._row(ref)
            if row is None:
                text = f"The chain for {role} goes without “{ref[:100]}”."
                self.report.could_not.append(text)
            elif row not in chain:
                chain.append(row)
        self._set_chain(role, chain)

    def _set_chain(self, role: str, chain: list[hosts.ChainRow]) -> None:
        before = hosts.chain_of(self.owner, role)
        if not chain or before == chain:
            if chain:
                self.report.kept.append(f"The chain for {role} is there already.")
            return
        if [row for row in chain if row in before] != before:
            text = f"There is another chain for {role} already; it stays."
            self.report.could_not.append(text)
            return
        try:
            hosts.set_chain(self.owner, role, chain, actor=self.owner)
        except ValidationError as error:
            self._refuse(f"The chain for {role}", error)
            return
        labels = [row.label if isinstance(row, Model) else row for row in chain]
        verb = "Completed" if before else "Set"
        self.report.did.append(f"{verb} the chain for {role}: {' → '.join(labels)}.")

    def _row(self, ref: str) -> hosts.ChainRow | None:
        """Return what an id of the file, a plain id or a label means here."""
        if ref in self.rows:
            return self.rows[ref]
        if ref in PLAIN_IDS:
            return ref
        if self.owner is not None:
            return models_visible_to(self.owner).filter(label=ref).first()
        return Model.objects.filter(host__owner=None, label=ref).first()

    def _refuse(self, what: str, error: ValidationError) -> None:
        reason = " ".join(error.messages)
        self.report.could_not.append(f"{what} was left out: {reason}")


def _lacks_key(row: FileHost) -> bool:
    """Whether a vendor's host came without the key that it cannot do without."""
    by_key = row.credential != Host.Credential.LOGIN
    return row.type in VENDOR_TYPES and by_key and not row.key and not row.base_url


def _free(name: str, taken: set[str], length: int) -> str:
    """Return the name, with a number behind it where it is taken."""
    free, number = name, 2
    while free in taken:
        suffix = f" {number}"
        free, number = name[: length - len(suffix)] + suffix, number + 1
    return free
