"""The consumption proof gate (§19): five criteria, five block reasons. All that apply are given, in their order.

Of parser, replay and shadow governance has worked out its own (`found`). What the consumer says beside it has to agree,
and is believed only where it speaks against the artifact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from selene.artifacts.v1.artifacts_pb2 import (
    CONSUMPTION_BLOCK_REASON_GATE_BUNDLE_INCOMPLETE,
    CONSUMPTION_BLOCK_REASON_PROOF_MISSING,
    CONSUMPTION_BLOCK_REASON_REPLAY_MISMATCH,
    CONSUMPTION_BLOCK_REASON_ROLLBACK_POINTER_MISSING,
    CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION,
    ConsumptionBlockReason,
    ConsumptionProof,
)
from selene.governance.v1.decision_pb2 import ArtifactRef, ConsumptionReplay, ParserResult, ShadowResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A proof packet beside what governance knows itself."""

    subject: ArtifactRef
    """The artifact, from the ledger."""
    proof: ConsumptionProof | None = None
    parser: ParserResult | None = None
    shadow: ShadowResult | None = None
    found: ConsumptionReplay | None = None
    """What governance worked out itself, with the consumer's parser and rule."""
    consumer_known: bool = False
    """The engine that hands it in consumes artifacts of this kind (§11)."""
    expected_replay_hash: bytes = b""
    """What the Builder's report says a replay must reproduce."""
    rollback_pointer_ref: str = ""
    """The artifact's own, from the ledger."""
    rollback_resolves: bool = False
    gate_bundle_ref: str = ""
    """The reference of the complete, signed bundle; empty where it is not complete."""


def _unproved(claim: Claim) -> bool:
    proof, subject = claim.proof, claim.subject
    if proof is None or claim.found is None:
        return True
    named = (proof.artifact_id, proof.artifact_type, proof.artifact_version)
    is_subject = named == (subject.artifact_id, subject.artifact_type, subject.artifact_version)
    accepted = all(_accepts(parser, subject) for parser in (claim.parser, claim.found.parser))
    return not (is_subject and accepted and claim.consumer_known)


def _accepts(parser: ParserResult | None, subject: ArtifactRef) -> bool:
    return parser is not None and parser.accepted and parser.package_hash == subject.package_hash


def _replay_differs(claim: Claim) -> bool:
    expected = claim.expected_replay_hash
    if claim.proof is None or claim.found is None or not expected:
        return True
    return not claim.proof.replay_validation_hash == claim.found.replay_hash == expected


def _shadow_regressed(claim: Claim) -> bool:
    if claim.proof is None or not claim.proof.shadow_eval_result_ref or claim.found is None:
        return True
    return any(_regresses(shadow) for shadow in (claim.shadow, claim.found.shadow))


def _regresses(shadow: ShadowResult | None) -> bool:
    if shadow is None or not shadow.turns:
        return True
    return shadow.safety_events_candidate > shadow.safety_events_active or shadow.privacy_leaks > 0


def _pointer_missing(claim: Claim) -> bool:
    pointer = claim.proof.rollback_pointer_ref if claim.proof else ""
    return not pointer or pointer != claim.rollback_pointer_ref or not claim.rollback_resolves


def _bundle_incomplete(claim: Claim) -> bool:
    bundle = claim.proof.gate_bundle_ref if claim.proof else ""
    return not bundle or bundle != claim.gate_bundle_ref


CRITERIA: Final[tuple[tuple[Callable[[Claim], bool], ConsumptionBlockReason], ...]] = (
    (_unproved, CONSUMPTION_BLOCK_REASON_PROOF_MISSING),
    (_replay_differs, CONSUMPTION_BLOCK_REASON_REPLAY_MISMATCH),
    (_shadow_regressed, CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION),
    (_pointer_missing, CONSUMPTION_BLOCK_REASON_ROLLBACK_POINTER_MISSING),
    (_bundle_incomplete, CONSUMPTION_BLOCK_REASON_GATE_BUNDLE_INCOMPLETE),
)
"""The criteria of §19 in their order, each with the reason where it does not hold."""


def blocked(claim: Claim) -> tuple[ConsumptionBlockReason, ...]:
    """Why the artifact may not become ACTIVE; empty where all five criteria hold."""
    return tuple(reason for fails, reason in CRITERIA if fails(claim))
