"""The threshold pack that applies to a stream, resolved by precedence (VID-4, ALL-5) from what the ledger has active.

A pack's layer is the scope of its pointer. On top of it the setting `voiceid.thresholds` may move CONF_HIGH_BP,
CONF_MID_BP and the smallest margin, field by field, by the same precedence.

While a rollout is in a canary (§29), its candidate serves the devices of its cohort in the place of the active version
of its scope. The device, because every stream names one before anything is heard: who speaks is what is to be decided,
and a claim or a signed-in owner is not always there, so that the same speaker would change sides.

In the shadow before, the candidate is mirrored: it decides beside the active version, and serves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog
from selene.artifacts.v1.artifacts_pb2 import ArtifactPointer, ArtifactRow
from selene.common.v1 import scope_pb2
from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    Arm,
    Rollout,
)
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers import cohort
from servers.voiceid.calibration.pack import ARTIFACT_TYPE, PackError, ThresholdPack, parse
from servers.voiceid.policy import DecisionPolicy, Thresholds
from servers.voiceid.precedence import Ambiguous, Layer, SettingRow, Subject, resolve
from store import NotFound, Rooms, Store, StoreError
from store.keys import signature_holds
from store.settings import Setting

SETTING_KEY = "voiceid.thresholds"
CANARIES = frozenset({ROLLOUT_STAGE_CANARY_1, ROLLOUT_STAGE_CANARY_2})
OVERRIDABLE = ("conf_high_bp", "conf_mid_bp", "min_margin_bp")

_log = structlog.get_logger("selene.voiceid")

LAYERS = {
    scope_pb2.SCOPE_TYPE_GLOBAL: Layer.GLOBAL_DEFAULT,
    scope_pb2.SCOPE_TYPE_TENANT: Layer.TENANT_OVERRIDE,
    scope_pb2.SCOPE_TYPE_LOCALE: Layer.LOCALE_OVERRIDE,
    scope_pb2.SCOPE_TYPE_CHANNEL: Layer.CHANNEL_OVERRIDE,
    scope_pb2.SCOPE_TYPE_USER: Layer.USER_EXCEPTION,
}


@dataclass(frozen=True, slots=True)
class ActivePack:
    """The pack that applies, with its ledger row, the thresholds after overrides, and where it came from."""

    pack: ThresholdPack
    row: ArtifactRow
    canonical_json: bytes
    thresholds: Thresholds
    layer: Layer
    pointer: ArtifactPointer


class CandidateFault(StrEnum):
    """Why the active version serves a device that is in a canary's cohort."""

    REVOKED = "REVOKED"
    # Another version is active than the one that the candidate is held against: the rollout is about to be taken back.
    BASELINE_REPLACED = "BASELINE_REPLACED"
    # Not in the ledger, not signed by a trusted key, no pack, or the store does not answer.
    UNREADABLE = "UNREADABLE"
    MODEL_MISMATCH = "MODEL_MISMATCH"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rollout whose canary serves the device; `revoked` where governance froze its artifact (§21)."""

    rollout: Rollout
    revoked: bool


@dataclass(frozen=True, slots=True)
class Side:
    """The side of a running rollout that a stream is on. The shadow's candidate is no side of it, but mirrored."""

    rollout_id: str
    arm: Arm


@dataclass(frozen=True, slots=True)
class Mirror:
    """A candidate in the shadow, that decides beside the version that serves."""

    rollout_id: str
    pointer: ArtifactPointer


