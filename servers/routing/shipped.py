"""What a fresh deployment routes by (§24): the source's vendors where they are configured, and Selene's own.

A vendor counts as configured once its secret is put; until then the local providers serve, and status says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT, DOMAIN_TTS, ProviderRoutingProfileV1
from selene.routing.v1.service_pb2 import POLICY_EFFECT_ALLOW

from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.selection import LOCAL_REGION

VENDOR_REGION: Final = "us"
EFFECTIVE_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
THRESHOLDS: Final = "shipped-1"
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
        },
        effective_from=EFFECTIVE_FROM,
        judge_threshold_set_id=THRESHOLDS,
    )


def _vendor(provider_ref: str, timeout_s: float) -> ProviderSeed:
    return ProviderSeed(
        provider_ref=provider_ref,
        region=VENDOR_REGION,
        timeout_s=timeout_s,
        kms_handle_ref=f"kms://providers/{provider_ref}",
        max_retries=1,
    )


def _local(provider_ref: str, timeout_s: float) -> ProviderSeed:
    return ProviderSeed(provider_ref=provider_ref, region=LOCAL_REGION, timeout_s=timeout_s)
