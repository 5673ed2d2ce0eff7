"""The gold policy matrix (§16), and voice identity's row from §38.1: what evidence has to show before it is gold. Pure.

A set is rejected for what more evidence cannot cure, and deferred for what it can. Where the source is silent:

- An item counts for TIER_2 with two people's labels, for TIER_1 when its signal is a truth event and one person put the
  truth down, for TIER_3 with three evaluators. Routed turns of any tier count only with figures from the trail of their
  calls, which is the truth of what was executed (§5.1): for TIER_1 they need no other, and no label. Pronunciations of
  TIER_1 still need two people, for their row has TIER_1 beside TIER_2, not instead.
- An item counts once, whatever ids it comes under; what was said of its copies was said of it.
- Judgments, outputs and turns of a sample window are items that count, not labels.
- TIER_3 of transcripts tunes only, so it is never approved, but deferred to people.
- A criterion of §16 that is missed without breaking a conflict rule defers, with GOLD_THRESHOLD_NOT_MET.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from selene.gold.v1.evidence_pb2 import Assessment, Figure, GoldItem, GoldLabel, ItemCopy, LabelledItem
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_DOMAIN_WAKE_ENDPOINT,
    GOLD_REASON_HARD_RULE_VIOLATION,
    GOLD_REASON_INSUFFICIENT_EVIDENCE,
    GOLD_REASON_THRESHOLD_NOT_MET,
    GOLD_REASON_UNSPECIFIED,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_GOLD_DEFERRED,
    GOLD_STATE_GOLD_REJECTED,
    GOLD_TIER_1_HARD_TRUTH,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GOLD_TIER_3_CONSENSUS,
    GoldDomain,
    GoldReason,
    GoldState,
    GoldTier,
)

from servers.learning.evidence import identity_of, is_recorded, label_contradicts, problem_of_item, problem_of_label
from servers.learning.figures import (
    MAX_BOUNDARY_DISAGREEMENT_NS,
    MAX_FAR,
    MEASURES,
    TOP,
    Judged,
    Name,
    Setting,
    Shown,
    Weights,
)
from servers.learning.packet import PacketInvalid, read_packet
from servers.statistics import fleiss_kappa

WINDOW: Final = GOLD_REASON_INSUFFICIENT_EVIDENCE
CONFLICT: Final = GOLD_REASON_INSUFFICIENT_EVIDENCE
ENTRY: Final = GOLD_REASON_THRESHOLD_NOT_MET
HARD: Final = GOLD_REASON_HARD_RULE_VIOLATION

LABELLERS: Final[Mapping[GoldTier, int]] = MappingProxyType(
    {GOLD_TIER_1_HARD_TRUTH: 1, GOLD_TIER_2_HUMAN_VERIFIED: 2, GOLD_TIER_3_CONSENSUS: 3}
)
"""How many independent people, or evaluators, an item takes to count."""

ROUTE_WEIGHTS: Final = Weights(quality=0.5, latency=0.3, cost=0.2)
"""The source names the score, not its weights."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One figure and its limit: at least it, or at most, or below. ``missed`` is the reason where it is not met, and
    ``cure`` what would help. A criterion of one tier is asked of that tier only.
    """

    name: Name
    limit: float
    missed: GoldReason
    cure: str
    at_most: bool = False
    below: bool = False
    tier: GoldTier | None = None

    def met(self, value: float) -> bool:
        """Sums of floats are a few units in the last place off, and means at the limit keep it."""
        if self.below:
            return value < self.limit
        slack = 1e-12 * max(1.0, abs(self.limit))
        return value <= self.limit + slack if self.at_most else value >= self.limit - slack


def _least(name: Name, limit: float, missed: GoldReason, cure: str, tier: GoldTier | None = None) -> Criterion:
    return Criterion(name, limit, missed, cure, tier=tier)


def _most(name: Name, limit: float, missed: GoldReason, cure: str) -> Criterion:
    return Criterion(name, limit, missed, cure, at_most=True)


def _below(name: Name, limit: float, missed: GoldReason, cure: str) -> Criterion:
    return Criterion(name, limit, missed, cure, at_most=True, below=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the matrix. ``labellers`` is where it wants others than LABELLERS; ``tuning_only`` are tiers that it
    takes for tuning, never for gold.
    """

    domain: GoldDomain
    artifact_type: str
    tiers: tuple[GoldTier, ...]
    criteria: tuple[Criterion, ...]
    labellers: Mapping[GoldTier, int] = field(default_factory=dict)
    tuning_only: tuple[GoldTier, ...] = ()

    def wanted(self, tier: GoldTier) -> int:
        """How many labellers an item takes to count."""
        return self.labellers.get(tier, LABELLERS[tier])


