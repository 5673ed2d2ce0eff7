"""The trail of a governed activation (§7, §10, §20): the rows that it has to hold, and which event is each. Pure.

What is kept of an activation says which rows there have to be: decisions, report, permissions, bundle, proof, stages,
the gold that went live with it. A trail that lacks one, or has it in another place than the order of the gates allows,
has a gap. Governance takes back what has one; audit shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.gold.v1.gold_pb2 import (
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_REVERTED,
    GoldState,
    GoldTransition,
)
from selene.governance.v1.decision_pb2 import (
    DECISION_ACTION_ACTIVATE,
    DECISION_ACTION_PROMOTE,
    ApprovalStatement,
    DecisionStatement,
)
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STATE_COMPLETED,
    ROLLOUT_STATE_ROLLED_BACK,
    Rollout,
    RolloutStage,
)

DECIDED: Final = "governance.decided"
EXAMINED: Final = "frozen_set.examined"
REPORTED: Final = "builder.reported"
APPROVED: Final = "approval.given"
COMPLETED: Final = "gates.completed"
PROVED: Final = "consumption.proved"
STARTED: Final = "rollout.started"
ADVANCED: Final = "rollout.advanced"
ROLLED_BACK: Final = "rollout.rolled_back"
SUPERSEDED: Final = "rollout.superseded"
INVALIDATED: Final = "artifact.invalidated"
GOLD_MOVED: Final[Mapping[GoldState, str]] = MappingProxyType(
    {GOLD_STATE_ACTIVATED: "gold.activated", GOLD_STATE_REVERTED: "gold.reverted"}
)
"""How the trail calls the transitions of gold that are governance's (§17)."""

GOING_FORWARD: Final = frozenset({DECISION_ACTION_ACTIVATE, DECISION_ACTION_PROMOTE})
"""Decisions before which a voice pack is held against the frozen set."""

_MOVES: Final = (STARTED, ADVANCED, ROLLED_BACK)
"""What a rollout did. Taking one back withdraws the bundle: what was shown before another's move shows nothing."""

_NEVER: Final = 1 << 62


class Standing(Enum):
    """How a row that has to be there stands."""

    FOUND = "FOUND"
    MISSING = "MISSING"
    MISPLACED = "MISPLACED"
    """There is such a row, and not where the order of the gates has it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that the trail has to hold: its transition, the facts that tell which one is meant, and what was found."""

    transition: str
    facts: Mapping[str, str] = field(default_factory=dict)
    standing: Standing = Standing.MISSING
    event: AuditEvent | None = None

    @property
    def sequence(self) -> int:
        """Where it was found; 0 where it was not."""
        return self.event.sequence if self.event is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What is kept of an artifact on its way, beside its trail. Without a rollout it is still at its gates.

    `gold` has the history of each gold set that the artifact was built from, oldest first.
    """

    decisions: Sequence[DecisionStatement] = ()
    approvals: Sequence[ApprovalStatement] = ()
    report_id: str = ""
    bundled: bool = False
    proved: bool = False
    examined: bool = False
    """Voice packs are held against a frozen set with each decision that lets them go on."""
    rollout: Rollout | None = None
    gold: Mapping[str, Sequence[GoldTransition]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """Every row that a trail has to hold, in the order of the gates."""

    rows: tuple[Row, ...]

    @property
    def complete(self) -> bool:
        """Every row is there, in its place."""
        return self.found == len(self.rows)

    @property
    def found(self) -> int:
        """How many are."""
        return sum(row.standing is Standing.FOUND for row in self.rows)


def correlation_of(artifact_id: str) -> str:
    """What every audit row about an artifact is found by."""
    return f"artifact:{artifact_id}"


def check(activation: Activation, events: Iterable[AuditEvent]) -> Checked:
    """Which event of an artifact's trail, oldest first, is which row. Each event is one row at most.

    Beside them `events` may have rows of other trails in which gold moved: of two packs of one gold set the first that
    goes live takes it along.
    """
    trail, rollout, decisions = _Trail(events), activation.rollout, activation.decisions
    if rollout is None:
        return Checked((*_decided(activation, decisions, trail), *_permitted(activation, trail, 0, _NEVER)))
    begin = trail.begin(rollout.rollout_id)
    started_at = _instant(rollout.started_at)
    rows = [
        *_decided(activation, [each for each in decisions if _instant(each.decided_at) <= started_at], trail),
        *_permitted(activation, trail, trail.other_move(rollout.rollout_id, begin), begin),
        *_moved(activation, rollout, trail),
        *_decided(activation, [each for each in decisions if _instant(each.decided_at) > started_at], trail),
        *_ended(activation, rollout, trail),
    ]
    return Checked(tuple(rows))


class _Trail:
    """Events by their transition. One that was taken for a row is no other's."""

    def __init__(self, events: Iterable[AuditEvent]) -> None:
        self._told: dict[str, list[tuple[AuditEvent, Mapping[str, str]]]] = {}
        self._taken: set[int] = set()
        for event in events:
            facts = {fact.name: fact.value for fact in event.facts}
            self._told.setdefault(event.transition, []).append((event, facts))

    def of(self, transition: str, **facts: str) -> list[AuditEvent]:
        """The events of a transition that tell these facts, oldest first, but for those that were taken."""
        return [
            event
            for event, told in self._told.get(transition, ())
            if event.sequence not in self._taken and facts.items() <= told.items()
        ]

    def row(self, transition: str, *, after: int = 0, before: int = _NEVER, **facts: str) -> Row:
        """The row that the first event between these two sequences is."""
        return self.taken(transition, self.of(transition, **facts), after=after, before=before, **facts)

    def taken(
        self, transition: str, among: Sequence[AuditEvent], *, after: int = 0, before: int = _NEVER, **facts: str
    ) -> Row:
        """The row that the first of these events is that lies between these two sequences."""
        for event in among:
            if after < event.sequence < before:
                self._taken.add(event.sequence)
                return Row(transition, facts, Standing.FOUND, event)
        return Row(transition, facts, Standing.MISPLACED, among[-1]) if among else Row(transition, facts)

    def begin(self, rollout_id: str) -> int:
        """Where a rollout begins: the first that is told of it."""
        told = [event.sequence for each in _MOVES for event in self.of(each, rollout_id=rollout_id)]
        return min(told, default=_NEVER)

    def other_move(self, rollout_id: str, begin: int) -> int:
        """The last move of another rollout before that; 0 where there is none."""
        own = {event.sequence for each in _MOVES for event in self.of(each, rollout_id=rollout_id)}
        told = {event.sequence for each in _MOVES for event in self.of(each)} - own
        return max((sequence for sequence in told if sequence < begin), default=0)


