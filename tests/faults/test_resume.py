"""Connections that drop: the same stream goes on, decides exactly once, and only for whoever it belongs to."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.runtime.auth import ROLE_SERVICE
from tests.support.identity import Issuer
from tests.support.servers import (
    DEVICE,
    TENANT,
    House,
    Line,
    SteppedClock,
    copy_home,
    serving,
    stream_config,
    swap_lane,
)
from tests.support.speech import Person

pytestmark = pytest.mark.asyncio(loop_scope="module")
WINDOW_S = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(enrolled: Path, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A server that takes tokens beside anonymous calls, and lets dropped streams wait for 5 s."""
    home = copy_home(enrolled, tmp_path_factory.mktemp("resume") / "home")
    flags = {
        "auth.keys_file": issuer.keys_file,
        "owners.voiceid.replay_min_s": 600.0,
        "owners.voiceid.resume_window_s": WINDOW_S,
    }
    async with serving(home, flags, clock=SteppedClock()) as served:
        yield served


@pytest.fixture
def start(mira: Person) -> list[bytes]:
    """Half a second of speech."""
    return list(mira.ask.cut(0.0, 0.6).frames())


async def dropped(house: House, frames: list[bytes], token: str = "", **fields: Any) -> v1.StreamConfig:
    """Begin a stream, send `frames` of speech, let the server hear some, and vanish; returns what resumes it."""
    line = house.line(token)
    config = stream_config(**fields)
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    waiting = house.conversation.live.waiting
    await line.frames(frames)
    event = await line.event()  # speech has begun: some of it was heard
    assert event.WhichOneof("event") == "speech"
    line.cancel()
    await house.idle()
    assert house.conversation.live.waiting == waiting + 1
    return config


async def resumed(house: House, config: v1.StreamConfig, token: str = "") -> tuple[Line, int]:
    line = house.line(token)
    await line.config(config)
    started = await line.started()
    assert started.stream_id == config.resume_stream_id
    line.sent = started.next_sequence
    return line, started.next_sequence


async def ended(line: Line, seconds: float) -> bool:
    """Whether the server said that speech ended with the audio, which it can say only after the half-close."""
    while (event := await line.event()) is not None:
        is_end = event.WhichOneof("event") == "speech" and event.speech.kind == v1.SpeechEvent.KIND_SPEECH_END
        if is_end and event.speech.offset.ToTimedelta().total_seconds() > seconds - 0.2:
            return True
    return False


async def decisions(house: House, stream_id: str) -> list[str]:
    """Reasons of every audited decision on a stream."""
    facts = [(event, {fact.name: fact.value for fact in event.facts}) for event in await house.trail()]
    return [
        event.reason_code
        for event, fact in facts
        if event.transition == "voiceid.decided" and fact["stream_id"] == stream_id
    ]


async def test_a_dropped_stream_goes_on_where_it_was_and_decides_once(house: House, mira: Person) -> None:
    frames = list(mira.ask.frames())
    config = await dropped(house, frames[:80])
    line, following = await resumed(house, config)
    assert following <= 80
    await line.frames(frames[following:])
    decision = (await line.finish()).v2
    assert decision.candidate_set[0].user_id == "mira"
    assert decision.telemetry.audio.ToTimedelta().total_seconds() == pytest.approx(mira.ask.seconds, abs=0.01)
    assert len(await decisions(house, config.resume_stream_id)) == 1


async def test_a_stream_that_dropped_six_times_is_the_same_as_one_that_never_did(house: House, mira: Person) -> None:
    frames = list(mira.ask.frames())
    whole = house.line()
    await whole.config(stream_config())
    await whole.frames(frames)
    expected = (await whole.finish()).v2
    config = await dropped(house, frames[:40])
    for end in range(60, 160, 20):
        line, following = await resumed(house, config)
        await line.frames(frames[following:end])
        line.cancel()
        await house.idle()
    line, following = await resumed(house, config)
    await line.frames(frames[following:])
    decision = (await line.finish()).v2
    assert (decision.score_bp, decision.reason_code) == (expected.score_bp, expected.reason_code)
    assert decision.telemetry.voiced == expected.telemetry.voiced


async def test_a_lost_reply_is_given_again_the_same(house: House, mira: Person) -> None:
    line = house.line()
    config = stream_config()
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frames(mira.ask.frames())
    first = await line.finish()
    again, following = await resumed(house, config)
    assert following == len(list(mira.ask.frames()))
    assert await again.finish() == first
    once_more, _ = await resumed(house, config)
    assert await once_more.finish() == first
    assert len(await decisions(house, config.resume_stream_id)) == 1


async def test_a_decided_stream_takes_no_more_audio(house: House, mira: Person, otto: Person) -> None:
    line = house.line()
    config = stream_config()
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frames(mira.ask.frames())
    first = await line.finish()
    again, _ = await resumed(house, config)
    await again.frames(otto.ask.frames())
    assert await again.finish() == first


