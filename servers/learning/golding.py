"""From what is known of a gold set to what guards its transitions (§5, §16, §17). Pure.

Figures come from the evidence, never from a caller; who labels comes from the token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_USER
from selene.gold.v1.evidence_pb2 import Assessment, GoldCandidate, LabelledItem, SealedItem
from selene.gold.v1.gold_pb2 import (
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_GOLD_DEFERRED,
    GOLD_STATE_GOLD_REJECTED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_UNSPECIFIED,
    GOLD_STATE_VALIDATING,
    GOLD_TIER_NON_GOLD_PROXY,
    GoldReason,
    GoldSet,
    GoldState,
)
from selene.learning.v1.signal_pb2 import (
    CAPTURE_SOURCE_TRUTH_EVENT,
    PRIVACY_SCOPE_DEPLOYMENT,
    PRIVACY_SCOPE_TENANT,
    PRIVACY_SCOPE_USER,
    CapturedSignal,
    LearningSignal,
)

from servers.learning.domains import BY_DOMAIN
from servers.learning.evidence import problem_of_item, problem_of_label
from servers.learning.identity import canonical_payload, idempotency_key
from servers.learning.machine import Guard
from servers.learning.matrix import ROWS, Subject, assess, counting
from servers.learning.packs import BuildFailed, Source, build, empty, orphans
from servers.pack_formats import FORMATS, writer_of

GOLD_WRITER: Final = "PH1.LEARN"
BASELINE: Final = "baseline"
"""What the row of a baseline has for a provenance, and for a key."""

LABELLED_IN: Final = frozenset({GOLD_STATE_CANDIDATE, GOLD_STATE_VALIDATING, GOLD_STATE_AWAITING_REVIEW})
"""Where evidence can still be labelled: what was approved never changes."""

AUDITED: Final[Mapping[GoldState, str]] = {
    GOLD_STATE_VALIDATING: "gold.validating",
    GOLD_STATE_AWAITING_REVIEW: "gold.validated",
    GOLD_STATE_GOLD_APPROVED: "gold.golded",
    GOLD_STATE_GOLD_DEFERRED: "gold.deferred",
    GOLD_STATE_GOLD_REJECTED: "gold.rejected",
    GOLD_STATE_PACKAGED: "gold.packaged",
}
"""How the trail calls a transition that was applied (§7)."""

REFUSED: Final = "gold.transition_refused"


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that a transition depends on, as it stood at one revision of the candidate."""

    candidate: GoldCandidate
    signal_ids: Sequence[str]
    signals: Mapping[str, CapturedSignal]
    items: Sequence[LabelledItem]
    consent_ended: bool
    rollback_pointer_present: bool


def person(tenant_id: str, subject: str) -> str:
    """Who somebody is, as labels and candidates name them: `tenant/subject`."""
    return f"{tenant_id}/{subject}"


def reason_code(reason: GoldReason) -> str:
    """A reason as the source writes it, such as `GOLD_THRESHOLD_NOT_MET`; `OK` where a guard held."""
    return f"GOLD_{GoldReason.Name(reason).removeprefix('GOLD_REASON_')}" if reason else "OK"


def subject_of(known: Known) -> Subject:
    """Whom the set is for, as the matrix takes it."""
    scope = known.candidate.scope
    signals = {signal_id: one.signal for signal_id, one in known.signals.items()}
    return Subject(
        tenant_id=known.candidate.tenant_id,
        user_id=scope.scope_id if scope.scope_type == SCOPE_TYPE_USER else "",
        rollback_pointer_present=known.rollback_pointer_present,
        truth_signal_ids=frozenset(
            signal_id for signal_id, one in signals.items() if one.capture_source == CAPTURE_SOURCE_TRUTH_EVENT
        ),
        signal_users={signal_id: one.user_id for signal_id, one in signals.items()},
        sources={signal_id: turn_of(one) for signal_id, one in signals.items()},
    )


def turn_of(signal: LearningSignal) -> str:
    """What names the turn that a signal is about: who, where, and what went in. Its own id does not."""
    return json.dumps([signal.user_id, signal.session_id, signal.turn_id, signal.input_ref])


