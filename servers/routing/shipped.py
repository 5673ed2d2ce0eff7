"""What a fresh deployment routes by (§24): the source's vendors where they are configured, and Selene's own.

A vendor counts as configured once its secret is put; until then the local providers serve, and status says so. Nothing
local stands in for an account that sends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

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
    ProviderRoutingProfileV1,
)
from selene.routing.v1.service_pb2 import POLICY_EFFECT_ALLOW

from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.profile import section_of
from servers.routing.selection import LOCAL_REGION

VENDOR_REGION: Final = "us"
EFFECTIVE_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
THRESHOLDS: Final = "shipped-1"
SENDING_TIMEOUT_S: Final = 20.0
RULE_ID: Final = "shipped-allow"
RULE_EFFECT: Final = POLICY_EFFECT_ALLOW
RULE_REASON: Final = "SHIPPED_DEFAULT"


def shipped_profile() -> ProviderRoutingProfileV1:
    """Version 1 of the default profile."""
    return default_profile(
        {
            DOMAIN_STT: (_vendor("openai/stt", 8.0), _vendor("google/stt", 8.0), _local("selene-local/stt", 10.0)),
            DOMAIN_TTS: (_vendor("openai/tts", 5.0), _vendor("google/tts", 5.0), _local("selene-local/tts", 5.0)),
            DOMAIN_LLM: (
                _vendor("openai/llm", 10.0),
                ProviderSeed(
                    provider_ref="llama/llm",
                    region=LOCAL_REGION,
                    timeout_s=10.0,
                    kms_handle_ref="kms://providers/llama/endpoint",
                    max_retries=1,
                ),
                _local("selene-local/llm", 2.0),
            ),
            DOMAIN_SMS: (_sender("sms", "twilio/sms"), _sender("sms", "vonage/sms")),
            DOMAIN_EMAIL: (
                _sender("email", "smtp/primary"),
                _sender("email", "resend/email"),
                _sender("email", "sendgrid/email"),
            ),
            DOMAIN_WHATSAPP: (_sender("whatsapp", "meta/whatsapp"), _sender("whatsapp", "twilio/whatsapp")),
            DOMAIN_WECHAT: (_sender("wechat", "wechat/official"), _sender("wechat", "wechat/standby")),
            DOMAIN_PUSH: (_sender("push", "fcm/push"), _sender("push", "apns/push")),
        },
        effective_from=EFFECTIVE_FROM,
        judge_threshold_set_id=THRESHOLDS,
    )


def shipped_adapters() -> dict[Domain, frozenset[str]]:
    """The providers of speech and language that there are adapters for. Who sends messages is named by operators."""
    profile = shipped_profile()
    return {
        domain: frozenset(each.provider_ref for each in section_of(profile, domain).providers)
        for domain in (DOMAIN_STT, DOMAIN_TTS, DOMAIN_LLM)
    }


def _vendor(provider_ref: str, timeout_s: float) -> ProviderSeed:
    return ProviderSeed(
        provider_ref=provider_ref,
        region=VENDOR_REGION,
        timeout_s=timeout_s,
        kms_handle_ref=f"kms://providers/{provider_ref}",
        max_retries=1,
    )


def _sender(channel: str, provider_ref: str) -> ProviderSeed:
    """An account that sends: nobody retries but the dispatcher, whose rules are of deliveries and not of providers."""
    return ProviderSeed(
        provider_ref=provider_ref,
        region=VENDOR_REGION,
        timeout_s=SENDING_TIMEOUT_S,
        # The handle classes of §26 go by channel.
        kms_handle_ref=f"kms://delivery/{channel}/{provider_ref.partition('/')[0]}",
    )


def _local(provider_ref: str, timeout_s: float) -> ProviderSeed:
    return ProviderSeed(provider_ref=provider_ref, region=LOCAL_REGION, timeout_s=timeout_s)
