"""Everyone enrolled in a tenant, decrypted and ready to be compared with; kept fresh by the store's gallery version.

A profile's blob is the models' unit vectors one after another, float32, little-endian. Profiles made with other models
are counted and left out: comparing them would be meaningless (they need re-enrolment, §38.12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from servers.voiceid.fusion import CandidateCosines
from servers.voiceid.prune import UNIT_SLACK, Gallery, gallery
from store import Store
from store.voiceid import GalleryEntry

Floats = npt.NDArray[np.float32]


def to_blob(embeddings: Sequence[Floats]) -> bytes:
    """Unit vectors, one a model, as they are sealed."""
    return np.concatenate(embeddings).astype("<f4").tobytes()


def from_blob(blob: bytes, dimensions: Sequence[int]) -> tuple[Floats, ...] | None:
    """The inverse of `to_blob`; None for bytes that are not unit vectors of these dimensions."""
    if len(blob) != 4 * sum(dimensions):
        return None
    vectors = np.split(np.frombuffer(blob, "<f4").astype(np.float32), np.cumsum(dimensions)[:-1])
    unit = all(abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_SLACK for vector in vectors)
    return tuple(vectors) if unit else None


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """One state of a tenant's gallery: row `i` of every matrix belongs to `first.user_ids[i]`."""

    first: Gallery
    others: tuple[Floats, ...]
    profile_versions: tuple[int, ...]
    stale: int
    index: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.first.user_ids)

    def only(self, user_ids: Collection[str]) -> Roster:
        """The same, without anyone else."""
        rows = [self.index[user_id] for user_id in sorted(user_ids) if user_id in self.index]
        return _roster(
            [self.first.user_ids[row] for row in rows],
            [self.first.embeddings[rows], *(other[rows] for other in self.others)],
            [self.profile_versions[row] for row in rows],
            stale=0,
            version=self.first.version,
        )

    def compare(self, rows: Sequence[int], voiceprint: Sequence[Floats]) -> tuple[CandidateCosines, ...]:
        """Cosines of every model for the given rows."""
        chosen = list(rows)
        columns = [self.first.embeddings[chosen] @ voiceprint[0]]
        columns += [other[chosen] @ query for other, query in zip(self.others, voiceprint[1:], strict=True)]
        return self._candidates(chosen, columns)

    def of_first(self, rows: Sequence[int], cosines: Floats) -> tuple[CandidateCosines, ...]:
        """The prune's own cosines as candidates."""
        return self._candidates(list(rows), [cosines])

    def _candidates(self, rows: list[int], columns: list[Floats]) -> tuple[CandidateCosines, ...]:
        return tuple(
            CandidateCosines(self.first.user_ids[row], self.profile_versions[row], tuple(float(c[at]) for c in columns))
            for at, row in enumerate(rows)
        )


class Rosters:
    """The rosters of all tenants of one server. Several tasks may ask at once; a tenant is loaded by one of them."""

    def __init__(self, store: Store, dimensions: Sequence[int], model_set_hash: str) -> None:
        self._store = store
        self._dimensions = tuple(dimensions)
        self._model_set_hash = model_set_hash
        self._tenants: dict[str, _Tenant] = {}

    async def of(self, tenant_id: str, now: datetime) -> Roster:
        """The tenant's roster, up to date as of this call. StoreUnavailable, WrongMasterKey."""
        return await self.at(tenant_id, await self._store.voiceid.profiles.gallery_version(tenant_id), now)

    async def at(self, tenant_id: str, version: int, now: datetime) -> Roster:
        """The tenant's roster, no older than this version of its gallery. StoreUnavailable, WrongMasterKey."""
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        if version > tenant.version:
            async with tenant.lock:
                if version > tenant.version:
                    await self._refresh(tenant_id, tenant, version)
        if tenant.next_expiry is not None and now >= tenant.next_expiry:
            tenant.roster = None
        if tenant.roster is None:
            tenant.roster = await asyncio.to_thread(self._build, tenant, now)
        return tenant.roster

    async def _refresh(self, tenant_id: str, tenant: _Tenant, version: int) -> None:
        async for entry in self._store.voiceid.profiles.gallery(tenant_id, since=tenant.version):
            if entry.state == "LOCKED":
                tenant.entries[entry.user_id] = entry
            else:
                tenant.entries.pop(entry.user_id, None)
        tenant.version = version
        tenant.roster = None

    def _build(self, tenant: _Tenant, now: datetime) -> Roster:
        user_ids, versions, rows, stale = [], [], [], 0
        expiries = []
        for user_id in sorted(tenant.entries):
            entry = tenant.entries[user_id]
            if entry.expires_at is not None:
                if entry.expires_at <= now:
                    continue
                expiries.append(entry.expires_at)
            vectors = self._vectors(entry)
            if vectors is None:
                stale += 1
                continue
            user_ids.append(user_id)
            versions.append(entry.profile_version)
            rows.append(vectors)
        tenant.next_expiry = min(expiries, default=None)
        matrices = [
            np.stack([row[model] for row in rows]) if rows else np.zeros((0, size), np.float32)
            for model, size in enumerate(self._dimensions)
        ]
        return _roster(user_ids, matrices, versions, stale=stale, version=tenant.version)

    def _vectors(self, entry: GalleryEntry) -> tuple[Floats, ...] | None:
        if entry.embedding is None or entry.model_set_hash != self._model_set_hash:
            return None
        return from_blob(entry.embedding, self._dimensions)


@dataclass(slots=True)
class _Tenant:
    version: int = 0
    entries: dict[str, GalleryEntry] = field(default_factory=dict)
    roster: Roster | None = None
    next_expiry: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def _roster(
    user_ids: Sequence[str], matrices: Sequence[Floats], versions: Sequence[int], *, stale: int, version: int
) -> Roster:
    index = {user_id: row for row, user_id in enumerate(user_ids)}
    first = gallery(user_ids, matrices[0], version)
    return Roster(first, tuple(matrices[1:]), tuple(versions), stale, index)


EMPTY = _roster([], [np.zeros((0, 1), np.float32)], [], stale=0, version=0)
