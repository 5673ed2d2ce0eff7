"""The active routing profile as a process knows it (§24, §27): read beside the calls, resolved once a subject."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from google.protobuf.message import DecodeError
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, Scope
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1, RoutingSubject

from servers.routing.beside import Beside
from servers.routing.profile import (
    ARTIFACT_TYPE,
    DOMAINS,
    ProblemCode,
    ProfileProblem,
    Resolved,
    compile,
    section_of,
    subjects,
    validate,
)
from servers.runtime.storage import SYSTEM_TENANT, turn
from store import Store, StoreError, Transaction
from store.routing import Rule

DEPLOYMENT: Final = Scope(scope_type=SCOPE_TYPE_GLOBAL)
CACHED_SUBJECTS: Final = 4096
SUBJECTS_GONE_THROUGH: Final = 2000
PAUSE_S: Final = 0.005

_log = structlog.get_logger("selene.routing")

Subject = tuple[str, str, str, str]
"""Tenant, locale, channel and user."""


@dataclass(frozen=True, slots=True)
class Active:
    """The active profile, the version that it has in the ledger, and since when it is active."""

    profile: ProviderRoutingProfileV1
    version: int
    package_hash: bytes
    since: datetime


class Directory:
    """Resolves subjects against the active profile without I/O; `refresh` and `follow` take activations over."""

    def __init__(self, store: Store, on_resolved: Callable[[Resolved], None]) -> None:
        self._store = store
        self._on_resolved = on_resolved
        self._active: Active | None = None
        self._refused = 0
        self._hashes: tuple[int, frozenset[bytes]] | None = None
        self._beside = Beside()
        self._tenants: frozenset[str] = frozenset()
        self._named: frozenset[tuple[str, str, str]] = frozenset()
        self._resolved: OrderedDict[Subject, Resolved | ProfileProblem] = OrderedDict()

    @property
    def active(self) -> Active | None:
        """The profile that is used; None before the first activation."""
        return self._active

    def resolve(self, tenant_id: str, locale: str, channel: str, user_id: str) -> Resolved | ProfileProblem | None:
        """What the profile comes to for a subject; None where no profile is active."""
        active = self._active
        if active is None:
            return None
        # Subjects whom no layer names share what their tenant has, and tenants whom nothing names what all have.
        subject = (
            tenant_id if tenant_id in self._tenants else "",
            locale if (tenant_id, "locale", locale.casefold()) in self._named else "",
            channel if (tenant_id, "channel", channel) in self._named else "",
            user_id if (tenant_id, "user", user_id) in self._named else "",
        )
        known = self._resolved.get(subject)
        if known is None:
            known = self._compiled(active, subject)
            self._resolved[subject] = known
            if len(self._resolved) > CACHED_SUBJECTS:
                self._resolved.popitem(last=False)
        return known

    async def hashes(self) -> frozenset[bytes] | None:
        """Everything that the active profile comes to for somebody; None where nobody can tell: no profile is active,
        another became active meanwhile, or it names more subjects than are gone through.
        """
        active = self._active
        if active is None:
            return None
        if self._hashes is None or self._hashes[0] != active.version:
            everybody = subjects(active.profile, SUBJECTS_GONE_THROUGH)
            if everybody is None:
                return None
            found = set()
            for who in everybody:
                compiled = compile(active.profile, who)
                if not isinstance(compiled, ProfileProblem):
                    found.add(compiled.profile_hash)
                # Calls come first.
                await asyncio.sleep(PAUSE_S)
            self._hashes = active.version, frozenset(found)
        return self._hashes[1] if self._active is active else None

    async def follow(self) -> None:
        """`refresh`, not waited for where the store takes its time; it then goes on by itself. StoreError."""
        await self._beside.run(self.refresh)

    async def refresh(self) -> None:
        """Follow the pointer. StoreError; a profile that does not hold what it must is never taken on."""
        pointer = await self._store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
        if pointer is None:
            return
        if pointer.active_version in (self._refused, self._active.version if self._active is not None else 0):
            return
        payload = await self._store.artifacts.payload(pointer.active_package_hash)
        profile = parse(payload)
        problem = ProfileProblem(ProblemCode.CONTRACT_VIOLATED, "profile") if profile is None else None
        if profile is None or (problem := next(iter(validate(profile)), None)) is not None:
            self._refused = pointer.active_version
            _log.error("the active profile is not used", version=pointer.active_version, problem=str(problem))
            return
        since = pointer.updated_at.ToDatetime(UTC)
        self._take(Active(profile, pointer.active_version, pointer.active_package_hash, since))

    def _take(self, active: Active) -> None:
        rows = (
            ("locale", active.profile.locale_overrides),
            ("channel", active.profile.channel_overrides),
            ("user", active.profile.user_exceptions),
        )
        self._named = frozenset(
            (row.tenant_id, kind, row.scope_id.casefold() if kind == "locale" else row.scope_id)
            for kind, scoped in rows
            for row in scoped
        )
        providers = (each for domain in DOMAINS for each in section_of(active.profile, domain).providers)
        self._tenants = frozenset(
            (
                *(row.tenant_id for row in active.profile.tenant_overrides),
                *(tenant_id for tenant_id, _, _ in self._named),
                *(tenant_id for provider in providers for tenant_id in provider.allowed_tenants),
            )
        )
        self._resolved.clear()
        self._active = active
        _log.info("routing profile", profile=active.profile.profile_id, version=active.version)

    def _compiled(self, active: Active, subject: Subject) -> Resolved | ProfileProblem:
        tenant_id, locale, channel, user_id = subject
        who = RoutingSubject(tenant_id=tenant_id, locale=locale, channel=channel, user_id=user_id)
        compiled = compile(active.profile, who)
        if isinstance(compiled, ProfileProblem):
            return compiled
        # A rollback brings an earlier content under a later version.
        resolved = replace(compiled, profile_version=active.version)
        self._on_resolved(resolved)
        return resolved


def parse(payload: bytes) -> ProviderRoutingProfileV1 | None:
    """The profile of an artifact's bytes; None for bytes that are none."""
    try:
        return ProviderRoutingProfileV1.FromString(payload)
    except DecodeError:
        return None


