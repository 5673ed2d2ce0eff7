"""Enrolment, profiles, policy and the trail over a real channel."""

from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from selene.audit.v1 import service_pb2 as audit1
from selene_messages.selene.voiceid import v1

import clients
from clients.audio import Recording
from clients.errors import SeleneError
from clients.retry import RetryPolicy


@pytest.fixture
async def connection(double):
    async with clients.connect(double.target) as connection:
        yield connection


@pytest.fixture
def voice(connection):
    return clients.VoiceId(connection, policy=RetryPolicy(first_wait=0.001, longest_wait=0.002))


def clip(seed: int) -> Recording:
    return Recording(f"clip-{seed}", 16_000, np.full(3_210, seed, dtype=np.int16))


async def test_enrolling_streams_every_clip_and_locks_the_profile(double, voice):
    heard = []
    clips = [clip(seed) for seed in (1, 2, 3)]
    enrolled = await voice.enroll("mira", clips, consent_ref="form-1", on_clip=lambda given, _: heard.append(given))
    assert enrolled.profile is not None and enrolled.profile.user_id == "mira"
    assert heard == clips
    assert [b"".join(audio) for audio in double.clips.values()] == [given.samples.tobytes() for given in clips]
    assert [len(frame) for frame in next(iter(double.clips.values()))] == [640] * 10 + [20]


async def test_an_enrolment_with_too_little_is_left_open_and_not_completed(double, voice):
    enrolled = await voice.enroll("mira", [clip(1)], consent_ref="form-1")
    assert enrolled.profile is None
    assert enrolled.enrollment.clips_missing == 2
    assert "CompleteEnrollmentRequest" not in {type(request).__name__ for request in double.requests}


async def test_clips_beyond_enough_are_not_sent_when_asked_so(double, voice):
    await voice.enroll("mira", [clip(seed) for seed in range(9)], consent_ref="form-1", stop_when_enough=True)
    assert len(double.clips) == 3


async def test_a_refusal_while_a_clip_is_streamed_keeps_its_reason(double, voice, refusal):
    await voice.create_enrollment("mira", consent_ref="c")
    double.script.refuse_unary = [refusal(grpc.StatusCode.FAILED_PRECONDITION, "ENROLLMENT_CLOSED", state="LOCKED")]
    with pytest.raises(SeleneError) as refused:
        await voice.add_clip("e-1", Recording("long", 16_000, np.zeros(16_000 * 20, dtype=np.int16)))
    assert (refused.value.reason, refused.value.metadata) == ("ENROLLMENT_CLOSED", {"state": "LOCKED"})


async def test_enrolling_without_consent_is_refused(voice):
    with pytest.raises(SeleneError) as refused:
        await voice.enroll("mira", [clip(1)], consent_ref="")
    assert refused.value.reason == "CONSENT_REQUIRED"


async def test_every_page_of_profiles_is_read(voice):
    assert [profile.user_id async for profile in voice.list_profiles()] == ["u-0", "u-1", "u-2"]


async def test_reads_and_changes_answer_with_dataclasses(voice):
    assert (await voice.revoke_profile("mira")).state is v1.ProfileState.REVOKED
    assert (await voice.gallery()).models == ["ge2e@1", "campplus@1"]
    assert (await voice.threshold_pack()).pack.pack_ref == "P@1"
    assert await voice.migration_stage() is v1.MigrationStage.M1
    assert await voice.set_migration_stage(v1.MigrationStage.M2) is v1.MigrationStage.M2
    assert (await voice.confirm("stream-1", "mira")).decision_was_right


async def test_kpis_are_asked_for_a_cohort_and_a_time(double, voice):
    since = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rows = await voice.kpis(cohort=v1.CohortLabels(language="en"), since=since)
    assert [row.decisions for row in rows] == [7]
    assert double.requests[0].since.ToDatetime(UTC) == since
    assert double.requests[0].cohort.language == "en"
    assert not double.requests[0].HasField("until")


def event(sequence: int) -> audit1.WatchEventsResponse:
    reply = audit1.WatchEventsResponse()
    reply.event.event.sequence = sequence
    reply.event.event.transition = "voiceid.decided"
    return reply


@pytest.fixture
def trail(double, connection):
    double.events = [event(sequence) for sequence in range(1, 8)]
    double.watch_limit = 2
    return clients.Audit(connection, policy=RetryPolicy(first_wait=0.001, longest_wait=0.002))


async def test_watching_goes_on_after_each_drop_without_gap_or_repeat(double, trail):
    seen = []
    async for chained in trail.watch(1):
        seen.append(chained.event.sequence)
        if len(seen) == 7:
            break
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert [request.from_sequence for request in double.watches] == [1, 3, 5, 7]


async def test_what_comes_while_a_watch_from_now_on_is_dropped_is_not_missed(double, trail):
    def grow(request) -> None:
        if len(double.watches) == 2:
            double.events.append(event(8))

    double.on_watch = grow
    first = await anext(trail.watch())
    assert first.event.sequence == 8
    assert [request.from_sequence for request in double.watches] == [8, 8]


async def test_a_refused_watch_is_not_repeated(double, connection, refusal):
    double.script.refuse_unary = [refusal(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", any_of="auditor")]
    with pytest.raises(SeleneError) as refused:
        await anext(clients.Audit(connection).watch())
    assert refused.value.reason == "ROLE_REQUIRED"
    assert len(double.requests) == 1


async def test_latency_is_measured_from_half_close(voice):
    async with voice.identify() as stream:
        await stream.send(bytes(640))
        outcome = await stream.finish()
    assert timedelta(0) < outcome.latency < timedelta(seconds=5)
