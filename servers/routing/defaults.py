"""The table of §24 as data: the content of the default routing profile, row by row.

The source gives limits, windows, cooldowns and probes. What it leaves open is chosen here: how many calls must speak
(`min_samples`), so that one failure of few never opens a circuit by a rate, windows of 60 s, at most 900 s of cooldown.
The LLM row needs one call only: its limits are such that one broken schema or one policy conflict opens it anyway.
Probes are few and counted, so a return rule is satisfied with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from selene.routing.v1.routing_pb2 import (
    COMPARISON_AT_LEAST,
    COMPARISON_EQUAL,
    COMPARISON_LESS_THAN,
    COMPARISON_MORE_THAN,
    DOMAIN_EMAIL,
    DOMAIN_LLM,
    DOMAIN_PUSH,
    DOMAIN_SMS,
    DOMAIN_STT,
    DOMAIN_TTS,
    DOMAIN_WECHAT,
    DOMAIN_WHATSAPP,
    MEASURE_AUTH_FAIL_EVENTS,
    MEASURE_COMPLAINT_RATE_500,
    MEASURE_ERROR_RATE_60S,
    MEASURE_HARD_BLOCK_EVENTS,
    MEASURE_P95_LATENCY_5M,
    MEASURE_POLICY_CONFLICT_COUNT_200,
    MEASURE_SCHEMA_INVALID_RATE_200,
    MEASURE_SEND_FAIL_RATE_100,
    MEASURE_TIMEOUT_RATE_60S,
    MEASURE_TRANSCRIPT_ACCEPT_RATE_200,
    Domain,
    LayerSection,
    Measure,
    Provider,
    ProviderRoutingProfileV1,
    SelectionOwner,
)

from servers.routing.profile import (
    ARTIFACT_TYPE,
    NO_ROLLBACK,
    PRECEDENCE_ORDER,
    SCHEMA_VERSION,
    SELECTION_OWNERS,
    section_of,
)
from servers.routing.thresholds import CircuitPolicy, Threshold, policy_message

MAX_COOLDOWN_S: Final = 900.0
WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. `order` names primary, secondary and tertiary where the source names them."""

    order: tuple[str, ...]
    policy: CircuitPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSeed:
    """A provider that is there. `kms_handle_ref` is empty for one that needs no secret, `timeout_s` of one attempt."""

    provider_ref: str
    region: str
    timeout_s: float
    kms_handle_ref: str = ""
    max_retries: int = 0
    enabled: bool = True
    locales: tuple[str, ...] = ()


def _at_least(measure: Measure, limit: int, min_samples: int) -> Threshold:
    return Threshold(measure, COMPARISON_AT_LEAST, limit, 1, min_samples)


def _less(measure: Measure, limit: int, min_samples: int) -> Threshold:
    return Threshold(measure, COMPARISON_LESS_THAN, limit, 1, min_samples)


def _more(measure: Measure, limit: int, min_samples: int, windows: int = 1) -> Threshold:
    return Threshold(measure, COMPARISON_MORE_THAN, limit, windows, min_samples)


def _returns_below(measure: Measure, limit: int) -> Threshold:
    return Threshold(measure, COMPARISON_LESS_THAN, limit, 2, 1)


def _returns_at_least(measure: Measure, limit: int) -> Threshold:
    return Threshold(measure, COMPARISON_AT_LEAST, limit, 2, 1)


def _returns_without(measure: Measure) -> Threshold:
    return Threshold(measure, COMPARISON_EQUAL, 0, 2, 1)


def _policy(
    open_when: tuple[Threshold, ...], return_when: tuple[Threshold, ...], cooldown_s: float, probes: int
) -> CircuitPolicy:
    return CircuitPolicy(
        open_when=open_when,
        return_when=return_when,
        cooldown_s=cooldown_s,
        max_cooldown_s=MAX_COOLDOWN_S,
        probes=probes,
        window_s=WINDOW_S,
    )


