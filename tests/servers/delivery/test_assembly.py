"""What the owner is put together from: accounts, their adapters, the order of the shipped profile."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from servers.delivery.assembly import accounts, sources
from servers.delivery.providers import ADAPTERS, READERS
from servers.delivery.routes import DOMAIN_OF
from servers.delivery.settings import AccountSettings, DeliverySettings
from servers.routing.profile import section_of
from servers.routing.shipped import shipped_profile
from servers.runtime.clock import SystemClock
from servers.runtime.config import ConfigError

Own = dict[str, object]
MAIL: Own = {
    "host": "127.0.0.1",
    "port": 2525,
    "security": "none",
    "needs_secret": False,
    "sender": "selene@example.org",
}
RESEND: Own = {"sender": "selene@example.org", "webhook_secret": "kms://delivery/resend/webhook"}


class Secret:
    """A credential that nobody asks."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def reveal(self) -> str:
        raise AssertionError("a secret is revealed for a call only")


def settings(**of: Own) -> DeliverySettings:
    return DeliverySettings(
        accounts={ref.replace("_", "/"): AccountSettings.model_validate(own) for ref, own in of.items()}
    )


def test_every_provider_of_the_shipped_profile_can_be_made_and_no_other() -> None:
    shipped = {
        each.provider_ref for domain in DOMAIN_OF.values() for each in section_of(shipped_profile(), domain).providers
    }
    assert shipped == set(ADAPTERS)
    assert set(READERS) <= shipped


async def test_an_account_becomes_an_adapter_of_its_name() -> None:
    made = accounts(settings(smtp_primary=MAIL, resend_email=RESEND), Secret, SystemClock())
    assert {ref: each.provider_ref for ref, each in made.items()} == {
        ref: ref for ref in ("smtp/primary", "resend/email")
    }
    for adapter in made.values():
        await adapter.close()


def test_webhooks_are_taken_of_accounts_that_have_a_secret_for_them() -> None:
    found = sources(
        settings(smtp_primary=MAIL, resend_email=RESEND, sendgrid_email={"sender": "a@example.org"}), Secret
    )
    assert [source.reader.provider_ref for source in found] == ["resend/email"]


def test_settings_of_an_account_that_are_wrong_are_named_without_their_values() -> None:
    wrong = {**MAIL, "port": "hunter2", "passwort": "hunter2"}
    with pytest.raises(ConfigError) as caught:
        accounts(settings(smtp_primary=wrong), Secret, SystemClock())
    assert str(caught.value) == "owners.delivery.accounts.smtp/primary: port, passwort"


def test_an_account_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no provider 'pigeon/post'"):
        accounts(settings(pigeon_post={}), Secret, SystemClock())


def test_a_lease_outlasts_a_call() -> None:
    with pytest.raises(ValidationError, match="lease_s"):
        DeliverySettings.model_validate({"rules": {"call_timeout_s": 60}, "dispatch": {"lease_s": 60}})
