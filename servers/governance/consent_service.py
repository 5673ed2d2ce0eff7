"""The gRPC edge of consents and their revocation (GOV-7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.message import Message
from selene.common.v1.paging_pb2 import PageInfo
from selene.governance.v1 import service_pb2 as messages
from selene.governance.v1 import service_pb2_grpc as governance_grpc
from selene.governance.v1.consent_pb2 import (
    REVOCATION_TRIGGER_EXPIRED_TTL,
    REVOCATION_TRIGGER_TENANT_POLICY,
    Consent,
    Revocation,
)

from servers.governance import ENGINE_ID, revoking, trail
from servers.governance.places import following, place, spelled
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_subject, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.storage import Reply, actor, not_found, once, refusing_store_errors, turn
from store import Store, Transaction, request_hash
from store.governance import KeptConsent

_REVOCATIONS: Final = PageTokens("revocations")


class ConsentsV1(governance_grpc.ConsentServiceServicer):
    """selene.governance.v1.ConsentService."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def GrantConsent(self, request: messages.GrantConsentRequest, context: Any) -> messages.GrantConsentResponse:
        caller = _speaker(request.tenant_id, request.user_id)
        expires_at = request.expires_at.ToDatetime(tzinfo=UTC) if request.HasField("expires_at") else None
        if expires_at is not None and expires_at <= self._clock.now():
            raise Refusal.of_fields([FieldViolation("expires_at", "consent.over", "must be in the future")])

        async def work(tx: Transaction) -> messages.GrantConsentResponse:
            # A consent that has run out ends as such, also where nobody has looked since.
            if await tx.governance.consents.claim_expired(request.tenant_id, request.user_id, self._clock.now()):
                await revoking.begin(
                    tx,
                    request.tenant_id,
                    request.user_id,
                    REVOCATION_TRIGGER_EXPIRED_TTL,
                    self._clock.now(),
                    actor=trail.SYSTEM,
                )
            kept = await tx.governance.consents.grant(request.tenant_id, request.user_id, expires_at)
            tx.audit(
                tenant_id=request.tenant_id,
                owner=ENGINE_ID,
                actor=await actor(tx, caller),
                transition="consent.granted",
                reason_code="USER_REQUEST" if caller.subject == request.user_id else "ON_BEHALF",
                turn=turn(),
                idempotency_key=request.idempotency_key,
                hashes={"user": await tx.vault.commitment(request.tenant_id, request.user_id, b"actor")},
                facts={"expires_at": expires_at.isoformat() if expires_at else "never"},
            )
            return messages.GrantConsentResponse(consent=_message(kept))

        return await self._once(caller, request, messages.GrantConsentResponse, work)

    async def GetConsent(self, request: messages.GetConsentRequest, context: Any) -> messages.GetConsentResponse:
        _speaker(request.tenant_id, request.user_id)
        with refusing_store_errors():
            kept = await self._store.governance.consents.get(request.tenant_id, request.user_id)
        if kept is None:
            raise not_found("consent", request.user_id)
        return messages.GetConsentResponse(consent=_message(kept))

    async def RevokeConsent(
        self, request: messages.RevokeConsentRequest, context: Any
    ) -> messages.RevokeConsentResponse:
        caller = _revoker(request)
        now = self._clock.now()

        async def work(tx: Transaction) -> messages.RevokeConsentResponse:
            revocation = await revoking.begin(
                tx,
                request.tenant_id,
                request.user_id,
                request.trigger,
                now,
                actor=await actor(tx, caller),
                idempotency_key=request.idempotency_key,
            )
            return messages.RevokeConsentResponse(revocation=revocation)

        return await self._once(caller, request, messages.RevokeConsentResponse, work)

    async def GetRevocation(
        self, request: messages.GetRevocationRequest, context: Any
    ) -> messages.GetRevocationResponse:
        require_tenant(request.tenant_id)
        with refusing_store_errors():
            kept = await self._store.governance.consents.revocation(request.tenant_id, request.revocation_id)
        if kept is None:
            raise not_found("revocation", request.revocation_id)
        require_subject(kept.message.user_id)
        return messages.GetRevocationResponse(revocation=kept.message)

    async def ListRevocations(
        self, request: messages.ListRevocationsRequest, context: Any
    ) -> messages.ListRevocationsResponse:
        require_tenant(request.tenant_id)
        require_role(ROLE_SERVICE, ROLE_OPERATOR)
        size, before = page_size(request.page), place(_REVOCATIONS, request.page)
        with refusing_store_errors():
            page = await self._store.governance.consents.page(
                request.tenant_id, limit=size + 1, only_open=request.only_open, before=before
            )
        return messages.ListRevocationsResponse(revocations=page[:size], page=_following(page, size))

    async def _once(
        self,
        caller: Principal,
        request: Any,
        reply: type[Reply],
        work: Callable[[Transaction], Awaitable[Reply]],
    ) -> Reply:
        method = type(request).DESCRIPTOR.name.removesuffix("Request")
        return await once(
            self._store,
            tenant_id=request.tenant_id,
            method=f"governance.{method}",
            key=request.idempotency_key,
            content=_content(caller, request),
            reply=reply,
            work=work,
        )


def _speaker(tenant_id: str, user_id: str) -> Principal:
    """The caller, if they are the user or may speak for them."""
    require_tenant(tenant_id)
    return require_subject(user_id)


def _revoker(request: messages.RevokeConsentRequest) -> Principal:
    """The user themselves, or who may speak for them; the tenant's policy is an operator's."""
    require_tenant(request.tenant_id)
    if request.trigger == REVOCATION_TRIGGER_TENANT_POLICY:
        return require_role(ROLE_OPERATOR)
    return require_subject(request.user_id)


def _content(caller: Principal, request: Message) -> bytes:
    return request_hash(caller.subject, request.SerializeToString(deterministic=True))


def _message(kept: KeptConsent) -> Consent:
    consent = Consent(user_id=kept.user_id)
    instants: dict[str, datetime | None] = {
        "granted_at": kept.granted_at,
        "expires_at": kept.expires_at,
        "ended_at": kept.ended_at,
    }
    for name, at in instants.items():
        if at is not None:
            getattr(consent, name).FromDatetime(at)
    return consent


def _following(page: list[Revocation], size: int) -> PageInfo:
    if len(page) <= size:
        return following(_REVOCATIONS, "")
    last = page[size - 1]
    return following(_REVOCATIONS, spelled(last.captured_at.ToDatetime(tzinfo=UTC), last.revocation_id))
