"""What a fresh deployment routes by (§24): sound, in the source's order, and of no secret but handles."""

from __future__ import annotations

import pytest
from selene.routing.v1.routing_pb2 import (
    DOMAIN_EMAIL,
    DOMAIN_LLM,
    DOMAIN_PUSH,
    DOMAIN_SMS,
    DOMAIN_STT,
    DOMAIN_TTS,
    DOMAIN_WECHAT,
    DOMAIN_WHATSAPP,
    Domain,
    RoutingSubject,
)

from servers.routing.profile import Resolved, compile, section_of, validate
from servers.routing.selection import LOCAL_REGION, Chosen, select
from servers.routing.shipped import shipped_profile

ORDERS = {
    DOMAIN_STT: ("openai/stt", "google/stt", "selene-local/stt"),
    DOMAIN_TTS: ("openai/tts", "google/tts", "selene-local/tts"),
    DOMAIN_LLM: ("openai/llm", "llama/llm", "selene-local/llm"),
}

SENDERS = {
    DOMAIN_SMS: ("twilio/sms", "vonage/sms"),
    DOMAIN_EMAIL: ("smtp/primary", "resend/email", "sendgrid/email"),
    DOMAIN_WHATSAPP: ("meta/whatsapp", "twilio/whatsapp"),
    DOMAIN_WECHAT: ("wechat/official", "wechat/standby"),
    DOMAIN_PUSH: ("fcm/push", "apns/push"),
}

HANDLES = {
    "openai/stt": "kms://providers/openai/stt",
    "openai/tts": "kms://providers/openai/tts",
    "openai/llm": "kms://providers/openai/llm",
    "google/stt": "kms://providers/google/stt",
    "google/tts": "kms://providers/google/tts",
    "llama/llm": "kms://providers/llama/endpoint",
    "selene-local/stt": "",
    "selene-local/tts": "",
    "selene-local/llm": "",
}


def test_the_shipped_profile_has_no_problems() -> None:
    assert validate(shipped_profile()) == ()


def test_every_process_ships_the_same_profile() -> None:
    assert shipped_profile() == shipped_profile()


@pytest.mark.parametrize("domain", ORDERS)
def test_vendors_come_before_the_local_provider_in_the_order_of_the_source(domain: Domain) -> None:
    providers = section_of(shipped_profile(), domain).providers
    assert tuple(each.provider_ref for each in sorted(providers, key=lambda each: each.priority)) == ORDERS[domain]
    assert {each.provider_ref: each.kms_handle_ref for each in providers} == {
        ref: HANDLES[ref] for ref in ORDERS[domain]
    }


@pytest.mark.parametrize("domain", ORDERS)
def test_without_any_secret_the_local_provider_serves_every_region(domain: Domain) -> None:
    resolved = compile(shipped_profile(), RoutingSubject(tenant_id="t-1"))
    assert isinstance(resolved, Resolved)
    vendors = ORDERS[domain][:-1]
    for region in ("", "eu"):
        chosen = select(resolved, {}, domain, region=region, unconfigured=vendors)
        assert isinstance(chosen, Chosen)
        assert (chosen.provider.provider_ref, chosen.provider.region) == (ORDERS[domain][-1], LOCAL_REGION)


@pytest.mark.parametrize("domain", SENDERS)
def test_every_channel_fails_over_in_its_order_to_accounts_under_handles(domain: Domain) -> None:
    resolved = compile(shipped_profile(), RoutingSubject(tenant_id="t-1"))
    assert isinstance(resolved, Resolved)
    tried: list[str] = []
    while isinstance(chosen := select(resolved, {}, domain, tried=tried), Chosen):
        channel = Domain.Name(domain).removeprefix("DOMAIN_").lower()
        vendor = chosen.provider.provider_ref.partition("/")[0]
        assert chosen.provider.kms_handle_ref == f"kms://delivery/{channel}/{vendor}"
        tried.append(chosen.provider.provider_ref)
    assert tuple(tried) == SENDERS[domain]
