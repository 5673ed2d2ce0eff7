"""The gold policy matrix (§16): what evidence of each domain has to show before it is gold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selene.gold.v1.evidence_pb2 import Assessment, LabelledItem
from selene.gold.v1.gold_pb2 import (
    GOLD_REASON_INSUFFICIENT_EVIDENCE,
    GOLD_STATE_GOLD_DEFERRED,
    GoldDomain,
    GoldTier,
)

POLICY_VERSION = "GOLD_POLICY_V1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a gold set is for, and what is known of its signals.

    ``user_id`` is empty for a set of a whole tenant. ``truth_signal_ids`` are the signals whose capture source is
    TRUTH_EVENT: only what comes from them is TIER_1. ``signal_users`` names each signal's user, for leakage (§16).
    """

    tenant_id: str
    user_id: str = ""
    rollback_pointer_present: bool = False
    truth_signal_ids: frozenset[str] = frozenset()
    signal_users: Mapping[str, str] = field(default_factory=dict)


def assess(domain: GoldDomain, tier: GoldTier, items: Sequence[LabelledItem], scope: Subject) -> Assessment:
    """What the evidence shows against the domain's row."""
    return Assessment(verdict=GOLD_STATE_GOLD_DEFERRED, reason_code=GOLD_REASON_INSUFFICIENT_EVIDENCE)
