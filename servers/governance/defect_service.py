"""The gRPC edge of defects at which safety is at stake (§8, path A): which, what mends them, and their closure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

from selene.common.v1 import error_reason_pb2 as reasons
from selene.governance.v1 import service_pb2 as messages
from selene.governance.v1 import service_pb2_grpc as governance_grpc
from selene.governance.v1.defect_pb2 import (
    DEFECT_STATE_CLOSED,
    Defect,
    DefectClosure,
    DefectClosureStatement,
    DefectFix,
    DefectState,
)

from servers.governance import ENGINE_ID, ROLE_APPROVER, deciding, refusals
from servers.governance.asking import once_noted
from servers.governance.defect import Unproved, own_work, state_of, unfinished, unproved
from servers.governance.statement import StatementRefused, digest, opened
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.runtime.ids import Ids
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.storage import Reply, actor, not_found, refusing_store_errors, turn
from store import Store, Transaction
from store.gold import artifact_ref, ids_among, signal_ref
from store.governance import DefectRow

_DEFECTS: Final = PageTokens("defects")
_NOTED: Final = frozenset(
    {
        reasons.ERROR_REASON_DEFECT_STATE_REFUSED,
        reasons.ERROR_REASON_DEFECT_FIX_UNPROVED,
        reasons.ERROR_REASON_OWN_WORK_REFUSED,
        reasons.ERROR_REASON_ARTIFACT_FROZEN,
    }
)
"""Refusals that are rows of the trail, like what they refuse."""


class DefectsV1(governance_grpc.DefectServiceServicer):
    """selene.governance.v1.DefectService."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._trusted = store.trusted_keys()

    async def ListDefects(self, request: messages.ListDefectsRequest, context: Any) -> messages.ListDefectsResponse:
        require_tenant(request.tenant_id)
        require_role(ROLE_SERVICE, ROLE_OPERATOR, ROLE_APPROVER)
        size, after = page_size(request.page), _DEFECTS.after_number(request.page)
        with refusing_store_errors():
            rows = await self._store.governance.defects.page(
                request.tenant_id, limit=size + 1, only_open=request.only_open, domain=request.domain, after=after
            )
        following = _DEFECTS.token(str(rows[size - 1].sequence)) if len(rows) > size else ""
        reply = messages.ListDefectsResponse(defects=[self._defect(row) for row in rows[:size]])
        reply.page.next_page_token = following
        return reply

    async def ProposeDefectFix(
        self, request: messages.ProposeDefectFixRequest, context: Any
    ) -> messages.ProposeDefectFixResponse:
        require_tenant(request.tenant_id)
        caller = require_role(ROLE_SERVICE, ROLE_OPERATOR)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.ProposeDefectFixResponse:
            defects = await tx.governance.defects.by_ids(request.tenant_id, request.signal_ids)
            for signal_id in request.signal_ids:
                _still_open(signal_id, defects.get(signal_id))
            fix = DefectFix(
                fix_id=self._ids.new(),
                tenant_id=request.tenant_id,
                signal_ids=request.signal_ids,
                root_cause_ref=request.root_cause_ref,
                fix_plan_ref=request.fix_plan_ref,
                regression_test=request.regression_test,
                report=request.report,
                proposer=await actor(tx, caller),
            )
            fix.proposed_at.FromDatetime(now)
            learned_from = await _learned_from(tx, request, fix)
            named_before = await tx.governance.defects.named_for(request.tenant_id, request.artifact_id)
            cause = unproved(fix, learned_from, named_before)
            if cause is not None:
                raise _unproved(cause)
            await tx.governance.defects.name_fix(fix)
            self._note(tx, fix, "defect.fix_proposed", "FIX_NAMED", fix.proposer, request.idempotency_key)
            return messages.ProposeDefectFixResponse(fix=fix)

        return await self._once(caller, request, messages.ProposeDefectFixResponse, work)

    async def CloseDefects(self, request: messages.CloseDefectsRequest, context: Any) -> messages.CloseDefectsResponse:
        require_tenant(request.tenant_id)
        caller = require_role(ROLE_APPROVER)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.CloseDefectsResponse:
            # Two that close at once would not see each other, and no pointer moves meanwhile.
            await tx.governance.rollouts.one_at_a_time(request.tenant_id)
            fix = await tx.governance.defects.fix(request.tenant_id, request.fix_id)
            if fix is None:
                raise not_found("fix", request.fix_id)
            defects = await tx.governance.defects.by_ids(request.tenant_id, fix.signal_ids)
            for signal_id in fix.signal_ids:
                _still_open(signal_id, defects.get(signal_id))
            closer = await actor(tx, caller)
            await _may_close(tx, fix, closer)
            closures = [await self._close(tx, fix, signal_id, closer, now) for signal_id in fix.signal_ids]
            self._note(tx, fix, "defect.closed", "PROVED", closer, request.idempotency_key)
            return messages.CloseDefectsResponse(closures=closures)

        return await self._once(caller, request, messages.CloseDefectsResponse, work)

    async def _close(
        self, tx: Transaction, fix: DefectFix, signal_id: str, closer: str, now: datetime
    ) -> DefectClosure:
        statement = DefectClosureStatement(
            tenant_id=fix.tenant_id,
            signal_id=signal_id,
            fix_id=fix.fix_id,
            fix_hash=digest(fix),
            closer=closer,
        )
        statement.closed_at.FromDatetime(now)
        signed = deciding.sign(tx, statement)
        await tx.governance.defects.close(fix.tenant_id, signal_id, fix.fix_id, signed)
        return DefectClosure(statement=statement, signed=signed)

    def _note(self, tx: Transaction, fix: DefectFix, transition: str, why: str, who: str, key: str) -> None:
        """A row for each defect: whoever looks for its signal finds what became of it."""
        for signal_id in fix.signal_ids:
            tx.audit(
                tenant_id=fix.tenant_id,
                owner=ENGINE_ID,
                actor=who,
                transition=transition,
                reason_code=why,
                turn=turn(),
                idempotency_key=key,
                hashes={"fix": digest(fix)},
                facts={
                    "signal_id": signal_id,
                    "fix_id": fix.fix_id,
                    "report_id": fix.report.report_id,
                    **({"artifact_id": fix.artifact.artifact_id} if fix.HasField("artifact") else {}),
                },
            )

    def _defect(self, row: DefectRow) -> Defect:
        defect = Defect(
            signal_id=row.signal_id,
            domain=row.domain,  # type: ignore[arg-type]  # the contract's own number
            priority_bp=row.priority_bp,
            state=state_of(named=row.fix is not None, closed=row.closure is not None),
            fix=row.fix,
        )
        defect.captured_at.FromDatetime(row.captured_at)
        if row.closure is not None:
            try:
                statement = opened(row.closure, DefectClosureStatement, self._trusted)
            except StatementRefused:
                statement = None  # what no trusted key signed is shown as it is, and says nothing
            defect.closure.CopyFrom(DefectClosure(statement=statement, signed=row.closure))
        return defect

    async def _once(
        self, caller: Principal, request: Any, reply: type[Reply], work: Callable[[Transaction], Awaitable[Reply]]
    ) -> Reply:
        return await once_noted(self._store, caller, request, reply, work, noted=_NOTED, transition="defect.refused")


