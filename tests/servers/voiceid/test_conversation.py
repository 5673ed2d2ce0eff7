"""One stream's conversation: what is said, in which order, and exactly one decision at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from selene.common.v1.audio_pb2 import AudioFrame
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.audio.order import FrameOrder
from servers.runtime.errors import Refusal
from tests.support.servers import House, ask, copy_home, serving, stream_config
from tests.support.speech import Person, silence

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home = copy_home(enrolled, tmp_path_factory.mktemp("conversation") / "home")
    async with serving(home, {"owners.voiceid.replay_min_s": 600.0, "owners.voiceid.resume_window_s": 7.0}) as served:
        yield served


async def events(house: House, person: Person, **fields: Any) -> list[Any]:
    line = house.line()
    await line.config(stream_config(**fields))
    await line.frames(person.ask.frames())
    await line.half_close()
    return await line.rest()


def of_kind(told: list[Any], kind: str) -> list[Any]:
    return [getattr(event, kind) for event in told if event.WhichOneof("event") == kind]


async def test_it_begins_with_the_config_and_ends_with_the_decision(house: House, mira: Person) -> None:
    sent = stream_config(session_id="whole", locale="de-DE", channel="phone")
    told = await events(house, mira, session_id="whole", locale="de-DE", channel="phone")
    kinds = [event.WhichOneof("event") for event in told]
    assert kinds[0] == "started" and kinds[-1] == "final"
    assert kinds.count("started") == kinds.count("final") == 1
    started = told[0].started
    started.config.ClearField("turn")
    assert started.config == sent
    assert started.stream_id and started.next_sequence == 0
    assert started.resume_window.ToTimedelta() == timedelta(seconds=7)


async def test_every_stream_has_an_id_of_its_own(house: House) -> None:
    ids = set()
    for _ in range(3):
        line = house.line()
        await line.config(stream_config())
        ids.add((await line.started()).stream_id)
        await line.finish()
    assert len(ids) == 3


async def test_speech_begins_before_it_ends_at_places_of_the_audio(house: House, mira: Person) -> None:
    told = of_kind(await events(house, mira), "speech")
    kinds = [event.kind for event in told]
    offsets = [event.offset.ToTimedelta().total_seconds() for event in told]
    assert kinds == [v1.SpeechEvent.KIND_SPEECH_BEGIN, v1.SpeechEvent.KIND_SPEECH_END] * (len(kinds) // 2)
    assert offsets == sorted(offsets) and offsets[-1] <= mira.ask.seconds


async def test_interims_come_as_often_as_asked(house: House, mira: Person) -> None:
    """At the pace of speech, from the first whole window on: 1.6 s of 3 s."""

    async def interims(interval_ms: int) -> list[Any]:
        line = house.line()
        config = stream_config(session_id=f"every-{interval_ms}-ms")
        config.interim_interval.FromMilliseconds(interval_ms)
        await line.config(config)
        await line.speak(mira.ask)
        await line.half_close()
        return of_kind(await line.rest(), "interim")

    often, seldom, never = await asyncio.gather(interims(100), interims(1000), interims(60_000))
    assert 6 <= len(often) <= 20 and 1 <= len(seldom) <= 2 and not never
    assert all(0 <= interim.score_bp <= 10_000 and interim.stage in (1, 2) for interim in (*often, *seldom))
    assert "mira" not in str((often, seldom)), "an interim names nobody"


async def test_silence_is_told_nothing_but_its_decision(house: House) -> None:
    line = house.line()
    await line.config(stream_config())
    await line.frames(silence(2.0).frames())
    await line.half_close()
    assert [event.WhichOneof("event") for event in await line.rest()] == ["started", "final"]


async def test_gaps_in_the_capture_clock_are_lost_audio(house: House, mira: Person) -> None:
    """Offsets that jump say that the phone lost sound; with too much lost, nobody is named."""
    line = house.line()
    await line.config(stream_config(session_id="lossy"))
    lost_s = 0.0
    for index, audio in enumerate(mira.ask.frames()):
        if index == 40:
            lost_s = 0.5
        frame = AudioFrame(sequence=index, audio=audio)
        frame.offset.FromTimedelta(timedelta(seconds=index * 0.02 + lost_s))
        await line._duplex.write(line._messages.IdentifyRequest(frame=frame))
    decision = (await line.finish()).v2
    assert decision.telemetry.lost.ToTimedelta().total_seconds() == pytest.approx(0.5, abs=0.03)
    assert decision.reason_code == v1.VOICE_ID_REASON_QUALITY_LOW


async def test_streams_at_once_do_not_hear_each_other(house: House, mira: Person, otto: Person) -> None:
    people = [mira, otto] * 4
    finals = await asyncio.gather(
        *(ask(house, person.ask, session_id=f"{person.name}-{index}") for index, person in enumerate(people))
    )
    assert [final.v2.candidate_set[0].user_id for final in finals] == [person.name for person in people]


async def test_frames_count_from_where_the_stream_is() -> None:
    order = FrameOrder(5)
    for sequence in (5, 6, 7):
        order.admit(AudioFrame(sequence=sequence))
    for sequence in (7, 9, 0):
        with pytest.raises(Refusal) as refusal:
            order.admit(AudioFrame(sequence=sequence))
        assert refusal.value.reason_name == "STREAM_SEQUENCE_BROKEN"
    order.admit(AudioFrame(sequence=8))
