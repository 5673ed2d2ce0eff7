"""Observations: what a decision under a rollout, and what was said of it later, add to the KPI windows (§20, §38.3).

They are written with the decision and with the confirmation, and counted once: a window takes those that no window has.
They are kept for a while after, so that a session is known again that goes on in a later window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from selene.governance.v1.rollout_pb2 import Arm
from sqlalchemy import Row, Text, bindparam, exists, literal, null, select, tuple_, update

from store.access import Reads, Writes, for_dialects
from store.schema import UNCOUNTED, Instant, observations

DECIDED: Final = 1
CONFIRMED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One decision on one side of a rollout; `is_confirmed` where it is what somebody said of it later.

    `accepted`: whoever was named was above the upper limit, not merely probable. `prompted`: the side asks who speaks;
    `asked`: somebody really was asked, which a mirrored candidate alone never does. `latency_us` is None where nobody
    waited for the decision. `prompt_key` is what may be asked once a session.
    """

    tenant_id: str
    rollout_id: str
    stream_id: str
    arm: Arm
    at: datetime
    session_id: str
    cohort: Mapping[str, str]
    named_user_id: str
    accepted: bool
    conflict_state: int
    prompt_key: bytes
    prompted: bool
    asked: bool
    latency_us: int | None
    speaker_user_id: str | None = None
    is_confirmed: bool = False


