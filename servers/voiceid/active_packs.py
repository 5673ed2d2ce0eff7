"""The threshold pack that applies to a stream, resolved by precedence (VID-4, ALL-5) from what the ledger has active.

A pack's layer is the scope of its pointer. On top of it the setting `voiceid.thresholds` may move CONF_HIGH_BP,
CONF_MID_BP and the smallest margin, field by field, by the same precedence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from selene.artifacts.v1.artifacts_pb2 import ArtifactPointer, ArtifactRow
from selene.common.v1 import scope_pb2
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.voiceid.calibration.pack import ARTIFACT_TYPE, PackError, ThresholdPack, parse
from servers.voiceid.policy import DecisionPolicy, Thresholds
from servers.voiceid.precedence import Ambiguous, Layer, SettingRow, Subject, resolve
from store import NotFound, Rooms, Store
from store.keys import signature_holds
from store.settings import Setting

SETTING_KEY = "voiceid.thresholds"
OVERRIDABLE = ("conf_high_bp", "conf_mid_bp", "min_margin_bp")

LAYERS = {
    scope_pb2.SCOPE_TYPE_GLOBAL: Layer.GLOBAL_DEFAULT,
    scope_pb2.SCOPE_TYPE_TENANT: Layer.TENANT_OVERRIDE,
    scope_pb2.SCOPE_TYPE_LOCALE: Layer.LOCALE_OVERRIDE,
    scope_pb2.SCOPE_TYPE_CHANNEL: Layer.CHANNEL_OVERRIDE,
    scope_pb2.SCOPE_TYPE_USER: Layer.USER_EXCEPTION,
}


@dataclass(frozen=True, slots=True)
class ActivePack:
    """The pack that applies, with its ledger row, the thresholds after overrides and the layer it came from."""

    pack: ThresholdPack
    row: ArtifactRow
    canonical_json: bytes
    thresholds: Thresholds
    layer: Layer


@dataclass(frozen=True, slots=True)
class PackRows:
    """What the choice of a pack depends on: all that may apply to a tenant."""

    pointers: Sequence[ArtifactPointer]
    settings: Sequence[Setting]


class Packs:
    """Reads active packs; verified payloads are kept by hash, because a hash never means something else later."""

    def __init__(self, store: Store, trusted_keys: dict[str, bytes], model_set_hash: str) -> None:
        self._store = store
        self._trusted_keys = trusted_keys
        self._model_set_hash = model_set_hash
        self._verified: dict[_Version, _Verified] = {}

    async def rows(self, rooms: Rooms, tenant_id: str) -> PackRows:
        """Awaits nothing but `rooms`. StoreUnavailable."""
        return PackRows(
            await rooms.artifacts.pointers(ARTIFACT_TYPE, tenant_id),
            await rooms.settings.candidates(SETTING_KEY, tenant_id),
        )

    async def thresholds(self, rows: PackRows, subject: Subject) -> Thresholds | v1.VoiceIdReason:
        """What a decision may rest on, or the reason why there is nothing. StoreUnavailable."""
        found = await self.choose(rows, subject)
        if not isinstance(found, ActivePack):
            return found
        if found.pack.model_set_hash != self._model_set_hash:
            return v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH
        return found.thresholds

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
        try:
            verified = await self._verify(chosen.values["pointer"])
            policy = DecisionPolicy.from_mapping({**verified.thresholds.policy.to_mapping(), **settings.values})
        except (NotFound, PackError, ValueError):
            return v1.VOICE_ID_REASON_NO_THRESHOLD_PACK
        thresholds = replace(verified.thresholds, policy=policy)
        return ActivePack(verified.pack, verified.row, verified.canonical_json, thresholds, chosen.layers["pointer"])

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
