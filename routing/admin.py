"""Hosts, models and chains in Django's admin, by the rules of ``routing.hosts``.

Keys are write-only here too: the field is empty, and neither a page nor the history of
changes shows what was typed.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from routing import hosts
from routing.backends import backend_types
from routing.discovery import enable_if_proved
from routing.host_check import test_host
from routing.models import Host, Model, RoleSlot
from routing.registry import hosts_visible_to, info_for

REFUSAL = "cortex.refusal"
"""Where a request notes what was refused on saving."""


def _actor(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101 -- the admin demands sign-in
    return request.user


class RefusalAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows what the registry refuses on saving in the form, with all that was typed.

    Most is refused by the form's own checks; what somebody else changed at the same
    moment is known only on saving.
    """

    def changeform_view(self, request: HttpRequest, *args: Any, **kw: Any) -> Any:
        """Show the form again if the registry refuses; nothing is saved then."""
        try:
            return super().changeform_view(request, *args, **kw)
        except ValidationError as error:
            request.META[REFUSAL] = " ".join(error.messages)
            return super().changeform_view(request, *args, **kw)

    def get_form(self, request: HttpRequest, *args: Any, **kw: Any) -> Any:
        """Return the class of the form, made for this request."""
        form = super().get_form(request, *args, **kw)
        form.refusal = request.META.get(REFUSAL, "")  # type: ignore[attr-defined]
        return form


class RefusableForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form that knows what was refused when it was saved."""

    refusal = ""

    def clean(self) -> dict[str, Any]:
        """Show what was refused above the form."""
        data = super().clean() or {}
        if self.refusal:
            self.add_error(None, self.refusal)
        return data


class HostAdminForm(RefusableForm):
    """A host with a write-only key."""

    key = forms.CharField(
        label="API key or token",
        required=False,
        max_length=2000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Filled only to set or replace the key. It is stored encrypted.",
    )
    remove_key = forms.BooleanField(label="Remove the stored key", required=False)

    class Meta:
        model = Host
        fields = [
            "owner",
            "name",
            "type",
            "credential",
            "base_url",
            "is_local",
            "enabled",
            "auto_enable",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the types that can be called, and the type that the host has."""
        super().__init__(*args, **kwargs)
        offered = {*backend_types(), self.instance.type}
        self.fields["type"].choices = [  # type: ignore[attr-defined]
            choice for choice in Host.Type.choices if choice[0] in offered
        ]
        self.fields["credential"].required = False

    def clean_credential(self) -> str:
        """Return how the host signs in, also where nothing was said."""
        return hosts.clean_credential(self.cleaned_data["credential"])

    def clean(self) -> dict[str, Any]:
        """Refuse what the registry refuses."""
        data = super().clean()
        if not self.errors:
            for name, value in data.items():
                setattr(self.instance, name, value)
            try:
                hosts.check_host(self.instance, actor=None)
                hosts.check_key(data.get("key", ""))
            except ValidationError as error:
                self.add_error(None, error)
        return data

    def new_key(self) -> str | None:
        """Return what ``hosts.save_host`` is to do with the key."""
        if self.cleaned_data.get("key"):
            return str(self.cleaned_data["key"])
        return "" if self.cleaned_data.get("remove_key") else None


@admin.register(Host)
class HostAdmin(RefusalAdmin):
    """Hosts, shared ones and people's own."""

    form = HostAdminForm
    list_display = ["name", "type", "owner", "is_local", "enabled", "flagged"]
    list_filter = ["type", "is_local", "enabled"]
    search_fields = ["name"]
    readonly_fields = ["flagged", "cooling_until"]
    actions = ["test_hosts"]

    @admin.action(description="Test the chosen hosts")
    def test_hosts(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        """Test hosts step by step and tell for each whether it works."""
        actor = _actor(request)
        visible = set(hosts_visible_to(actor).values_list("id", flat=True))
        for host in queryset:
            if host.id not in visible:
                text = f"{host.name} belongs to {host.owner}, who can test it."
                self.message_user(request, text, messages.WARNING)
                continue
            report = async_to_sync(test_host)(actor, info_for(actor, host))
            steps = (step for step in report.steps if step.ok is False)
            failed = next(steps, None)
            if failed is not None:
                text = f"{host.name}: the step “{failed.name}” failed: {failed.detail}"
                self.message_user(request, text, messages.ERROR)
                continue
            enabled = enable_if_proved(host, report)
            text = " works and is in use from now on." if enabled else " works."
            self.message_user(request, host.name + text, messages.SUCCESS)

    def save_model(
        self,
        request: HttpRequest,
        obj: Host,
        form: HostAdminForm,
        change: bool,
    ) -> None:
        """Save by the registry's own verb."""
        hosts.save_host(obj, key=form.new_key(), actor=_actor(request))
        if obj.enabled:
            hosts.fill_prices(obj.id)

    def delete_model(self, request: HttpRequest, obj: Host) -> None:
        """Delete by the registry's own verb."""
        hosts.delete_host(obj, actor=_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        """Delete several, each by the registry's own verb."""
        for host in queryset:
            hosts.delete_host(host, actor=_actor(request))


class ModelAdminForm(RefusableForm):
    """A model; prices in nano-dollars per million tokens."""

    class Meta:
        model = Model
        fields = "__all__"  # noqa: DJ007 -- administrators see every column

    def clean(self) -> dict[str, Any]:
        """Refuse what the registry refuses."""
        data = super().clean()
        if not self.errors:
            for name, value in data.items():
                setattr(self.instance, name, value)
            try:
                hosts.check_model(self.instance)
            except ValidationError as error:
                self.add_error(None, error)
        return data


@admin.register(Model)
class ModelAdmin(RefusalAdmin):
    """Models on all hosts."""

    form = ModelAdminForm
    list_display = ["label", "name", "host", "tier", "context_tokens", "enabled"]
    list_filter = ["tier", "enabled", "host"]
    search_fields = ["label", "name"]
    list_select_related = ["host"]

    def save_model(
        self, request: HttpRequest, obj: Model, form: ModelAdminForm, change: bool
    ) -> None:
        """Save by the registry's own verb."""
        hosts.save_model(obj, actor=_actor(request))

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Delete by the registry's own verb."""
        hosts.delete_model(obj, actor=_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        """Delete several, each by the registry's own verb."""
        for model in queryset.select_related("host"):
            hosts.delete_model(model, actor=_actor(request))


@admin.register(RoleSlot)
class RoleSlotAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Places in chains; the page about models edits whole chains."""

    list_display = ["role", "position", "model", "plain_id", "owner"]
    list_filter = ["role"]
    list_select_related = ["model", "owner"]

    def save_model(
        self, request: HttpRequest, obj: RoleSlot, form: Any, change: bool
    ) -> None:
        """Save one place."""
        super().save_model(request, obj, form, change)
        self._note(request, obj)

    def delete_model(self, request: HttpRequest, obj: RoleSlot) -> None:
        """Delete one place."""
        super().delete_model(request, obj)
        self._note(request, obj)

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[RoleSlot]
    ) -> None:
        """Delete several places."""
        slots = list(queryset)
        super().delete_queryset(request, queryset)
        for slot in slots:
            self._note(request, slot)

    def _note(self, request: HttpRequest, slot: RoleSlot) -> None:
        shared = slot.owner_id is None
        actor = _actor(request)
        audit.record("chain.changed", actor=actor, subject=slot.role, shared=shared)
