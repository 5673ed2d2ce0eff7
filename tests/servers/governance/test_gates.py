"""The gates in their order, and the people at them (§10, §12)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from selene.governance.v1 import consent_pb2 as board
from selene.governance.v1 import decision_pb2 as v1
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STATE_ROLLED_BACK,
    ROLLOUT_STATE_RUNNING,
    ROLLOUT_STATE_UNSPECIFIED,
)

from servers.governance.approvals import KINDS, OwnWork, distinct, own_work
from servers.governance.gates import GATES, Evidence, bundled, missing, next_actor

CODE, LAUNCH = v1.APPROVAL_KIND_CODE, v1.APPROVAL_KIND_LAUNCH
PASSED = v1.Check(passed=True, evidence_ref="ci://1")
SUITE = v1.VerificationSuite(**{field.name: PASSED for field in v1.VerificationSuite.DESCRIPTOR.fields})
REPORT = v1.BuilderReport(
    report_id="r-1",
    source_engines=["PH1.C"],
    signal_count=1,
    evidence_refs=["gold:1"],
    release_candidate="rc-1",
    verification=SUITE,
    expected_replay_hash=bytes(32),
)
WHOLE = Evidence(decision=v1.DECISION_ALLOW, report=REPORT, approvals=frozenset({CODE, LAUNCH}), proof_passed=True)


def report(**fields: object) -> v1.BuilderReport:
    changed = v1.BuilderReport()
    changed.CopyFrom(REPORT)
    for name, value in fields.items():
        changed.ClearField(name)  # type: ignore[arg-type]  # the names are those of the callers below
        if value is not None:
            setattr(changed, name, value)
    return changed


def test_nothing_is_missing_where_every_gate_passed() -> None:
    assert missing(WHOLE) == bundled(WHOLE) == ()


def test_with_no_evidence_every_gate_is_missing_in_its_order() -> None:
    assert missing(Evidence()) == GATES
    assert missing(Evidence(), v1.GATE_LEARNING_BRIDGE) == (v1.GATE_GOVERNANCE, v1.GATE_LEARNING_BRIDGE)
    assert v1.GATE_CONSUMPTION_PROOF not in bundled(Evidence())


@pytest.mark.parametrize("decision", [each for each in v1.Decision.values() if each != v1.DECISION_ALLOW])
def test_only_an_allow_opens_the_gate_of_governance(decision: v1.Decision) -> None:
    assert missing(replace(WHOLE, decision=decision)) == (v1.GATE_GOVERNANCE,)


def test_an_open_defect_shuts_the_gate_of_governance_whatever_was_decided() -> None:
    assert missing(replace(WHOLE, is_held=True)) == (v1.GATE_GOVERNANCE,)


@pytest.mark.parametrize("lacking", ["report_id", "source_engines", "signal_count", "evidence_refs"])
def test_the_learning_bridge_wants_the_whole_context(lacking: str) -> None:
    assert missing(replace(WHOLE, report=report(**{lacking: None}))) == (v1.GATE_LEARNING_BRIDGE,)


@pytest.mark.parametrize("part", [field.name for field in v1.VerificationSuite.DESCRIPTOR.fields])
@pytest.mark.parametrize("check", [v1.Check(), v1.Check(passed=True), v1.Check(evidence_ref="ci://1")])
def test_the_release_gate_wants_every_part_of_the_suite_with_its_evidence(part: str, check: v1.Check) -> None:
    broken = report()
    getattr(broken.verification, part).CopyFrom(check)
    assert missing(replace(WHOLE, report=broken)) == (v1.GATE_RELEASE,)


def test_the_release_gate_wants_a_release_candidate() -> None:
    assert missing(replace(WHOLE, report=report(release_candidate=None))) == (v1.GATE_RELEASE,)


def test_each_permission_is_a_gate_of_its_own() -> None:
    assert missing(replace(WHOLE, approvals=frozenset({CODE}))) == (v1.GATE_LAUNCH_APPROVAL,)
    assert missing(replace(WHOLE, approvals=frozenset({LAUNCH}))) == (v1.GATE_CODE_APPROVAL,)


def test_nobody_permits_what_they_proposed() -> None:
    for kind in KINDS:
        assert own_work("ann", kind, proposers={"ann"}, given={}) is OwnWork.PROPOSER
        assert own_work("bob", kind, proposers={"ann"}, given={}) is None


def test_nobody_gives_both_permissions() -> None:
    assert own_work("bob", LAUNCH, proposers={"ann"}, given={CODE: "bob"}) is OwnWork.APPROVER
    assert own_work("bob", CODE, proposers={"ann"}, given={LAUNCH: "bob"}) is OwnWork.APPROVER
    assert own_work("cay", LAUNCH, proposers={"ann"}, given={CODE: "bob"}) is None


def test_permissions_of_one_person_or_of_the_proposer_do_not_count() -> None:
    assert distinct({CODE: "bob", LAUNCH: "cay"}, {"ann"}) == {CODE, LAUNCH}
    assert distinct({CODE: "bob", LAUNCH: "bob"}, {"ann"}) == {CODE}
    assert distinct({CODE: "ann", LAUNCH: "cay"}, {"ann"}) == {LAUNCH}


@pytest.mark.parametrize(
    ("gates", "actor"),
    [
        ((v1.GATE_GOVERNANCE, v1.GATE_RELEASE), board.BOARD_ACTOR_PROPOSER),
        ((v1.GATE_LEARNING_BRIDGE,), board.BOARD_ACTOR_BUILDER),
        ((v1.GATE_LAUNCH_APPROVAL, v1.GATE_CONSUMPTION_PROOF), board.BOARD_ACTOR_APPROVER),
        ((v1.GATE_CONSUMPTION_PROOF,), board.BOARD_ACTOR_CONSUMER),
        ((), board.BOARD_ACTOR_OPERATOR),
    ],
)
def test_the_first_gate_that_is_closed_says_who_must_act(gates: tuple[v1.Gate, ...], actor: board.BoardActor) -> None:
    assert next_actor(gates, ROLLOUT_STATE_UNSPECIFIED, frozen=False) == actor


def test_a_rollout_waits_for_the_controller_and_an_ended_one_for_nobody() -> None:
    assert next_actor((), ROLLOUT_STATE_RUNNING, frozen=False) == board.BOARD_ACTOR_CONTROLLER
    assert next_actor((), ROLLOUT_STATE_RUNNING, frozen=False, unmeasured=True) == board.BOARD_ACTOR_CONSUMER
    assert next_actor((), ROLLOUT_STATE_RUNNING, frozen=False, measurable=False) == board.BOARD_ACTOR_OPERATOR
    assert next_actor((), ROLLOUT_STATE_RUNNING, frozen=True, measurable=False) == board.BOARD_ACTOR_CONTROLLER
    assert next_actor((), ROLLOUT_STATE_ROLLED_BACK, frozen=False) == board.BOARD_ACTOR_UNSPECIFIED
    assert next_actor((), ROLLOUT_STATE_UNSPECIFIED, frozen=True) == board.BOARD_ACTOR_PROPOSER
