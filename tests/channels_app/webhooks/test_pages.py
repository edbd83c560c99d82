"""The pages below ``/settings/webhooks/``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import secrets
from accounts.models import AuditEvent, User
from channels_app.models import WebhookDelivery, WebhookEndpoint
from channels_app.webhooks import endpoints, signing
from tests.support.webhook_receiver import HANG, Receiver

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/settings/webhooks/"
ALL = ["task.done", "budget.warning", "reply.failed"]


@pytest.fixture
def client(alice: User, client_for: Callable[[User], Client]) -> Client:
    """Alice's browser."""
    return client_for(alice)


@pytest.fixture
def hook(alice: User, receiver: Receiver) -> WebhookEndpoint:
    """Alice's address."""
    return endpoints.add(alice, receiver.url, ALL)[0]


def post(client: Client, address: str, **values: Any) -> Any:
    return client.post(PAGE + address, values, follow=True)


def shown(answer: Any) -> str:
    text: str = answer.content.decode()
    return text


def secret_in(answer: Any) -> str:
    (secret,) = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", shown(answer)))
    return secret


def test_added_address_shows_its_secret_once(client: Client, alice: User) -> None:
    answer = post(client, "", url="https://example.org/hook?k=1", events=["task.done"])
    assert answer.status_code == 200
    secret = secret_in(answer)
    hook = WebhookEndpoint.objects.get()
    assert endpoints.secrets_of(hook) == (secret,)
    assert secret not in hook.secret
    assert (hook.owner, hook.events, hook.enabled) == (alice, ["task.done"], True)
    for address in ("", f"{hook.pk}/", f"{hook.pk}/delete/"):
        assert "whsec_" not in shown(client.get(PAGE + address))
    assert "https://example.org/hook?k=1" in shown(client.get(PAGE))
    event = AuditEvent.objects.get(event="webhook.added")
    assert event.subject == "https://example.org:443"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "required"),
        ("ftp://example.org/", "http:// or https://"),
        ("https://user:pass@example.org/", "user name or password"),
        ("http://127.0.0.1:8000/", "private network"),
        ("http://[::ffff:10.0.0.1]/", "private network"),
        ("http://0x7f000001/", "usual form"),
        ("http://169.254.169.254/latest/", "private network"),
    ],
)
def test_address_that_may_not_be_called_is_refused_with_a_reason(
    client: Client, url: str, words: str
) -> None:
    answer = post(client, "", url=url, events=ALL)
    assert answer.status_code == 400
    assert words in shown(answer)
    assert not WebhookEndpoint.objects.exists()


def test_administrator_may_name_an_address_in_the_house(
    admin_user: User, client_for: Callable[[User], Client]
) -> None:
    answer = post(client_for(admin_user), "", url="http://10.0.0.7/hook", events=ALL)
    assert answer.status_code == 200 and WebhookEndpoint.objects.count() == 1


def test_no_event_or_an_unknown_one_is_refused(client: Client) -> None:
    for events in ([], ["everything"]):
        answer = post(client, "", url="https://example.org/", events=events)
        assert answer.status_code == 400
    assert not WebhookEndpoint.objects.exists()


def test_nobody_has_more_than_twenty(client: Client, alice: User) -> None:
    for number in range(endpoints.MOST):
        endpoints.add(alice, f"https://example.org/{number}", ALL)
    answer = post(client, "", url="https://example.org/more", events=ALL)
    assert answer.status_code == 400 and "20 webhooks already" in shown(answer)


def test_change_of_address_and_events(client: Client, hook: WebhookEndpoint) -> None:
    answer = post(
        client, f"{hook.pk}/", url="https://example.org/b", events=["reply.failed"]
    )
    assert "The webhook is saved." in shown(answer)
    hook.refresh_from_db()
    assert (hook.url, hook.events, hook.enabled) == (
        "https://example.org/b",
        ["reply.failed"],
        False,
    )
    answer = post(client, f"{hook.pk}/", url="http://10.0.0.1/", events=ALL)
    assert answer.status_code == 400
    hook.refresh_from_db()
    assert hook.url == "https://example.org/b"


def test_switching_it_on_again_forgets_the_fault(
    client: Client, hook: WebhookEndpoint
) -> None:
    WebhookEndpoint.objects.update(enabled=False, fault="It is gone.")
    assert "It is gone." in shown(client.get(f"{PAGE}{hook.pk}/"))
    post(client, f"{hook.pk}/", url=hook.url, events=ALL, enabled="on")
    hook.refresh_from_db()
    assert (hook.enabled, hook.fault) == (True, "")


