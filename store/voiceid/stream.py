"""Decided streams: the final decision on an utterance, kept once, and who the speaker really was (VID-10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from store.access import Reads, Writes, for_dialects
from store.errors import Conflict, NotFound
from store.schema import streams


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedStream:
    """One decided stream. `decision` is the caller's bytes, `cooldown_key` that of the prompt it could have asked with.

    `named_user_id` is empty where nobody was named. `speaker_user_id` is who it really was, empty for nobody enrolled,
    None until somebody said so.
    """

    tenant_id: str
    stream_id: str
    session_id: str
    device_id: str
    kind: str
    claimed_user_id: str
    named_user_id: str
    cohort: Mapping[str, str]
    decision: bytes
    cooldown_key: bytes
    latency_us: int
    decided_at: datetime
    speaker_user_id: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """The stream's final decision: `first` says whether this call made it or found it."""

    decision: bytes
    first: bool


_DECIDE = for_dialects(
    lambda insert: (
        insert(streams)
        .values({name: bindparam(name) for name in DecidedStream.__slots__})
        .on_conflict_do_nothing()
        .returning(streams.c.stream_id)
    )
)


class StreamsReader:
    """Reading decided streams."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, tenant_id: str, stream_id: str) -> DecidedStream:
        """One stream. NotFound."""
        rows = await self._reads.rows(select(streams).where(*_is(tenant_id, stream_id)))
        if not rows:
            raise NotFound(f"stream {stream_id!r}")
        return _stream(rows[0])

    async def before(self, stream: DecidedStream) -> DecidedStream | None:
        """The stream of the same session that was decided last before this one; None for the first."""
        earlier = select(streams).where(
            streams.c.tenant_id == stream.tenant_id,
            streams.c.session_id == stream.session_id,
            streams.c.decided_at < stream.decided_at,
        )
        rows = await self._reads.rows(earlier.order_by(streams.c.decided_at.desc(), streams.c.stream_id).limit(1))
        return _stream(rows[0]) if rows else None

    async def decided(self, tenant_id: str, *, since: datetime, until: datetime) -> AsyncIterator[DecidedStream]:
        """Streams decided in [since, until), oldest first."""
        chosen = select(streams).where(
            streams.c.tenant_id == tenant_id, streams.c.decided_at >= since, streams.c.decided_at < until
        )
        async for row in self._reads.stream(chosen.order_by(streams.c.decided_at, streams.c.stream_id)):
            yield _stream(row)


class Streams(StreamsReader):
    """Changing streams inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def decide(self, stream: DecidedStream) -> Kept:
        """Keep the final decision, or find the one kept first: a repeated final changes nothing."""
        columns = {name: getattr(stream, name) for name in stream.__slots__}
        made = {**columns, "cohort": dict(stream.cohort)}
        written = await self._writes.write(_DECIDE[self._writes.dialect], made)
        if written.rows:
            return Kept(stream.decision, first=True)
        return Kept((await self.get(stream.tenant_id, stream.stream_id)).decision, first=False)

    async def name_speaker(self, tenant_id: str, stream_id: str, speaker_user_id: str) -> bool:
        """Say once who it really was; True if that was news. NotFound; Conflict if said otherwise before."""
        unsaid = update(streams).where(*_is(tenant_id, stream_id), streams.c.speaker_user_id.is_(None))
        said = unsaid.values(speaker_user_id=speaker_user_id).returning(streams.c.stream_id)
        if (await self._writes.write(said)).rows:
            return True
        if (await self.get(tenant_id, stream_id)).speaker_user_id != speaker_user_id:
            raise Conflict(f"the speaker of stream {stream_id!r} was named before")
        return False


def _is(tenant_id: str, stream_id: str) -> tuple[Any, ...]:
    return (streams.c.tenant_id == tenant_id, streams.c.stream_id == stream_id)


def _stream(row: Row[Any]) -> DecidedStream:
    return DecidedStream(
        tenant_id=row.tenant_id,
        stream_id=row.stream_id,
        session_id=row.session_id,
        device_id=row.device_id,
        kind=row.kind,
        claimed_user_id=row.claimed_user_id,
        named_user_id=row.named_user_id,
        cohort=row.cohort,
        decision=bytes(row.decision),
        cooldown_key=bytes(row.cooldown_key),
        latency_us=row.latency_us,
        decided_at=row.decided_at,
        speaker_user_id=row.speaker_user_id,
    )
