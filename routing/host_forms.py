"""The forms of hosts. Which fields there are depends on the kind of host.

Keys are write-only: the field is always empty and changes the key only when filled.
"""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import User
from routing import hosts, seeds
from routing.addresses import looks_local
from routing.catalogue import PROGRAM_TYPES, VENDOR_TYPES
from routing.form_errors import RefusalForm
from routing.models import Host
from routing.registry import FREE_URL_TYPES, may_add_free_url

NO_AUTOFILL: Final = {
    "autocomplete": "off",
    "data-1p-ignore": "",
    "data-lpignore": "true",
}
KINDS: Final = {
    "local_openai": (
        "A server of your own or of anybody else: Ollama, Open WebUI, llama.cpp, vLLM."
    ),
    "claude_cli": "The program “claude”, with an API key or with a subscription.",
    "gemini_cli": "The program “gemini”, with an API key or with an account.",
    "gemini_api": "Google's models, called directly, with an API key.",
    "anthropic_api": "Anthropic's models, called directly, with an API key.",
}
"""Type → what to say of it where a kind of host is chosen."""
_ADDRESS_HELP: Final = {
    "local_openai": (
        "The part before /chat/completions: http://box:11434/v1 for Ollama, "
        "llama.cpp and vLLM, http://box:8080/api for Open WebUI."
    ),
}
_VENDOR_ADDRESS_HELP: Final = (
    "Empty = the vendor's own. Another one is only for a gateway that speaks the "
    "vendor's protocol; the key is sent there."
)
_KEY_HELP: Final = {
    "claude_cli": (
        "An API key, or the login token that “claude setup-token” prints. Stored "
        "encrypted, and given to the program by its environment."
    ),
    "gemini_cli": (
        "An API key. Stored encrypted, and given to the program by its environment."
    ),
    "gemini_api": "An API key of Google AI Studio. Stored encrypted.",
    "anthropic_api": "An API key of the Anthropic Console. Stored encrypted.",
}


def kinds_for(user: User) -> list[tuple[str, str, str, bool]]:
    """Return each kind of host: type, name, what it is, whether ``user`` may add it."""
    free = may_add_free_url(user)
    return [
        (name, label, KINDS.get(name, ""), free or name not in FREE_URL_TYPES)
        for name, label in Host.Type.choices
        if name in hosts.addable_types()
    ]


