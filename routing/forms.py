"""The forms of hosts, models and chains; keys are write-only in all of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from ledger.money import format_usd, nano_usd
from routing import hosts
from routing.addresses import looks_local
from routing.models import Host, Model
from routing.registry import may_add_free_url, models_visible_to

NO_AUTOFILL = {"autocomplete": "off", "data-1p-ignore": "", "data-lpignore": "true"}


class _PlainErrors:
    """Takes a refusal of ``routing.hosts`` over into a form."""

    def add_refusal(self, error: ValidationError) -> None:
        """Show each sentence at its field, or above the form."""
        assert isinstance(self, forms.BaseForm)  # noqa: S101 -- a mixin of forms
        if not hasattr(error, "error_dict"):
            self.add_error(None, error)
            return
        for name, errors in error.error_dict.items():
            field = name if name in self.fields else None
            self.add_error(field, errors)


class HostForm(_PlainErrors, forms.ModelForm):  # type: ignore[type-arg]
    """A host; the key field is always empty and changes the key only when filled."""

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

    class Meta:
        model = Host
        fields = ["name", "type", "base_url", "is_local", "enabled"]
        labels = {
            "name": "Name",
            "type": "Kind",
            "base_url": "Address",
            "is_local": "In the house",
            "enabled": "In use",
        }
        help_texts = {
            "base_url": (
                "The part before /chat/completions: http://box:11434/v1 for Ollama, "
                "llama.cpp and vLLM, http://box:8080/api for Open WebUI."
            ),
        }
        widgets = {"base_url": forms.URLInput(attrs={"autocapitalize": "none"})}

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        choices = [
            (name, label)
            for name, label in Host.Type.choices
            if name in hosts.addable_types()
        ]
        self.fields["type"].choices = choices  # type: ignore[attr-defined]
        self.fields["type"].initial = choices[0][0] if choices else ""
        self.fields["key"].help_text = (
            "A key is stored. Type another one to replace it."
            if self.instance.key_encrypted
            else "Leave it empty if the server wants none. It is stored encrypted."
        )
        if not self.instance.key_encrypted:
            del self.fields["remove_key"]
        if not user.is_admin or self.instance.pk:
            del self.fields["shared"]

    def save_for(self, user: User) -> Host | None:
        """Save the host; ``None`` if the registry refuses, with the reason shown."""
        data, host = self.cleaned_data, self.instance
        if host.pk is None:
            host.owner = None if data.get("shared") else user
        key = data["key"] or ("" if data.get("remove_key") else None)
        try:
            return hosts.save_host(host, key=key, actor=user)
        except ValidationError as error:
            self.add_refusal(error)
            return None

    @property
    def hint(self) -> str:
        """What to say about the host that was saved; mostly nothing."""
        host = self.instance
        if host.is_local or not looks_local(host.base_url):
            return ""
        return (
            "Its address looks as if it were in the house; tick “In the house” "
            "if private personas may use it."
        )


class PriceField(forms.DecimalField):
    """US dollars per million tokens, kept as nano-dollars; empty = unknown."""

    def __init__(self, label: str) -> None:
        super().__init__(
            label=label,
            required=False,
            min_value=Decimal(0),
            max_value=Decimal(1_000_000),
            decimal_places=9,
            max_digits=16,
        )

    def prepare_value(self, value: Any) -> Any:
        """Show nano-dollars as dollars, and what was typed as it was typed."""
        return format_usd(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        """Return nano-dollars, or ``None`` for unknown."""
        dollars = super().clean(value)
        return None if dollars is None else nano_usd(dollars)


class ModelForm(_PlainErrors, forms.ModelForm):  # type: ignore[type-arg]
    """A model on a host that is known already."""

    input_price_nano_usd_per_mtok = PriceField("Input")
    output_price_nano_usd_per_mtok = PriceField("Output")
    cache_read_price_nano_usd_per_mtok = PriceField("Cache read")
    cache_write_price_nano_usd_per_mtok = PriceField("Cache write")
    tags = forms.CharField(
        required=False, max_length=200, help_text="Words, separated by commas."
    )
    add_to_chat = forms.BooleanField(
        label="Use it for chat",
        required=False,
        initial=True,
        help_text="Puts it behind the other models of the chat chain.",
    )

    class Meta:
        model = Model
        fields = [
            "name",
            "label",
            "tier",
            "context_tokens",
            "max_output_tokens",
            "tags",
            "enabled",
            "input_price_nano_usd_per_mtok",
            "output_price_nano_usd_per_mtok",
            "cache_read_price_nano_usd_per_mtok",
            "cache_write_price_nano_usd_per_mtok",
        ]
        labels = {
            "name": "Name on the host",
            "label": "Label",
            "context_tokens": "Context in tokens",
            "max_output_tokens": "Longest answer in tokens",
            "enabled": "In use",
        }
        help_texts = {
            "tier": "1 quick and cheap, 2 balanced, 3 most capable.",
            "context_tokens": (
                "What the server is set to, which may be less than the model can; "
                "some servers cut longer prompts without a word."
            ),
        }
        widgets = {
            "name": forms.TextInput(attrs={**NO_AUTOFILL, "list": "model-names"}),
            "tier": forms.Select(choices=[(1, "1"), (2, "2"), (3, "3")]),
            "context_tokens": forms.NumberInput(attrs={"min": 512}),
            "max_output_tokens": forms.NumberInput(attrs={"min": 16}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["label"].required = False
        self.fields["label"].help_text = "The name people pick; empty = as on the host."
        self.initial["tags"] = ", ".join(self.instance.tags)
        if self.instance.pk:
            del self.fields["add_to_chat"]
        if self.instance.host.is_local:
            for name in [name for name in self.fields if "price" in name]:
                del self.fields[name]

    @property
    def price_fields(self) -> list[forms.BoundField]:
        """The fields of prices; none for a host in the house, which costs nothing."""
        return [self[name] for name in self.fields if "price" in name]

    def clean_tags(self) -> list[str]:
        """Return the words."""
        return [
            word.strip()
            for word in self.cleaned_data["tags"].split(",")
            if word.strip()
        ]

    def clean(self) -> dict[str, Any]:
        """Check the sizes; name the model after its host's name if need be."""
        data = super().clean() or {}
        data["label"] = data.get("label") or str(data.get("name", ""))[:100]
        if data.get("context_tokens", 512) < 512:
            self.add_error("context_tokens", "A model needs at least 512 tokens.")
        if data.get("max_output_tokens", 16) < 16:
            self.add_error("max_output_tokens", "Allow at least 16 tokens.")
        return data

    def save_for(self, user: User) -> Model | None:
        """Save the model; ``None`` if the registry refuses, with the reason shown."""
        owner = self.instance.host.owner
        try:
            model = hosts.save_model(self.instance)
            if self.cleaned_data.get("add_to_chat"):
                hosts.add_to_chain(owner, "chat", model)
        except ValidationError as error:
            self.add_refusal(error)
            return None
        return model


