"""The gRPC edge of decisions, gates and rollouts (GOV-1 to GOV-6). What a gate refuses is audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ConsumptionBlockReason
from selene.common.v1 import error_reason_pb2 as reasons
from selene.governance.v1 import service_pb2 as messages
from selene.governance.v1 import service_pb2_grpc as governance_grpc
from selene.governance.v1.consent_pb2 import BoardRow
from selene.governance.v1.decision_pb2 import (
    DECISION_REASON_OPERATOR_REQUEST,
    GATE_CONSUMPTION_PROOF,
    GATE_GOVERNANCE,
    GATE_LEARNING_BRIDGE,
    Approval,
    ApprovalKind,
    ApprovalStatement,
    ConsumptionReplay,
    ConsumptionVerdict,
    Gate,
    GateBundle,
)
from selene.governance.v1.rollout_pb2 import (
    JUDGE_REASON_NO_ROW,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STATE_RUNNING,
    ROLLOUT_STATE_UNSPECIFIED,
    CohortDelta,
    JudgeFinding,
    KpiWindow,
    PromotionReport,
    Rollout,
)

from servers import activation
from servers.governance import ROLE_APPROVER, deciding, gates, moving, references, refusals, trail
from servers.governance.approvals import KINDS, own_proof, own_work
from servers.governance.asking import once_noted
from servers.governance.deciding import Held
from servers.governance.judge import judge
from servers.governance.places import following, place, spelled
from servers.governance.rollout import PROMOTE_CHECK
from servers.replaying import beside, replay
from servers.replays import Consumption
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal
from servers.runtime.ids import Ids
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.peers import SERVICE_TENANT
from servers.runtime.storage import Reply, actor, not_found, refusing_store_errors
from store import Store, Transaction
from store.governance import Case

_ROLLOUTS: Final = PageTokens("rollouts")
_BOARD: Final = PageTokens("governance-board")
_READERS: Final = (ROLE_SERVICE, ROLE_OPERATOR, ROLE_APPROVER)
_CLOCK_SKEW: Final = timedelta(seconds=60)
"""How far ahead the clock of who measured may be."""

_NOTED: Final = frozenset(
    {
        reasons.ERROR_REASON_GATE_BLOCKED,
        reasons.ERROR_REASON_ARTIFACT_FROZEN,
        reasons.ERROR_REASON_OWN_WORK_REFUSED,
        reasons.ERROR_REASON_ROLLOUT_STATE_REFUSED,
        reasons.ERROR_REASON_ROLLBACK_TARGET_MISSING,
    }
)
"""Refusals of a gate: rows of the trail, like what passes."""


class GovernanceV1(governance_grpc.GovernanceServiceServicer):
    """selene.governance.v1.GovernanceService."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, consumers: Mapping[str, Consumption]) -> None:
        """`consumers`: how each type of pack is read and answered by where it is loaded."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._consumers = consumers
        self._trusted = store.trusted_keys()

    async def Decide(self, request: messages.DecideRequest, context: Any) -> messages.DecideResponse:
        caller = _caller(request, ROLE_SERVICE, ROLE_OPERATOR)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.DecideResponse:
            await tx.governance.rollouts.one_at_a_time(request.tenant_id)
            artifact = await self._locked(tx, request)
            proposer = await actor(tx, caller)
            await tx.governance.cases.propose(request.tenant_id, artifact.case, proposer, request.evidence)
            decision = await deciding.decide(
                tx,
                artifact,
                request.action,
                request.evidence,
                now,
                actor=proposer,
                idempotency_key=request.idempotency_key,
            )
            await self._settle(tx, request, now)
            return messages.DecideResponse(decision=decision)

        return await self._once(caller, request, messages.DecideResponse, work)

    async def ListDecisions(
        self, request: messages.ListDecisionsRequest, context: Any
    ) -> messages.ListDecisionsResponse:
        _caller(request, *_READERS)
        artifact = await self._held(request)
        return messages.ListDecisionsResponse(decisions=artifact.decisions)

    async def SubmitBuilderReport(
        self, request: messages.SubmitBuilderReportRequest, context: Any
    ) -> messages.SubmitBuilderReportResponse:
        caller = _caller(request, ROLE_SERVICE, ROLE_OPERATOR)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.SubmitBuilderReportResponse:
            artifact = await self._locked(tx, request, thawed=True)
            _require_gates(artifact, GATE_GOVERNANCE)
            if deciding.signature_of(artifact, self._trusted) is not None:
                raise refusals.bundle_complete()
            if not await references.resolve(tx, artifact, request.report.evidence_refs):
                raise refusals.gate_blocked([GATE_LEARNING_BRIDGE], ())
            await tx.governance.cases.keep_report(request.tenant_id, artifact.case, request.report)
            trail.note(
                tx,
                request.tenant_id,
                artifact.subject,
                activation.REPORTED,
                "LEARNING_BRIDGE",
                actor=await actor(tx, caller),
                idempotency_key=request.idempotency_key,
                facts={"report_id": request.report.report_id, "signals": str(request.report.signal_count)},
            )
            return messages.SubmitBuilderReportResponse(bundle=await self._settle(tx, request, now))

        return await self._once(caller, request, messages.SubmitBuilderReportResponse, work)

    async def Approve(self, request: messages.ApproveRequest, context: Any) -> messages.ApproveResponse:
        caller = _caller(request, ROLE_APPROVER)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.ApproveResponse:
            artifact = await self._locked(tx, request, thawed=True)
            if request.kind in KINDS:
                _require_gates(artifact, GATE_LEARNING_BRIDGE)
            approver = await actor(tx, caller)
            approval = await self._approval(tx, artifact, request.kind, approver, now, request.idempotency_key)
            return messages.ApproveResponse(approval=approval, bundle=await self._settle(tx, request, now))

        return await self._once(caller, request, messages.ApproveResponse, work)

    async def GetGateBundle(
        self, request: messages.GetGateBundleRequest, context: Any
    ) -> messages.GetGateBundleResponse:
        _caller(request, *_READERS)
        artifact = await self._held(request)
        signed = deciding.signature_of(artifact, self._trusted)
        return messages.GetGateBundleResponse(
            bundle=artifact.bundle,
            signed=signed,
            gate_bundle_ref=deciding.bundle_ref(artifact.bundle) if signed is not None else "",
        )

    async def ReplayArtifact(
        self, request: messages.ReplayArtifactRequest, context: Any
    ) -> messages.ReplayArtifactResponse:
        _caller(request, *_READERS)
        artifact = await self._held(request)
        with refusing_store_errors():
            found = await replay(self._store, self._consumers, artifact.row)
        return messages.ReplayArtifactResponse(replay=found)

    async def SubmitConsumptionProof(
        self, request: messages.SubmitConsumptionProofRequest, context: Any
    ) -> messages.SubmitConsumptionProofResponse:
        caller = _consumer(request)
        now = self._clock.now()
        with refusing_store_errors():
            ahead = await self._replayed(request)

        async def work(tx: Transaction) -> messages.SubmitConsumptionProofResponse:
            artifact = await self._locked(tx, request.proof, tenant_id=request.tenant_id, thawed=True)
            row = artifact.row
            consumer = await actor(tx, caller)
            given = await tx.governance.cases.approvers(row.tenant_id, row.artifact_id)
            cause = own_proof(consumer, proposers=set(artifact.case.proposers), given=given)
            if cause is not None:
                raise refusals.own_work(cause)
            found = ConsumptionReplay()
            found.CopyFrom(await ahead.as_of(tx, row))
            if not await deciding.consent_active(tx, row, now):
                found.shadow.privacy_leaks += 1
            verdict = ConsumptionVerdict(
                proof=request.proof, parser=request.parser, shadow=request.shadow, found=found, proved_by=consumer
            )
            verdict.judged_at.FromDatetime(now)
            proposed = replace(artifact, case=replace(artifact.case, verdict=verdict))
            blocks = await deciding.proof_blocks(tx, proposed, self._trusted)
            verdict.passed, verdict.block_reasons[:] = not blocks, blocks
            await tx.governance.cases.keep_verdict(request.tenant_id, artifact.case, verdict)
            trail.note(
                tx,
                request.tenant_id,
                artifact.subject,
                activation.PROVED,
                _block_reason(blocks),
                actor=consumer,
                idempotency_key=request.idempotency_key,
                facts={
                    "engine": request.proof.consumer_engine_id,
                    "passed": "no" if blocks else "yes",
                    "replay_found": found.replay_hash.hex(),
                    "parser_found": found.parser.defect or "OK",
                },
            )
            return messages.SubmitConsumptionProofResponse(verdict=verdict)

        return await self._once(caller, request, messages.SubmitConsumptionProofResponse, work)

    async def CheckReleaseGate(
        self, request: messages.CheckReleaseGateRequest, context: Any
    ) -> messages.CheckReleaseGateResponse:
        _caller(request, *_READERS)
        artifact = await self._held(request)
        with refusing_store_errors():
            blocks = await deciding.proof_blocks(self._store, artifact, self._trusted)
            evidence = await deciding.full_evidence(self._store, artifact, self._trusted)
        missing = gates.missing(evidence, request.through)
        asks_for_proof = GATE_CONSUMPTION_PROOF in gates.missing(gates.Evidence(), request.through)
        is_frozen = bool(artifact.case.frozen_by)
        return messages.CheckReleaseGateResponse(
            open=not missing and not is_frozen,
            missing=missing or ((GATE_GOVERNANCE,) if is_frozen else ()),
            block_reasons=blocks if asks_for_proof else (),
            open_defects=artifact.open_defects,
        )

    async def StartRollout(self, request: messages.StartRolloutRequest, context: Any) -> messages.StartRolloutResponse:
        caller = _caller(request, ROLE_OPERATOR)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.StartRolloutResponse:
            # Whoever starts another one of this tenant waits here: two that begin at once would not see each other.
            await tx.governance.rollouts.one_at_a_time(request.tenant_id)
            artifact = await self._locked(tx, request, thawed=True)
            row = artifact.row
            missing = gates.missing(await deciding.full_evidence(tx, artifact, self._trusted))
            if missing:
                raise refusals.gate_blocked(missing, artifact.open_defects)
            for other in await tx.governance.rollouts.running(row.tenant_id, row.artifact_type, row.scope):
                if not moving.is_superseded_by(other, now) or other.subject.artifact_id == row.artifact_id:
                    raise refusals.rollout_state(other)
            pointer = await tx.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
            baseline = pointer.active_version if pointer else 0
            if baseline >= row.artifact_version:
                raise refusals.superseded()
            rollout = moving.new_rollout(self._ids.new(), row, baseline, now)
            await tx.governance.rollouts.start(rollout, now + PROMOTE_CHECK.every)
            trail.note(
                tx,
                request.tenant_id,
                artifact.subject,
                activation.STARTED,
                "GATES_PASSED",
                actor=await actor(tx, caller),
                idempotency_key=request.idempotency_key,
                facts={"rollout_id": rollout.rollout_id, "baseline_version": str(baseline)},
            )
            return messages.StartRolloutResponse(rollout=rollout)

        return await self._once(caller, request, messages.StartRolloutResponse, work)

    async def GetRollout(self, request: messages.GetRolloutRequest, context: Any) -> messages.GetRolloutResponse:
        _caller(request, *_READERS)
        return messages.GetRolloutResponse(rollout=await self._rollout(request))

    async def ListRollouts(self, request: messages.ListRolloutsRequest, context: Any) -> messages.ListRolloutsResponse:
        _caller(request, *_READERS)
        size, before = page_size(request.page), place(_ROLLOUTS, request.page)
        with refusing_store_errors():
            page = await self._store.governance.rollouts.page(
                request.tenant_id, limit=size + 1, state=request.state, before=before
            )
        last = page[size - 1] if len(page) > size else None
        end = spelled(last.started_at.ToDatetime(tzinfo=UTC), last.rollout_id) if last else ""
        return messages.ListRolloutsResponse(rollouts=page[:size], page=following(_ROLLOUTS, end))

    async def RecordKpis(self, request: messages.RecordKpisRequest, context: Any) -> messages.RecordKpisResponse:
        caller = _caller(request, ROLE_SERVICE)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.RecordKpisResponse:
            rollout = await self._running(tx, request)
            entered_at = rollout.stages[-1].entered_at.ToDatetime(tzinfo=UTC)
            _check_times(request.windows, entered_at, now)
            for window in request.windows:
                if not await tx.governance.rollouts.measured(rollout, moving.stage_of(rollout), window):
                    raise refusals.window_overlaps(window)
            # Measurements take back at once; they never promote at once.
            await moving.check(tx, self._trusted, rollout, now, promotes=False)
            return messages.RecordKpisResponse(taken=len(request.windows), rollout=rollout)

        return await self._once(caller, request, messages.RecordKpisResponse, work)

    async def JudgeRollout(self, request: messages.JudgeRolloutRequest, context: Any) -> messages.JudgeRolloutResponse:
        _caller(request, *_READERS)
        rollout = await self._rollout(request)
        with refusing_store_errors():
            judgement = await moving.judged(self._store, rollout, self._clock.now())
        return messages.JudgeRolloutResponse(judgement=judgement)

    async def Rollback(self, request: messages.RollbackRequest, context: Any) -> messages.RollbackResponse:
        caller = _caller(request, ROLE_OPERATOR)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.RollbackResponse:
            rollout = await self._running(tx, request)
            row = await tx.governance.cases.artifact(request.tenant_id, rollout.subject.artifact_id)
            if row is None:
                raise not_found("artifact", rollout.subject.artifact_id)
            if moving.stage_of(rollout) == ROLLOUT_STAGE_FULL:
                pointer = await tx.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
                if pointer is None or not pointer.rollback_version:
                    raise refusals.no_target(row.artifact_type)
            decision, returned = await moving.roll_back(
                tx,
                row,
                rollout,
                [DECISION_REASON_OPERATOR_REQUEST],
                now,
                actor=await actor(tx, caller),
                idempotency_key=request.idempotency_key,
                why=request.reason_code,
            )
            return messages.RollbackResponse(rollout=rollout, decision=decision, returned=returned)

        return await self._once(caller, request, messages.RollbackResponse, work)

    async def GetPromotionReport(
        self, request: messages.GetPromotionReportRequest, context: Any
    ) -> messages.GetPromotionReportResponse:
        caller = _caller(request, *_READERS)
        now = self._clock.now()
        with refusing_store_errors():
            async with self._store.transaction() as tx:
                rollout = await tx.governance.rollouts.get(request.tenant_id, request.rollout_id)
                if rollout is None:
                    raise not_found("rollout", request.rollout_id)
                artifact = await deciding.held(tx, self._trusted, request.tenant_id, rollout.subject.artifact_id)
                windows = await tx.governance.rollouts.windows(request.tenant_id, rollout.rollout_id)
                report = PromotionReport(
                    rollout=rollout,
                    cohort_deltas=_deltas(rollout, windows, now),
                    gate_bundle_hash=deciding.permitted_hash(artifact, self._trusted),
                    decisions=[each.statement for each in artifact.decisions],
                )
                signed = deciding.sign(tx, report)
                trail.note(
                    tx,
                    request.tenant_id,
                    artifact.subject,
                    "promotion.reported",
                    "REPORT_SIGNED",
                    actor=await actor(tx, caller),
                    facts={"rollout_id": rollout.rollout_id},
                )
        return messages.GetPromotionReportResponse(report=report, signed=signed)

    async def GetBoard(self, request: messages.GetBoardRequest, context: Any) -> messages.GetBoardResponse:
        _caller(request, *_READERS)
        size, before = page_size(request.page), place(_BOARD, request.page)
        with refusing_store_errors():
            if request.artifact_id:
                case = await self._store.governance.cases.get(request.tenant_id, request.artifact_id)
                return messages.GetBoardResponse(rows=[await self._board_row(request.tenant_id, case)])
            page = await self._store.governance.cases.page(request.tenant_id, limit=size + 1, before=before)
            rows = [await self._board_row(request.tenant_id, case) for case in page[:size]]
        last = page[size - 1] if len(page) > size else None
        end = spelled(last.proposed_at, last.artifact_id) if last and last.proposed_at else ""
        return messages.GetBoardResponse(rows=rows, page=following(_BOARD, end))

    async def _board_row(self, tenant_id: str, case: Case) -> BoardRow:
        artifact = await deciding.held(self._store, self._trusted, tenant_id, case.artifact_id, case)
        missing = gates.missing(await deciding.full_evidence(self._store, artifact, self._trusted))
        rollouts = await self._store.governance.rollouts.of_artifact(tenant_id, case.artifact_id)
        last = artifact.decisions[-1].statement if artifact.decisions else None
        state = rollouts[0].state if rollouts else ROLLOUT_STATE_UNSPECIFIED
        has_row = moving.has_row(artifact.row.artifact_type)
        row = BoardRow(
            subject=artifact.subject,
            decision=last.decision if last else None,
            reasons=last.reasons if last else (),
            missing=missing,
            rollout_id=rollouts[0].rollout_id if rollouts else "",
            frozen_by=case.frozen_by,
            held_by=() if has_row or rollouts else (JUDGE_REASON_NO_ROW,),
            open_defects=artifact.open_defects,
        )
        is_overdue = state == ROLLOUT_STATE_RUNNING and await self._tell_stage(row, rollouts[0])
        row.next_actor = gates.next_actor(
            missing, state, frozen=bool(case.frozen_by), measurable=has_row, unmeasured=is_overdue
        )
        return row

    async def _tell_stage(self, row: BoardRow, rollout: Rollout) -> bool:
        """Note where a running rollout stands, and why it stays; whether only measurements are waited for."""
        now = self._clock.now()
        row.stage = moving.stage_of(rollout)
        row.held_by.extend(await moving.held_by(self._store, rollout, now))
        for metric, arm in await moving.still_unmeasured(self._store, rollout, now):
            row.unmeasured.add(metric=metric, arm=arm)
        return bool(row.unmeasured) and moving.stage_is_over(rollout, now)

    async def _approval(
        self, tx: Transaction, artifact: Held, kind: ApprovalKind, approver: str, now: datetime, key: str
    ) -> Approval:
        """The permission as it is signed; the one that is there where somebody gave it before."""
        row = artifact.row
        given = await tx.governance.cases.approvers(row.tenant_id, row.artifact_id)
        cause = own_work(approver, kind, proposers=set(artifact.case.proposers), given=given)
        if cause is not None:
            raise refusals.own_work(cause)
        earlier = [each for each in artifact.approvals if each.statement.kind == kind]
        if earlier:
            again = "ALREADY_GIVEN"
            trail.note(
                tx, row.tenant_id, artifact.subject, "approval.repeated", again, actor=approver, idempotency_key=key
            )
            return earlier[0]
        statement = ApprovalStatement(
            approval_id=self._ids.new(),
            tenant_id=row.tenant_id,
            subject=artifact.subject,
            kind=kind,
            approver=approver,
        )
        statement.approved_at.FromDatetime(now)
        signed = deciding.sign(tx, statement)
        await tx.governance.cases.keep_approval(row.tenant_id, row.artifact_id, kind, approver, signed)
        trail.note(
            tx,
            row.tenant_id,
            artifact.subject,
            activation.APPROVED,
            ApprovalKind.Name(kind).removeprefix("APPROVAL_KIND_"),
            actor=approver,
            idempotency_key=key,
            facts={"approval_id": statement.approval_id},
        )
        return Approval(statement=statement, signed=signed)

    async def _replayed(self, request: messages.SubmitConsumptionProofRequest) -> _Replayed:
        """The replay, before the transaction: many turns take seconds, in which nobody else could write."""
        row = await self._store.governance.cases.artifact(request.tenant_id, request.proof.artifact_id)
        if row is None:
            return _Replayed(self._consumers)
        other = await beside(self._store, row)
        return _Replayed(self._consumers, await replay(self._store, self._consumers, row), other)

    async def _settle(self, tx: Transaction, request: Any, now: datetime) -> GateBundle:
        """The gate bundle after a change, signed where it is whole."""
        artifact = await deciding.held(tx, self._trusted, request.tenant_id, request.artifact_id)
        return await deciding.settle_bundle(tx, artifact, self._trusted, now)

    async def _held(self, request: Any) -> Held:
        with refusing_store_errors():
            return await deciding.held(self._store, self._trusted, request.tenant_id, request.artifact_id)

    async def _locked(self, tx: Transaction, request: Any, *, tenant_id: str = "", thawed: bool = False) -> Held:
        """The artifact, whose case nobody else changes meanwhile. `thawed` refuses a frozen one."""
        tenant = tenant_id or request.tenant_id
        if await tx.governance.cases.artifact(tenant, request.artifact_id) is None:
            raise not_found("artifact", request.artifact_id)
        case = await tx.governance.cases.locked(tenant, request.artifact_id)
        if thawed and case.frozen_by:
            raise refusals.frozen(request.artifact_id, case.frozen_by)
        return await deciding.held(tx, self._trusted, tenant, request.artifact_id, case)

    async def _rollout(self, request: Any) -> Rollout:
        with refusing_store_errors():
            rollout = await self._store.governance.rollouts.get(request.tenant_id, request.rollout_id)
        if rollout is None:
            raise not_found("rollout", request.rollout_id)
        return rollout

    async def _running(self, tx: Transaction, request: Any) -> Rollout:
        await tx.governance.rollouts.one_at_a_time(request.tenant_id)
        rollout = await tx.governance.rollouts.locked(request.tenant_id, request.rollout_id)
        if rollout is None:
            raise not_found("rollout", request.rollout_id)
        if rollout.state != ROLLOUT_STATE_RUNNING:
            raise refusals.rollout_state(rollout)
        return rollout

    async def _once(
        self,
        caller: Principal,
        request: Any,
        reply: type[Reply],
        work: Callable[[Transaction], Awaitable[Reply]],
    ) -> Reply:
        return await once_noted(self._store, caller, request, reply, work, noted=_NOTED, transition="gate.refused")


@dataclass(frozen=True, slots=True)
class _Replayed:
    """A replay and the version that it ran beside."""

    consumers: Mapping[str, Consumption]
    found: ConsumptionReplay | None = None
    other: ArtifactRow | None = None

    async def as_of(self, tx: Transaction, row: ArtifactRow) -> ConsumptionReplay:
        """The same, or another one where another version serves by now. StoreUnavailable."""
        if self.found is None or await beside(tx, row) != self.other:
            return await replay(tx, self.consumers, row)
        return self.found


def _caller(request: Any, *roles: str) -> Principal:
    require_tenant(request.tenant_id)
    return require_role(*roles)


def _consumer(request: messages.SubmitConsumptionProofRequest) -> Principal:
    """The caller as the engine that consumes: a service of the tenant, or of the deployment, for itself only."""
    caller = require_role(ROLE_SERVICE)
    if caller.tenant_id != SERVICE_TENANT:
        return require_tenant(request.tenant_id)
    if caller.subject != request.proof.consumer_engine_id:
        raise Refusal(reasons.ERROR_REASON_SUBJECT_MISMATCH, "the token does not speak for this engine")
    return caller


def _require_gates(artifact: Held, through: Gate) -> None:
    missing = gates.missing(artifact.evidence, through)
    if missing:
        raise refusals.gate_blocked(missing, artifact.open_defects)


def _block_reason(blocks: Sequence[ConsumptionBlockReason]) -> str:
    if not blocks:
        return "CONSUMPTION_PROVED"
    return ConsumptionBlockReason.Name(blocks[0]).removeprefix("CONSUMPTION_BLOCK_REASON_")


def _check_times(windows: Sequence[KpiWindow], entered_at: datetime, now: datetime) -> None:
    """Refuses windows of another stage, or of the future."""
    violations = []
    for index, window in enumerate(windows):
        if window.starts_at.ToDatetime(tzinfo=UTC) < entered_at:
            field = f"windows[{index}].starts_at"
            violations.append(FieldViolation(field, "kpi_window.stage", "must not be before the stage was entered"))
        if window.ends_at.ToDatetime(tzinfo=UTC) > now + _CLOCK_SKEW:
            field = f"windows[{index}].ends_at"
            violations.append(FieldViolation(field, "kpi_window.future", "must not be in the future"))
    if violations:
        raise Refusal.of_fields(violations)


def _deltas(rollout: Rollout, windows: Sequence[KpiWindow], now: datetime) -> list[CohortDelta]:
    """The figures of every window of the rollout, by cohort."""
    judgement = judge(rollout.domain, windows, trail=moving.NO_TRAIL, now=now, concurrent=False)
    by_cohort: dict[str, list[JudgeFinding]] = {}
    for finding in judgement.findings:
        by_cohort.setdefault(finding.cohort, []).append(finding)
    return [CohortDelta(cohort=cohort, findings=by_cohort[cohort]) for cohort in sorted(by_cohort)]
