"""The forms of models and chains, and of who may enter addresses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from ledger.money import format_usd, nano_usd
from routing import hosts
from routing.catalogue import (
    ABILITIES,
    PLAIN_IDS,
    PROGRAM_TYPES,
    TOOL_TYPES,
    VENDOR_TYPES,
)
from routing.form_errors import RefusalForm
from routing.host_forms import NO_AUTOFILL
from routing.model_facts import context_of, tier_of_name
from routing.models import Model
from routing.registry import may_add_free_url, models_visible_to
from routing.seeds import MAX_OUTPUT_TOKENS


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


class ModelForm(RefusalForm, forms.ModelForm):  # type: ignore[type-arg]
    """A model on a host that is known already."""

    input_price_nano_usd_per_mtok = PriceField("Input")
    output_price_nano_usd_per_mtok = PriceField("Output")
    cache_read_price_nano_usd_per_mtok = PriceField("Cache read")
    cache_write_price_nano_usd_per_mtok = PriceField("Cache write")
    abilities = forms.MultipleChoiceField(
        label="What it can do",
        choices=list(ABILITIES.items()),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Only such a model is asked when a message needs it.",
    )
    tags = forms.CharField(
        label="Other words",
        required=False,
        max_length=200,
        help_text="For yourself, separated by commas.",
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
        """Show a model; a new one comes with what its name tells."""
        super().__init__(*args, **kwargs)
        model: Model = self.instance
        self.fields["label"].required = False
        self.fields["label"].help_text = "The name people pick; empty = as on the host."
        self.initial["abilities"] = [tag for tag in model.tags if tag in ABILITIES]
        others = [tag for tag in model.tags if tag not in ABILITIES]
        self.initial["tags"] = ", ".join(others)
        if model.pk:
            del self.fields["add_to_chat"]
        elif model.name and not self.is_bound:
            self._suggest(model)
        if model.host.type in PROGRAM_TYPES:
            del self.fields["abilities"]
        elif model.host.type in TOOL_TYPES:  # nothing to say about them
            field = cast("forms.MultipleChoiceField", self.fields["abilities"])
            field.choices = [each for each in ABILITIES.items() if each[0] != "tools"]
        if model.host.is_local:
            for name in [name for name in self.fields if "price" in name]:
                del self.fields[name]

    def _suggest(self, model: Model) -> None:
        """Fill in what is known of a model by its name: tier, context, prices."""
        self.initial["tier"] = tier_of_name(model.name)
        # Most of today's models can; whoever knows better unticks it.
        self.initial["abilities"] = ["tools"]
        default = Model().context_tokens
        if model.context_tokens == default:  # the host has not told it
            known = context_of(model.host.type, model.name)
            self.initial["context_tokens"] = known or default
        if model.host.type in VENDOR_TYPES:
            self.initial["max_output_tokens"] = MAX_OUTPUT_TOKENS
        hosts.fill_price(model)
        for name in self.fields:
            if "price" in name:
                self.initial[name] = getattr(model, name)

    @property
    def price_is_unknown(self) -> bool:
        """Whether a model whose name is given has no price that anybody knows."""
        model: Model = self.instance
        known = model.input_price_nano_usd_per_mtok is not None
        return bool(model.name) and bool(self.price_fields) and not known

    @property
    def hint(self) -> str:
        """What to say about the model that was saved; mostly nothing."""
        model: Model = self.instance
        prices = (
            model.input_price_nano_usd_per_mtok,
            model.output_price_nano_usd_per_mtok,
        )
        if model.host.is_local or None not in prices:
            return ""
        return "Its price is not known, so what its answers cost is shown as unknown."

    @property
    def price_fields(self) -> list[forms.BoundField]:
        """The fields of prices; none for a host in the house, which costs nothing."""
        return [self[name] for name in self.fields if "price" in name]

    def clean_tags(self) -> list[str]:
        """Return the words, without those that a box stands for."""
        words = [word.strip() for word in self.cleaned_data["tags"].split(",")]
        if "abilities" in self.fields:
            words = [word for word in words if word not in ABILITIES]
        return [word for word in words if word]

    def clean(self) -> dict[str, Any]:
        """Check the sizes; name the model after its host's name if need be."""
        data = super().clean() or {}
        data["tags"] = [*data.get("abilities", ()), *data.get("tags", ())]
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
            model = hosts.save_model(self.instance, actor=user)
            if self.cleaned_data.get("add_to_chat"):
                hosts.add_to_chain(owner, "chat", model, actor=user)
        except ValidationError as error:
            self.add_refusal(error)
            return None
        return model


class ChainForm(RefusalForm, forms.Form):
    """The chain of one role: a primary and up to four backups.

    Each place takes a model, or a kind of host by its plain id.
    """

    def __init__(
        self,
        user: User,
        owner: User | None,
        chain: list[hosts.ChainRow],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Show ``chain`` to ``user``; it belongs to ``owner`` or is shared."""
        super().__init__(*args, **kwargs)
        self.owner = owner
        models = models_visible_to(user)
        if owner is None:
            models = models.filter(host__owner=None)
        self.rows = {str(model.id): model for model in models}
        choices = self._choices()
        for place in range(hosts.CHAIN_LENGTH):
            row = chain[place] if place < len(chain) else ""
            self.fields[f"place_{place}"] = forms.ChoiceField(
                choices=choices,
                label="Primary" if place == 0 else f"Backup {place}",
                required=False,
                initial=row.id if isinstance(row, Model) else row,
            )

    def _choices(self) -> list[Any]:
        """Return nobody, the plain ids, then the models of each host."""
        plain = [
            (plain_id, f"{plain_id} ({name})") for plain_id, name in PLAIN_IDS.items()
        ]
        by_host: dict[int, list[tuple[str, str]]] = {}
        for key, model in self.rows.items():
            used = model.enabled and model.host.enabled
            text = model.label if used else f"{model.label} (not in use)"
            by_host.setdefault(model.host_id, []).append((key, text))
        names = {model.host_id: model.host.name for model in self.rows.values()}
        groups = [(names[host_id], rows) for host_id, rows in by_host.items()]
        return [("", "–"), ("By kind, for the tier decided", plain), *groups]

    @property
    def chosen(self) -> list[hosts.ChainRow]:
        """The places in order; gaps close."""
        places = [self.cleaned_data[f"place_{n}"] for n in range(hosts.CHAIN_LENGTH)]
        return [self.rows.get(value, value) for value in places if value]

    def save_for(self, actor: User, role: str) -> bool:
        """Save the chain; False if the registry refuses, with the reason shown."""
        try:
            hosts.set_chain(self.owner, role, self.chosen, actor=actor)
        except ValidationError as error:
            self.add_refusal(error)
            return False
        return True


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
