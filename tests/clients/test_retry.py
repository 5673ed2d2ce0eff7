"""Calls are repeated only where a replay is safe, as the server asks, and never past the deadline."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.audit.v1 import service_pb2 as audit1
from selene.delivery.v1 import service_pb2 as delivery1
from selene.routing.v1 import service_pb2 as routing1
from selene.voiceid.v1 import service_pb2 as v1

import clients
from clients import retry
from clients.audio import Recording
from clients.errors import SeleneError
from clients.retry import RetryPolicy, replay_is_safe

QUICK = RetryPolicy(attempts=4, first_wait=0.001, longest_wait=0.002)


@pytest.mark.parametrize(
    ("request_", "safe"),
    [
        (v1.GetProfileRequest(), True),
        (v1.ListProfilesRequest(), True),
        (audit1.VerifyLedgerRequest(), True),
        (audit1.CheckTrailRequest(), True),
        (routing1.ValidateProfileRequest(), True),
        (routing1.ExplainProfileRequest(), True),
        (routing1.ResolveProfileRequest(), True),
        (routing1.ActivateProfileRequest(), False),
        (v1.RevokeProfileRequest(idempotency_key="k"), True),
        (v1.RevokeProfileRequest(), False),
        (v1.SetMigrationStageRequest(), False),
        (v1.IdentifyRequest(), False),
        (delivery1.SendRequest(), True),
        (delivery1.SendBatchRequest(), True),
        (delivery1.ReconcileRequest(), True),
        (delivery1.ResolveRequest(), False),
    ],
)
def test_reads_and_keyed_mutations_may_be_replayed_and_nothing_else(request_, safe):
    assert replay_is_safe(request_) is safe


async def test_a_read_is_asked_again_until_the_server_answers(double, refusal):
    unavailable = refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", cause="STORE_LOCKED")
    double.script.refuse_unary = [unavailable, unavailable]
    async with clients.connect(double.target) as connection:
        profile = await clients.VoiceId(connection, policy=QUICK).get_profile("mira")
    assert profile.user_id == "mira"
    assert len(double.requests) == 3


async def test_a_mutation_is_replayed_with_the_same_key_and_correlation(double, refusal):
    double.script.refuse_unary = [refusal(grpc.StatusCode.UNAVAILABLE)]
    async with clients.connect(double.target) as connection:
        await clients.VoiceId(connection, policy=QUICK).revoke_profile("mira")
    first, second = double.requests
    assert first == second
    assert first.idempotency_key
    assert len({metadata["x-correlation-id"] for metadata in double.metadata}) == 1


async def test_a_clip_is_replayed_whole_with_the_same_key(double, refusal):
    double.script.refuse_unary = [refusal(grpc.StatusCode.UNAVAILABLE)]
    async with clients.connect(double.target) as connection:
        voice = clients.VoiceId(connection, policy=QUICK)
        double.enrollments["e-1"] = (await voice.create_enrollment("mira", consent_ref="c")) and next(
            iter(double.enrollments.values())
        )
        await voice.add_clip("e-1", tone(0.1))
    assert [len(audio) for audio in double.clips.values()] == [5]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INTERNAL]
)
async def test_a_refusal_is_final(double, refusal, code):
    double.script.refuse_unary = [refusal(code)]
    async with clients.connect(double.target) as connection:
        with pytest.raises(SeleneError) as refused:
            await clients.VoiceId(connection, policy=QUICK).get_profile("mira")
    assert refused.value.code is code
    assert len(double.requests) == 1


async def test_attempts_are_counted_and_the_last_error_is_told(double, refusal):
    double.script.refuse_unary = [refusal(grpc.StatusCode.UNAVAILABLE, "NOT_SERVING", owner="voiceid")] * 9
    async with clients.connect(double.target) as connection:
        with pytest.raises(SeleneError) as refused:
            await clients.VoiceId(connection, policy=QUICK).gallery()
    assert refused.value.reason == "NOT_SERVING"
    assert len(double.requests) == QUICK.attempts


class Clock:
    """A clock that stands still unless someone waits on it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def failing(clock: Clock, cost: float, error: SeleneError, calls: list[float]) -> Callable[[float], object]:
    async def attempt(seconds: float) -> None:
        calls.append(seconds)
        clock.now += cost
        raise error

    return attempt


async def test_no_attempt_begins_that_the_deadline_would_cut_off():
    asked = SeleneError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", reason="OVERLOADED", metadata={"retry_after_ms": "60000"}
    )
    clock, calls = Clock(), []
    with pytest.raises(SeleneError, match="OVERLOADED"):
        await retry.call(failing(clock, 0.1, asked, calls), within=30, policy=QUICK, monotonic=clock.monotonic)
    assert len(calls) == 1


async def test_an_attempt_is_given_no_more_than_is_left():
    clock, calls = Clock(), []
    error = SeleneError(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
    policy = RetryPolicy(attempts=9, first_wait=0.001, longest_wait=0.002, attempt_timeout=4)
    with pytest.raises(SeleneError):
        await retry.call(failing(clock, 4, error, calls), within=10, policy=policy, monotonic=clock.monotonic)
    assert calls == [4, 4, 2]


@given(st.integers(0, 100_000), st.integers(1, 8))
def test_the_wait_is_at_least_what_the_server_asks_and_jittered_within_the_policy(asked_ms, attempt):
    error = SeleneError(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", metadata={"retry_after_ms": str(asked_ms)})
    policy = RetryPolicy(first_wait=0.1, longest_wait=2.0)
    wait = retry._Wait(policy)(state(attempt, error))
    assert asked_ms / 1000 <= wait <= asked_ms / 1000 + min(2.0, 0.1 * 2 ** (attempt - 1))


def state(attempt: int, error: SeleneError):
    import tenacity

    retrying = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    retrying.attempt_number = attempt
    retrying.set_exception((type(error), error, None))
    return retrying


def tone(seconds: float) -> Recording:
    import numpy as np

    return Recording("tone", 16_000, np.arange(round(16_000 * seconds), dtype=np.int16))


async def test_a_call_cancelled_by_its_caller_stays_cancelled():
    async def forever(_: float) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(retry.call(forever, within=60, policy=QUICK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