async def _learned_from(tx: Transaction, request: messages.ProposeDefectFixRequest, fix: DefectFix) -> Sequence[str]:
    """Name the pack in the fix, where one is; the signals that it came from. Refusal."""
    if not request.artifact_id:
        return ()
    row = await tx.governance.cases.artifact(request.tenant_id, request.artifact_id)
    if row is None:
        raise not_found("artifact", request.artifact_id)
    await _thawed(tx, request.tenant_id, request.artifact_id)
    fix.artifact.CopyFrom(deciding.subject_of(row))
    ref = artifact_ref(row.artifact_id)
    refs = await tx.gold.lineage.closure(request.tenant_id, [ref], descendants=False)
    return ids_among(refs, signal_ref)


async def _may_close(tx: Transaction, fix: DefectFix, closer: str) -> None:
    """Refusal: OWN_WORK_REFUSED, ARTIFACT_FROZEN, DEFECT_FIX_UNPROVED."""
    artifact = fix.artifact
    proposers: Sequence[str] = ()
    serving = b""
    if fix.HasField("artifact"):
        await _thawed(tx, fix.tenant_id, artifact.artifact_id)
        proposers = (await tx.governance.cases.get(fix.tenant_id, artifact.artifact_id)).proposers
        pointer = await tx.artifacts.pointer(artifact.artifact_type, fix.tenant_id, artifact.scope)
        serving = pointer.active_package_hash if pointer is not None else b""
    own = own_work(closer, fix, proposers)
    if own is not None:
        raise refusals.own_work(own)
    cause = unfinished(fix, serving)
    if cause is not None:
        raise _unproved(cause)


async def _thawed(tx: Transaction, tenant_id: str, artifact_id: str) -> None:
    frozen_by = (await tx.governance.cases.get(tenant_id, artifact_id)).frozen_by
    if frozen_by:
        raise refusals.frozen(artifact_id, frozen_by)


def _still_open(signal_id: str, row: DefectRow | None) -> None:
    """Refusal: RESOURCE_NOT_FOUND, DEFECT_STATE_REFUSED."""
    if row is None:
        raise not_found("defect", signal_id)
    if row.closure is not None:
        raise Refusal(
            reasons.ERROR_REASON_DEFECT_STATE_REFUSED,
            "what was closed stays closed",
            signal_id=signal_id,
            state=DefectState.Name(DEFECT_STATE_CLOSED).removeprefix("DEFECT_STATE_"),
        )


def _unproved(cause: Unproved) -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_DEFECT_FIX_UNPROVED, "what is named does not prove that it is fixed", cause=cause.value
    )