async def test_a_stream_cut_while_it_was_half_closed_decides_on_resume(house: House, mira: Person) -> None:
    line = house.line()
    config = stream_config()
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frames(mira.ask.frames())
    await line.half_close()
    line.cancel()
    await house.idle()
    again, following = await resumed(house, config)
    await again.frames(list(mira.ask.frames())[following:])
    decision = (await again.finish()).v2
    assert decision.candidate_set[0].user_id == "mira"
    assert len(await decisions(house, config.resume_stream_id)) == 1


async def test_what_comes_after_the_half_close_is_no_part_of_the_utterance(
    house: House, mira: Person, otto: Person
) -> None:
    """Half-closed and cut while its models still work: the resume only fetches the decision on what was said."""
    release = threading.Event()
    real = house.models.speakers[0].lane.run

    def held(windows: Any) -> Any:
        release.wait(5.0)
        return real(windows)

    put_back = swap_lane(house, 0, held)
    line = house.line()
    config = stream_config()
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frames(mira.ask.frames())
    await line.half_close()
    assert await ended(line, mira.ask.seconds)
    line.cancel()
    put_back()
    release.set()
    await house.idle()
    again, following = await resumed(house, config)
    assert following == len(list(mira.ask.frames()))
    await again.frames(otto.ask.frames())
    decision = (await again.finish()).v2
    assert decision.candidate_set[0].user_id == "mira"
    assert decision.telemetry.audio.ToTimedelta().total_seconds() == pytest.approx(mira.ask.seconds, abs=0.01)
    assert decision.telemetry.decision_latency.ToTimedelta().total_seconds() < 1.0


@pytest.mark.parametrize("change", ["session_id", "device_id", "device_owner_user_id", "locale", "step_up_pending"])
async def test_a_resume_with_another_config_is_refused(house: House, start: list[bytes], change: str) -> None:
    config = await dropped(house, start)
    setattr(config, change, True if change == "step_up_pending" else "other")
    refusal = await refused(house, config)
    assert refusal == ("SESSION_NOT_RESUMABLE", {"window_s": "5"})


async def test_a_resume_as_a_claim_is_refused(house: House, start: list[bytes]) -> None:
    config = await dropped(house, start)
    line = house.line(claim="mira")
    await line.config(config)
    assert (await line.refusal()).reason == "SESSION_NOT_RESUMABLE"


async def test_a_resume_by_another_caller_is_refused_and_audited(
    house: House, start: list[bytes], issuer: Issuer
) -> None:
    mine = issuer.token("mira", tenant=TENANT, device=DEVICE)
    config = await dropped(house, start, mine)
    others = (
        issuer.token("otto", tenant=TENANT, device=DEVICE),
        issuer.token("mira", tenant=TENANT, roles=(ROLE_SERVICE,)),
        "",
    )
    before = len(await house.trail())
    for other in others:
        assert (await refused(house, config, other))[0] == "SESSION_NOT_RESUMABLE"
    audited = [event.reason_code for event in (await house.trail())[before:]]
    assert audited == ["SESSION_NOT_RESUMABLE"] * len(others)
    line, _ = await resumed(house, config, mine)
    assert (await line.finish()).v2.reason_code == v1.VOICE_ID_REASON_INSUFFICIENT_SPEECH


async def test_a_token_of_another_device_does_not_resume(house: House, start: list[bytes], issuer: Issuer) -> None:
    mine = issuer.token("mira", tenant=TENANT, device=DEVICE)
    config = await dropped(house, start, mine)
    assert (await refused(house, config, issuer.token("mira", tenant=TENANT, device="hall")))[0] == "DEVICE_MISMATCH"


async def test_a_stream_that_waited_too_long_is_gone(house: House, start: list[bytes]) -> None:
    config = await dropped(house, start)
    house.clock.skip(WINDOW_S + 0.1)
    assert (await refused(house, config))[0] == "SESSION_NOT_RESUMABLE"
    assert house.conversation.live.waiting == 0


async def test_a_stream_that_is_still_attached_is_not_taken_over(house: House) -> None:
    line = house.line()
    config = stream_config()
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    assert (await refused(house, config))[0] == "SESSION_NOT_RESUMABLE"
    assert (await line.finish()).v2.identity_tier == v2.IDENTITY_TIER_UNKNOWN


async def test_a_stream_that_was_refused_cannot_be_resumed(house: House) -> None:
    line = house.line()
    config = stream_config()
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frame(b"\0\0", 7)
    assert (await line.refusal()).reason == "STREAM_SEQUENCE_BROKEN"
    assert (await refused(house, config))[0] == "SESSION_NOT_RESUMABLE"


async def test_a_stream_that_never_was_cannot_be_resumed(house: House) -> None:
    reason, _ = await refused(house, stream_config(resume_stream_id="01890000-0000-7000-8000-000000000000"))
    assert reason == "SESSION_NOT_RESUMABLE"


async def refused(house: House, config: v1.StreamConfig, token: str = "") -> tuple[str, dict[str, str]]:
    line = house.line(token)
    await line.config(config)
    refusal = await line.refusal()
    assert refusal.code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED)
    return refusal.reason, refusal.metadata