def assessment_of(known: Known) -> Assessment:
    """What the evidence shows against the domain's row of §16."""
    return assess(known.candidate.domain, known.candidate.tier, known.items, subject_of(known))


def content_of(known: Known) -> tuple[LabelledItem, ...]:
    """The items that count, which are what an approved set is made of."""
    return counting(known.candidate.domain, known.candidate.tier, known.items, subject_of(known))


def guard_of(known: Known, to_state: GoldState) -> Guard:
    """What holds of a gold set, as far as the transition to `to_state` depends on it. Packaging is the caller's."""
    reviewing = to_state in (GOLD_STATE_GOLD_APPROVED, GOLD_STATE_GOLD_DEFERRED, GOLD_STATE_GOLD_REJECTED)
    return Guard(
        schema_complete=to_state == GOLD_STATE_VALIDATING and is_complete(known),
        scope_permitted=to_state == GOLD_STATE_AWAITING_REVIEW and is_permitted(known),
        verdict=assessment_of(known).verdict if reviewing else GOLD_STATE_UNSPECIFIED,
        # Who withdrew consent is not waited for to be frozen.
        frozen=known.candidate.frozen or known.consent_ended,
    )


def is_complete(known: Known) -> bool:
    """Every signal was captured for this domain, there are items, and neither they nor their labels have a problem."""
    domain, ids = known.candidate.domain, frozenset(known.signal_ids)
    if not known.items or any(one not in known.signals for one in known.signal_ids):
        return False
    if any(one.signal.domain != domain for one in known.signals.values()):
        return False
    return all(
        problem_of_item(domain, each.item, ids) is None
        and all(problem_of_label(each.item, label) is None for label in each.labels)
        for each in known.items
    )


def is_permitted(known: Known) -> bool:
    """Policy, consent and privacy: nobody withdrew, nothing goes further than its signals may, and proxies never."""
    if known.consent_ended or known.candidate.tier == GOLD_TIER_NON_GOLD_PROXY:
        return False
    return bool(known.signals) and all(may_teach(known.candidate, one.signal) for one in known.signals.values())


def may_teach(candidate: GoldCandidate, signal: LearningSignal) -> bool:
    """Whether a signal consents to this scope: a user's own for that user, the tenant's within it."""
    scope = candidate.scope
    if not signal.consent_asserted or signal.tenant_id != candidate.tenant_id:
        return False
    match signal.privacy_scope:
        case value if value == PRIVACY_SCOPE_USER:
            return scope.scope_type == SCOPE_TYPE_USER and scope.scope_id == signal.user_id
        case value if value == PRIVACY_SCOPE_TENANT:
            return scope.scope_type != SCOPE_TYPE_GLOBAL
    return signal.privacy_scope == PRIVACY_SCOPE_DEPLOYMENT


@dataclass(frozen=True, slots=True)
class Golded:
    """An immutable set that is about to be registered: its message, its row of the ledger and its bytes."""

    gold_set: GoldSet
    row: ArtifactRow
    payload: bytes


