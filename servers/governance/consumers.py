"""Which engine of this repository loads which artifact (§11), by which row of §20 it is judged, and whose defects
concern it (§8).

What stands in no row has no consumer: it is never activated (LRN-7). `ORPHANS` are the rows of §11 whose consumers are
not built here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_TTS_ROUTE,
    GOLD_DOMAIN_VOCABULARY,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GoldDomain,
)
from selene.governance.v1.rollout_pb2 import (
    JUDGE_DOMAIN_LLM_BOUNDARY,
    JUDGE_DOMAIN_PAE_ROUTING,
    JUDGE_DOMAIN_STT,
    JUDGE_DOMAIN_TTS,
    JUDGE_DOMAIN_UNSPECIFIED,
    JUDGE_DOMAIN_VOICE_IDENTITY,
    JudgeDomain,
)


@dataclass(frozen=True, slots=True)
class Consumer:
    """The engines that load an artifact, what it is judged by, and the domains that it is learned of (§3).

    UNSPECIFIED is never promoted.
    """

    engines: tuple[str, ...]
    domain: JudgeDomain
    learned_of: tuple[GoldDomain, ...]


CONSUMERS: Final[Mapping[str, Consumer]] = MappingProxyType(
    {
        "STT_ADAPTATION_PROFILE": Consumer(("PH1.C",), JUDGE_DOMAIN_STT, (GOLD_DOMAIN_STT_TRANSCRIPT,)),
        "STT_ROUTING_POLICY_PACK": Consumer(("PH1.C",), JUDGE_DOMAIN_PAE_ROUTING, (GOLD_DOMAIN_PAE_ROUTE,)),
        "STT_VOCAB_PACK": Consumer(("PH1.C",), JUDGE_DOMAIN_STT, (GOLD_DOMAIN_STT_TRANSCRIPT, GOLD_DOMAIN_VOCABULARY)),
        "TTS_PRONUNCIATION_PACK": Consumer(("PH1.TTS",), JUDGE_DOMAIN_TTS, (GOLD_DOMAIN_TTS_PRONUNCIATION,)),
        "TTS_ROUTING_POLICY_PACK": Consumer(
            ("PH1.TTS",), JUDGE_DOMAIN_PAE_ROUTING, (GOLD_DOMAIN_TTS_ROUTE, GOLD_DOMAIN_PAE_ROUTE)
        ),
        "LLM_GOLD_LABEL_PACK": Consumer(("PH1.D",), JUDGE_DOMAIN_LLM_BOUNDARY, (GOLD_DOMAIN_LLM_BOUNDARY,)),
        "VOICEID_THRESHOLD_PACK_V1": Consumer(
            ("PH1.VOICE.ID",), JUDGE_DOMAIN_VOICE_IDENTITY, (GOLD_DOMAIN_VOICE_IDENTITY,)
        ),
    }
)

ORPHANS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "PERSONA_TONE_PROFILE_DELTA": ("PH1.X", "PH1.TTS"),
        "CONTEXT_RANKING_PACK": ("PH1.CACHE", "PH1.CONTEXT"),
        "NLP_GOLD_LABEL_PACK": ("PH1.NLP",),
    }
)
"""Whom §11 names: PH1.X, PH1.CACHE, PH1.CONTEXT and PH1.NLP are no servers here, and PH1.TTS goes by no tone."""


def domain_of(artifact_type: str) -> JudgeDomain:
    """What artifacts of this kind are judged by; UNSPECIFIED where no row of §20 is about them."""
    consumer = CONSUMERS.get(artifact_type)
    return consumer.domain if consumer else JUDGE_DOMAIN_UNSPECIFIED


def consumes(engine_id: str, artifact_type: str) -> bool:
    """Whether this engine loads artifacts of this kind."""
    consumer = CONSUMERS.get(artifact_type)
    return consumer is not None and engine_id in consumer.engines


def learned_of(artifact_type: str) -> tuple[GoldDomain, ...]:
    """The domains whose defects concern artifacts of this kind (§8); none where nothing consumes them."""
    consumer = CONSUMERS.get(artifact_type)
    return consumer.learned_of if consumer else ()
