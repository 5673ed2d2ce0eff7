"""The gRPC edge of secrets (KMS-1): put, revoke, evaluate, lease. Every access is audited, refused ones too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from google.protobuf.message import Message
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.kms.v1 import kms_pb2 as kms
from selene.kms.v1 import service_pb2 as messages
from selene.kms.v1 import service_pb2_grpc as kms_grpc

from servers.kms import ENGINE_ID
from servers.kms.access import Access, Evaluation, Standing, evaluate
from servers.kms.backend import Backend
from servers.kms.callers import require_deployment, require_owner
from servers.kms.lifetime import DEFAULT_LEASE, LONGEST_LEASE, lease_ttl, overlap, rotate_by
from servers.kms.refusals import access_denied, backend_unavailable, not_sealed_here
from servers.kms.sealing import NotSealedHere, sealing_key, unseal
from servers.kms.sweep import destroy_elsewhere, retire_due
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, Principal, require_role
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal, reason_name
from servers.runtime.ids import Ids
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.redaction import clean_text
from servers.runtime.secrets import BackendUnavailable
from servers.runtime.storage import SYSTEM_TENANT, actor, answered, not_found, once, refusing_store_errors, turn
from store import NotFound, Store, StoreError, Transaction, request_hash
from store.kms import KeptElsewhere, Lease, Secret

_TOKENS: Final = PageTokens("secrets")
HANDLE: Final = re.compile(r"kms://(providers|delivery)/[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}")
LEASE_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_NOTED: Final = frozenset(
    {
        reasons.ERROR_REASON_SECRET_NOT_SEALED_HERE,
        reasons.ERROR_REASON_SECRET_BACKEND_UNAVAILABLE,
        reasons.ERROR_REASON_SECRET_ACCESS_DENIED,
        reasons.ERROR_REASON_RESOURCE_NOT_FOUND,
    }
)
"""The others are the runtime's to audit, or say that the store takes nothing."""