def _decided(activation: Activation, decisions: Sequence[DecisionStatement], trail: _Trail) -> Iterator[Row]:
    """A row for each decision, in their order, and one before it for what the frozen set showed."""
    latest = 0
    for statement in decisions:
        decided = trail.row(DECIDED, after=latest, decision_id=statement.decision_id)
        if activation.examined and statement.action in GOING_FORWARD:
            # It is written just before what is decided by it.
            before = decided.sequence or _NEVER
            near = [event for event in trail.of(EXAMINED) if latest < event.sequence < before]
            yield trail.taken(EXAMINED, near[-1:] if decided.event else near[:1])
        yield decided
        latest = max(latest, decided.sequence)


def _permitted(activation: Activation, trail: _Trail, since: int, begin: int) -> Iterator[Row]:
    """Report, permissions, bundle and proof. The last two are shown anew for each rollout, before it begins."""
    is_rolled_out = activation.rollout is not None
    # A proof that failed takes the one before it back.
    proofs = [event for event in trail.of(PROVED) if since < event.sequence < begin][-1:]
    if is_rolled_out:
        proofs = [event for event in proofs if event in trail.of(PROVED, passed="yes")]
    until = proofs[0].sequence if proofs else begin
    bundles = [event for event in trail.of(COMPLETED) if since < event.sequence < until][-1:]
    if is_rolled_out or activation.report_id:
        yield trail.row(REPORTED, report_id=activation.report_id)
    for statement in activation.approvals:
        limit = bundles[0].sequence if bundles else begin
        yield trail.row(APPROVED, before=limit, approval_id=statement.approval_id)
    if is_rolled_out or activation.bundled:
        yield trail.taken(COMPLETED, bundles)
    if is_rolled_out or activation.proved:
        yield trail.taken(PROVED, proofs)


def _moved(activation: Activation, rollout: Rollout, trail: _Trail) -> Iterator[Row]:
    """What the rollout did, stage by stage, and the gold that went live with it."""
    started = trail.row(STARTED, rollout_id=rollout.rollout_id)
    yield started
    latest = started.sequence
    for entry in rollout.stages[1:]:
        if entry.stage == ROLLOUT_STAGE_FULL:
            yield from _gold_rows(activation, GOLD_STATE_ACTIVATED, trail)
        stage = RolloutStage.Name(entry.stage).removeprefix("ROLLOUT_STAGE_")
        advanced = trail.row(ADVANCED, after=latest, rollout_id=rollout.rollout_id, stage=stage)
        yield advanced
        latest = max(latest, advanced.sequence)


def _ended(activation: Activation, rollout: Rollout, trail: _Trail) -> Iterator[Row]:
    """How the rollout ended, and the gold that was taken back with it."""
    if rollout.state == ROLLOUT_STATE_ROLLED_BACK:
        yield from _gold_rows(activation, GOLD_STATE_REVERTED, trail)
        yield trail.row(ROLLED_BACK, rollout_id=rollout.rollout_id)
    if rollout.state == ROLLOUT_STATE_COMPLETED:
        yield trail.row(SUPERSEDED, rollout_id=rollout.rollout_id)


def _gold_rows(activation: Activation, state: GoldState, trail: _Trail) -> Iterator[Row]:
    for gold_set_id in _gold(activation, state):
        yield trail.row(GOLD_MOVED[state], gold_set_id=gold_set_id)


def _gold(activation: Activation, state: GoldState) -> Iterator[str]:
    """The gold sets that reached a state with the rollout, and those that stayed behind.

    Everyone got the candidate: what was PACKAGED had to become ACTIVATED. It was taken back from everyone: what was
    ACTIVATED had to become REVERTED. What another rollout of the same gold did at another time is that one's.
    """
    at, before = _gold_due(activation.rollout, state)
    for gold_set_id, history in sorted(activation.gold.items()):
        steps = [step for step in history if at and _instant(step.occurred_at) <= at]
        reached = any(step.to_state == state and _instant(step.occurred_at) == at for step in steps)
        if reached or (steps and steps[-1].to_state == before):
            yield gold_set_id


def _gold_due(rollout: Rollout | None, state: GoldState) -> tuple[int, GoldState]:
    """When gold had to reach a state, and from which; 0 where it had not to."""
    full = [each for each in rollout.stages if each.stage == ROLLOUT_STAGE_FULL] if rollout is not None else []
    if rollout is None or not full:
        return 0, GOLD_STATE_PACKAGED
    if state == GOLD_STATE_ACTIVATED:
        return _instant(full[0].entered_at), GOLD_STATE_PACKAGED
    return (_instant(rollout.ended_at) if rollout.state == ROLLOUT_STATE_ROLLED_BACK else 0), GOLD_STATE_ACTIVATED


def _instant(at: Timestamp) -> int:
    return at.ToNanoseconds()
