"""Looks at each tenant's decisions on who spoke, a day at a time: for drift, and for confused pairs (§38.6, §38.7).

A look is one transaction: that it was taken on, its breaches, the pairs, what the trail and learning are told of it. So
of several processes one does it, and where it dies it was not done. What a breach leads to is for governance; the
adaptation that it allows begins here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from selene.common.v1.scope_pb2 import TurnRef
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY
from selene.learning.v1.drift_pb2 import DriftDetector
from selene.learning.v1.signal_pb2 import SEVERITY_HIGH, SIGNAL_CLASS_DRIFT_ALERT
from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_QUALITY_LOW
from selene.voiceid.v2.service_pb2 import FinalDecision

from servers.learning import adapting
from servers.learning.drift import (
    COHORT,
    REFERENCE,
    USER,
    WINDOW,
    Collided,
    Decided,
    Drifted,
    collided,
    drifted,
    recovery_of,
)
from servers.learning.golding import GOLD_WRITER
from servers.runtime.clock import Clock
from servers.runtime.loops import repeat
from servers.runtime.signals import Producer, Seen
from store import Store, Transaction
from store.learning import Breach, Pair
from store.voiceid import DecidedStream

DIMENSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"language": "language", "accent_band": "accent", "device_class": "device", "noise_class": "noise"}
)
"""How gates call the labels of a decision's cohort (§38.3)."""
LIKELY_BP: Final = 5_000
"""Who is next to the best candidate is likely too above this posterior."""
KEPT: Final = timedelta(days=90)
"""How long a breach is told of."""
PAIRS: Final = 200
AT_ONCE: Final = 100
"""Subjects whose adaptation a tick begins."""
SURE_BP: Final = 9_500
IMPACT_BP: Final = 7_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Watch:
    """Looks while the process runs. Times are the clock's; only how often it looks for work is real time."""

    def __init__(self, store: Store, clock: Clock, producer: Producer, *, every_s: float) -> None:
        self._store = store
        self._clock = clock
        self._producer = producer
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look again and again from now on."""
        self._task = asyncio.ensure_future(repeat(self.tick, self._every_s, "decisions were not looked at for drift"))

    async def stop(self) -> None:
        """Never again; what is being done is undone or done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def tick(self) -> int:
        """Look at every window that is over and was not looked at; how many tenants that were. StoreUnavailable."""
        until = window_before(self._clock.now())
        done = 0
        for tenant_id in await self._store.learning.drift.due(until):
            done += await self._look(tenant_id, until)
        for tenant_id, subject in await self._store.learning.drift.allowed(AT_ONCE):
            async with self._store.transaction() as tx:
                done += await adapting.begin(tx, tenant_id, subject, self._signal_id)
        return done

    def _signal_id(self, breach: Breach) -> str:
        """What learning was told of a breach by."""
        event = _event(breach.subject, breach.detector, breach.window_ends_at)
        return self._producer.key(SIGNAL_CLASS_DRIFT_ALERT, event)

    async def _look(self, tenant_id: str, until: datetime) -> bool:
        since = until - WINDOW - REFERENCE
        streams = self._store.voiceid.streams.decided(tenant_id, since=since, until=until)
        decisions = [decided(stream) async for stream in streams]
        breaches, pairs = await asyncio.to_thread(_figures, decisions, until)
        async with self._store.transaction() as tx:
            if not await tx.learning.drift.look(tenant_id, until):
                return False
            await tx.learning.drift.forget(tenant_id, until - KEPT)
            await tx.learning.confusion.replace(tenant_id, [_pair(one) for one in pairs])
            for one in breaches:
                await self._breached(tx, tenant_id, one, until)
            tx.audit(
                tenant_id=tenant_id,
                owner=GOLD_WRITER,
                actor="system",
                transition="drift.looked",
                reason_code="DRIFT_FOUND" if breaches else "DRIFT_NOT_FOUND",
                facts={
                    "window_ends_at": until.isoformat(),
                    "decisions": str(sum(one.at >= until - WINDOW for one in decisions)),
                    "breaches": str(len(breaches)),
                    "pairs": str(len(pairs)),
                },
            )
        return True

    async def _breached(self, tx: Transaction, tenant_id: str, one: Drifted, until: datetime) -> None:
        user_id = one.subject.removeprefix(USER) if one.subject.startswith(USER) else ""
        await tx.learning.drift.note(
            Breach(
                tenant_id=tenant_id,
                window_ends_at=until,
                subject=one.subject,
                detector=one.detector,
                user_id=user_id,
                recent=one.recent,
                reference=one.reference,
                samples=one.samples,
                recovery=recovery_of(one.subject, one.detector),
            )
        )
        # Whose voice it is stays out of the trail: a commitment stands for them.
        who = {"subject": await tx.vault.commitment(tenant_id, user_id, b"user")} if user_id else {}
        tx.audit(
            tenant_id=tenant_id,
            owner=GOLD_WRITER,
            actor="system",
            transition="drift.breached",
            reason_code=reason_of(one.detector),
            hashes=who,
            facts={
                "window_ends_at": until.isoformat(),
                "recent": f"{one.recent:.6g}",
                "reference": f"{one.reference:.6g}",
                "samples": str(one.samples),
                **({} if user_id else {"cohort": one.subject.removeprefix(COHORT)}),
            },
        )
        if self._producer.wants(tenant_id) and (not user_id or await _consents(tx, tenant_id, user_id)):
            await self._producer.leave(tx, [_seen(tenant_id, one, until, user_id, tx.clock.now())])