CONSENSUS: Final = _least(
    Name.CONSENSUS_AGREEMENT,
    0.90,
    ENTRY,
    "three independent evaluators have to agree on more of the items",
    GOLD_TIER_3_CONSENSUS,
)
"""The hard rule of §16 on TIER_3, for every row that takes it."""

MATRIX: Final[tuple[Row, ...]] = (
    Row(
        domain=GOLD_DOMAIN_WAKE_ENDPOINT,
        artifact_type="GOLD_SET_WAKE_ENDPOINT_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED),
        criteria=(
            _least(Name.BOUNDARY_EVENTS, 300, WINDOW, "more boundary events with enough labels"),
            _least(Name.BOUNDARY_IOU, 0.92, ENTRY, "labellers have to place boundaries closer together"),
            _least(Name.TRIGGER_AGREEMENT, 0.98, ENTRY, "labellers have to agree on more triggers"),
            _most(Name.BOUNDARY_DISAGREEMENTS, 0, CONFLICT, "settle the starts and ends that lie over 120 ms apart"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_STT_TRANSCRIPT,
        artifact_type="GOLD_SET_STT_TRANSCRIPT_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED, GOLD_TIER_3_CONSENSUS),
        tuning_only=(GOLD_TIER_3_CONSENSUS,),
        criteria=(
            _least(Name.CORRECTED_UTTERANCES, 500, WINDOW, "more utterances that enough people corrected"),
            _least(Name.SPAN_EDIT_AGREEMENT, 0.97, ENTRY, "reviewers have to make more of the same edits"),
            _most(Name.UNRESOLVED_TOKEN_RATE, 0.01, ENTRY, "fewer tokens that nobody can make out"),
            _most(Name.ENTITY_DISAGREEMENTS, 0, CONFLICT, "escalate to a human review: edits of entities differ"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_TTS_PRONUNCIATION,
        artifact_type="GOLD_SET_TTS_PRONUNCIATION_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED),
        labellers=MappingProxyType({GOLD_TIER_1_HARD_TRUTH: 2}),
        criteria=(
            _least(Name.PRONUNCIATION_JUDGMENTS, 250, WINDOW, "more pronunciations with enough judgments"),
            _least(Name.ACCEPTED_RATE, 0.95, ENTRY, "more pronunciations that all reviewers accept"),
            _least(Name.REVIEWER_CONFIDENCE, 0.90, ENTRY, "reviewers have to be surer"),
            _below(Name.REVIEWER_DISAGREEMENT, 0.10, CONFLICT, "reviewers disagree too often for gold"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_NLP_INTENT_SLOT,
        artifact_type="GOLD_SET_NLP_INTENT_SLOT_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED),
        criteria=(
            _least(Name.LABELLED_TURNS, 400, WINDOW, "more turns with enough labels"),
            _least(Name.INTENT_AGREEMENT, 0.98, ENTRY, "labellers have to agree on more intents"),
            _least(Name.REQUIRED_SLOT_AGREEMENT, 0.97, ENTRY, "labellers have to agree on more required slots"),
            _most(Name.REQUIRED_SLOT_CONFLICTS, 0, HARD, "a required slot has two values: propose a set without it"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_LLM_BOUNDARY,
        artifact_type="GOLD_SET_D_BOUNDARY_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED),
        criteria=(
            _least(Name.VALIDATED_OUTPUTS, 400, WINDOW, "more outputs with enough labels"),
            _least(Name.SCHEMA_VALID_RATE, 1.0, HARD, "a packet breaks its schema: propose a set without it"),
            _most(Name.POLICY_CONFLICT_RATE, 0.0, HARD, "a packet conflicts with the policy: propose a set without it"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_CONTEXT_RANK,
        artifact_type="GOLD_SET_CONTEXT_RANK_V1",
        tiers=(GOLD_TIER_2_HUMAN_VERIFIED, GOLD_TIER_3_CONSENSUS),
        criteria=(
            _least(Name.RANKED_JUDGMENTS, 300, WINDOW, "more rankings with enough judgments"),
            _least(Name.PRECISION_AT_3, 0.90, ENTRY, "more of the first three contexts have to be relevant"),
            _most(Name.LEAKAGE_RATE, 0.0, HARD, "a context is not the query's user's: propose a set without it"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_PAE_ROUTE,
        artifact_type="GOLD_SET_PAE_ROUTE_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_3_CONSENSUS),
        labellers=MappingProxyType({GOLD_TIER_1_HARD_TRUTH: 0}),
        criteria=(
            _least(Name.ROUTED_TURNS, 800, WINDOW, "more routed turns that were measured"),
            _least(Name.WEIGHTED_LIFT, 0.05, ENTRY, "the route has to be better against the baseline"),
            _least(
                Name.CANDIDATE_PREFERRED,
                0.50,
                ENTRY,
                "evaluators have to prefer the proposed route",
                GOLD_TIER_3_CONSENSUS,
            ),
            _least(Name.ROLLBACK_POINTER, 1, HARD, "name the version to roll back to"),
        ),
    ),
    Row(
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        artifact_type="GOLD_SET_VOICE_IDENTITY_V1",
        tiers=(GOLD_TIER_1_HARD_TRUTH, GOLD_TIER_2_HUMAN_VERIFIED),
        criteria=(
            _least(Name.GENUINE_TRIALS, 1500, WINDOW, "more genuine trials of the cohort"),
            _least(Name.IMPOSTOR_TRIALS, 15_000, WINDOW, "more impostor trials of the cohort"),
            _least(Name.TAR_LOWER, 0.99, ENTRY, "genuine speakers have to score higher"),
            _most(Name.FAR_UPPER, MAX_FAR, ENTRY, "impostors have to score lower"),
            _most(Name.FRR_UPPER, 0.01, ENTRY, "genuine speakers have to score higher"),
            _most(Name.TRIAL_DISAGREEMENTS, 0, CONFLICT, "settle who spoke in the trials that labellers differ on"),
        ),
    ),
)
"""The seven rows of §16 in its order, then that of §38.1, which holds for each cohort by itself (§38.3)."""

ROWS: Final[Mapping[GoldDomain, Row]] = MappingProxyType({row.domain: row for row in MATRIX})


def _hash() -> str:
    rows = [
        [
            row.domain,
            row.artifact_type,
            row.tiers,
            row.tuning_only,
            [row.wanted(tier) for tier in row.tiers],
            [[one.name, one.limit, one.missed, one.at_most, one.below, one.tier] for one in (*row.criteria, CONSENSUS)],
        ]
        for row in MATRIX
    ]
    weights = [ROUTE_WEIGHTS.quality, ROUTE_WEIGHTS.latency, ROUTE_WEIGHTS.cost]
    return sha256(json.dumps([rows, weights, MAX_BOUNDARY_DISAGREEMENT_NS, TOP]).encode()).hexdigest()


POLICY_HASH: Final = _hash()
"""SHA-256 of every number of the matrix, hexadecimal."""

POLICY_VERSION: Final = f"GOLD_POLICY_V1@{POLICY_HASH[:16]}"
"""What a gold set names as the policy that admitted it."""


def packet_keeps_schema(packet: bytes) -> bool:
    """Whether bytes are a decision packet of `selene.llm.v1`."""
    try:
        read_packet(packet)
    except PacketInvalid:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a gold set is for, and what is known besides its items.

    ``user_id`` is empty for a set of a whole tenant. ``truth_signal_ids`` are the signals whose capture source is
    TRUTH_EVENT: but for recorded routes only what comes from them is TIER_1. ``signal_users`` names the user of each
    signal; a context of a user leaks where that is not known to be the query's. ``sources`` names the turn that each
    signal is about; one that is not named is a turn of its own. ``threshold`` is the score that speakers are to be
    accepted by; None proposes the lowest that keeps FAR. ``packet_valid`` may add rules to those of the contract.
    """

    tenant_id: str
    user_id: str = ""
    rollback_pointer_present: bool = False
    truth_signal_ids: frozenset[str] = frozenset()
    signal_users: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None
    packet_valid: Callable[[bytes], bool] = packet_keeps_schema


def assess(domain: GoldDomain, tier: GoldTier, items: Sequence[LabelledItem], scope: Subject) -> Assessment:
    """What the evidence shows against the domain's row: the verdict, its figures, who is at fault and what would help.

    The order of items and of labels does not matter. Labels without a labeller are nobody's, and one person's label
    counts once; so does an item that is there under several ids.
    """
    row = ROWS.get(domain)
    if row is None:
        return _refused("The policy has no row for this domain: it cannot be golded.")
    if tier not in row.tiers:
        return _refused("The policy does not take this tier for this domain.")
    spoilt = _spoilt(domain, items)
    if spoilt:
        return _refused("Some items are no evidence: propose a set without them.", spoilt)
    groups = _groups(items, scope)
    contradicted = [each.item.item_id for group in groups if _torn(group) for each in group]
    if contradicted:
        told = "Somebody says two things of one item that is there under several ids: propose a set without it."
        return _refused(told, sorted(contradicted))
    judged = [_judged(_merged(group), tier, row.wanted(tier), scope) for group in groups]
    shown = MEASURES[domain](judged, _setting(scope))
    criteria = tuple(one for one in _criteria(row) if one.tier in (None, tier))
    return _assessment(row, tier, criteria, shown, _copies(groups))


def counting(
    domain: GoldDomain, tier: GoldTier, items: Sequence[LabelledItem], scope: Subject
) -> tuple[LabelledItem, ...]:
    """The items that count: those with enough independent labels for the tier, each once. Only they are content of a
    gold set.
    """
    row = ROWS.get(domain)
    if row is None or tier not in row.tiers:
        return ()
    once = [_merged(group) for group in _groups(items, scope)]
    return tuple(each for each in once if _judged(each, tier, row.wanted(tier), scope).counts)


def _criteria(row: Row) -> tuple[Criterion, ...]:
    return (*row.criteria, CONSENSUS)


def _setting(scope: Subject) -> Setting:
    return Setting(
        tenant_id=scope.tenant_id,
        user_of=lambda signal_id: _user_of(signal_id, scope),
        rollback_pointer_present=scope.rollback_pointer_present,
        weights=ROUTE_WEIGHTS,
        threshold=scope.threshold,
        packet_valid=scope.packet_valid,
    )


def _user_of(signal_id: str, scope: Subject) -> str:
    """Whose query it was; nobody's where it was not the user's whom the set is for."""
    user = scope.signal_users.get(signal_id, scope.user_id)
    return user if scope.user_id in ("", user) else ""


def _spoilt(domain: GoldDomain, items: Sequence[LabelledItem]) -> list[str]:
    """Items that should not have come here: problems that the edge refuses, repeated ids, contradicted labels."""
    seen, spoilt = set[str](), set[str]()
    for each in items:
        item_id = each.item.item_id
        if item_id in seen or _problematic(domain, each.item, each.labels):
            spoilt.add(item_id)
        seen.add(item_id)
    return sorted(spoilt)


def _groups(items: Sequence[LabelledItem], scope: Subject) -> list[list[LabelledItem]]:
    """Items that are the same evidence, by their ids; the groups by their first."""
    found: dict[bytes, list[LabelledItem]] = {}
    for each in sorted(items, key=lambda each: each.item.item_id):
        source = scope.sources.get(each.item.signal_id, each.item.signal_id)
        found.setdefault(identity_of(each.item, source), []).append(each)
    return list(found.values())


def _torn(group: Sequence[LabelledItem]) -> bool:
    """Whether somebody says something else of one copy than of another."""
    return len(group) > 1 and _contradicted(_merged(group).labels)


def _merged(group: Sequence[LabelledItem]) -> LabelledItem:
    """The first of the copies, with what everybody said of any of them."""
    first, *copies = group
    if not copies:
        return first
    merged = LabelledItem(item=first.item, labels=first.labels)
    for label in (label for copy in copies for label in copy.labels):
        merged.labels.add().CopyFrom(label)
        merged.labels[-1].item_id = first.item.item_id
    return merged


def _copies(groups: Sequence[Sequence[LabelledItem]]) -> list[ItemCopy]:
    return [
        ItemCopy(item_id=copy.item.item_id, of_item_id=first.item.item_id)
        for first, *copies in groups
        for copy in copies
    ]


def _problematic(domain: GoldDomain, item: GoldItem, labels: Sequence[GoldLabel]) -> bool:
    if problem_of_item(domain, item, (item.signal_id,)) is not None:
        return True
    if any(problem_of_label(item, label) is not None for label in labels):
        return True
    people = {label.labeller for label in labels}
    return len(people) < len(labels) and _contradicted(labels)


def _contradicted(labels: Sequence[GoldLabel]) -> bool:
    first: dict[str, GoldLabel] = {}
    return any(label_contradicts(first.setdefault(label.labeller, label), label) for label in labels if label.labeller)


def _judged(each: LabelledItem, tier: GoldTier, wanted: int, scope: Subject) -> Judged:
    labels = {label.labeller: label for label in each.labels if label.labeller}
    if each.item.HasField("route"):
        true_enough = is_recorded(each.item)
    else:
        true_enough = tier != GOLD_TIER_1_HARD_TRUTH or each.item.signal_id in scope.truth_signal_ids
    return Judged(each.item, tuple(labels.values()), true_enough and len(labels) >= wanted)


def _assessment(
    row: Row, tier: GoldTier, criteria: Sequence[Criterion], shown: Shown, copies: Sequence[ItemCopy]
) -> Assessment:
    agreed = sum(len(set(ratings)) == 1 for ratings in shown.ratings)
    shown.rate(Name.CONSENSUS_AGREEMENT, agreed, len(shown.ratings))
    figures, missed, lacking = list[Figure](), list[tuple[Criterion, Figure]](), list[Criterion]()
    for one in criteria:
        found = [value for value in shown.values if value.name is one.name]
        if not found:
            lacking.append(one)
        for value in found:
            figure = Figure(
                name=f"{one.name}[{value.cohort}]" if value.cohort else one.name,
                value=value.value,
                threshold=one.limit,
                at_most=one.at_most,
                met=one.met(value.value),
            )
            figures.append(figure)
            if not figure.met:
                missed.append((one, figure))
    figures += _informing(shown)
    verdict, reason = _verdict(missed, lacking, tuning_only=tier in row.tuning_only)
    return Assessment(
        verdict=verdict,
        reason_code=reason,
        figures=figures,
        offending_item_ids=sorted({item for one, _ in missed for item in shown.offending.get(one.name, ())}),
        advice=_advice(missed, lacking, len(copies), tuning_only=tier in row.tuning_only),
        copies=copies,
    )


def _informing(shown: Shown) -> list[Figure]:
    """Figures that nothing depends on: their limit is the least that they can be."""
    informing = []
    kappa = fleiss_kappa(shown.ratings)
    if not math.isnan(kappa):
        informing.append(Figure(name=Name.FLEISS_KAPPA, value=kappa, threshold=-1.0, met=True))
    informing += [
        Figure(name=each.name, value=each.value, threshold=-1000.0, met=True)
        for each in shown.values
        if each.name is Name.PROPOSED_THRESHOLD
    ]
    return informing


def _verdict(
    missed: Sequence[tuple[Criterion, Figure]], lacking: Sequence[Criterion], *, tuning_only: bool
) -> tuple[GoldState, GoldReason]:
    reasons = {one.missed for one, _ in missed}
    if HARD in reasons:
        return GOLD_STATE_GOLD_REJECTED, GOLD_REASON_HARD_RULE_VIOLATION
    if lacking or tuning_only or WINDOW in reasons:
        return GOLD_STATE_GOLD_DEFERRED, GOLD_REASON_INSUFFICIENT_EVIDENCE
    if reasons:
        return GOLD_STATE_GOLD_DEFERRED, GOLD_REASON_THRESHOLD_NOT_MET
    return GOLD_STATE_GOLD_APPROVED, GOLD_REASON_UNSPECIFIED


def _advice(
    missed: Sequence[tuple[Criterion, Figure]], lacking: Sequence[Criterion], copies: int, *, tuning_only: bool
) -> str:
    sentences = [
        f"{figure.name} is {figure.value:.6g} of {figure.threshold:.6g}: {one.cure}." for one, figure in missed
    ]
    sentences += [f"{one.name} needs evidence: {one.cure}." for one in lacking]
    if tuning_only:
        sentences.append("Consensus tunes only: gold of this domain takes a truth reference or human review.")
    if sentences and copies:
        sentences.append(f"DUPLICATE: {copies} items are there under another id already, and count once.")
    return " ".join(sentences)


def _refused(advice: str, offending: Sequence[str] = ()) -> Assessment:
    return Assessment(
        verdict=GOLD_STATE_GOLD_REJECTED,
        reason_code=GOLD_REASON_HARD_RULE_VIOLATION,
        offending_item_ids=offending,
        advice=advice,
    )