class SecretsV1(kms_grpc.SecretsServiceServicer):
    """selene.kms.v1.SecretsService."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, backend: Backend) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._backend = backend
        self._sealing_keys = [sealing_key(seed) for seed in store.kms.sealing_seeds()]

    async def GetSealingKey(
        self, request: messages.GetSealingKeyRequest, context: Any
    ) -> messages.GetSealingKeyResponse:
        caller = require_deployment()
        policy = kms.LeasePolicy()
        policy.default_ttl.FromTimedelta(DEFAULT_LEASE)
        policy.max_ttl.FromTimedelta(LONGEST_LEASE)
        key = self._sealing_keys[0]
        await self._noted(caller, "sealing_key.read", "SEALING_KEY_GIVEN", sealing_key_id=key.key_id)
        return messages.GetSealingKeyResponse(
            sealing_key_id=key.key_id, public_key=key.public, policy=policy, backend=self._backend.name
        )

    async def PutSecret(self, request: messages.PutSecretRequest, context: Any) -> messages.PutSecretResponse:
        caller = require_role(ROLE_DEPLOYMENT_OPERATOR)
        handle, now = request.handle, self._clock.now()

        kept: bytes | KeptElsewhere = b""
        is_known = False

        async def put(tx: Transaction) -> messages.PutSecretResponse:
            nonlocal is_known
            is_known = True
            secret = await tx.kms.secrets.put(
                handle,
                kept,
                environment=request.environment,
                granted_owners=request.granted_owners,
                now=now,
                rotate_by=rotate_by(request.environment, now),
                overlap_until=now + overlap(_span(request, "overlap")),
            )
            await retire_due(tx, now, handle)
            await _note(
                tx,
                caller,
                "secret.put",
                "FIRST_VERSION" if secret.version == 1 else "ROTATION",
                request.idempotency_key,
                handle=handle,
                version=str(secret.version),
                environment=_environment(secret.environment),
                granted_owners=",".join(secret.granted_owners),
            )
            return messages.PutSecretResponse(secret=secret_info(secret))

        content = request_hash(
            handle,
            int(request.environment),
            set(request.granted_owners),
            *_spelled(request, "overlap"),
            request.secret.sealing_key_id,
            request.secret.ephemeral_public_key,
            request.secret.ciphertext,
        )
        async with self._noting_refusal(caller, "secret.put_refused", request.idempotency_key, handle=handle):
            earlier = await answered(
                self._store,
                tenant_id=caller.tenant_id,
                method="PutSecret",
                key=request.idempotency_key,
                content=content,
                reply=messages.PutSecretResponse,
            )
            if earlier is not None:
                return earlier
            kept = await self._keep(handle, self._unsealed(handle, request.secret))
            try:
                reply = await once(
                    self._store,
                    tenant_id=caller.tenant_id,
                    method="PutSecret",
                    key=request.idempotency_key,
                    content=content,
                    reply=messages.PutSecretResponse,
                    work=put,
                )
            except Exception:
                await self._discard(handle, kept)
                raise
            if not is_known:
                await self._discard(handle, kept)
        await self._destroy_elsewhere(handle)
        return reply

    async def GetSecret(self, request: messages.GetSecretRequest, context: Any) -> messages.GetSecretResponse:
        caller = require_deployment()
        handle = _handle(request.handle)
        with refusing_store_errors():
            secret = await self._store.kms.secrets.get(handle)
        if secret is None:
            await self._noted(caller, "secret.read_refused", "RESOURCE_NOT_FOUND", handle=handle)
            raise not_found("secret", handle)
        await self._noted(caller, "secret.read", "INFO_GIVEN", handle=handle, version=str(secret.version))
        return messages.GetSecretResponse(secret=secret_info(secret))

    async def ListSecrets(self, request: messages.ListSecretsRequest, context: Any) -> messages.ListSecretsResponse:
        caller = require_deployment()
        size = page_size(request.page)
        after = _TOKENS.after(request.page)
        with refusing_store_errors():
            page = await self._store.kms.secrets.page(after=after, limit=size + 1)
        shown = page[:size]
        following = _TOKENS.token(shown[-1].handle) if len(page) > size else ""
        span = {"first": shown[0].handle, "last": shown[-1].handle} if shown else {}
        await self._noted(caller, "secrets.listed", "PAGE_GIVEN", secrets=str(len(shown)), **span)
        return messages.ListSecretsResponse(
            secrets=[secret_info(secret) for secret in shown],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def RevokeSecret(self, request: messages.RevokeSecretRequest, context: Any) -> messages.RevokeSecretResponse:
        caller = require_role(ROLE_DEPLOYMENT_OPERATOR)
        handle, now = _handle(request.handle), self._clock.now()

        async def revoke(tx: Transaction) -> messages.RevokeSecretResponse:
            try:
                secret, ended = await tx.kms.secrets.revoke(handle, now)
            except NotFound:
                raise not_found("secret", handle) from None
            await _note(
                tx,
                caller,
                "secret.revoked",
                "OPERATOR_REQUEST",
                request.idempotency_key,
                handle=handle,
                version=str(secret.version),
                leases_ended=str(ended),
                why=clean_text(request.reason),
            )
            return messages.RevokeSecretResponse(secret=secret_info(secret), leases_ended=ended)

        async with self._noting_refusal(caller, "secret.revoke_refused", request.idempotency_key, handle=handle):
            reply = await once(
                self._store,
                tenant_id=caller.tenant_id,
                method="RevokeSecret",
                key=request.idempotency_key,
                content=request_hash(handle, request.reason),
                reply=messages.RevokeSecretResponse,
                work=revoke,
            )
        await self._destroy_elsewhere(handle)
        return reply

    async def EvaluateAccess(
        self, request: messages.EvaluateAccessRequest, context: Any
    ) -> messages.EvaluateAccessResponse:
        caller = require_owner(request.owner)
        handle, now = _handle(request.handle), self._clock.now()
        available = await self._backend.available()
        with refusing_store_errors():
            async with self._store.transaction() as tx:
                secret = await tx.kms.secrets.get(handle)
                found = evaluate(Access(request.owner, _standing(secret), available, now))
                facts = _access_facts(handle, request.owner, secret, found)
                await _note(tx, caller, "access.evaluated", _reason(found.reason), "", **facts)
        return messages.EvaluateAccessResponse(outcome=found.outcome, reason=found.reason)

    async def IssueLease(self, request: messages.IssueLeaseRequest, context: Any) -> messages.IssueLeaseResponse:
        caller = require_owner(request.owner)
        handle, now = _handle(request.handle), self._clock.now()
        evaluated: dict[str, str] = {"handle": handle, "owner": request.owner}
        available = await self._backend.available()

        async def issue(tx: Transaction) -> messages.IssueLeaseResponse:
            secret = await tx.kms.secrets.locked(handle)
            found = evaluate(Access(request.owner, _standing(secret), available, now))
            evaluated.update(_access_facts(handle, request.owner, secret, found))
            if secret is None or found.outcome != kms.ACCESS_OUTCOME_ALLOW:
                raise self._denied(handle, request.owner, found)
            await retire_due(tx, now, handle)
            ends = now + lease_ttl(_span(request, "ttl"))
            lease = Lease(self._ids.new(), handle, secret.version, request.owner, now, ends)
            await tx.kms.leases.issue(lease)
            facts = {**evaluated, "lease_id": lease.lease_id, "expires_at": ends.isoformat()}
            await _note(tx, caller, "lease.issued", _reason(found.reason), request.idempotency_key, **facts)
            # Without the reference, which would lie in the database for good: it is made again for each reply.
            return messages.IssueLeaseResponse(lease=lease_message(lease))

        async with self._noting_refusal(caller, "lease.denied", request.idempotency_key, evaluated):
            reply = await once(
                self._store,
                tenant_id=caller.tenant_id,
                method="IssueLease",
                key=request.idempotency_key,
                content=request_hash(handle, request.owner, *_spelled(request, "ttl")),
                reply=messages.IssueLeaseResponse,
                work=issue,
            )
        reply.lease_ref = self._store.kms.lease_ref(reply.lease.lease_id)
        return reply

    async def EndLease(self, request: messages.EndLeaseRequest, context: Any) -> messages.EndLeaseResponse:
        caller = require_deployment()
        lease_id, now = request.lease_id, self._clock.now()
        if LEASE_ID.fullmatch(lease_id) is None:
            raise _malformed("lease_id", "must be the id of a lease, not its reference")

        async def end(tx: Transaction) -> messages.EndLeaseResponse:
            ended = await tx.kms.leases.end(lease_id, now)
            if ended is None:
                raise not_found("lease", lease_id)
            lease, was_running = ended
            require_owner(lease.owner)
            await _note(
                tx,
                caller,
                "lease.ended",
                "ENDED_EARLY" if was_running else "ENDED_BEFORE",
                request.idempotency_key,
                handle=lease.handle,
                owner=lease.owner,
                version=str(lease.version),
                lease_id=lease_id,
            )
            return messages.EndLeaseResponse(lease=lease_message(lease))

        async with self._noting_refusal(caller, "lease.end_refused", request.idempotency_key, lease_id=lease_id):
            return await once(
                self._store,
                tenant_id=caller.tenant_id,
                method="EndLease",
                key=request.idempotency_key,
                content=request_hash(lease_id),
                reply=messages.EndLeaseResponse,
                work=end,
            )

    async def _noted(self, caller: Principal, transition: str, reason_code: str, **facts: str) -> None:
        """A row of its own, for what changes nothing: nobody is answered whom the trail does not name. Refusal:
        STORE_UNAVAILABLE.
        """
        with refusing_store_errors():
            async with self._store.transaction() as tx:
                await _note(tx, caller, transition, reason_code, "", **facts)

    def _unsealed(self, handle: str, sealed: kms.SealedSecret) -> bytes:
        try:
            return unseal(self._sealing_keys, handle, sealed)
        except NotSealedHere:
            raise not_sealed_here(self._sealing_keys[0].key_id) from None

    async def _keep(self, handle: str, secret: bytes) -> bytes | KeptElsewhere:
        """What a transaction is to make known: the secret itself, or where the backend keeps it from now on."""
        try:
            number = await self._backend.keep(handle, secret)
        except BackendUnavailable:
            raise backend_unavailable(self._backend.name) from None
        return secret if number is None else KeptElsewhere(number)

    async def _discard(self, handle: str, kept: bytes | KeptElsewhere) -> None:
        """Destroy what no transaction came to know; where that fails, a version stays that no lease can reach."""
        if isinstance(kept, KeptElsewhere):
            with suppress(BackendUnavailable):
                await self._backend.destroy(handle, [kept.backend_version])

    async def _destroy_elsewhere(self, handle: str) -> None:
        """What just ended is destroyed in the backend at once; what cannot be, the sweeper will."""
        with suppress(StoreError):
            await destroy_elsewhere(self._store, self._backend, handle)

    def _denied(self, handle: str, owner: str, found: Evaluation) -> Refusal:
        if found.reason == kms.ACCESS_REASON_BACKEND_UNAVAILABLE:
            return backend_unavailable(self._backend.name)
        return access_denied(handle, owner, _reason(found.reason))

    @asynccontextmanager
    async def _noting_refusal(
        self,
        caller: Principal,
        transition: str,
        idempotency_key: str,
        evaluated: dict[str, str] | None = None,
        **facts: str,
    ) -> AsyncIterator[None]:
        """A refusal of this owner's own is audited before the caller hears of it: what refused it was undone."""
        try:
            yield
        except Refusal as refusal:
            if refusal.reason in _NOTED:
                reason = refusal.metadata.get("cause", reason_name(refusal.reason))
                with refusing_store_errors():
                    async with self._store.transaction() as tx:
                        await _note(tx, caller, transition, reason, idempotency_key, **{**(evaluated or {}), **facts})
            raise