@dataclass(frozen=True, slots=True)
class Held:
    """The version that a stream was first judged by, and stays with: `rollout_id` where it is a candidate, `fault`
    where it took a candidate's place. So are the sides that it is on, and what is mirrored.
    """

    pointer: ArtifactPointer
    artifact_id: str
    rollout_id: str = ""
    fault: CandidateFault | None = None
    sides: tuple[Side, ...] = ()
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class PackRows:
    """What the choice of a pack depends on: all that may apply to a tenant, the candidates that serve the device or
    are mirrored, whether the version that the stream stayed with so far was revoked since, and every running rollout.
    """

    pointers: Sequence[ArtifactPointer]
    settings: Sequence[Setting]
    candidates: Sequence[Candidate] = ()
    held_revoked: bool = False
    running: Sequence[Rollout] = ()
    shadows: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What a stream is judged by, or the reason why there is nothing; `fault` where a candidate should have served.
    `mirrored` is by rollout, without those that are not fit to decide.
    """

    thresholds: Thresholds | v1.VoiceIdReason
    held: Held | None
    fault: CandidateFault | None = None
    mirrored: tuple[tuple[str, Thresholds], ...] = ()


class Packs:
    """Reads active packs; verified payloads are kept by hash, because a hash never means something else later."""

    def __init__(self, store: Store, trusted_keys: dict[str, bytes], model_set_hash: str) -> None:
        self._store = store
        self._trusted_keys = trusted_keys
        self._model_set_hash = model_set_hash
        self._verified: dict[_Version, _Verified] = {}

    async def rows(self, rooms: Rooms, tenant_id: str, device_id: str = "", held: Held | None = None) -> PackRows:
        """Awaits nothing but `rooms`. Without a device no candidate serves. StoreUnavailable."""
        pointers = await rooms.artifacts.pointers(ARTIFACT_TYPE, tenant_id)
        settings = await rooms.settings.candidates(SETTING_KEY, tenant_id)
        if not device_id:
            return PackRows(pointers, settings)
        if held is not None:
            # What still is active is not asked about: a revocation moves the pointer.
            displaced = not any(_same_version(pointer, held.pointer) for pointer in pointers)
            revoked = displaced and await _is_revoked(rooms, held.pointer.tenant_id, held.artifact_id)
            if not revoked:
                return PackRows(pointers, settings)
        running = await rooms.governance.measured.of_type(tenant_id, ARTIFACT_TYPE)
        candidates, shadows = [], []
        for rollout in running:
            stage = rollout.stages[-1]
            if stage.stage in CANARIES and cohort.serves(rollout.rollout_id, device_id, stage.share_bp):
                candidates.append(await _candidate(rooms, rollout))
            elif stage.stage == ROLLOUT_STAGE_SHADOW:
                shadows.append(await _candidate(rooms, rollout))
        return PackRows(pointers, settings, candidates, held is not None, running, shadows)

    async def serve(self, rows: PackRows, subject: Subject, held: Held | None = None) -> Served:
        """What a stream's device is judged by: what the stream was judged by before, else a candidate that would apply
        if it were active, else the active version. A candidate that cannot serve is logged. StoreUnavailable.
        """
        fault = None
        if held is not None and not rows.held_revoked:
            thresholds = await self.thresholds(replace(rows, pointers=(held.pointer,)), subject)
            return Served(thresholds, held, held.fault, await self._mirrored(held, rows, subject))
        if held is not None and held.rollout_id:
            fault = _told(CandidateFault.REVOKED, held.rollout_id)
        for candidate in sorted(rows.candidates, key=_closest_first):
            rollout, pointer = candidate.rollout, _pointer_to(candidate.rollout)
            if not _wins(pointer, rows.pointers, subject):
                continue
            tried = await self._try(candidate, pointer, rows, subject)
            if isinstance(tried, Thresholds):
                sides = _sides(rollout.rollout_id, rows, subject)
                stays = Held(pointer, rollout.subject.artifact_id, rollout.rollout_id, fault, sides)
                return Served(tried, stays, fault)
            fault = _told(tried, rollout.rollout_id)
        found = await self.choose(rows, subject)
        if not isinstance(found, ActivePack):
            return Served(found, None, fault)
        sides = _sides("", rows, subject)
        stays = Held(found.pointer, found.row.artifact_id, "", fault, sides, _mirrors(sides, rows))
        return Served(self._fitting(found), stays, fault, await self._mirrored(stays, rows, subject))

    async def _mirrored(self, held: Held, rows: PackRows, subject: Subject) -> tuple[tuple[str, Thresholds], ...]:
        found = []
        for mirror in held.mirrors:
            try:
                thresholds = await self.thresholds(replace(rows, pointers=(mirror.pointer,)), subject)
            except StoreError:  # what serves is read apart; a mirror costs nobody a decision
                continue
            if isinstance(thresholds, Thresholds):
                found.append((mirror.rollout_id, thresholds))
        return tuple(found)

    async def _try(
        self, candidate: Candidate, pointer: ArtifactPointer, rows: PackRows, subject: Subject
    ) -> Thresholds | CandidateFault:
        if candidate.revoked:
            return CandidateFault.REVOKED
        active = next((each.active_version for each in rows.pointers if _same_line(each, pointer)), 0)
        if active != candidate.rollout.baseline_version:
            return CandidateFault.BASELINE_REPLACED
        try:
            found = await self.thresholds(replace(rows, pointers=(pointer,)), subject)
        except StoreError:  # where the active version cannot be read either, its own failure says so
            return CandidateFault.UNREADABLE
        if isinstance(found, Thresholds):
            return found
        mismatched = found == v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH
        return CandidateFault.MODEL_MISMATCH if mismatched else CandidateFault.UNREADABLE

    async def thresholds(self, rows: PackRows, subject: Subject) -> Thresholds | v1.VoiceIdReason:
        """What a decision may rest on, or the reason why there is nothing. StoreUnavailable."""
        found = await self.choose(rows, subject)
        return self._fitting(found) if isinstance(found, ActivePack) else found

    def _fitting(self, found: ActivePack) -> Thresholds | v1.VoiceIdReason:
        fits = found.pack.model_set_hash == self._model_set_hash
        return found.thresholds if fits else v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH

    async def active(self, tenant_id: str, subject: Subject) -> ActivePack | v1.VoiceIdReason:
        """What `choose` finds among the rows as of now. StoreUnavailable."""
        return await self.choose(await self.read(tenant_id), subject)

    async def read(self, tenant_id: str) -> PackRows:
        """The rows as of now. StoreUnavailable."""
        return await self._store.together(lambda rooms: self.rows(rooms, tenant_id))

    async def choose(self, rows: PackRows, subject: Subject) -> ActivePack | v1.VoiceIdReason:
        """The pack at the most specific layer: NO_THRESHOLD_PACK, SETTING_AMBIGUOUS. StoreUnavailable."""
        chosen = resolve(_pointer_rows(rows.pointers), subject)
        settings = resolve(_setting_rows(rows.settings), subject)
        if isinstance(chosen, Ambiguous) or isinstance(settings, Ambiguous):
            return v1.VOICE_ID_REASON_SETTING_AMBIGUOUS
        if "pointer" not in chosen.values:
            return v1.VOICE_ID_REASON_NO_THRESHOLD_PACK
        pointer = chosen.values["pointer"]
        try:
            verified = await self._verify(pointer)
            policy = DecisionPolicy.from_mapping({**verified.thresholds.policy.to_mapping(), **settings.values})
        except (NotFound, PackError, ValueError):
            return v1.VOICE_ID_REASON_NO_THRESHOLD_PACK
        thresholds = replace(verified.thresholds, policy=policy)
        layer = chosen.layers["pointer"]
        return ActivePack(verified.pack, verified.row, verified.canonical_json, thresholds, layer, pointer)

    async def _verify(self, pointer: ArtifactPointer) -> _Verified:
        version = (
            pointer.tenant_id,
            pointer.scope.scope_type,
            pointer.scope.scope_id,
            pointer.active_version,
            pointer.active_package_hash,
        )
        known = self._verified.get(version)
        if known is None:
            known = self._verified[version] = await self._read(pointer)
        return known

    async def _read(self, pointer: ArtifactPointer) -> _Verified:
        row = await self._store.artifacts.version(
            ARTIFACT_TYPE, pointer.tenant_id, pointer.scope, pointer.active_version
        )
        if row.package_hash != pointer.active_package_hash:
            raise NotFound("the content that the pointer names")
        if not signature_holds(self._trusted_keys, row.signing_key_id, row.package_hash, row.signature):
            raise NotFound("a signature by a key that is trusted here")
        canonical = await self._store.artifacts.payload(row.package_hash)
        pack = parse(canonical)
        thresholds = replace(pack.thresholds(), pack_ref=f"{ARTIFACT_TYPE}@{row.artifact_version}")
        return _Verified(pack, row, canonical, thresholds)


_Version = tuple[str, int, str, int, bytes]
"""Tenant, scope, version and content of a ledger row: what a pointer points at, and what never changes."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """A pack whose signature holds, before settings move its limits."""

    pack: ThresholdPack
    row: ArtifactRow
    canonical_json: bytes
    thresholds: Thresholds


async def _is_revoked(rooms: Rooms, tenant_id: str, artifact_id: str) -> bool:
    return bool((await rooms.governance.cases.get(tenant_id, artifact_id)).frozen_by)


async def _candidate(rooms: Rooms, rollout: Rollout) -> Candidate:
    return Candidate(rollout, await _is_revoked(rooms, rollout.tenant_id, rollout.subject.artifact_id))


def _sides(served: str, rows: PackRows, subject: Subject) -> tuple[Side, ...]:
    """The sides that a stream is on; `served` is the rollout whose candidate serves it, empty for the active version.

    On none where the candidate would not apply, or should have served and does not: that would compare nothing.
    """
    should_serve = {candidate.rollout.rollout_id for candidate in rows.candidates}
    sides = []
    for rollout in rows.running:
        pointer, rollout_id = _pointer_to(rollout), rollout.rollout_id
        if not _wins(pointer, rows.pointers, subject):
            continue
        active = next((each.active_version for each in rows.pointers if _same_line(each, pointer)), 0)
        is_full = rollout.stages[-1].stage == ROLLOUT_STAGE_FULL
        if rollout_id == served or (is_full and not served and active == pointer.active_version):
            sides.append(Side(rollout_id, ARM_CANDIDATE))
        elif not (is_full or served or rollout_id in should_serve) and active == rollout.baseline_version:
            sides.append(Side(rollout_id, ARM_BASELINE))
    return tuple(sides)


def _mirrors(sides: Sequence[Side], rows: PackRows) -> tuple[Mirror, ...]:
    compared = {side.rollout_id for side in sides}
    return tuple(
        Mirror(shadow.rollout.rollout_id, _pointer_to(shadow.rollout))
        for shadow in rows.shadows
        if shadow.rollout.rollout_id in compared and not shadow.revoked
    )


def _pointer_to(rollout: Rollout) -> ArtifactPointer:
    """The pointer as it would be if the candidate were active."""
    subject = rollout.subject
    return ArtifactPointer(
        artifact_type=subject.artifact_type,
        tenant_id=rollout.tenant_id,
        scope=subject.scope,
        active_version=subject.artifact_version,
        active_package_hash=subject.package_hash,
    )


def _same_line(one: ArtifactPointer, other: ArtifactPointer) -> bool:
    return one.tenant_id == other.tenant_id and one.scope == other.scope


def _same_version(one: ArtifactPointer, other: ArtifactPointer) -> bool:
    return _same_line(one, other) and one.active_version == other.active_version


def _closest_first(candidate: Candidate) -> int:
    return -LAYERS.get(candidate.rollout.subject.scope.scope_type, 0)


def _wins(candidate: ArtifactPointer, active: Sequence[ArtifactPointer], subject: Subject) -> bool:
    """Whether the candidate would apply, if it were active."""
    others = [pointer for pointer in active if not _same_line(pointer, candidate)]
    chosen = resolve(_pointer_rows([*others, candidate]), subject)
    return not isinstance(chosen, Ambiguous) and chosen.values.get("pointer") is candidate


def _told(fault: CandidateFault, rollout_id: str) -> CandidateFault:
    _log.warning("candidate does not serve, the active version does", rollout_id=rollout_id, reason=fault.value)
    return fault


def _pointer_rows(pointers: Iterable[ArtifactPointer]) -> list[SettingRow[ArtifactPointer]]:
    return [
        SettingRow(
            LAYERS[pointer.scope.scope_type],
            pointer.scope.scope_id,
            f"{pointer.artifact_type}@{pointer.active_version}",
            {"pointer": pointer},
        )
        for pointer in pointers
        if pointer.scope.scope_type in LAYERS
    ]


def _setting_rows(settings: Iterable[Setting]) -> list[SettingRow[int]]:
    """Values that are no basis points make the row ambiguous with itself: nothing unclear may loosen a limit."""
    rows = []
    for setting in settings:
        value = setting.value
        clear = isinstance(value, dict) and all(
            name in OVERRIDABLE and isinstance(bp, int) and not isinstance(bp, bool) for name, bp in value.items()
        )
        layer = LAYERS.get(setting.layer)
        if layer is None:
            continue
        row = SettingRow(layer, setting.layer_id, setting.source, dict(value) if isinstance(value, dict) else {})
        rows += [row] if clear else [row, row]
    return rows