_ADD = for_dialects(
    lambda insert: insert(observations).values({name.name: bindparam(name.name) for name in observations.c})
)
_TOLD: Final[Mapping[str, Any]] = {
    "kind": literal(CONFIRMED),
    "at": bindparam("told_at", type_=Instant),
    "speaker_user_id": bindparam("speaker", type_=Text),
    "window_ends_at": null(),
}
_DECISIONS: Final[list[Any]] = [_TOLD.get(column.name, column) for column in observations.c]
_CONFIRM = for_dialects(
    lambda insert: (
        insert(observations)
        .from_select(
            [column.name for column in observations.c],
            select(*_DECISIONS).where(
                observations.c.tenant_id == bindparam("tenant"),
                observations.c.stream_id == bindparam("stream"),
                observations.c.kind == DECIDED,
            ),
        )
        .on_conflict_do_nothing()
    )
)
_PROMPTED = (
    select(observations.c.stream_id)
    .where(
        observations.c.tenant_id == bindparam("tenant"),
        observations.c.rollout_id == bindparam("rollout"),
        observations.c.session_id == bindparam("session"),
        observations.c.arm == bindparam("side"),
        observations.c.kind == DECIDED,
        observations.c.prompted == 1,
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Observations by time, for one window. Of these sides, and these prompts of them, earlier windows know already:
    `sessions` by arm and session, `prompts` by arm, session and prompt key.
    """

    observations: Sequence[Observation]
    sessions: frozenset[tuple[Arm, str]]
    prompts: frozenset[tuple[Arm, str, bytes]]


class ObservationsReader:
    """Reading observations. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def prompted(self, tenant_id: str, rollout_id: str, arm: Arm, session_id: str) -> bool:
        """Whether this side of a rollout has asked in this session."""
        asked = {"tenant": tenant_id, "rollout": rollout_id, "session": session_id, "side": arm}
        return bool(await self._reads.rows(_PROMPTED, asked))

    async def uncounted(self, tenant_id: str, rollout_id: str, until: datetime, at_most: int) -> datetime | None:
        """When the one after the first `at_most` was made that no window has; None where there are no more."""
        found = select(observations.c.at).where(*_uncounted(tenant_id, rollout_id, until))
        rows = await self._reads.rows(found.order_by(observations.c.at).offset(at_most).limit(1))
        return rows[0].at if rows else None


class Observations(ObservationsReader):
    """Changing observations inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def add(self, several: Sequence[Observation]) -> None:
        """Keep what a decision adds, with the decision."""
        rows = [
            {
                "tenant_id": one.tenant_id,
                "rollout_id": one.rollout_id,
                "stream_id": one.stream_id,
                "arm": one.arm,
                "kind": CONFIRMED if one.is_confirmed else DECIDED,
                "at": one.at,
                "session_id": one.session_id,
                "cohort": dict(one.cohort),
                "named_user_id": one.named_user_id,
                "accepted": int(one.accepted),
                "speaker_user_id": one.speaker_user_id,
                "conflict_state": one.conflict_state,
                "prompt_key": one.prompt_key,
                "prompted": int(one.prompted),
                "asked": int(one.asked),
                "latency_us": one.latency_us,
                "window_ends_at": None,
            }
            for one in several
        ]
        if rows:
            await self._writes.write(_ADD[self._writes.dialect], rows)

    async def confirm(self, tenant_id: str, stream_id: str, speaker_user_id: str) -> None:
        """Keep, once, who really spoke: for each side that decided on the stream, while that is kept."""
        told = {
            "tenant": tenant_id,
            "stream": stream_id,
            "speaker": speaker_user_id,
            "told_at": self._writes.clock.now(),
        }
        await self._writes.write(_CONFIRM[self._writes.dialect], told)

    async def take(self, tenant_id: str, rollout_id: str, until: datetime, at_most: int) -> Taken:
        """Those before `until` that no window has, the earliest first, for the window that ends then."""
        table, key = observations.c, list(observations.primary_key)
        chosen = select(*key).where(*_uncounted(tenant_id, rollout_id, until)).order_by(table.at, *key).limit(at_most)
        taken = update(observations).where(tuple_(*key).in_(chosen)).values(window_ends_at=until)
        rows = (await self._writes.write(taken.returning(observations))).rows
        found = sorted(map(_observation, rows), key=lambda one: (one.at, one.stream_id, one.arm, one.is_confirmed))
        if not found:
            return Taken((), frozenset(), frozenset())
        sessions = await self._known(tenant_id, rollout_id, until, "arm", "session_id")
        prompts = await self._known(tenant_id, rollout_id, until, "arm", "session_id", "prompt_key", prompted=True)
        return Taken(
            found,
            frozenset((row.arm, row.session_id) for row in sessions),
            frozenset((row.arm, row.session_id, bytes(row.prompt_key)) for row in prompts),
        )

    async def _known(
        self, tenant_id: str, rollout_id: str, until: datetime, *names: str, prompted: bool = False
    ) -> Sequence[Row[Any]]:
        """What of the window that ends then is in an earlier one too."""
        now, before = observations.alias(), observations.alias()
        earlier = exists().where(
            before.c.tenant_id == tenant_id,
            before.c.rollout_id == rollout_id,
            before.c.kind == DECIDED,
            before.c.window_ends_at < until,
            *(before.c[name] == now.c[name] for name in names),
            *([before.c.prompted == 1] if prompted else []),
        )
        found = select(*(now.c[name] for name in names)).where(
            now.c.tenant_id == tenant_id,
            now.c.rollout_id == rollout_id,
            now.c.kind == DECIDED,
            now.c.window_ends_at == until,
            earlier,
        )
        return await self._writes.rows(found.distinct())


def _uncounted(tenant_id: str, rollout_id: str, until: datetime) -> tuple[Any, ...]:
    table = observations.c
    return (table.tenant_id == tenant_id, table.rollout_id == rollout_id, UNCOUNTED, table.at < until)


def _observation(row: Row[Any]) -> Observation:
    return Observation(
        tenant_id=row.tenant_id,
        rollout_id=row.rollout_id,
        stream_id=row.stream_id,
        arm=row.arm,
        at=row.at,
        session_id=row.session_id,
        cohort=row.cohort,
        named_user_id=row.named_user_id,
        accepted=bool(row.accepted),
        conflict_state=row.conflict_state,
        prompt_key=bytes(row.prompt_key),
        prompted=bool(row.prompted),
        asked=bool(row.asked),
        latency_us=row.latency_us,
        speaker_user_id=row.speaker_user_id,
        is_confirmed=row.kind == CONFIRMED,
    )
