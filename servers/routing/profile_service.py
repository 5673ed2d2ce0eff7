"""The gRPC edge of the routing profile (§27, RTE-2), from its validation to the explanation of every field."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from selene.artifacts.v1.artifacts_pb2 import ArtifactPointer, ArtifactRow
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.routing.v1 import routing_pb2 as routing
from selene.routing.v1 import service_pb2 as messages
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import Domain

from servers.routing.directory import DEPLOYMENT, canonical, parse, register
from servers.routing.edge import duration
from servers.routing.lint import lint
from servers.routing.profile import ARTIFACT_TYPE, ProfileProblem, Resolved, explain, validate
from servers.routing.router import Router
from servers.routing.shipped import shipped_adapters
from servers.runtime.auth import (
    ROLE_DEPLOYMENT_OPERATOR,
    ROLE_OPERATOR,
    ROLE_SERVICE,
    Principal,
    require_role,
    require_tenant,
)
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.storage import SYSTEM_TENANT, actor, not_found, once, refusing_store_errors, turn
from store import Conflict, NotFound, Store, Transaction, request_hash

_TOKENS: Final = PageTokens("routing-profiles")
_GOVERNANCE: Final = "PH1.GOV"


class RoutingV1(routing_grpc.RoutingServiceServicer):
    """selene.routing.v1.RoutingService."""

    def __init__(self, store: Store, clock: Clock, router: Router[Any], refresh: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._router = router
        self._refresh = refresh

    async def ValidateProfile(
        self, request: messages.ValidateProfileRequest, context: Any
    ) -> messages.ValidateProfileResponse:
        require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
        problems = [
            messages.ProfileProblem(code=each.code.value, where=each.where, description=each.description)
            for each in validate(request.profile)
        ]
        warnings = [
            messages.ProfileProblem(code=each.code.value, where=each.where, description=each.description)
            for each in lint(request.profile, self._adapters())
        ]
        content_hash = hashlib.sha256(canonical(request.profile)).digest()
        return messages.ValidateProfileResponse(problems=problems, content_hash=content_hash, warnings=warnings)

    async def PutProfile(self, request: messages.PutProfileRequest, context: Any) -> messages.PutProfileResponse:
        caller = require_role(ROLE_DEPLOYMENT_OPERATOR)
        if problems := validate(request.profile):
            raise _invalid(problems)

        async def put(tx: Transaction) -> messages.PutProfileResponse:
            who = await actor(tx, caller)
            key = _ledger_key("put", caller, request.idempotency_key)
            try:
                row = await register(tx, request.profile, idempotency_key=key, created_by=_GOVERNANCE)
            except Conflict:
                versions = await tx.artifacts.versions(ARTIFACT_TYPE, "", DEPLOYMENT)
                raise _conflict("the version is not the next one", len(versions) + 1) from None
            _audit(tx, who, "routing_profile.registered", "VALIDATED", request.idempotency_key, row)
            pointer = await tx.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
            return messages.PutProfileResponse(version=_version(row, pointer))

        return await once(
            self._store,
            tenant_id=caller.tenant_id,
            method="PutProfile",
            key=request.idempotency_key,
            content=request_hash(canonical(request.profile)),
            reply=messages.PutProfileResponse,
            work=put,
        )

    async def ActivateProfile(
        self, request: messages.ActivateProfileRequest, context: Any
    ) -> messages.ActivateProfileResponse:
        caller = require_role(ROLE_DEPLOYMENT_OPERATOR)

        async def activate(tx: Transaction) -> messages.ActivateProfileResponse:
            row = await self._row(tx, request.profile_version)
            profile = parse(await tx.artifacts.payload(row.package_hash))
            if profile is None or validate(profile):
                raise _conflict("the version does not hold what a profile must any more", request.profile_version)
            if profile.effective_from.ToNanoseconds() > self._clock.now().timestamp() * 1e9:
                raise Refusal(
                    reasons.ERROR_REASON_PROFILE_NOT_ACTIVE, "the profile may not be active before its effective_from"
                )
            try:
                pointer = await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, request.profile_version)
            except Conflict:
                active = await tx.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
                expected = active.active_version if active is not None else 1
                raise _conflict("the version is older than the active one: roll back instead", expected) from None
            who = await actor(tx, caller)
            _audit(tx, who, "routing_profile.activated", request.reason_code, request.idempotency_key, row)
            return messages.ActivateProfileResponse(version=_version(row, pointer))

        reply = await once(
            self._store,
            tenant_id=caller.tenant_id,
            method="ActivateProfile",
            key=request.idempotency_key,
            content=request_hash(request.profile_version, request.reason_code),
            reply=messages.ActivateProfileResponse,
            work=activate,
        )
        await self._refresh()
        return reply

    async def RollbackProfile(
        self, request: messages.RollbackProfileRequest, context: Any
    ) -> messages.RollbackProfileResponse:
        caller = require_role(ROLE_DEPLOYMENT_OPERATOR)

        async def roll_back(tx: Transaction) -> messages.RollbackProfileResponse:
            await self._differs(tx)
            try:
                row = await tx.artifacts.rollback(
                    ARTIFACT_TYPE,
                    "",
                    DEPLOYMENT,
                    created_by=_GOVERNANCE,
                    idempotency_key=_ledger_key("rollback", caller, request.idempotency_key),
                )
            except NotFound:
                raise Refusal(reasons.ERROR_REASON_PROFILE_NOT_ACTIVE, "there is no version to return to") from None
            who = await actor(tx, caller)
            _audit(tx, who, "routing_profile.rolled_back", request.reason_code, request.idempotency_key, row)
            pointer = await tx.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
            return messages.RollbackProfileResponse(version=_version(row, pointer))

        reply = await once(
            self._store,
            tenant_id=caller.tenant_id,
            method="RollbackProfile",
            key=request.idempotency_key,
            content=request_hash(request.reason_code),
            reply=messages.RollbackProfileResponse,
            work=roll_back,
        )
        await self._refresh()
        return reply

    async def GetProfile(self, request: messages.GetProfileRequest, context: Any) -> messages.GetProfileResponse:
        require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
        with refusing_store_errors():
            pointer = await self._store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
            wanted = request.profile_version or (pointer.active_version if pointer is not None else 0)
            row = await self._row(self._store, wanted)
            profile = parse(await self._store.artifacts.payload(row.package_hash))
        return messages.GetProfileResponse(profile=profile, version=_version(row, pointer))

    async def ListProfiles(self, request: messages.ListProfilesRequest, context: Any) -> messages.ListProfilesResponse:
        require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
        size, after = page_size(request.page), _TOKENS.after_number(request.page)
        with refusing_store_errors():
            pointer = await self._store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
            rows = await self._store.artifacts.versions(ARTIFACT_TYPE, "", DEPLOYMENT)
        page = [row for row in rows if row.artifact_version > after][: size + 1]
        following = _TOKENS.token(str(page[size - 1].artifact_version)) if len(page) > size else ""
        return messages.ListProfilesResponse(
            versions=[_version(row, pointer) for row in page[:size]],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def ResolveProfile(
        self, request: messages.ResolveProfileRequest, context: Any
    ) -> messages.ResolveProfileResponse:
        resolved = self._resolved(request.subject)
        return messages.ResolveProfileResponse(
            profile_id=resolved.profile_id,
            profile_version=resolved.profile_version,
            profile_hash=resolved.profile_hash,
            providers=_providers(resolved),
            allowed_regions=resolved.allowed_regions,
            allow_cross_region=resolved.allow_cross_region,
            allow_cross_locale=resolved.allow_cross_locale,
            allow_inconclusive_fallback=resolved.allow_inconclusive_fallback,
        )

    async def ExplainProfile(
        self, request: messages.ExplainProfileRequest, context: Any
    ) -> messages.ExplainProfileResponse:
        resolved = self._resolved(request.subject)
        return messages.ExplainProfileResponse(
            fields=explain(resolved, request.prefix), profile_hash=resolved.profile_hash
        )

    def _adapters(self) -> dict[Domain, frozenset[str]]:
        """Those that ship, and what this owner asks besides."""
        known, own = shipped_adapters(), self._router.domestic
        if own.domain in known:
            known[own.domain] |= own.adapters.keys()
        return known

    def _resolved(self, subject: routing.RoutingSubject) -> Resolved:
        permitted(subject)
        return self._router.resolve(subject.tenant_id, subject.locale, subject.channel, subject.user_id)

    async def _differs(self, tx: Transaction) -> None:
        """A version to return to whose content is active already would change nothing. Refusal."""
        pointer = await tx.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
        if pointer is None or not pointer.rollback_version:
            return
        active = await self._row(tx, pointer.active_version)
        target = await self._row(tx, pointer.rollback_version)
        if active.package_hash == target.package_hash:
            following = len(await tx.artifacts.versions(ARTIFACT_TYPE, "", DEPLOYMENT)) + 1
            raise _conflict(
                f"the version to return to, {target.artifact_version}, has the content that is active already: "
                f"put the content that is wanted as version {following} and activate that",
                following,
            )

    async def _row(self, rooms: Store | Transaction, version: int) -> ArtifactRow:
        try:
            return await rooms.artifacts.version(ARTIFACT_TYPE, "", DEPLOYMENT, version)
        except NotFound:
            raise not_found("routing_profile", str(version)) from None


def permitted(subject: routing.RoutingSubject) -> Principal:
    """The caller, if it may see how somebody is routed. Refusal."""
    require_role(ROLE_OPERATOR, ROLE_SERVICE, ROLE_DEPLOYMENT_OPERATOR)
    return require_tenant(subject.tenant_id)


def _providers(resolved: Resolved) -> list[messages.ResolvedProvider]:
    return [
        messages.ResolvedProvider(
            domain=domain,
            provider_ref=each.provider_ref,
            priority=each.priority,
            enabled=each.enabled,
            timeout=duration(each.timeout_s),
            max_retries=each.max_retries,
            region=each.region,
            tenant_allowed=each.tenant_allowed,
            locales=each.locales,
        )
        for domain, providers in resolved.domains
        for each in providers
    ]


def _ledger_key(method: str, caller: Principal, key: str) -> str:
    """A key is its tenant's own, and the ledger is the deployment's."""
    return request_hash(method, caller.tenant_id, key).hex()


def _version(row: ArtifactRow, pointer: ArtifactPointer | None) -> messages.ProfileVersion:
    version = row.artifact_version
    return messages.ProfileVersion(
        profile_version=version,
        content_hash=row.package_hash,
        registered_at=row.created_at,
        active=pointer is not None and pointer.active_version == version,
        rollback_target=pointer is not None and pointer.rollback_version == version,
    )


def _audit(tx: Transaction, who: str, transition: str, reason: str, key: str, row: ArtifactRow) -> None:
    tx.audit(
        tenant_id=SYSTEM_TENANT,
        owner=_GOVERNANCE,
        actor=who,
        transition=transition,
        reason_code=reason,
        scope=DEPLOYMENT,
        turn=turn(),
        idempotency_key=key,
        hashes={"package": row.package_hash},
        facts={"version": str(row.artifact_version)},
    )


def _invalid(problems: tuple[ProfileProblem, ...]) -> Refusal:
    first = problems[0]
    return Refusal(
        reasons.ERROR_REASON_PROFILE_INVALID,
        "the routing profile breaks its rules; ValidateProfile lists everything",
        cause=first.code.value,
        where=first.where,
        problems=str(len(problems)),
    )


def _conflict(message: str, expected: int) -> Refusal:
    return Refusal(reasons.ERROR_REASON_PROFILE_VERSION_CONFLICT, message, expected=str(expected))