class ChainForm(_PlainErrors, forms.Form):
    """The chain of one role: a primary model and up to four backups."""

    def __init__(
        self,
        user: User,
        owner: User | None,
        chain: list[Model],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.owner = owner
        models = models_visible_to(user)
        if owner is None:
            models = models.filter(host__owner=None)
        for place in range(hosts.CHAIN_LENGTH):
            self.fields[f"place_{place}"] = forms.ModelChoiceField(
                models,
                label="Primary" if place == 0 else f"Backup {place}",
                required=False,
                empty_label="–",
                initial=chain[place] if place < len(chain) else None,
            )

    @property
    def chosen(self) -> list[Model]:
        """The models in order; gaps close."""
        places = [self.cleaned_data[f"place_{n}"] for n in range(hosts.CHAIN_LENGTH)]
        return [model for model in places if model is not None]

    def save_for(self, role: str) -> bool:
        """Save the chain; False if the registry refuses, with the reason shown."""
        try:
            hosts.set_chain(self.owner, role, self.chosen)
        except ValidationError as error:
            self.add_refusal(error)
            return False
        return True


class DeleteHostForm(forms.Form):
    """The host's name, typed again."""

    name = forms.CharField(label="Type its name to confirm", max_length=64)

    def __init__(self, host: Host, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.host = host

    def clean_name(self) -> str:
        """Accept nothing but the host's name."""
        name: str = self.cleaned_data["name"].strip()
        if name != self.host.name:
            raise ValidationError("This is not its name; nothing was deleted.")
        return name


class FreeUrlForm(forms.Form):
    """Which members may add hosts at addresses of their own choice."""

    people = forms.ModelMultipleChoiceField(
        User.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = User.objects.filter(is_active=True, is_superuser=False)
        self.fields["people"].queryset = members.order_by("username")  # type: ignore[attr-defined]
        self.before = [user for user in members if may_add_free_url(user)]
        self.initial.setdefault("people", self.before)

    def save_for(self, actor: User) -> None:
        """Give and take the permission where the form differs from before."""
        after = set(self.cleaned_data["people"])
        for user in after.difference(self.before):
            hosts.allow_free_urls(user, True, actor=actor)
        for user in set(self.before).difference(after):
            hosts.allow_free_urls(user, False, actor=actor)