class HostForm(RefusalForm, forms.ModelForm):  # type: ignore[type-arg]
    """A host of the kind that its instance has already."""

    shared = forms.BooleanField(
        label="Shared with everybody",
        required=False,
        help_text="Only administrators change shared hosts.",
    )
    key = forms.CharField(
        label="API key",
        required=False,
        max_length=2000,
        strip=True,
        widget=forms.PasswordInput(
            attrs={**NO_AUTOFILL, "autocomplete": "new-password"}
        ),
    )
    remove_key = forms.BooleanField(label="Remove the stored key", required=False)
    usual_models = forms.BooleanField(
        label="With its usual models",
        required=False,
        initial=True,
        help_text="A quick, a balanced and a most capable one; change them later.",
    )

    class Meta:
        model = Host
        fields = ["name", "credential", "base_url", "is_local", "enabled"]
        labels = {
            "name": "Name",
            "credential": "How it signs in",
            "base_url": "Address",
            "is_local": "In the house",
            "enabled": "In use",
        }
        widgets = {"base_url": forms.URLInput(attrs={"autocapitalize": "none"})}

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        """Show a form to ``user`` for the host ``instance``."""
        super().__init__(*args, **kwargs)
        self.user = user
        host: Host = self.instance
        if host.pk is None and not host.name:
            self.initial["name"] = self._free_name()
        self._fit_key()
        self._fit_address()
        self._fit_credential()
        if host.pk or host.type not in seeds.SEEDS:
            del self.fields["usual_models"]
        if not user.is_admin or host.pk:
            del self.fields["shared"]

    def _free_name(self) -> str:
        """Return the vendor's name for a first host of its own."""
        host = self.instance
        name = host.get_type_display() if host.type in VENDOR_TYPES else ""
        taken = Host.objects.filter(owner=self.user, name=name).exists()
        return "" if taken else name

    def _fit_key(self) -> None:
        host = self.instance
        text = _KEY_HELP.get(
            host.type, "Leave it empty if the server wants none. Stored encrypted."
        )
        stored = "A key is stored. Type another one to replace it."
        self.fields["key"].help_text = stored if host.key_encrypted else text
        if host.type == Host.Type.CLAUDE_CLI:
            self.fields["key"].label = "API key or login token"
        if not host.key_encrypted:
            del self.fields["remove_key"]

    def _fit_address(self) -> None:
        """Offer an address to those alone who may enter one for this kind."""
        host = self.instance
        address = self.fields["base_url"]
        address.help_text = _ADDRESS_HELP.get(host.type, _VENDOR_ADDRESS_HELP)
        if host.type not in VENDOR_TYPES:
            return
        may = may_add_free_url(self.user)
        if host.type in PROGRAM_TYPES:
            may = self.user.is_admin and (host.pk is None or host.owner_id is None)
        if not may and not host.base_url:
            del self.fields["base_url"], self.fields["is_local"]

    def _fit_credential(self) -> None:
        host = self.instance
        if host.type not in PROGRAM_TYPES:
            del self.fields["credential"]
            return
        field: Any = self.fields["credential"]
        field.required = False
        field.help_text = (
            "A token or a login is a subscription: its calls are shown with what they "
            "would have cost, and not counted."
        )
        left_out = set()
        if not self.user.is_admin or (host.pk and host.owner_id):
            left_out.add(Host.Credential.LOGIN)
        if host.type == Host.Type.GEMINI_CLI:
            left_out.add(Host.Credential.TOKEN)
        field.choices = [c for c in Host.Credential.choices if c[0] not in left_out]

    def clean_credential(self) -> str:
        """Return how the host signs in, also where nothing was said."""
        return hosts.clean_credential(self.cleaned_data["credential"])

    def save_for(self, user: User) -> Host | None:
        """Save the host; ``None`` if the registry refuses, with the reason shown."""
        data = self.cleaned_data
        host: Host = self.instance
        if host.pk is None:
            host.owner = None if data.get("shared") else user
        key = data["key"] or ("" if data.get("remove_key") else None)
        self.lost_key = bool(host.key_encrypted) and key is None
        try:
            with transaction.atomic():
                hosts.save_host(host, key=key, actor=user)
                if data.get("usual_models"):
                    seeds.add_usual_models(host)
        except ValidationError as error:
            self.add_refusal(error)
            return None
        if host.enabled:
            hosts.fill_prices(host.id)
        return host

    @property
    def hint(self) -> str:
        """What to say about the host that was saved; mostly nothing."""
        host: Host = self.instance
        by_hand = host.credential == Host.Credential.LOGIN
        if host.type in VENDOR_TYPES and not host.key_encrypted and not by_hand:
            why = "Its key was given up, because it was for another account or address."
            return f"{why if self.lost_key else 'It has no key yet.'} Enter one."
        if by_hand and not host.enabled and host.auto_enable:
            return "It goes in use as soon as somebody has logged its program in."
        if not host.is_local and looks_local(host.base_url):
            return (
                "Its address looks as if it were in the house; tick “In the house” "
                "if private personas may use it."
            )
        return ""


class DeleteHostForm(forms.Form):
    """The host's name, typed again."""

    name = forms.CharField(label="Type its name to confirm", max_length=64)

    def __init__(self, host: Host, *args: Any, **kwargs: Any) -> None:
        """Ask for the name of ``host``."""
        super().__init__(*args, **kwargs)
        self.host = host

    def clean_name(self) -> str:
        """Accept nothing but the host's name."""
        name: str = self.cleaned_data["name"].strip()
        if name != self.host.name:
            raise ValidationError("This is not its name; nothing was deleted.")
        return name
