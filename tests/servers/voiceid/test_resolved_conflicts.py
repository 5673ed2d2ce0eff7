"""A conflict that ended in a name is resolved (§38.5): the session's next one has its full retries, but for replays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.runtime.auth import Principal
from servers.voiceid.batcher import Batcher
from servers.voiceid.decision import Situation
from servers.voiceid.engine import Ask, Engine, Hearing
from servers.voiceid.fusion import CandidateCosines
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.telemetry import DecisionMetrics
from store import Store
from tests.servers.voiceid.test_reenrolling import statements
from tests.support.decisions import heard
from tests.support.servers import TENANT, House, ask, serving
from tests.support.speech import Person, mixed
from tests.support.time import FakeClock

SAME_AUDIO = {"owners.voiceid.replay_min_s": 600.0}
"""The same recording again is no replay here."""
NAMED, LIKELY, NOBODY = heard(9_990), heard(9_000), heard(10)
OVERLAP = replace(NAMED, evidence=replace(NAMED.evidence, overlap_ratio=0.5))
SPOOF = replace(NAMED, evidence=replace(NAMED.evidence, spoof=v1.SPOOF_LIVENESS_STATUS_HIGH))
OTHER_OWNER = replace(NAMED, device_owner_user_id="mia's father")
CLEARED = "DELETE FROM voiceid_conflict_retries"


def beside(situation: Situation, user_id: str) -> Situation:
    """Somebody else sounds the same."""
    stages = [
        (*stage, CandidateCosines(user_id, 1, stage[0].cosines)) for stage in (situation.stage1, situation.stage2 or ())
    ]
    return replace(situation, enrolled=2, stage1=stages[0], stage2=stages[1])


COMPETITOR = beside(heard(4_000), "mia's sister")


class Session:
    """Decisions on what a test says that the models heard, of one session after another stream."""

    def __init__(
        self,
        store: Store,
        clock: FakeClock,
        name: str = "s-1",
        *,
        tenant_id: str = TENANT,
        branch: str = "",
        server: str = "",
    ) -> None:
        metrics = DecisionMetrics(CollectorRegistry())
        self._engine = Engine(store, clock, VoiceIdSettings(), None, Batcher(workers=0), metrics)
        self._config = v1.StreamConfig(
            tenant_id=tenant_id, device_id="kitchen", session_id=name, voice_branch_id=branch
        )
        self._server = server
        self._heard = 0

    async def on(self, situation: Situation, stream_id: str = "") -> v2.VoiceIdDecision:
        return (await self.both(situation, stream_id)).v2

    async def both(self, situation: Situation, stream_id: str = "") -> v2_service.FinalDecision:
        """In both generations."""
        self._heard += 1
        stream_id = stream_id or f"{self._config.session_id}-{self._server}{self._heard}"
        caller = Principal(self._config.tenant_id, "kitchen", "", frozenset())
        asked = Ask(stream_id, self._config, "", caller)
        verdict = await self._engine._keep_or_say_why(Hearing(asked, None), situation)
        assert verdict.stored
        return verdict.final


CONFLICTS = pytest.mark.parametrize(
    ("conflict", "reason", "retries"),
    [
        (OVERLAP, v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP, 1),
        (OTHER_OWNER, v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH, 1),
        (COMPETITOR, v1.VOICE_ID_REASON_PROFILE_MISMATCH, 2),
    ],
    ids=["overlap", "owner", "competitor"],
)


async def exhausted(session: Session, conflict: Situation, reason: int, retries: int) -> None:
    """The conflict is retried as often as it may be, and is then unresolved."""
    for left in range(retries, 0, -1):
        met = await session.on(conflict)
        assert (met.reason_code, met.retries_left) == (reason, left)
    assert (await session.on(conflict)).reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED


@CONFLICTS
@pytest.mark.parametrize("named", [NAMED, LIKELY], ids=["confirmed", "probable"])
async def test_a_conflict_after_a_name_has_its_full_retries_again(
    store: Store, clock: FakeClock, conflict: Situation, reason: int, retries: int, named: Situation
) -> None:
    session = Session(store, clock)
    for _ in "123":
        await exhausted(session, conflict, reason, retries)
        assert (await session.on(named)).candidate_set


@CONFLICTS
async def test_what_names_nobody_resolves_nothing(
    sqlite_store: Store, clock: FakeClock, conflict: Situation, reason: int, retries: int
) -> None:
    session = Session(sqlite_store, clock)
    await exhausted(session, conflict, reason, retries)
    assert not (await session.on(NOBODY)).candidate_set
    assert (await session.on(conflict)).reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED


async def test_a_real_voice_after_a_replay_does_not_resolve_it(store: Store, clock: FakeClock) -> None:
    session = Session(store, clock)
    assert (await session.on(SPOOF)).reason_code == v1.VOICE_ID_REASON_SPOOF_RISK
    await session.on(OVERLAP)
    assert (await session.on(NAMED)).candidate_set
    assert (await session.on(OVERLAP)).reason_code == v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP
    again = await session.on(SPOOF)
    assert again.reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED
    assert again.next_action == v1.NEXT_ACTION_LOCK_AND_REVIEW


async def test_a_name_resolves_conflicts_of_its_own_session_only(store: Store, clock: FakeClock) -> None:
    one, others = Session(store, clock), [Session(store, clock, "s-2"), Session(store, clock, tenant_id="another")]
    for session in (one, *others):
        await session.on(OVERLAP)
    await one.on(NAMED)
    for other in others:
        assert (await other.on(OVERLAP)).reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED
    assert (await one.on(OVERLAP)).reason_code == v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP


async def test_a_name_for_a_stream_that_was_decided_already_resolves_nothing(store: Store, clock: FakeClock) -> None:
    session = Session(store, clock)
    await session.on(OVERLAP, "heard by two servers")
    assert not (await session.on(NAMED, "heard by two servers")).candidate_set
    assert (await session.on(OVERLAP)).reason_code == v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED


async def test_a_name_asks_for_nothing_more_where_no_conflict_is_to_be_resolved(
    sqlite_store: Store, clock: FakeClock
) -> None:
    session = Session(sqlite_store, clock)
    for prompted_or_answering in (NAMED, NAMED, NOBODY, NAMED):
        await session.on(prompted_or_answering)

    async def costs(situation: Situation) -> list[str]:
        with statements() as seen:
            await session.on(situation)
        return sorted(seen)

    usual = await costs(NAMED)
    assert CLEARED not in usual
    for conflict, more in ((SPOOF, []), (OVERLAP, [CLEARED])):
        await session.on(conflict)
        assert await costs(NAMED) == sorted([*usual, *more])
        assert await costs(NAMED) == usual, "once"


async def reason_of(house: House, person: Person, other: Person | None = None) -> str:
    recording = mixed(person.ask, other.ask) if other else person.ask
    decision = (await ask(house, recording, session_id="an evening")).v2
    assert other is None or (decision.conflict_state == v1.CONFLICT_STATE_MULTI_SPEAKER_OVERLAP)
    return v1.VoiceIdReason.Name(decision.reason_code).removeprefix("VOICE_ID_REASON_")


async def test_two_who_speak_at_once_late_in_the_evening_are_asked_to_speak_in_turn(
    home: Path, mira: Person, otto: Person
) -> None:
    async with serving(home, SAME_AUDIO) as house:
        assert await reason_of(house, mira, otto) == "MULTI_SPEAKER_OVERLAP"
        assert await reason_of(house, mira) == "PACK_PROVISIONAL"
        house.clock.skip(38 * 60)
        assert await reason_of(house, mira, otto) == "MULTI_SPEAKER_OVERLAP"
        assert await reason_of(house, mira, otto) == "CONFLICT_UNRESOLVED"