def golded(known: Known, content: Sequence[LabelledItem], sealed: Sequence[SealedItem], version: int) -> Golded:
    """The set of what counts, as the version of its line that comes next (§18). Its time is the writer's.

    `sealed` are the canonical items of `content`, as its payload holds them. Its references are to the signals, not to
    what those refer to: a set is never changed, and what a signal says can be erased.
    """
    candidate = known.candidate
    artifact_type = ROWS[candidate.domain].artifact_type
    payload = canonical_payload(candidate, sealed)
    signal_ids = sorted(set(known.signal_ids))
    key = idempotency_key(candidate.scope, candidate.domain, candidate.policy_version, signal_ids, version)
    package_hash = sha256(payload).digest()
    row = ArtifactRow(
        artifact_type=artifact_type,
        artifact_version=version,
        tenant_id=candidate.tenant_id,
        scope=candidate.scope,
        package_hash=package_hash,
        provenance_ref=f"gold:{candidate.gold_set_id}",
        created_by=GOLD_WRITER,
        idempotency_key=key,
        status=ARTIFACT_STATUS_CANDIDATE,
        rollback_pointer_ref=f"{artifact_type}@{version - 1}" if version > 1 else "",
    )
    refs = {f"signal:{each.item.signal_id}" for each in content}
    gold_set = GoldSet(
        gold_set_id=candidate.gold_set_id,
        domain=candidate.domain,
        tier=candidate.tier,
        version=version,
        package_hash=package_hash,
        scope=candidate.scope,
        tenant_id=candidate.tenant_id,
        artifact_type=artifact_type,
        policy_version=candidate.policy_version,
        provenance_ref=f"rule:{candidate.policy_version}",
        evidence_refs=sorted(refs),
        signal_ids=signal_ids,
        created_by=GOLD_WRITER,
        idempotency_key=key,
    )
    return Golded(gold_set, row, payload)


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that is about to be registered. `baseline` is what its line returns to where it is the first one."""

    pack_type: str
    payload: bytes
    baseline: bytes


@dataclass(frozen=True, slots=True)
class Packaging:
    """What came of packaging: the packs, the types that nobody here loads, and why there are none."""

    packs: tuple[Pack, ...] = ()
    orphans: tuple[str, ...] = ()
    failed: str = ""


def packaged(
    gold_set: GoldSet, content: Sequence[LabelledItem], base: bytes, built_at: str, commitments: Mapping[str, bytes]
) -> Packaging:
    """The packs of a gold set's domain (§11), each accepted by the parser of its format. One that nobody here loads yet
    is built and reported as the orphan that it is.

    `base` is the threshold pack that is in force, empty where there is none; `commitments` are of the users in trials.
    A pack without something to return to is not built: there is always the one that changes nothing, or the one in
    force. That baseline serves what its base was taught, and so comes from it; the new pack does not: the limit and the
    pairs, which are all that gold teaches a threshold pack, it has of its own set only, and the rest of its base is
    calibrated. Were it to come from its base, one would be frozen, and its gold moved, for people of whom it has
    nothing.
    """
    pack_types = BY_DOMAIN[gold_set.domain].pack_types
    unread = orphans(pack_types)
    source = Source(
        gold_set_ref=f"{gold_set.artifact_type}@{gold_set.version}",
        gold_set_hash=gold_set.package_hash,
        items=content,
        base=base,
        built_at=built_at,
        commitments=commitments,
    )
    built = []
    try:
        for pack_type in pack_types:
            if pack_type not in FORMATS:
                continue
            payload = build(pack_type, source)
            if payload:
                built.append(Pack(pack_type, payload, empty(pack_type) or base))
    except BuildFailed as error:
        return Packaging(orphans=unread, failed=str(error))
    if not built:
        return Packaging(orphans=unread, failed="no consumer can learn anything from this set")
    return Packaging(tuple(built), unread)


def pack_row(pack_type: str, gold_set: GoldSet, version: int) -> ArtifactRow:
    """The ledger's row of a pack, written by its single writer (§18), with the version to return to."""
    return ArtifactRow(
        artifact_type=pack_type,
        artifact_version=version,
        tenant_id=gold_set.tenant_id,
        scope=gold_set.scope,
        provenance_ref=f"{gold_set.artifact_type}@{gold_set.version}",
        created_by=writer_of(pack_type),
        idempotency_key=f"pack-of-{gold_set.gold_set_id}",
        status=ARTIFACT_STATUS_CANDIDATE,
        rollback_pointer_ref=f"{pack_type}@{version - 1}",
    )


def baseline_row(pack_type: str, gold_set: GoldSet) -> ArtifactRow:
    """The row of what the first pack of a line returns to: a pack that changes nothing, or a copy of the base."""
    row = pack_row(pack_type, gold_set, 1)
    row.provenance_ref, row.idempotency_key = BASELINE, BASELINE
    row.ClearField("rollback_pointer_ref")
    return row
