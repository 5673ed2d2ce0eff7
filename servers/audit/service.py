"""The gRPC edge of the audit trail (AUD-1): queries, a feed, checkpoints, proofs, all within the caller's tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.audit.v1.audit_pb2 import (
    TRAIL_ROW_STATE_FOUND,
    TRAIL_ROW_STATE_MISPLACED,
    TRAIL_ROW_STATE_MISSING,
    NamedFact,
    TrailRow,
    TrailRowState,
)
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.governance.v1.decision_pb2 import ArtifactRef

from servers.activation import Row, Standing
from servers.activation_reading import checked
from servers.runtime.auth import ROLE_OPERATOR, require_role, require_tenant
from servers.runtime.errors import Refusal
from servers.runtime.instants import instant
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.server import Runtime, Service
from servers.runtime.storage import not_found, refusing_store_errors
from store import AuditFilter, NotFound, Rooms, Store
from store.ledger import AUDIT

ROLE_AUDITOR = "auditor"
FEED_PAGE = 200
FEED_POLL_S = 0.2
_TOKENS = PageTokens("audit")
STATES: Final[Mapping[Standing, TrailRowState]] = MappingProxyType(
    {
        Standing.FOUND: TRAIL_ROW_STATE_FOUND,
        Standing.MISSING: TRAIL_ROW_STATE_MISSING,
        Standing.MISPLACED: TRAIL_ROW_STATE_MISPLACED,
    }
)


def services(runtime: Runtime) -> Sequence[Service]:
    """The one service of this owner."""
    return (
        Service(
            audit_grpc.add_AuditServiceServicer_to_server,
            AuditV1(runtime.store, runtime.stopping),
            "selene.audit.v1.AuditService",
            watches=("WatchEvents",),
        ),
    )


class AuditV1(audit_grpc.AuditServiceServicer):
    """selene.audit.v1.AuditService."""

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store = store
        self._stopping = stopping

    async def ListEvents(self, request: audit.ListEventsRequest, context: Any) -> audit.ListEventsResponse:
        _permitted(request.tenant_id)
        size = page_size(request.page)
        wanted = AuditFilter(
            owner=request.owner or None,
            transition=request.transition or None,
            correlation_id=request.correlation_id or None,
            session_id=request.session_id or None,
            since=instant(request, "since"),
            until=instant(request, "until"),
        )
        with refusing_store_errors():
            page = await self._store.audit.page(
                request.tenant_id, after=_TOKENS.after_number(request.page), limit=size + 1, only=wanted
            )
        following = _TOKENS.token(str(page[size - 1].event.sequence)) if len(page) > size else ""
        return audit.ListEventsResponse(events=page[:size], page=paging_pb2.PageInfo(next_page_token=following))

    async def WatchEvents(
        self, request: audit.WatchEventsRequest, context: Any
    ) -> AsyncIterator[audit.WatchEventsResponse]:
        _permitted(request.tenant_id)
        with refusing_store_errors():
            after = request.from_sequence - 1
            if request.from_sequence == 0:
                after = await self._store.audit.size(request.tenant_id)
            while True:
                page = await self._store.audit.page(request.tenant_id, after=after, limit=FEED_PAGE)
                for event in page:
                    yield audit.WatchEventsResponse(event=event)
                    after = event.event.sequence
                if len(page) < FEED_PAGE:
                    await self._pause()

    async def GetCheckpoint(self, request: audit.GetCheckpointRequest, context: Any) -> audit.GetCheckpointResponse:
        _permitted(request.tenant_id)
        with refusing_store_errors():
            checkpoint = await self._store.checkpoint(request.tenant_id, request.ledger)
        if checkpoint is None:
            raise not_found("checkpoint", request.ledger)
        return audit.GetCheckpointResponse(
            checkpoint=checkpoint, public_key=self._store.trusted_keys().get(checkpoint.key_id, b"")
        )

    async def GetInclusionProof(
        self, request: audit.GetInclusionProofRequest, context: Any
    ) -> audit.GetInclusionProofResponse:
        _permitted(request.tenant_id)
        with refusing_store_errors():
            size = request.tree_size or await self._checkpointed(request.tenant_id)
            events = await self._store.audit.page(request.tenant_id, after=request.sequence - 1, limit=1)
            with _missing("audit_event", str(request.sequence)):
                proof = await self._store.proofs.inclusion(AUDIT, request.tenant_id, request.sequence, size)
                root = await self._store.proofs.root(AUDIT, request.tenant_id, size)
        return audit.GetInclusionProofResponse(event=events[0], proof=proof, root_hash=root)

    async def GetConsistencyProof(
        self, request: audit.GetConsistencyProofRequest, context: Any
    ) -> audit.GetConsistencyProofResponse:
        _permitted(request.tenant_id)
        first, second = request.first_size, request.second_size
        with refusing_store_errors(), _missing("tree", f"{first}..{second}"):
            return audit.GetConsistencyProofResponse(
                proof=await self._store.proofs.consistency(AUDIT, request.tenant_id, first, second),
                first_root=await self._store.proofs.root(AUDIT, request.tenant_id, first),
                second_root=await self._store.proofs.root(AUDIT, request.tenant_id, second),
            )

    async def VerifyLedger(self, request: audit.VerifyLedgerRequest, context: Any) -> audit.VerifyLedgerResponse:
        _permitted(request.tenant_id)
        with refusing_store_errors():
            report = await self._store.verify(request.tenant_id)
        return audit.VerifyLedgerResponse(
            whole=report.ok,
            rows=report.rows,
            checkpoints=report.checkpoints,
            findings=[f"{one.fault} {one.ledger} {one.sequence}: {one.detail}" for one in report.findings],
        )

    async def CheckTrail(self, request: audit.CheckTrailRequest, context: Any) -> audit.CheckTrailResponse:
        _permitted(request.tenant_id)
        with refusing_store_errors():
            return await self._store.together(lambda rooms: _checked(rooms, request))

    async def _checkpointed(self, tenant_id: str) -> int:
        checkpoint = await self._store.checkpoint(tenant_id, AUDIT)
        if checkpoint is None:
            raise not_found("checkpoint", AUDIT)
        return checkpoint.tree_size

    async def _pause(self) -> None:
        """Until there may be more; refuses with NOT_SERVING once the server stops, so that followers go elsewhere."""
        try:
            async with asyncio.timeout(FEED_POLL_S):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise Refusal(reasons.ERROR_REASON_NOT_SERVING, "the server is stopping; ask another", owner="audit")


def _permitted(tenant_id: str) -> None:
    require_tenant(tenant_id)
    require_role(ROLE_AUDITOR, ROLE_OPERATOR)


async def _checked(rooms: Rooms, request: audit.CheckTrailRequest) -> audit.CheckTrailResponse:
    """Refuses with RESOURCE_NOT_FOUND."""
    tenant_id, rollout_id, rollout = request.tenant_id, request.rollout_id, None
    if rollout_id:
        rollout = await rooms.governance.rollouts.get(tenant_id, rollout_id)
        if rollout is None:
            raise not_found("rollout", rollout_id)
    artifact_id = rollout.subject.artifact_id if rollout is not None else request.artifact_id
    row = await rooms.governance.cases.artifact(tenant_id, artifact_id)
    if row is None:
        raise not_found("artifact", artifact_id)
    if rollout is None:
        rollout = next(iter(await rooms.governance.rollouts.of_artifact(tenant_id, artifact_id)), None)
    found = await checked(rooms, tenant_id, artifact_id, row.artifact_type, rollout)
    return audit.CheckTrailResponse(
        subject=ArtifactRef(
            artifact_id=artifact_id,
            artifact_type=row.artifact_type,
            artifact_version=row.artifact_version,
            scope=row.scope,
            package_hash=row.package_hash,
        ),
        rollout_id=rollout.rollout_id if rollout is not None else "",
        complete=found.complete,
        expected=len(found.rows),
        found=found.found,
        rows=[_trail_row(each) for each in found.rows],
    )


def _trail_row(row: Row) -> TrailRow:
    return TrailRow(
        transition=row.transition,
        facts=[NamedFact(name=name, value=row.facts[name]) for name in sorted(row.facts)],
        state=STATES[row.standing],
        event=row.event,
    )


@contextmanager
def _missing(resource: str, resource_id: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise not_found(resource, resource_id) from error