async def _note(
    tx: Transaction, caller: Principal, transition: str, reason_code: str, idempotency_key: str, **facts: str
) -> None:
    """An audit row in the deployment's trail."""
    tx.audit(
        tenant_id=SYSTEM_TENANT,
        owner=ENGINE_ID,
        actor=await actor(tx, caller),
        transition=transition,
        reason_code=reason_code,
        turn=turn(),
        idempotency_key=idempotency_key,
        facts=facts,
    )


def secret_info(secret: Secret) -> kms.SecretInfo:
    """What is known of a secret, as it travels."""
    info = kms.SecretInfo(
        handle=secret.handle,
        environment=secret.environment,
        version=secret.version,
        state=secret.state,
        granted_owners=secret.granted_owners,
    )
    info.put_at.FromDatetime(secret.put_at)
    info.rotate_by.FromDatetime(secret.rotate_by)
    if secret.overlap_until is not None:
        info.overlap_until.FromDatetime(secret.overlap_until)
    return info


def lease_message(lease: Lease) -> kms.Lease:
    """A lease as it travels."""
    message = kms.Lease(lease_id=lease.lease_id, handle=lease.handle, version=lease.version, owner=lease.owner)
    message.issued_at.FromDatetime(lease.issued_at)
    message.expires_at.FromDatetime(lease.ends_at)
    return message


