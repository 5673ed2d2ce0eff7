"""A user whose voice drifted is told to enrol again, once, by whichever phone hears them next (§38.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2
from selene_messages.selene.voiceid import v1 as messages
from selene_messages.selene.voiceid import v2 as messages2
from sqlalchemy import Engine as AnyDatabase
from sqlalchemy import event

from servers.governance.controller import Controller
from servers.governance.drift import REENROLMENT_EVERY
from servers.learning.drifting import Watch, window_before
from servers.runtime.auth import Principal
from servers.runtime.signals import Producer
from servers.voiceid import reenrolling
from servers.voiceid.batcher import Batcher
from servers.voiceid.engine import Ask, Engine, Hearing, Verdict
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.telemetry import DecisionMetrics
from store import Store
from tests.support.decisions import SPEAKER, heard
from tests.support.servers import TENANT, House, ask, enrol, serving, stream_config
from tests.support.speech import Person
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock
from tests.support.voices import Turn
from tests.support.voices import heard as decided_before

SAME_AUDIO = {"owners.voiceid.replay_min_s": 600.0}
"""The same recording again is no replay here."""
DECAY = v2.RE_ENROLLMENT_CAUSE_QUALITY_DECAY
SURE, LIKELY, NOBODY = 9_990, 9_000, 10


async def drifted(store: Store, user_id: str = SPEAKER, tenant_id: str = TENANT) -> None:
    """Governance asks the user to enrol again, now."""
    async with store.transaction() as tx:
        await tx.voiceid.reenrollments.ask(tenant_id, user_id, DECAY, tx.clock.now(), REENROLMENT_EVERY)
        audit(tx, tenant_id)


class Deciding:
    """One server's engine, which decides on what a test says that its models heard."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        metrics = DecisionMetrics(CollectorRegistry())
        self.engine = Engine(store, clock, VoiceIdSettings(), None, Batcher(workers=0), metrics)
        self._heard = 0

    async def on(
        self, score_bp: int = SURE, *, tenant_id: str = TENANT, stream_id: str = "", of_v2: bool = True
    ) -> Verdict:
        self._heard += 1
        config = v1.StreamConfig(tenant_id=tenant_id, device_id="kitchen", session_id=f"session-{self._heard}")
        caller = Principal(tenant_id, "kitchen", "", frozenset())
        asked = Ask(stream_id or f"{id(self)}-{self._heard}", config, "", caller, of_v2)
        return await self.engine._keep_or_say_why(Hearing(asked, None), heard(score_bp))


async def trail(store: Store, transition: str = "voiceid.reenrollment_prompted") -> list[AuditEvent]:
    return [one.event async for one in store.audit.stream(TENANT) if one.event.transition == transition]


