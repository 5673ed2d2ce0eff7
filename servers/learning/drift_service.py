"""The gRPC edge of drift: breaches, the review that ends a freeze, the pairs that are confused (§38.6, §38.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from selene.common.v1 import paging_pb2
from selene.learning.v1 import service_pb2 as messages
from selene.learning.v1 import service_pb2_grpc as learning_grpc
from selene.learning.v1.drift_pb2 import ConfusionPair, DriftBreach

from servers.learning.drift import USER
from servers.learning.gold_service import ROLE_REVIEWER
from servers.learning.golding import GOLD_WRITER
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.paging import PageTokens, page_size, page_token_invalid
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from store import Store, Transaction, request_hash
from store.learning import Breach, Standing

_BREACHES: Final = PageTokens("drift-breaches")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
PAIRS: Final = 20


class DriftV1(learning_grpc.DriftServiceServicer):
    """selene.learning.v1.DriftService."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ListDriftBreaches(
        self, request: messages.ListDriftBreachesRequest, context: Any
    ) -> messages.ListDriftBreachesResponse:
        _reader(request.tenant_id)
        size, before = page_size(request.page), _place(_BREACHES.after(request.page))
        with refusing_store_errors():
            rows = await self._store.learning.drift.page(
                request.tenant_id, limit=size + 1, subject=request.subject, before=before
            )
        last = rows[size - 1] if len(rows) > size else None
        following = _BREACHES.token(_spelled(last)) if last is not None else ""
        return messages.ListDriftBreachesResponse(
            breaches=[_breach(row) for row in rows[:size]], page=paging_pb2.PageInfo(next_page_token=following)
        )

    async def ReviewDrift(self, request: messages.ReviewDriftRequest, context: Any) -> messages.ReviewDriftResponse:
        require_tenant(request.tenant_id)
        caller = require_role(ROLE_REVIEWER)

        async def work(tx: Transaction) -> messages.ReviewDriftResponse:
            return await self._reviewed(tx, request, caller)

        return await once(
            self._store,
            tenant_id=request.tenant_id,
            method="learning.ReviewDrift",
            key=request.idempotency_key,
            content=request_hash(caller.subject, request.SerializeToString(deterministic=True)),
            reply=messages.ReviewDriftResponse,
            work=work,
        )

    async def ListConfusionPairs(
        self, request: messages.ListConfusionPairsRequest, context: Any
    ) -> messages.ListConfusionPairsResponse:
        _reader(request.tenant_id)
        with refusing_store_errors():
            found = await self._store.learning.confusion.top(request.tenant_id, limit=request.limit or PAIRS)
        return messages.ListConfusionPairsResponse(
            pairs=[
                ConfusionPair(
                    first_user_id=pair.first_user_id,
                    second_user_id=pair.second_user_id,
                    collisions=pair.collisions,
                    close_calls=pair.close_calls,
                    last_at=pair.last_at,
                )
                for pair in found
            ]
        )

    async def _reviewed(
        self, tx: Transaction, request: messages.ReviewDriftRequest, caller: Principal
    ) -> messages.ReviewDriftResponse:
        tenant_id, subject, now = request.tenant_id, request.subject, self._clock.now()
        if not (await tx.learning.drift.standing(tenant_id, subject)).frozen:
            raise not_found("freeze", subject)
        standing = await tx.learning.drift.locked(tenant_id, subject)
        if not standing.frozen:
            raise not_found("freeze", subject)
        await tx.learning.drift.stands(tenant_id, subject, Standing(frozen=False, reviewed_at=now))
        breaches = await tx.learning.drift.of_subject(tenant_id, subject)
        user_id = subject.removeprefix(USER) if subject.startswith(USER) else ""
        tx.audit(
            tenant_id=tenant_id,
            owner=GOLD_WRITER,
            actor=await actor(tx, caller),
            transition="drift.unfrozen",
            reason_code="DRIFT_REVIEWED",
            turn=turn(),
            idempotency_key=request.idempotency_key,
            hashes={"subject": await tx.vault.commitment(tenant_id, user_id, b"user")} if user_id else {},
            facts={"breaches": str(len(breaches)), **({} if user_id else {"subject": subject})},
        )
        return messages.ReviewDriftResponse(breaches=len(breaches))


def _reader(tenant_id: str) -> None:
    require_tenant(tenant_id)
    require_role(ROLE_SERVICE, ROLE_OPERATOR, ROLE_REVIEWER)


def _breach(row: Breach) -> DriftBreach:
    return DriftBreach(
        subject=row.subject,
        detector=row.detector,  # type: ignore[arg-type]  # the contract's own number
        window_ends_at=row.window_ends_at,
        recent=row.recent,
        reference=row.reference,
        samples=row.samples,
        recovery=row.recovery,  # type: ignore[arg-type]  # the contract's own number
        outcome=row.outcome,  # type: ignore[arg-type]  # the contract's own number
        gold_set_id=row.gold_set_id,
    )


def _spelled(row: Breach) -> str:
    micros = (row.window_ends_at - _EPOCH) // timedelta(microseconds=1)
    return f"{micros}\n{row.detector}\n{row.subject}"


def _place(token: str) -> tuple[datetime, str, int] | None:
    """Refusal: PAGE_TOKEN_INVALID."""
    if not token:
        return None
    parts = token.split("\n", 2)
    try:
        return _EPOCH + timedelta(microseconds=int(parts[0])), parts[2], int(parts[1])
    except (IndexError, ValueError, OverflowError):
        raise page_token_invalid() from None