def _standing(secret: Secret | None) -> Standing | None:
    if secret is None:
        return None
    revoked = secret.state == kms.SECRET_STATE_REVOKED
    return Standing(secret.environment, revoked, secret.rotate_by, secret.granted_owners)


def _access_facts(handle: str, owner: str, secret: Secret | None, found: Evaluation) -> dict[str, str]:
    return {
        "handle": handle,
        "owner": owner,
        "outcome": kms.AccessOutcome.Name(found.outcome).removeprefix("ACCESS_OUTCOME_"),
        "version": str(secret.version) if secret is not None else "0",
        "overdue": "yes" if found.overdue else "no",
    }


def _reason(reason: kms.AccessReason) -> str:
    return kms.AccessReason.Name(reason).removeprefix("ACCESS_REASON_")


def _environment(environment: kms.Environment) -> str:
    return kms.Environment.Name(environment).removeprefix("ENVIRONMENT_")


def _handle(handle: str) -> str:
    """The handle, if it has the form of one: what has not may be a secret in the wrong field, and is never repeated."""
    if HANDLE.fullmatch(handle) is None:
        raise _malformed("handle", "must be kms://providers/<vendor>/<use> or kms://delivery/<channel>/<account>")
    return handle


def _malformed(field: str, description: str) -> Refusal:
    return Refusal.of_fields([FieldViolation(field, "string.pattern", description)])


def _span(request: Message, field: str) -> timedelta | None:
    """A Duration of the request; None where it is not set."""
    if not request.HasField(field):
        return None
    span: timedelta = getattr(request, field).ToTimedelta()
    return span


def _spelled(request: Message, field: str) -> tuple[int, ...]:
    """A Duration as part of the request's identity; unset is not the same as 0."""
    if not request.HasField(field):
        return ()
    span = getattr(request, field)
    return (span.seconds, span.nanos)
