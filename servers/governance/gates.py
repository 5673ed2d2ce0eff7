"""The gates between gold and live behaviour (§10, §12, §19): which have passed, and who must act."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from selene.governance.v1.consent_pb2 import (
    BOARD_ACTOR_APPROVER,
    BOARD_ACTOR_BUILDER,
    BOARD_ACTOR_CONSUMER,
    BOARD_ACTOR_CONTROLLER,
    BOARD_ACTOR_OPERATOR,
    BOARD_ACTOR_PROPOSER,
    BOARD_ACTOR_UNSPECIFIED,
    BoardActor,
)
from selene.governance.v1.decision_pb2 import (
    APPROVAL_KIND_CODE,
    APPROVAL_KIND_LAUNCH,
    DECISION_ALLOW,
    DECISION_UNSPECIFIED,
    GATE_CODE_APPROVAL,
    GATE_CONSUMPTION_PROOF,
    GATE_GOVERNANCE,
    GATE_LAUNCH_APPROVAL,
    GATE_LEARNING_BRIDGE,
    GATE_RELEASE,
    GATE_UNSPECIFIED,
    ApprovalKind,
    BuilderReport,
    Decision,
    Gate,
    VerificationSuite,
)
from selene.governance.v1.rollout_pb2 import ROLLOUT_STATE_RUNNING, RolloutState


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is of an artifact's evidence. What is not said is not there."""

    decision: Decision = DECISION_UNSPECIFIED
    """The last one on its activation; a ROLLBACK where it was taken back since."""
    report: BuilderReport | None = None
    approvals: frozenset[ApprovalKind] = frozenset()
    """Those that count."""
    proof_passed: bool = False
    is_held: bool = False
    """A defect at which safety is at stake is open where it is learned of (§8)."""


def bridged(report: BuilderReport | None) -> bool:
    """Whether the learning context of §12 is whole."""
    return report is not None and bool(
        report.report_id and report.source_engines and report.signal_count > 0 and report.evidence_refs
    )


def verified(suite: VerificationSuite) -> bool:
    """Whether every part of the suite passed and says where its result lies."""
    checks = [getattr(suite, field.name) for field in VerificationSuite.DESCRIPTOR.fields]
    return all(check.passed and check.evidence_ref for check in checks)


def _released(evidence: Evidence) -> bool:
    return (
        evidence.report is not None
        and bool(evidence.report.release_candidate)
        and verified(evidence.report.verification)
    )


PASSES: Final[Mapping[Gate, Callable[[Evidence], bool]]] = MappingProxyType(
    {
        GATE_GOVERNANCE: lambda evidence: evidence.decision == DECISION_ALLOW and not evidence.is_held,
        GATE_LEARNING_BRIDGE: lambda evidence: bridged(evidence.report),
        GATE_CODE_APPROVAL: lambda evidence: APPROVAL_KIND_CODE in evidence.approvals,
        GATE_LAUNCH_APPROVAL: lambda evidence: APPROVAL_KIND_LAUNCH in evidence.approvals,
        GATE_RELEASE: _released,
        GATE_CONSUMPTION_PROOF: lambda evidence: evidence.proof_passed,
    }
)
"""The gates in their order."""

GATES: Final = tuple(PASSES)

ACTORS: Final[Mapping[Gate, BoardActor]] = MappingProxyType(
    {
        GATE_GOVERNANCE: BOARD_ACTOR_PROPOSER,
        GATE_LEARNING_BRIDGE: BOARD_ACTOR_BUILDER,
        GATE_CODE_APPROVAL: BOARD_ACTOR_APPROVER,
        GATE_LAUNCH_APPROVAL: BOARD_ACTOR_APPROVER,
        GATE_RELEASE: BOARD_ACTOR_BUILDER,
        GATE_CONSUMPTION_PROOF: BOARD_ACTOR_CONSUMER,
    }
)
"""Who opens a gate."""


def missing(evidence: Evidence, through: Gate = GATE_UNSPECIFIED) -> tuple[Gate, ...]:
    """The gates that have not passed, up to and with `through`; UNSPECIFIED means all."""
    asked = GATES if through == GATE_UNSPECIFIED else GATES[: GATES.index(through) + 1]
    return tuple(gate for gate in asked if not PASSES[gate](evidence))


def bundled(evidence: Evidence) -> tuple[Gate, ...]:
    """Those that the gate bundle still lacks: all but the consumption proof, which names the bundle."""
    return missing(evidence, GATE_RELEASE)


def next_actor(
    missing_gates: tuple[Gate, ...],
    rollout: RolloutState,
    *,
    frozen: bool,
    measurable: bool = True,
    unmeasured: bool = False,
) -> BoardActor:
    """Who must act next on an artifact; UNSPECIFIED where nobody need.

    Of a rollout: where no row of §20 is about it (not `measurable`) somebody has to take it back, for it never leaves
    its stage by itself; where the stage's time is over and something is still `unmeasured`, the consumer measures it.
    """
    if rollout == ROLLOUT_STATE_RUNNING and not frozen:
        if not measurable:
            return BOARD_ACTOR_OPERATOR
        return BOARD_ACTOR_CONSUMER if unmeasured else BOARD_ACTOR_CONTROLLER
    if rollout:
        return BOARD_ACTOR_CONTROLLER if rollout == ROLLOUT_STATE_RUNNING else BOARD_ACTOR_UNSPECIFIED
    if frozen:
        return BOARD_ACTOR_PROPOSER
    return ACTORS[missing_gates[0]] if missing_gates else BOARD_ACTOR_OPERATOR