def test_new_secret_is_shown_once_and_the_old_one_signs_along(
    client: Client, hook: WebhookEndpoint
) -> None:
    (old,) = endpoints.secrets_of(hook)
    answer = post(client, f"{hook.pk}/secret/")
    new = secret_in(answer)
    assert "signs along for 24 hours" in shown(answer)
    hook.refresh_from_db()
    assert endpoints.secrets_of(hook) == (new, old)
    assert "signs along until" in shown(client.get(f"{PAGE}{hook.pk}/"))
    assert AuditEvent.objects.filter(event="webhook.secret_rotated").exists()
    kept = str(list(AuditEvent.objects.values_list("detail", "subject")))
    assert "whsec_" not in kept and "/hooks/" not in kept


def test_test_delivery_says_that_it_arrived(
    client: Client, hook: WebhookEndpoint, receiver: Receiver
) -> None:
    assert "It arrived: the address answered 204." in shown(
        post(client, f"{hook.pk}/test/")
    )
    (came,) = receiver.received
    (secret,) = endpoints.secrets_of(hook)
    assert came.verified(secret)["type"] == "webhook.test"


def test_test_delivery_says_what_was_wrong_and_is_not_tried_again(
    client: Client, hook: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.answer(500)
    page = shown(post(client, f"{hook.pk}/test/"))
    assert "It did not arrive. The address answered 500." in page
    assert WebhookDelivery.objects.get().state == "failed"


def test_page_does_not_wait_for_ever(
    client: Client,
    hook: WebhookEndpoint,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("channels_app.webhooks.views.PATIENCE_S", 0.2)
    receiver.answer(HANG)
    assert "It is on its way." in shown(post(client, f"{hook.pk}/test/"))
    assert WebhookDelivery.objects.get().state == "sending"


def test_failed_delivery_is_sent_again_under_its_id(
    client: Client, hook: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.answer(500)
    post(client, f"{hook.pk}/test/")
    row = WebhookDelivery.objects.get()
    page = shown(post(client, f"{hook.pk}/deliveries/{row.pk}/again/"))
    assert "It arrived" in page
    row.refresh_from_db()
    assert (row.state, row.status, row.attempts, row.error) == ("sent", 204, 1, "")
    first, second = receiver.received
    assert first.id == second.id


def test_delivery_that_is_under_way_is_left_alone(
    client: Client, hook: WebhookEndpoint, receiver: Receiver
) -> None:
    row = endpoints.ask_for_test(hook)
    WebhookDelivery.objects.update(state="sending")
    page = shown(post(client, f"{hook.pk}/deliveries/{row.pk}/again/"))
    assert "being sent at this moment" in page
    assert receiver.received == []


def test_nothing_is_sent_to_an_address_that_is_switched_off(
    client: Client, hook: WebhookEndpoint, receiver: Receiver
) -> None:
    row = endpoints.ask_for_test(hook)
    WebhookEndpoint.objects.update(enabled=False)
    for address in ("test/", f"deliveries/{row.pk}/again/"):
        assert "switched off" in shown(post(client, f"{hook.pk}/{address}"))
    assert receiver.received == []
    assert WebhookDelivery.objects.get().state == "pending"


def test_list_shows_state_attempts_and_error(
    client: Client, hook: WebhookEndpoint
) -> None:
    for number, (state, error) in enumerate(
        [("sent", ""), ("failed", "The address answered 500."), ("pending", "Away.")]
    ):
        WebhookDelivery.objects.create(
            endpoint=hook,
            event="task.done",
            subject=str(number),
            state=state,
            error=error,
            attempts=number + 1,
        )
    page = shown(client.get(f"{PAGE}{hook.pk}/"))
    for words in ("sent", "failed", "tried again", "The address answered 500.", "Away"):
        assert words in page
    assert page.count("Send again") == 3
    many = [
        WebhookDelivery(endpoint=hook, event="task.done", subject=f"more {n}")
        for n in range(endpoints.SHOWN)
    ]
    WebhookDelivery.objects.bulk_create(many)
    page = shown(client.get(f"{PAGE}{hook.pk}/"))
    assert page.count("Send again") == endpoints.SHOWN


def test_deleting_asks_first(client: Client, hook: WebhookEndpoint) -> None:
    endpoints.ask_for_test(hook)
    assert "Delete for good" in shown(client.get(f"{PAGE}{hook.pk}/delete/"))
    assert WebhookEndpoint.objects.exists()
    assert "is deleted" in shown(post(client, f"{hook.pk}/delete/"))
    assert not WebhookEndpoint.objects.exists()
    assert not WebhookDelivery.objects.exists()


def test_rotation_of_the_installations_key_keeps_both_secrets_readable(
    alice: User, hook: WebhookEndpoint, settings: Any
) -> None:
    new = endpoints.rotate_secret(alice, hook)
    fresh = "another key of the installation, long enough for everybody"
    secrets.reencrypt_all([fresh, *secrets.current_keys()])
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = fresh, []
    hook.refresh_from_db()
    first, second = endpoints.secrets_of(hook)
    assert first == new and second.startswith(signing.PREFIX)
