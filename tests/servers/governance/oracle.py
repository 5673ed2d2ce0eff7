"""What must hold of the learning chain at any moment, read from the stored rows and without the servers' own rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate
from selene.gold.v1.gold_pb2 import GOLD_STATE_ACTIVATED, GOLD_STATE_CANDIDATE, GOLD_STATE_REVERTED
from selene.governance.v1 import consent_pb2 as consents
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.governance.statement import opened
from store import Store
from tests.servers.governance.chain import PACK, TENANT

STAGES: Final = (
    rollouts.ROLLOUT_STAGE_SHADOW,
    rollouts.ROLLOUT_STAGE_CANARY_1,
    rollouts.ROLLOUT_STAGE_CANARY_2,
    rollouts.ROLLOUT_STAGE_FULL,
)
SHARES: Final = (0, 500, 2_500, 10_000)
STEPS: Final = {
    consents.REVOCATION_STEP_CAPTURE: "revocation.captured",
    consents.REVOCATION_STEP_FREEZE: "revocation.frozen",
    consents.REVOCATION_STEP_IMPACT_GRAPH: "revocation.resolved",
    consents.REVOCATION_STEP_INVALIDATE: "revocation.invalidated",
    consents.REVOCATION_STEP_GOV_ROLLBACK: "revocation.rolled_back",
    consents.REVOCATION_STEP_REBUILD: "revocation.rebuilt",
    consents.REVOCATION_STEP_REACTIVATE: "revocation.released",
}
STATUS_EVENT: Final = "ARTIFACT_STATUS_EVENT_V1"
STAGE_MINIMUM: Final = timedelta(hours=24)
STABILITY: Final = timedelta(days=7)


def when(stamp: Timestamp) -> datetime:
    """As a time."""
    return stamp.ToDatetime(tzinfo=UTC)


@dataclass(slots=True)
class Seen:
    """Everything that is stored, at one moment."""

    rollouts: list[rollouts.Rollout]
    revocations: list[consents.Revocation]
    gold: list[GoldCandidate]
    trail: list[AuditEvent]
    packs: dict[str, ArtifactRow] = field(default_factory=dict)


class Oracle:
    """Holds the rows against what must be, each time it looks, and against what it saw before."""

    def __init__(self, store: Store, lines: Sequence[Scope]) -> None:
        self._store = store
        self._lines = lines
        self._trail: list[AuditEvent] = []
        self._stages: dict[str, int] = {}
        self._signals: dict[str, frozenset[str]] = {}
        self._users: dict[str, tuple[str, datetime]] = {}
        self._served: set[tuple[str, int]] = set()

    async def look(self) -> None:
        """AssertionError where something does not hold."""
        seen = await self._see()
        await self._gates(seen)
        await self._what_serves(seen)
        await self._gold_followed(seen)
        await self._once(seen)
        await self._revoked(seen)

    async def _see(self) -> Seen:
        store = self._store
        after = self._trail[-1].sequence if self._trail else 0
        self._trail += [chained.event for chained in await store.audit.page(TENANT, after=after, limit=5_000)]
        seen = Seen(
            rollouts=await store.governance.rollouts.page(TENANT, limit=500),
            revocations=await store.governance.consents.page(TENANT, limit=500, only_open=False),
            gold=await store.gold.page(TENANT, limit=500),
            trail=self._trail,
        )
        for line in self._lines:
            for row in await store.artifacts.versions(PACK, TENANT, line):
                seen.packs[row.artifact_id] = row
        return seen

    async def _gates(self, seen: Seen) -> None:
        """No rollout begins, and none goes on, without the signed row of every gate; none skips a stage or its time."""
        for rollout in seen.rollouts:
            went = [entry.stage for entry in rollout.stages]
            assert went == list(STAGES[: len(went)]), went
            assert [entry.share_bp for entry in rollout.stages] == list(SHARES[: len(went)])
            if self._stages.get(rollout.rollout_id, 0) < len(went):
                entered_at = when(rollout.stages[-1].entered_at)
                assert await proved(self._store, seen.packs[rollout.subject.artifact_id], entered_at), rollout
            self._stages[rollout.rollout_id] = len(went)
            for left, entered in pairwise(rollout.stages):
                assert when(entered.entered_at) - when(left.entered_at) >= STAGE_MINIMUM
                if left.stage != rollouts.ROLLOUT_STAGE_SHADOW:
                    assert left.judgement.verdict == rollouts.JUDGE_VERDICT_PROMOTE
            if len(went) == len(STAGES):
                canaries, full = rollout.stages[1], rollout.stages[3]
                assert when(full.entered_at) - when(canaries.entered_at) >= STABILITY
                assert await self._promoted(rollout), "it serves everyone, and nobody signed that"

    async def _promoted(self, rollout: rollouts.Rollout) -> bool:
        at = rollout.stages[3].entered_at
        return any(
            (each.action, each.decision, each.decided_at)
            == (decisions.DECISION_ACTION_PROMOTE, decisions.DECISION_ALLOW, at)
            for each in await decided(self._store, rollout.subject.artifact_id)
        )

    async def _what_serves(self, seen: Seen) -> None:
        """A pointer names a candidate that went all the way, or what served before it did; N-1 is there."""
        for line in self._lines:
            running = [
                rollout
                for rollout in seen.rollouts
                if rollout.subject.scope == line and rollout.state == rollouts.ROLLOUT_STATE_RUNNING
            ]
            everywhere = [rollout for rollout in running if len(rollout.stages) == len(STAGES)]
            assert len(everywhere) <= 1
            assert len(running) - len(everywhere) <= 1
            pointer = await self._store.artifacts.pointer(PACK, TENANT, line)
            if pointer is None:
                assert not everywhere, "a rollout says that it serves everyone, and nothing serves"
                continue
            row = await self._store.artifacts.version(PACK, TENANT, line, pointer.active_version)
            assert pointer.active_package_hash == row.package_hash
            for rollout in everywhere:
                assert rollout.subject.artifact_id == row.artifact_id, "another version serves than the rollout says"
            if pointer.rollback_version:
                before = await self._store.artifacts.version(PACK, TENANT, line, pointer.rollback_version)
                assert await self._store.artifacts.payload(before.package_hash)
            assert self._may_serve(seen, line, row), row
            self._served.add((line.scope_id, row.artifact_version))

    def _may_serve(self, seen: Seen, line: Scope, row: ArtifactRow) -> bool:
        if row.created_by == "PH1.GOV":
            returned_to = int(row.rollback_pointer_ref.rpartition("@")[2])
            [target] = [
                each for each in seen.packs.values() if (each.scope, each.artifact_version) == (line, returned_to)
            ]
            is_known = target.idempotency_key == "baseline" or (line.scope_id, returned_to) in self._served
            return is_known and target.package_hash == row.package_hash
        if row.idempotency_key == "baseline":
            return True
        own = [rollout for rollout in seen.rollouts if rollout.subject.artifact_id == row.artifact_id]
        return any(
            len(rollout.stages) == len(STAGES) and rollout.state != rollouts.ROLLOUT_STATE_ROLLED_BACK
            for rollout in own
        )

    async def _gold_followed(self, seen: Seen) -> None:
        """Gold is ACTIVATED by a rollout to everyone, REVERTED by its end or a revocation; steps follow each other."""
        reached = {
            state: {
                gold_of(seen.packs[rollout.subject.artifact_id])
                for rollout in seen.rollouts
                if len(rollout.stages) == len(STAGES) and (state == GOLD_STATE_ACTIVATED or _is_back(rollout))
            }
            for state in (GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED)
        }
        revoked = {
            gold_set_id
            for revocation in seen.revocations
            if any(record.step == consents.REVOCATION_STEP_GOV_ROLLBACK for record in revocation.steps)
            for gold_set_id in revocation.affected_gold_set_ids
        }
        reached[GOLD_STATE_REVERTED] |= reached[GOLD_STATE_ACTIVATED] & revoked
        told = Counter(
            (event.transition, fact.value) for event in seen.trail for fact in event.facts if fact.name == "gold_set_id"
        )
        for candidate in seen.gold:
            history = await self._store.gold.history(TENANT, candidate.gold_set_id)
            states = [GOLD_STATE_CANDIDATE, *(step.to_state for step in history)]
            assert [step.from_state for step in history] == states[:-1]
            assert candidate.state == states[-1]
            assert len(set(states)) == len(states), "a gold set never goes back to where it was"
            for state, by in reached.items():
                assert (state in states) == (candidate.gold_set_id in by), candidate
                row = "gold.activated" if state == GOLD_STATE_ACTIVATED else "gold.reverted"
                assert told[row, candidate.gold_set_id] == (state in states), candidate

    async def _once(self, seen: Seen) -> None:
        """Each transition is one row of the trail, and nothing was done twice."""
        told = Counter(
            (event.transition, fact.value) for event in seen.trail for fact in event.facts if fact.name == "rollout_id"
        )
        for rollout in seen.rollouts:
            of = rollout.rollout_id
            assert told["rollout.started", of] == 1
            assert told["rollout.advanced", of] == len(rollout.stages) - 1
            assert told["rollout.rolled_back", of] == _is_back(rollout)
            assert told["rollout.superseded", of] == (rollout.state == rollouts.ROLLOUT_STATE_COMPLETED)
        steps = Counter(
            (event.turn.correlation_id, event.transition)
            for event in seen.trail
            if event.turn.correlation_id.startswith("revocation:")
        )
        for revocation in seen.revocations:
            done = {STEPS[record.step] for record in revocation.steps}
            assert len(done) == len(revocation.steps)
            for transition in STEPS.values():
                assert steps[f"revocation:{revocation.revocation_id}", transition] == (transition in done)
        successors = Counter(candidate.rebuilt_from for candidate in seen.gold if candidate.rebuilt_from)
        assert all(times == 1 for times in successors.values()), "a gold set was built anew twice"
        returned = Counter(row.idempotency_key for row in seen.packs.values() if row.created_by == "PH1.GOV")
        took_back = sum(_is_back(rollout) and len(rollout.stages) == len(STAGES) for rollout in seen.rollouts)
        by_rollout = sum(key.startswith("rollback:") for key in returned)
        assert by_rollout <= took_back

    async def _revoked(self, seen: Seen) -> None:
        """Nothing revoked goes on; after a revocation nothing of it serves; what is rebuilt is without it."""
        for candidate in seen.gold:
            await self._know(candidate)
        revoked = {revocation.revocation_id: self._revoked_by(revocation) for revocation in seen.revocations}
        for candidate in seen.gold:
            if candidate.rebuilt_from:
                for revocation in seen.revocations:
                    if when(revocation.captured_at) < when(candidate.proposed_at):
                        assert not self._signals[candidate.gold_set_id] & revoked[revocation.revocation_id], (
                            "a gold set was built anew of what was revoked"
                        )
        for revocation in seen.revocations:
            tainted = {
                row.artifact_id: row
                for row in seen.packs.values()
                if self._signals.get(gold_of(row), frozenset()) & revoked[revocation.revocation_id]
            }
            await self._nothing_goes_on(seen, revocation, tainted)

    async def _nothing_goes_on(
        self, seen: Seen, revocation: consents.Revocation, tainted: dict[str, ArtifactRow]
    ) -> None:
        captured_at = when(revocation.captured_at)
        for artifact_id in tainted:
            for each in await decided(self._store, artifact_id):
                goes_forward = each.decision == decisions.DECISION_ALLOW
                assert not (goes_forward and when(each.decided_at) > captured_at), "what was revoked was allowed"
        for rollout in seen.rollouts:
            if rollout.subject.artifact_id in tainted:
                assert all(when(entry.entered_at) <= captured_at for entry in rollout.stages)
        if not any(record.step == consents.REVOCATION_STEP_GOV_ROLLBACK for record in revocation.steps):
            return
        contents = {row.package_hash for row in tainted.values()}
        for line in self._lines:
            pointer = await self._store.artifacts.pointer(PACK, TENANT, line)
            assert pointer is None or pointer.active_package_hash not in contents, "what was revoked serves"
        for rollout in seen.rollouts:
            if rollout.subject.artifact_id in tainted:
                assert rollout.state != rollouts.ROLLOUT_STATE_RUNNING, "what was revoked is on its way"
        # Who revokes again has nothing left that could be found by: the first receipt names it.
        receipts = [
            opened(each.receipt, consents.ErasureReceipt, self._store.trusted_keys())
            for each in seen.revocations
            if each.HasField("receipt")
        ]
        assert {ref.artifact_id for receipt in receipts for ref in receipt.invalidated} >= tainted.keys()

    async def _know(self, candidate: GoldCandidate) -> None:
        """What a set is made of, by the items themselves as well as by what it says of itself."""
        if candidate.gold_set_id in self._signals and candidate.state != GOLD_STATE_CANDIDATE:
            return
        named = await self._store.gold.signal_ids(TENANT, candidate.gold_set_id)
        items = await self._store.gold.items(TENANT, candidate.gold_set_id) if candidate.rebuilt_from else []
        ids = {*named, *(one.item.signal_id for one in items)}
        self._signals[candidate.gold_set_id] = frozenset(ids)
        for signal_id, kept in (await self._store.learning.signals.by_ids(TENANT, sorted(ids))).items():
            self._users[signal_id] = (kept.signal.user_id, when(kept.captured_at))

    def _revoked_by(self, revocation: consents.Revocation) -> frozenset[str]:
        at = when(revocation.captured_at)
        return frozenset(
            signal_id
            for signal_id, (user, captured_at) in self._users.items()
            if revocation.user_id in ("", user) and captured_at <= at
        )


def gold_of(row: ArtifactRow) -> str:
    """The gold set that a pack was built of; empty where it was built of none."""
    return row.idempotency_key.removeprefix("pack-of-") if row.idempotency_key.startswith("pack-of-") else ""


def _is_back(rollout: rollouts.Rollout) -> bool:
    return rollout.state == rollouts.ROLLOUT_STATE_ROLLED_BACK


async def decided(store: Store, artifact_id: str) -> list[decisions.DecisionStatement]:
    """Everything that was decided of an artifact, each with its signature checked."""
    kept = await store.governance.cases.decisions(TENANT, artifact_id)
    return [opened(signed, decisions.DecisionStatement, store.trusted_keys()) for signed in kept]


async def proved(store: Store, row: ArtifactRow, at: datetime) -> bool:
    """Whether the store holds a signed row for each gate, as decisions stood at a time."""
    cases, trusted = store.governance.cases, store.trusted_keys()
    case = await cases.get(TENANT, row.artifact_id)
    if case.report is None or case.verdict is None or case.bundle is None:
        return False
    standing = [
        each.decision
        for each in await decided(store, row.artifact_id)
        if when(each.decided_at) <= at
        and (each.action == decisions.DECISION_ACTION_ACTIVATE or each.decision == decisions.DECISION_ROLLBACK)
    ]
    given = [
        opened(signed, decisions.ApprovalStatement, trusted)
        for signed in await cases.approvals(TENANT, row.artifact_id)
    ]
    people = {approval.approver for approval in given}
    bundle = opened(case.bundle, decisions.GateBundleStatement, trusted)
    suite = case.report.verification
    return (
        standing[-1:] == [decisions.DECISION_ALLOW]
        and {approval.kind for approval in given} == {decisions.APPROVAL_KIND_CODE, decisions.APPROVAL_KIND_LAUNCH}
        and len(people) == 2
        and people.isdisjoint(case.proposers)
        and all(getattr(suite, one.name).passed for one in suite.DESCRIPTOR.fields)
        and bundle.subject.package_hash == row.package_hash
        and case.verdict.proof.gate_bundle_ref.endswith(bundle.bundle_hash.hex())
        and case.verdict.passed
        and case.verdict.proof.replay_validation_hash
        == case.verdict.found.replay_hash
        == case.report.expected_replay_hash
    )
