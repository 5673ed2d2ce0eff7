"""The rule of an activation's trail: which event is which row, by hand-made trails."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from selene.audit.v1.audit_pb2 import AuditEvent, NamedFact
from selene.gold.v1.gold_pb2 import (
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GoldState,
    GoldTransition,
)
from selene.governance.v1.decision_pb2 import (
    DECISION_ACTION_ACTIVATE,
    DECISION_ACTION_ROLLBACK,
    ApprovalStatement,
    DecisionAction,
    DecisionStatement,
)
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    ROLLOUT_STATE_RUNNING,
    Rollout,
    StageEntry,
)

from servers.activation import (
    ADVANCED,
    APPROVED,
    COMPLETED,
    DECIDED,
    EXAMINED,
    GOLD_MOVED,
    PROVED,
    REPORTED,
    ROLLED_BACK,
    STARTED,
    Activation,
    Standing,
    check,
)

GOLD_ACTIVATED = GOLD_MOVED[GOLD_STATE_ACTIVATED]
BEGUN_AT, EVERYONE_AT = 100, 900


def at(second: int) -> Timestamp:
    return Timestamp(seconds=second)


def decision(name: str, action: DecisionAction = DECISION_ACTION_ACTIVATE, second: int = 1) -> DecisionStatement:
    return DecisionStatement(decision_id=name, action=action, decided_at=at(second))


def trail(*told: tuple[str, dict[str, str]]) -> list[AuditEvent]:
    """Events in this order."""
    return [
        AuditEvent(
            sequence=number,
            transition=transition,
            facts=[NamedFact(name=name, value=value) for name, value in sorted(facts.items())],
        )
        for number, (transition, facts) in enumerate(told, 1)
    ]


def rollout(*stages: int, rollout_id: str = "r-1") -> Rollout:
    entered = {ROLLOUT_STAGE_FULL: EVERYONE_AT}
    return Rollout(
        rollout_id=rollout_id,
        state=ROLLOUT_STATE_RUNNING,
        started_at=at(BEGUN_AT),
        stages=[
            StageEntry(stage=stage, entered_at=at(entered.get(stage, BEGUN_AT)))
            for stage in (ROLLOUT_STAGE_SHADOW, *stages)
        ],
    )


AT_THE_GATES: list[tuple[str, dict[str, str]]] = [
    (DECIDED, {"decision_id": "d-1"}),
    (REPORTED, {"report_id": "b-1"}),
    (APPROVED, {"approval_id": "p-1"}),
    (COMPLETED, {}),
    (PROVED, {"passed": "yes"}),
]
START: tuple[str, dict[str, str]] = (STARTED, {"rollout_id": "r-1"})
TO_EVERYONE: list[tuple[str, dict[str, str]]] = [
    (ADVANCED, {"rollout_id": "r-1", "stage": stage}) for stage in ("CANARY_1", "CANARY_2", "FULL")
]
STAGES = (ROLLOUT_STAGE_CANARY_1, ROLLOUT_STAGE_CANARY_2, ROLLOUT_STAGE_FULL)


def kept(**fields: Any) -> Activation:
    given = {"decisions": [decision("d-1")], "approvals": [ApprovalStatement(approval_id="p-1")], "report_id": "b-1"}
    return Activation(**{**given, "rollout": rollout(), **fields})


def standing(activation: Activation, events: list[AuditEvent]) -> dict[str, Standing]:
    return {row.transition: row.standing for row in check(activation, events).rows if row.standing != Standing.FOUND}


def test_a_whole_trail_has_an_event_for_each_row() -> None:
    found = check(kept(), trail(*AT_THE_GATES, START))
    assert found.complete and [row.sequence for row in found.rows] == [1, 2, 3, 4, 5, 6]


def test_one_event_is_one_row_however_alike_two_decisions_are() -> None:
    twice = kept(decisions=[decision("d-1"), decision("d-1")])
    assert standing(twice, trail(*AT_THE_GATES, START)) == {DECIDED: Standing.MISSING}


@pytest.mark.parametrize(
    ("events", "gap"),
    [
        ([*AT_THE_GATES[:2], *AT_THE_GATES[3:], START, AT_THE_GATES[2]], {APPROVED: Standing.MISPLACED}),
        (
            [*AT_THE_GATES[:2], *AT_THE_GATES[3:4], AT_THE_GATES[2], AT_THE_GATES[4], START],
            {APPROVED: Standing.MISPLACED},
        ),
        ([*AT_THE_GATES[:4], START, AT_THE_GATES[4]], {PROVED: Standing.MISSING}),
        ([*AT_THE_GATES[:3], *AT_THE_GATES[4:], AT_THE_GATES[3], START], {COMPLETED: Standing.MISSING}),
        ([*AT_THE_GATES, (PROVED, {"passed": "no"}), START], {PROVED: Standing.MISSING}),
        ([*AT_THE_GATES, (PROVED, {"passed": "no"}), AT_THE_GATES[4], START], {}),
        ([*AT_THE_GATES, START, (PROVED, {"passed": "no"}), (COMPLETED, {})], {}),
        (AT_THE_GATES, {STARTED: Standing.MISSING}),
    ],
)
def test_what_is_shown_to_the_gates_is_shown_before_the_rollout_begins_and_in_their_order(
    events: list[tuple[str, dict[str, str]]], gap: dict[str, Standing]
) -> None:
    assert standing(kept(), trail(*events)) == gap


def test_what_was_shown_for_an_earlier_rollout_is_withdrawn_with_it() -> None:
    earlier = [(STARTED, {"rollout_id": "r-0"}), (ROLLED_BACK, {"rollout_id": "r-0"})]
    events = trail(*AT_THE_GATES, *earlier, START)
    assert standing(kept(), events) == {COMPLETED: Standing.MISSING, PROVED: Standing.MISSING}
    assert standing(kept(), trail(*AT_THE_GATES, *earlier, *AT_THE_GATES[3:], START)) == {}


def test_stages_follow_each_other() -> None:
    full = kept(rollout=rollout(*STAGES))
    assert standing(full, trail(*AT_THE_GATES, START, *TO_EVERYONE)) == {}
    swapped = [TO_EVERYONE[1], TO_EVERYONE[0], TO_EVERYONE[2]]
    assert standing(full, trail(*AT_THE_GATES, START, *swapped)) == {ADVANCED: Standing.MISPLACED}
    assert standing(full, trail(*AT_THE_GATES, START, *TO_EVERYONE[1:])) == {ADVANCED: Standing.MISSING}


def test_what_the_frozen_set_showed_stands_before_what_was_decided_by_it() -> None:
    voices = kept(
        examined=True, decisions=[decision("d-1"), decision("d-2"), decision("d-3", DECISION_ACTION_ROLLBACK)]
    )
    shown: tuple[str, dict[str, str]] = (EXAMINED, {})
    told = [(DECIDED, {"decision_id": f"d-{number}"}) for number in (1, 2, 3)]
    rest = [*AT_THE_GATES[1:], START]
    assert standing(voices, trail(shown, told[0], shown, told[1], told[2], *rest)) == {}
    for events in ([told[0], shown, told[1]], [shown, shown, told[0], told[1]], [shown, told[0], told[1], shown]):
        assert standing(voices, trail(*events, told[2], *rest)) == {EXAMINED: Standing.MISSING}, events


def history(*states: tuple[GoldState, int]) -> list[GoldTransition]:
    return [GoldTransition(to_state=state, occurred_at=at(second)) for state, second in states]


PACKAGED = (GOLD_STATE_PACKAGED, 50)
"""Before the rollout began."""
MOVED = (GOLD_ACTIVATED, {"gold_set_id": "g-1"})


@pytest.mark.parametrize(
    ("gold", "is_wanted"),
    [
        (history(PACKAGED, (GOLD_STATE_ACTIVATED, EVERYONE_AT)), True),
        (history(PACKAGED), True),
        (history(PACKAGED, (GOLD_STATE_ACTIVATED, EVERYONE_AT + 1)), True),
        (history(PACKAGED, (GOLD_STATE_ACTIVATED, EVERYONE_AT - 1)), False),
        (history((GOLD_STATE_GOLD_APPROVED, 50)), False),
        (history((GOLD_STATE_PACKAGED, EVERYONE_AT + 1)), False),
    ],
)
def test_gold_that_was_packaged_when_everyone_got_the_candidate_went_live_with_it(
    gold: list[GoldTransition], is_wanted: bool
) -> None:
    full = kept(rollout=rollout(*STAGES), gold={"g-1": gold})
    without = trail(*AT_THE_GATES, START, *TO_EVERYONE)
    assert standing(full, without) == ({GOLD_ACTIVATED: Standing.MISSING} if is_wanted else {})
    assert standing(full, trail(*AT_THE_GATES, START, *TO_EVERYONE, MOVED)) == {}
    assert standing(kept(gold={"g-1": gold}), trail(*AT_THE_GATES, START)) == {}, "nobody has it yet"


def test_what_is_at_its_gates_is_asked_for_what_it_has_shown() -> None:
    waiting = kept(rollout=None)
    assert check(waiting, trail(*AT_THE_GATES)).complete
    assert standing(waiting, trail(*AT_THE_GATES[:1])) == {REPORTED: Standing.MISSING, APPROVED: Standing.MISSING}
    shown = kept(rollout=None, bundled=True, proved=True)
    assert standing(shown, trail(*AT_THE_GATES[:3])) == {COMPLETED: Standing.MISSING, PROVED: Standing.MISSING}
    assert check(shown, trail(*AT_THE_GATES)).complete
    assert check(Activation(), trail()).complete