def window_before(now: datetime) -> datetime:
    """When the last whole window ended: midnight, UTC."""
    return now - (now - _EPOCH) % WINDOW


def decided(stream: DecidedStream) -> Decided:
    """A stored decision, as far as drift is about it."""
    v2 = FinalDecision.FromString(stream.decision).v2
    likely = [one.user_id for one in v2.candidate_set[:2] if one.score_bp > LIKELY_BP]
    return Decided(
        at=stream.decided_at,
        cohort={name: stream.cohort.get(label, "") for label, name in DIMENSIONS.items()},
        named=stream.named_user_id,
        speaker=stream.speaker_user_id,
        claimed=stream.claimed_user_id,
        margin_bp=v2.margin_to_next_bp if v2.score_bp else None,
        poor=v2.reason_code == VOICE_ID_REASON_QUALITY_LOW,
        close=(likely[0], likely[1]) if len(likely) == 2 else None,
    )


def reason_of(detector: DriftDetector) -> str:
    """How the trail and learning call a breach."""
    return f"DRIFT_{DriftDetector.Name(detector).removeprefix('DRIFT_DETECTOR_')}"


def _figures(decisions: Sequence[Decided], until: datetime) -> tuple[list[Drifted], list[Collided]]:
    counted = [one for one in decisions if one.at >= until - REFERENCE]
    return drifted(decisions, until), collided(counted)[:PAIRS]


def _pair(one: Collided) -> Pair:
    return Pair(*one.pair, one.collisions, one.close_calls, one.last_at)


async def _consents(tx: Transaction, tenant_id: str, user_id: str) -> bool:
    """Whether the user's enrolment, with the consent that it was begun with, holds now."""
    profile = await tx.voiceid.profiles.current(tenant_id, user_id)
    if profile is None or profile.state != "LOCKED" or not profile.consent_ref:
        return False
    return profile.expires_at is None or tx.clock.now() < profile.expires_at


def _event(subject: str, detector: int, until: datetime) -> str:
    """The name of an event goes where the user's own is sealed: a digest tells events apart and nobody's name."""
    return hashlib.sha256(f"{subject}\0{detector}\0{until.isoformat()}".encode()).hexdigest()[:32]


def _seen(tenant_id: str, one: Drifted, until: datetime, user_id: str, now: datetime) -> Seen:
    event = _event(one.subject, one.detector, until)
    return Seen(
        tenant_id=tenant_id,
        event=event,
        signal_class=SIGNAL_CLASS_DRIFT_ALERT,
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        capability="drift",
        reason_code=reason_of(one.detector),
        outcome="DRIFTED",
        input_ref=f"drift-window:{until.date().isoformat()}",
        output_ref=f"drift-breach:{event}",
        severity=SEVERITY_HIGH,
        confidence_bp=SURE_BP,
        impact_bp=IMPACT_BP,
        at=now,
        turn=TurnRef(),
        user_id=user_id,
    )