def canonical(profile: ProviderRoutingProfileV1) -> bytes:
    """The bytes that the ledger keeps."""
    return profile.SerializeToString(deterministic=True)


async def seed(store: Store, profile: ProviderRoutingProfileV1, rule: Rule) -> None:
    """Where no profile is active yet: register and activate this one, and put the deployment's first rule of policy.
    Several processes may do so at once. StoreError.
    """
    if await store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT) is not None:
        return
    try:
        async with store.transaction() as tx:
            row = await register(tx, profile, idempotency_key="default", created_by="PH1.GOV")
            # Registering locks the ledger: whoever comes second sees here what the first has done.
            if await tx.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT) is not None:
                return
            await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, row.artifact_version)
            await tx.routing.rules.put(rule)
            tx.audit(
                tenant_id=SYSTEM_TENANT,
                owner="PH1.GOV",
                actor="system",
                transition="routing_profile.activated",
                reason_code="SHIPPED_DEFAULT",
                scope=DEPLOYMENT,
                turn=turn(),
                hashes={"package": row.package_hash},
                facts={"version": str(row.artifact_version), "policy_rule": rule.rule_id},
            )
    except StoreError:
        if await store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT) is None:
            raise


async def register(
    tx: Transaction, profile: ProviderRoutingProfileV1, *, idempotency_key: str, created_by: str
) -> ArtifactRow:
    """Append a validated profile to the ledger as a candidate; the caller audits. Conflict for a version that is not
    the next one.
    """
    payload = canonical(profile)
    return await tx.artifacts.register(
        ArtifactRow(
            artifact_type=ARTIFACT_TYPE,
            artifact_version=profile.profile_version,
            scope=DEPLOYMENT,
            provenance_ref=f"sha256:{hashlib.sha256(payload).hexdigest()}",
            created_by=created_by,
            idempotency_key=idempotency_key,
            status=ARTIFACT_STATUS_CANDIDATE,
            rollback_pointer_ref=profile.rollback_pointer_ref,
        ),
        payload,
    )
