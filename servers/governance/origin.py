"""Policy and privacy of an artifact, by what the server itself knows of where it came from (§2, §5, §40.5). Pure.

Nobody's word replaces what can be looked up: whose signals they are, how far they may teach, of what tier the gold is,
what its items say, and which rules of policy hold. Where an artifact came from nothing that is known, only a person can
say that policy and privacy hold, and not the one who proposes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_USER
from selene.gold.v1.evidence_pb2 import GoldCandidate, GoldItem
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_VOCABULARY,
    GOLD_TIER_1_HARD_TRUTH,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GOLD_TIER_3_CONSENSUS,
)
from selene.governance.v1.decision_pb2 import APPROVAL_KIND_POLICY, APPROVAL_KIND_PRIVACY, ApprovalKind
from selene.learning.v1.signal_pb2 import (
    PRIVACY_SCOPE_DEPLOYMENT,
    PRIVACY_SCOPE_TENANT,
    PRIVACY_SCOPE_USER,
    CapturedSignal,
)
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT, DOMAIN_TTS, Domain
from selene.routing.v1.service_pb2 import POLICY_EFFECT_DENY

from servers.runtime.redaction import clean_text

TIERS: Final = frozenset({GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED, GOLD_TIER_3_CONSENSUS})
SAFETY_CRITICAL: Final = frozenset({GOLD_DOMAIN_STT_TRANSCRIPT, GOLD_DOMAIN_NLP_INTENT_SLOT, GOLD_DOMAIN_LLM_BOUNDARY})
"""Domains that consensus alone does not promote in (§16)."""
TELLING: Final = frozenset(
    {*SAFETY_CRITICAL, GOLD_DOMAIN_VOCABULARY, GOLD_DOMAIN_TTS_PRONUNCIATION, GOLD_DOMAIN_CONTEXT_RANK}
)
"""Domains whose items hold text, or name whose they are: they are read."""
DOMAINS: Final[Mapping[str, Domain]] = MappingProxyType({"STT": DOMAIN_STT, "TTS": DOMAIN_TTS, "LLM": DOMAIN_LLM})
"""What rules of policy are about, by the first word of an artifact's kind."""


class Rule(Protocol):
    """A rule of policy that holds for the tenant. An empty set means all."""

    @property
    def effect(self) -> int: ...
    @property
    def domains(self) -> Collection[Domain]: ...
    @property
    def capabilities(self) -> Collection[int]: ...
    @property
    def channels(self) -> Collection[str]: ...
    @property
    def users(self) -> Collection[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an artifact came from: the signals and the gold of its lineage, as far as they are there, the items of that
    gold, the rules that hold, and what people who did not propose it state of it.
    """

    row: ArtifactRow
    signal_ids: frozenset[str] = frozenset()
    signals: Mapping[str, CapturedSignal] = field(default_factory=dict)
    gold_set_ids: frozenset[str] = frozenset()
    gold: tuple[GoldCandidate, ...] = ()
    items: tuple[GoldItem, ...] = ()
    rules: tuple[Rule, ...] = ()
    stated: frozenset[ApprovalKind] = frozenset()


def privacy_holds(origin: Origin) -> bool:
    """Everybody whose signals it came from lets it be learned as far as it applies, and no item tells what is not its
    tenant's to tell.
    """
    if not origin.signal_ids:
        return APPROVAL_KIND_PRIVACY in origin.stated
    known = [origin.signals.get(signal_id) for signal_id in origin.signal_ids]
    if any(one is None or not _teaches(one, origin.row) for one in known):
        return False
    return not any(_tells(item, origin.row.tenant_id) for item in origin.items)


def policy_holds(origin: Origin) -> bool:
    """No rule forbids what it is for, and its gold is of a tier that its domain promotes from, by a named policy."""
    if any(_forbids(rule, origin.row.artifact_type) for rule in origin.rules):
        return False
    if not origin.gold_set_ids:
        return APPROVAL_KIND_POLICY in origin.stated
    found = {candidate.gold_set_id for candidate in origin.gold}
    return found == origin.gold_set_ids and all(_sound(one, origin.row.tenant_id) for one in origin.gold)


def _teaches(captured: CapturedSignal, row: ArtifactRow) -> bool:
    signal = captured.signal
    if captured.erased or not signal.consent_asserted or signal.tenant_id != row.tenant_id:
        return False
    if signal.privacy_scope == PRIVACY_SCOPE_USER:
        return row.scope.scope_type == SCOPE_TYPE_USER and row.scope.scope_id == signal.user_id
    if signal.privacy_scope == PRIVACY_SCOPE_TENANT:
        return row.scope.scope_type != SCOPE_TYPE_GLOBAL
    return signal.privacy_scope == PRIVACY_SCOPE_DEPLOYMENT


def _tells(item: GoldItem, tenant_id: str) -> bool:
    """Whether an item names another tenant's context, or holds a secret that was to be redacted."""
    if any(context.tenant_id != tenant_id for context in item.ranking.contexts):
        return True
    return any(clean_text(text) != text for text in _texts(item))


def _texts(item: GoldItem) -> Iterator[str]:
    yield " ".join(item.utterance.tokens)
    yield item.turn.text
    yield item.pronunciation.term
    yield item.output.packet.decode(errors="replace")


def _sound(candidate: GoldCandidate, tenant_id: str) -> bool:
    if candidate.tenant_id != tenant_id or candidate.frozen or not candidate.policy_version:
        return False
    return candidate.tier in TIERS and not (
        candidate.tier == GOLD_TIER_3_CONSENSUS and candidate.domain in SAFETY_CRITICAL
    )


def _forbids(rule: Rule, artifact_type: str) -> bool:
    """Whether a rule denies everything that an artifact of this kind is for, and not only something of it."""
    domain = DOMAINS.get(artifact_type.partition("_")[0])
    concerns = not rule.domains or (domain is not None and domain in rule.domains)
    narrowed = bool(rule.capabilities or rule.channels or rule.users)
    return rule.effect == POLICY_EFFECT_DENY and concerns and not narrowed


def telling(gold: Iterable[GoldCandidate]) -> list[str]:
    """The gold sets whose items are to be read."""
    return [candidate.gold_set_id for candidate in gold if candidate.domain in TELLING]
