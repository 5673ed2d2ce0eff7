"""What Selene can learn (§3), each with everything that §15 wants of it; what the source leaves open is left empty.

A domain is golded only where §16 has a row for it. Those without one have no ``storage``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_MULTIMODAL_FUSION,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_PERSONA_TONE,
    GOLD_DOMAIN_SEARCH_EVIDENCE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_TTS_ROUTE,
    GOLD_DOMAIN_VOCABULARY,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_DOMAIN_WAKE_ENDPOINT,
    GoldDomain,
)

CAPTURE_FIELDS: Final = (
    "signal_id",
    "correlation_id",
    "turn_id",
    "occurred_at",
    "tenant_id",
    "user_id",
    "device_id",
    "session_id",
    "source_engine_id",
    "source_capability_id",
    "reason_code",
    "input_ref",
    "output_ref",
    "outcome_label",
    "consent_asserted",
    "privacy_scope",
    "retention_class",
    "severity",
    "confidence_bp",
    "impact_estimate_bp",
    "idempotency_key",
)
"""What every signal must carry (§4), as `selene.learning.v1.LearningSignal` names it."""

APPROVAL_PATH: Final = (
    "PH1.GOV",
    "BUILDER_LEARNING_BRIDGE",
    "CODE_APPROVAL",
    "LAUNCH_APPROVAL",
    "RELEASE_HARD_GATE",
    "STAGED_ROLLOUT",
    "JUDGE",
)
"""The chain of §10, the only way to a running server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One row of §3. The names are those of `selene.learning.v1.LearningDomain`."""

    domain: GoldDomain
    gold_unit: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    primary_kpi: str
    storage: str = ""
    """The artifact type of its row in §16."""
    packaging_owners: tuple[str, ...] = ("PH1.LEARN",)
    pack_types: tuple[str, ...] = ()
    """What is built from it: §11; §34.3 and §41.1 where §11 has none."""
    rollback_rule: str = ""
    """Its rollback cell of §20."""
    capture_fields: tuple[str, ...] = CAPTURE_FIELDS
    approval_path: tuple[str, ...] = APPROVAL_PATH


DOMAINS: Final[tuple[Domain, ...]] = (
    Domain(
        domain=GOLD_DOMAIN_WAKE_ENDPOINT,
        gold_unit="Labelled boundary segments and trigger outcomes",
        producers=("PH1.K", "PH1.W", "PH1.ENDPOINT", "PH1.LISTEN"),
        consumers=("PH1.W", "PH1.C"),
        primary_kpi="False wake and clip rate",
        storage="GOLD_SET_WAKE_ENDPOINT_V1",
        pack_types=("WAKE_THRESHOLD_PACK",),
        rollback_rule="Any global trigger of §20, which has no row of its own for it",
    ),
    Domain(
        domain=GOLD_DOMAIN_STT_TRANSCRIPT,
        gold_unit="Corrected transcript with span-level edits",
        producers=("PH1.C", "PH1.FEEDBACK"),
        consumers=("PH1.C", "PH1.SRL", "PH1.NLP"),
        primary_kpi="WER and CER, reject rate",
        storage="GOLD_SET_STT_TRANSCRIPT_V1",
        packaging_owners=("PH1.LEARN", "PH1.KNOW"),
        pack_types=("STT_ADAPTATION_PROFILE", "STT_VOCAB_PACK"),
        rollback_rule="WER regression >= 3 % or reject-rate delta >= +1.0 pp",
    ),
    Domain(
        domain=GOLD_DOMAIN_VOCABULARY,
        gold_unit="Approved tenant and user term entries",
        producers=("PH1.KNOW", "PH1.FEEDBACK"),
        consumers=("PH1.C", "PH1.SRL", "PH1.NLP"),
        primary_kpi="Proper-noun accuracy",
        packaging_owners=("PH1.KNOW",),
        pack_types=("STT_VOCAB_PACK",),
        rollback_rule="WER regression >= 3 % or reject-rate delta >= +1.0 pp",
    ),
    Domain(
        domain=GOLD_DOMAIN_TTS_PRONUNCIATION,
        gold_unit="Pronunciation lexicon entries",
        producers=("PH1.PRON", "PH1.KNOW", "PH1.FEEDBACK"),
        consumers=("PH1.TTS", "PH1.W", "PH1.VOICE.ID"),
        primary_kpi="Mispronunciation rate",
        storage="GOLD_SET_TTS_PRONUNCIATION_V1",
        packaging_owners=("PH1.KNOW",),
        pack_types=("TTS_PRONUNCIATION_PACK",),
        rollback_rule="Mispronunciation complaints up >= 10 % or interruption false positives >= 2 pp",
    ),
    Domain(
        domain=GOLD_DOMAIN_TTS_ROUTE,
        gold_unit="Route and voice policy outcomes with interrupt labels",
        producers=("PH1.TTS", "PH1.K", "PH1.X", "PH1.FEEDBACK"),
        consumers=("PH1.TTS", "PH1.PAE"),
        primary_kpi="Barge-in success, playback defects",
        pack_types=("TTS_ROUTING_POLICY_PACK",),
        rollback_rule="Mispronunciation complaints up >= 10 % or interruption false positives >= 2 pp",
    ),
    Domain(
        domain=GOLD_DOMAIN_NLP_INTENT_SLOT,
        gold_unit="Correct intent, fields and clarify target",
        producers=("PH1.SRL", "PH1.NLP", "PH1.FEEDBACK"),
        consumers=("PH1.NLP", "PH1.PRUNE", "PH1.X"),
        primary_kpi="Intent and slot F1, clarify loops",
        storage="GOLD_SET_NLP_INTENT_SLOT_V1",
        pack_types=("NLP_GOLD_LABEL_PACK",),
        rollback_rule="Intent or slot F1 down >= 2 pp",
    ),
    Domain(
        domain=GOLD_DOMAIN_LLM_BOUNDARY,
        gold_unit="Schema-valid, policy-safe response decision packet",
        producers=("PH1.D", "PH1.FEEDBACK", "PH1.DIAG"),
        consumers=("PH1.D", "PH1.X", "PH1.WRITE"),
        primary_kpi="Schema pass rate, policy violation rate",
        storage="GOLD_SET_D_BOUNDARY_V1",
        pack_types=("LLM_GOLD_LABEL_PACK",),
        rollback_rule="Schema-valid rate < 99.5 % or any policy conflict",
    ),
    Domain(
        domain=GOLD_DOMAIN_CONTEXT_RANK,
        gold_unit="Ranked context bundle judgment set",
        producers=("PH1.M", "PH1.CONTEXT", "PH1.CACHE", "PH1.FEEDBACK"),
        consumers=("PH1.CONTEXT", "PH1.CACHE", "PH1.NLP", "PH1.X"),
        primary_kpi="Context precision and recall",
        storage="GOLD_SET_CONTEXT_RANK_V1",
        pack_types=("CONTEXT_RANKING_PACK",),
        rollback_rule="Any leakage, or context correction recurrence up >= 5 %",
    ),
    Domain(
        domain=GOLD_DOMAIN_PAE_ROUTE,
        gold_unit="Ranked route policy outcome set",
        producers=("PH1.PAE", "PH1.LEARN", "PH1.FEEDBACK", "PH1.LISTEN"),
        consumers=("PH1.PAE", "PH1.C", "PH1.TTS"),
        primary_kpi="Latency-quality-cost score",
        storage="GOLD_SET_PAE_ROUTE_V1",
        pack_types=("STT_ROUTING_POLICY_PACK", "TTS_ROUTING_POLICY_PACK"),
        rollback_rule="Weighted score down >= 3 % or p95 latency delta >= +15 %",
    ),
    Domain(
        domain=GOLD_DOMAIN_PERSONA_TONE,
        gold_unit="Style and tone preference adjudications",
        producers=("PH1.PERSONA", "PH1.EMO.GUIDE", "PH1.EMO.CORE", "PH1.FEEDBACK"),
        consumers=("PH1.PERSONA", "PH1.X", "PH1.TTS"),
        primary_kpi="Tone satisfaction and correction rate",
        pack_types=("PERSONA_TONE_PROFILE_DELTA",),
    ),
    Domain(
        domain=GOLD_DOMAIN_SEARCH_EVIDENCE,
        gold_unit="Evidence ranking correctness set",
        producers=("PH1.E", "PH1.SEARCH", "PH1.FEEDBACK"),
        consumers=("PH1.SEARCH", "PH1.CONTEXT", "PH1.X"),
        primary_kpi="Evidence conflict and error rate",
    ),
    Domain(
        domain=GOLD_DOMAIN_MULTIMODAL_FUSION,
        gold_unit="Cross-modal alignment judgments",
        producers=("PH1.DOC", "PH1.VISION", "PH1.MULTI", "PH1.FEEDBACK"),
        consumers=("PH1.MULTI", "PH1.CONTEXT", "PH1.NLP"),
        primary_kpi="Alignment error rate",
    ),
    Domain(
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        gold_unit="Verification trials with the speaker's true identity",
        producers=("PH1.VOICE.ID", "PH1.ONB", "PH1.FEEDBACK"),
        consumers=("PH1.VOICE.ID",),
        primary_kpi="TAR, FAR and FRR by cohort",
        storage="GOLD_SET_VOICE_IDENTITY_V1",
        pack_types=(
            "VOICEID_THRESHOLD_PACK_V1",
            "VOICEID_SPOOF_POLICY_PACK_V1",
            "VOICEID_PROFILE_ADAPTATION_PACK_V1",
        ),
        rollback_rule="Any cohort's TAR, FAR or FRR beyond the bounds of §38.1, or any frozen-row leakage (§38.8)",
    ),
)
"""The twelve domains in the order of §3, then voice identity (§34, §38)."""

BY_DOMAIN: Final[Mapping[GoldDomain, Domain]] = MappingProxyType({each.domain: each for each in DOMAINS})


def lacking(domain: Domain) -> tuple[str, ...]:
    """The names of what §15 wants and the domain has not, in the order of its fields."""
    return tuple(each.name for each in fields(domain) if each.name != "domain" and not getattr(domain, each.name))