@contextmanager
def statements() -> Iterator[list[str]]:
    """What databases are asked meanwhile, each by its first three words."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(" ".join(statement.split()[:3]))

    event.listen(AnyDatabase, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(AnyDatabase, "before_cursor_execute", note)


@pytest.mark.parametrize("score_bp", [SURE, LIKELY])
async def test_the_first_decision_that_names_the_user_tells_them(store: Store, clock: FakeClock, score_bp: int) -> None:
    deciding = Deciding(store, clock)
    await drifted(store)
    asked_at = clock.now()
    clock.advance(timedelta(hours=1))
    final = (await deciding.on(score_bp)).final
    assert final.v2.candidate_set[0].user_id == SPEAKER
    assert (final.re_enrollment.user_id, final.re_enrollment.cause) == (SPEAKER, DECAY)
    assert final.re_enrollment.asked_at.ToDatetime(asked_at.tzinfo) == asked_at
    assert not (await deciding.on(score_bp)).final.HasField("re_enrollment")
    [row] = await trail(store)
    assert (row.owner, row.reason_code, row.device_id) == ("PH1.VOICE.ID", "DRIFT_QUALITY_DECAY", "kitchen")
    assert SPEAKER not in str(row)


async def test_who_is_not_named_is_told_nothing_and_waits(store: Store, clock: FakeClock) -> None:
    deciding = Deciding(store, clock)
    await drifted(store)
    for silent in (
        await deciding.on(NOBODY),
        await deciding.on(of_v2=False),
        await deciding.on(tenant_id="another"),
    ):
        assert silent.stored and not silent.final.HasField("re_enrollment")
    assert await trail(store) == []
    assert (await deciding.on()).final.HasField("re_enrollment")


async def test_who_has_enrolled_again_is_told_nothing(store: Store, clock: FakeClock) -> None:
    await drifted(store)
    clock.advance(timedelta(microseconds=1))
    async with store.transaction() as tx:
        await tx.voiceid.profiles.lock(
            TENANT, SPEAKER, embedding=b"e", model_set_hash="h", clip_count=3, voiced_ms=9_000, consent_ref="c-1"
        )
        audit(tx, TENANT)
    assert not (await Deciding(store, clock).on()).final.HasField("re_enrollment")


async def test_of_two_servers_that_name_the_user_at_once_one_tells(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    servers = [Deciding(store, clock) for store in stores]
    await drifted(stores[0])
    verdicts = await asyncio.gather(*(servers[number % 2].on() for number in range(10)))
    assert all(verdict.stored for verdict in verdicts)
    assert sum(verdict.final.HasField("re_enrollment") for verdict in verdicts) == 1
    assert len(await trail(stores[0])) == 1
    for store in stores:
        await store.close()


async def test_a_stream_that_another_server_decided_tells_what_that_one_told(store: Store, clock: FakeClock) -> None:
    one, other = Deciding(store, clock), Deciding(store, clock)
    before = (await one.on(stream_id="before")).final
    await drifted(store)
    assert (await other.on(stream_id="before")).final == before
    assert len(await trail(store)) == 0, "what the second decision told was undone with it"
    first = (await one.on(stream_id="after")).final
    assert first.HasField("re_enrollment")
    assert (await other.on(stream_id="after")).final == first
    kept = await store.voiceid.streams.get(TENANT, "after")
    assert kept.decision == first.SerializeToString(deterministic=True)
    assert len(await trail(store)) == 1


async def counted(deciding: Deciding, score_bp: int, *, of_v2: bool) -> Sequence[str]:
    with statements() as seen:
        await deciding.on(score_bp, of_v2=of_v2)
    return seen


@pytest.mark.parametrize(("score_bp", "more"), [(SURE, ["UPDATE voiceid_reenrollments SET"]), (NOBODY, [])])
async def test_a_decision_costs_one_statement_more_where_it_names_somebody(
    sqlite_store: Store, clock: FakeClock, score_bp: int, more: list[str]
) -> None:
    deciding = Deciding(sqlite_store, clock)
    await deciding.on(score_bp)
    without = await counted(deciding, score_bp, of_v2=False)
    assert without
    assert sorted(await counted(deciding, score_bp, of_v2=True)) == sorted([*without, *more])


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(DECAY, "DRIFT_QUALITY_DECAY"), (v2.RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION, "DRIFT_MARGIN_COMPRESSION")],
)
def test_the_trail_says_why_as_it_said_of_the_breach(cause: int, reason: str) -> None:
    assert reenrolling.reason_of(cause) == reason


async def test_a_cause_of_a_newer_governance_keeps_nobody_from_being_named(store: Store, clock: FakeClock) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.reenrollments.ask(TENANT, SPEAKER, 99, clock.now(), REENROLMENT_EVERY)
        audit(tx, TENANT)
    verdict = await Deciding(store, clock).on()
    assert verdict.stored and verdict.final.re_enrollment.cause == 99
    assert [row.reason_code for row in await trail(store)] == ["DRIFT_OTHER"]


async def poor_since_yesterday(house: House, user_id: str) -> None:
    """A day of audio that is poorer than before, which learning finds and governance decides of."""
    ended = window_before(house.clock.now())
    await decided_before(house.store, [Turn(named=user_id) for _ in range(40)], ended - timedelta(hours=36))
    await decided_before(house.store, [Turn(named=user_id, poor=True) for _ in range(10)], ended - timedelta(hours=12))
    await Watch(house.store, house.clock, Producer("PH1.LEARN", frozenset()), every_s=3600).tick()
    await Controller(house.store, house.clock, every_s=3600).tick()


async def test_from_a_breach_to_a_phone(home: Path, mira: Person, otto: Person) -> None:
    async with serving(home, SAME_AUDIO) as house:
        assert not (await ask(house, mira.ask)).HasField("re_enrollment")
        await poor_since_yesterday(house, "mira")
        asked = await house.store.voiceid.reenrollments.get(TENANT, "mira")
        assert asked is not None
        assert not (await ask(house, otto.ask)).HasField("re_enrollment")

        older = house.line(generation="v1")
        await older.config(stream_config(session_id="v1"))
        await older.frames(mira.ask.frames())
        assert (await older.finish()).candidate_set[0].user_id == "mira"

        line, config = house.line(), stream_config(session_id="v2")
        await line.config(config)
        config.resume_stream_id = (await line.started()).stream_id
        await line.frames(mira.ask.frames())
        final = await line.finish()
        assert (final.re_enrollment.user_id, final.re_enrollment.cause) == ("mira", DECAY)
        assert final.re_enrollment.asked_at.ToDatetime(asked.asked_at.tzinfo) == asked.asked_at
        again = house.line()
        await again.config(config)
        await again.started()
        assert await again.finish() == final, "a reply that may have been lost is the same again"
        kept = await house.store.voiceid.streams.get(TENANT, config.resume_stream_id)
        assert kept.decision == final.SerializeToString(deterministic=True)
        assert not (await ask(house, mira.ask, session_id="later")).HasField("re_enrollment")

        [decided] = [row for row in await house.trail() if row.transition == "drift.recovery_decided" and row.hashes]
        [told] = [row for row in await house.trail() if row.transition == "voiceid.reenrollment_prompted"]
        assert (told.reason_code, told.session_id) == ("DRIFT_QUALITY_DECAY", "v2")
        assert list(told.hashes) == list(decided.hashes), "of the same user"
        assert "mira" not in str(told)


async def test_a_claim_that_holds_tells_it_too_and_so_does_v2_alone(home: Path, mira: Person) -> None:
    async with serving(home, SAME_AUDIO) as house:
        client = house.client()
        await client.set_migration_stage(messages.MigrationStage.M3)
        await drifted(house.store, "mira")
        async with client.verify("mira") as stream:
            for frame in mira.ask.frames():
                await stream.send(frame)
            outcome = await stream.finish()
        assert outcome.v1 is None and outcome.re_enrollment is not None
        assert outcome.re_enrollment.cause is messages2.ReEnrollmentCause.QUALITY_DECAY
        house.clock.skip(REENROLMENT_EVERY.total_seconds())
        await drifted(house.store, "mira")
        await enrol(client, mira)
        assert not (await ask(house, mira.ask, claim="mira")).HasField("re_enrollment")


async def test_what_a_reply_of_v1_has_no_room_for_waits_for_v2_whichever_began_the_stream(
    home: Path, mira: Person
) -> None:
    async with serving(home, SAME_AUDIO) as house:
        await drifted(house.store, "mira")
        for began, resumed in (("v2", "v1"), ("v1", "v2")):
            line, config = house.line(generation=began), stream_config(session_id=began)
            await line.config(config)
            config.resume_stream_id = (await line.started()).stream_id
            await line.frames(mira.ask.cut(0.0, 1.0).frames())
            line.cancel()
            await house.idle()
            other = house.line(generation=resumed)
            await other.config(config)
            other.sent = (await other.started()).next_sequence
            await other.frames(list(mira.ask.frames())[other.sent :])
            final = await other.finish()
            assert resumed == "v1" or final.re_enrollment.user_id == "mira"