_STT = _policy(
    (
        _at_least(MEASURE_TIMEOUT_RATE_60S, 800, 30),
        _at_least(MEASURE_ERROR_RATE_60S, 500, 30),
        _more(MEASURE_P95_LATENCY_5M, 1800, 20, windows=3),
        _less(MEASURE_TRANSCRIPT_ACCEPT_RATE_200, 8200, 50),
    ),
    (
        _returns_below(MEASURE_ERROR_RATE_60S, 200),
        _returns_below(MEASURE_P95_LATENCY_5M, 1200),
        _returns_at_least(MEASURE_TRANSCRIPT_ACCEPT_RATE_200, 8800),
    ),
    cooldown_s=120.0,
    probes=5,
)
_TTS = _policy(
    (
        _at_least(MEASURE_ERROR_RATE_60S, 500, 30),
        _more(MEASURE_P95_LATENCY_5M, 2200, 20, windows=3),
        _at_least(MEASURE_COMPLAINT_RATE_500, 1000, 50),
    ),
    (
        _returns_below(MEASURE_ERROR_RATE_60S, 200),
        _returns_below(MEASURE_P95_LATENCY_5M, 1500),
        _returns_below(MEASURE_COMPLAINT_RATE_500, 500),
    ),
    cooldown_s=120.0,
    probes=5,
)
_LLM = _policy(
    (
        _at_least(MEASURE_SCHEMA_INVALID_RATE_200, 50, 1),
        _more(MEASURE_POLICY_CONFLICT_COUNT_200, 0, 1),
        _more(MEASURE_P95_LATENCY_5M, 3000, 20, windows=3),
    ),
    (
        _returns_without(MEASURE_SCHEMA_INVALID_RATE_200),
        _returns_without(MEASURE_POLICY_CONFLICT_COUNT_200),
        _returns_below(MEASURE_P95_LATENCY_5M, 2000),
    ),
    cooldown_s=180.0,
    probes=5,
)
_KEYED_SENDING = _policy(
    (_at_least(MEASURE_SEND_FAIL_RATE_100, 500, 50), _at_least(MEASURE_AUTH_FAIL_EVENTS, 1, 1)),
    (_returns_below(MEASURE_SEND_FAIL_RATE_100, 200), _returns_without(MEASURE_AUTH_FAIL_EVENTS)),
    cooldown_s=300.0,
    probes=3,
)
_PLATFORM_SENDING = _policy(
    (_at_least(MEASURE_SEND_FAIL_RATE_100, 500, 50), _at_least(MEASURE_HARD_BLOCK_EVENTS, 1, 1)),
    (_returns_below(MEASURE_SEND_FAIL_RATE_100, 200), _returns_without(MEASURE_HARD_BLOCK_EVENTS)),
    cooldown_s=300.0,
    probes=3,
)

DEFAULTS: Final[Mapping[Domain, Row]] = MappingProxyType(
    {
        DOMAIN_STT: Row(("openai/stt", "google/stt", "selene-local/stt"), _STT),
        DOMAIN_TTS: Row(("openai/tts", "google/tts", "selene-local/tts"), _TTS),
        DOMAIN_LLM: Row(("openai/llm", "llama/llm", "selene-local/llm"), _LLM),
        DOMAIN_SMS: Row((), _KEYED_SENDING),
        DOMAIN_EMAIL: Row((), _KEYED_SENDING),
        DOMAIN_WHATSAPP: Row((), _PLATFORM_SENDING),
        DOMAIN_WECHAT: Row((), _PLATFORM_SENDING),
        DOMAIN_PUSH: Row((), _KEYED_SENDING),
    }
)


def default_profile(
    providers: Mapping[Domain, Sequence[ProviderSeed]],
    *,
    effective_from: datetime,
    judge_threshold_set_id: str,
    profile_id: str = "default",
) -> ProviderRoutingProfileV1:
    """Version 1 of the default profile, with these providers: those that §24 names in its order, the others after them
    in the order given. `effective_from` carries its time zone.
    """
    profile = ProviderRoutingProfileV1(
        schema_version=SCHEMA_VERSION,
        profile_id=profile_id,
        profile_version=1,
        precedence_order=PRECEDENCE_ORDER,
        selection_owner_engine=[
            SelectionOwner(domain=domain, engine=engine) for domain, engine in SELECTION_OWNERS.items()
        ],
        global_default=LayerSection(allow_cross_region=False, allow_cross_locale=False),
        artifact_id=f"{ARTIFACT_TYPE}@1",
        rollback_pointer_ref=NO_ROLLBACK,
        judge_threshold_set_id=judge_threshold_set_id,
    )
    profile.effective_from.FromDatetime(effective_from)
    for domain, row in DEFAULTS.items():
        section = section_of(profile, domain)
        section.SetInParent()
        section.providers.extend(_ranked(row, providers.get(domain, ())))
    return profile


def _ranked(row: Row, seeds: Sequence[ProviderSeed]) -> list[Provider]:
    def rank(seed: ProviderSeed) -> int:
        return row.order.index(seed.provider_ref) if seed.provider_ref in row.order else len(row.order)

    return [_provider(seed, priority, row.policy) for priority, seed in enumerate(sorted(seeds, key=rank), start=1)]


def _provider(seed: ProviderSeed, priority: int, policy: CircuitPolicy) -> Provider:
    provider = Provider(
        provider_ref=seed.provider_ref,
        priority=priority,
        enabled=seed.enabled,
        kms_handle_ref=seed.kms_handle_ref,
        max_retries=seed.max_retries,
        circuit=policy_message(policy),
        region=seed.region,
        locales=seed.locales,
    )
    provider.timeout.FromNanoseconds(round(seed.timeout_s * 1e9))
    return provider
