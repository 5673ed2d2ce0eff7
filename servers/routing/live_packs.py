"""The packs that an owner goes by while it runs (§10 step 6, §11, §29): read beside the calls, as the profile is.

Every look follows the pointers of the owner's types and the canaries of their rollouts, of all tenants. A version is
taken on when its signature holds and the consumer's own parser takes it; otherwise the one before stays, which is said
once in the log, in the metrics and in the audit trail. It does not stay where governance froze it (§21). A call keeps
from its beginning to its end what `choose` gave it: nothing changes in the middle of a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import Scope
from selene.governance.v1.rollout_pb2 import Rollout

from servers.pack_formats import PackUnusable
from servers.routing.beside import Beside
from servers.routing.pack_choice import Active, Arm, Canary, Fault, Line, Subject, Version, choose
from servers.runtime.storage import SYSTEM_TENANT
from store import NotFound, Rooms, Store, StoreUnavailable
from store.keys import signature_holds

READ_ANEW_AFTER: Final = 40
"""Looks after which the pointers are read whether they seem to have moved or not."""

Parsers = Mapping[str, Callable[[bytes], Any]]
"""What the owner reads, by artifact type, and how: PackUnusable for what it does not take."""

_log = structlog.get_logger("selene.packs")


class PackMetrics:
    """Registered once per server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.refused = Counter(
            "selene_packs_refused", "Versions that were not taken on", ("owner", "type", "reason"), registry=registry
        )
        self.served = Counter(
            "selene_packs_served",
            "Calls that a pack served, by the arm of a rollout; empty outside of one",
            ("owner", "type", "arm"),
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class ServedPacks:
    """What a call goes by, from its beginning to its end: parsed packs by type, what its audit rows say of them, and
    its side by running rollout, also of one whose candidate serves everyone.
    """

    packs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    sides: Mapping[str, Arm] = field(default_factory=lambda: MappingProxyType({}))

    def get(self, artifact_type: str) -> Any | None:
        """The pack of a type as its parser made it; None where none serves."""
        return self.packs.get(artifact_type)


NO_PACKS: Final = ServedPacks()


_Whose = tuple[str, str]
"""An artifact type and a tenant."""
Row = TypeVar("Row", Active, Canary)


@dataclass(frozen=True, slots=True)
class _Pointed:
    """A version that a pointer or a rollout names."""

    line: Line
    version: int
    package_hash: bytes


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look found; `pointers` is None where none has moved. A candidate is with whether it is frozen."""

    mark: Any
    pointers: Sequence[_Pointed] | None
    canaries: Sequence[tuple[Rollout, bool]]
    of_everyone: Sequence[Rollout]


class LivePacks:
    """`refresh` and `follow` look; `choose` needs no I/O."""

    def __init__(
        self, store: Store, trusted_keys: Mapping[str, bytes], owner: str, parsers: Parsers, metrics: PackMetrics
    ) -> None:
        self._store = store
        self._trusted_keys = dict(trusted_keys)
        self._owner = owner
        self._parsers = parsers
        self._metrics = metrics
        self._beside = Beside()
        self._looking = asyncio.Lock()
        self._mark: Any = None
        self._looks = 0
        self._read: dict[_Pointed, tuple[Version, str]] = {}
        self._active: dict[_Whose, list[Active]] = {}
        self._canaries: dict[_Whose, list[Canary]] = {}
        self._of_everyone: dict[tuple[Line, int], str] = {}
        self._refused: set[_Pointed] = set()

    def choose(self, subject: Subject) -> ServedPacks:
        """What serves a call that begins now."""
        if not self._active and not self._canaries:
            return NO_PACKS
        packs: dict[str, Any] = {}
        facts: dict[str, str] = {}
        sides: dict[str, Arm] = {}
        for artifact_type in self._parsers:
            served = choose(
                _of(self._active, artifact_type, subject), _of(self._canaries, artifact_type, subject), subject
            )
            name = artifact_type.lower()
            if served.version is not None:
                packs[artifact_type] = served.version.pack
                facts[name] = served.version.ref
                self._metrics.served.labels(self._owner, artifact_type, served.arm or "").inc()
            if served.rollout_id:
                facts[f"{name}_rollout"] = served.rollout_id
            if served.arm is not None:
                facts[f"{name}_arm"] = served.arm.value
                sides[served.rollout_id] = served.arm
            if served.arm is not Arm.CANDIDATE and served.version is not None:
                whole = self._of_everyone.get((served.version.line, served.version.version))
                sides.update({whole: Arm.CANDIDATE} if whole else {})
            if served.fault is not None:
                facts[f"{name}_fault"] = served.fault.value
        return ServedPacks(packs, facts, sides)

    async def follow(self) -> None:
        """`refresh`, not waited for where the store takes its time; it then goes on by itself. StoreError."""
        await self._beside.run(self.refresh)

    async def refresh(self) -> None:
        """Look once. StoreError; what is known stays until the next look that succeeds."""
        if self._parsers:
            # An operator's call looks too: what is refused is told once.
            async with self._looking:
                await self._refreshed()

    async def _refreshed(self) -> None:
        seen = await self._store.together(self._look)
        if seen.pointers is not None:
            await self._take(seen.pointers)
            self._mark = seen.mark
        canaries = [await self._canary(rollout, is_frozen=frozen) for rollout, frozen in seen.canaries]
        self._canaries = _by_tenant(canaries)
        self._of_everyone = {
            (_line(rollout), rollout.subject.artifact_version): rollout.rollout_id for rollout in seen.of_everyone
        }
        self._forget(canaries)

    async def _look(self, rooms: Rooms) -> _Seen:
        types = tuple(self._parsers)
        self._looks = (self._looks + 1) % READ_ANEW_AFTER
        mark = await rooms.artifacts.pointers_mark(types)
        pointers = None
        # What stands in for a version that was refused is asked about at every look: a revocation takes it away.
        replaced = any(each.fault is not None for several in self._active.values() for each in several)
        if mark != self._mark or replaced or not self._looks:
            pointers = [
                _Pointed(
                    Line(each.artifact_type, each.tenant_id, each.scope.scope_type, each.scope.scope_id),
                    each.active_version,
                    each.active_package_hash,
                )
                for each in await rooms.artifacts.all_pointers(types)
            ]
        canaries = []
        for rollout in await rooms.governance.rollouts.canaries(types):
            case = await rooms.governance.cases.get(rollout.tenant_id, rollout.subject.artifact_id)
            canaries.append((rollout, bool(case.frozen_by)))
        return _Seen(mark, pointers, canaries, await rooms.governance.measured.of_everyone(types))

    async def _take(self, pointers: Sequence[_Pointed]) -> None:
        before = {each.line: each for several in self._active.values() for each in several}
        self._active = _by_tenant([await self._followed(one, before.get(one.line)) for one in pointers])

    async def _followed(self, pointed: _Pointed, before: Active | None) -> Active:
        version = await self._version(pointed)
        if version is not None:
            return Active(pointed.line, pointed.version, version)
        kept = before.version if before is not None else None
        if kept is not None and await self._is_frozen(kept):
            kept = None
        return Active(pointed.line, pointed.version, kept, Fault.UNREADABLE)

    async def _canary(self, rollout: Rollout, *, is_frozen: bool) -> Canary:
        subject = rollout.subject
        line = _line(rollout)
        version = None
        fault: Fault | None = Fault.REVOKED
        if not is_frozen:
            version = await self._version(_Pointed(line, subject.artifact_version, subject.package_hash))
            fault = Fault.UNREADABLE if version is None else None
        share_bp = rollout.stages[-1].share_bp
        return Canary(line, rollout.rollout_id, share_bp, rollout.baseline_version, version, fault)

    async def _version(self, pointed: _Pointed) -> Version | None:
        """As the consumer reads it; None, which is told once, for what it does not take. StoreUnavailable."""
        if pointed in self._refused:
            return None
        if pointed in self._read:
            return self._read[pointed][0]
        row: ArtifactRow | None = None
        line = pointed.line
        try:
            row = await self._row(pointed)
            payload = await self._store.artifacts.payload(row.package_hash)
            # A large pack takes a tenth of a second and more: calls go on meanwhile.
            pack = await asyncio.to_thread(self._parsers[line.artifact_type], payload)
            version = Version(line, pointed.version, pack, row.package_hash)
        except StoreUnavailable:
            raise
        except PackUnusable as unusable:
            await self._refuse(pointed, unusable.fault.value)
            return None
        except NotFound:
            await self._refuse(pointed, "NOT_IN_LEDGER" if row is None else "PAYLOAD_DAMAGED")
            return None
        except Exception as error:
            # A parser that fails on a pack must hold up no other pack; nothing of it is taken on.
            _log.error("a parser raised", pack=f"{line.artifact_type}@{pointed.version}", cause=type(error).__name__)
            await self._refuse(pointed, "PARSER_FAILED")
            return None
        self._read[pointed] = (version, row.artifact_id)
        _log.info("pack taken on", owner=self._owner, pack=version.ref, tenant=line.tenant_id)
        return version

    async def _row(self, pointed: _Pointed) -> ArtifactRow:
        """NotFound where the ledger has none with this content, signed by a key that is trusted here."""
        line = pointed.line
        row = await self._store.artifacts.version(line.artifact_type, line.tenant_id, _scope(line), pointed.version)
        if row.package_hash != pointed.package_hash:
            raise NotFound("the content that the pointer names")
        if not signature_holds(self._trusted_keys, row.signing_key_id, row.package_hash, row.signature):
            raise NotFound("a signature by a key that is trusted here")
        return row

    async def _is_frozen(self, version: Version) -> bool:
        known = _Pointed(version.line, version.version, version.package_hash)
        _, artifact_id = self._read[known]
        case = await self._store.governance.cases.get(version.line.tenant_id, artifact_id)
        return bool(case.frozen_by)

    async def _refuse(self, pointed: _Pointed, reason: str) -> None:
        line = pointed.line
        ref = f"{line.artifact_type}@{pointed.version}"
        self._refused.add(pointed)
        self._metrics.refused.labels(self._owner, line.artifact_type, reason).inc()
        _log.error(
            "pack refused, the one before stays", owner=self._owner, pack=ref, tenant=line.tenant_id, reason=reason
        )
        try:
            async with self._store.transaction() as tx:
                tx.audit(
                    tenant_id=line.tenant_id or SYSTEM_TENANT,
                    owner=self._owner,
                    actor="system",
                    transition="pack.refused",
                    reason_code=reason,
                    scope=_scope(line),
                    hashes={"package": pointed.package_hash},
                    facts={"pack": ref},
                )
        except StoreUnavailable as error:
            _log.error("a refused pack is not in the trail", pack=ref, cause=error.reason.value)

    def _forget(self, canaries: Sequence[Canary]) -> None:
        """What nothing names any more is not kept."""
        active = [each.version for several in self._active.values() for each in several]
        named = {id(version) for version in (*active, *(each.version for each in canaries)) if version is not None}
        self._read = {pointed: read for pointed, read in self._read.items() if id(read[0]) in named}


def _scope(line: Line) -> Scope:
    return Scope(scope_type=line.scope_type, scope_id=line.scope_id)


def _by_tenant(rows: Iterable[Row]) -> dict[_Whose, list[Row]]:
    found: dict[_Whose, list[Row]] = {}
    for row in rows:
        found.setdefault((row.line.artifact_type, row.line.tenant_id), []).append(row)
    return found


def _of(rows: Mapping[_Whose, list[Row]], artifact_type: str, subject: Subject) -> list[Row]:
    """The tenant's own and the deployment's."""
    return rows.get((artifact_type, subject.tenant_id), []) + rows.get((artifact_type, ""), [])


def _line(rollout: Rollout) -> Line:
    subject = rollout.subject
    return Line(subject.artifact_type, rollout.tenant_id, subject.scope.scope_type, subject.scope.scope_id)
