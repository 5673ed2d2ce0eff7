"""Rounds of everything that goes wrong: afterwards nothing is open, waiting, running or kept."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_NO_SPEECH

from clients.errors import SeleneError
from tests.support.servers import House, SteppedClock, ask, serving, stream_config
from tests.support.speech import Person, silence

AT_ONCE = 6
ROUNDS = 3
WINDOW_S = 30.0
KIB = 1024
CORES = len(os.sched_getaffinity(0))
# The pools grow as they are used: 8 to read and 1 to write the store, asyncio's own, the scorers, gRPC's.
MOST_THREADS = 9 + (os.cpu_count() or 1) + 4 + CORES + 8
Misuse = Callable[[House, Person], Awaitable[None]]


async def cancels(house: House, person: Person) -> None:
    line = house.line()
    await line.config(stream_config())
    await line.started()
    await line.frames(person.ask.cut(0.0, 1.0).frames())
    line.cancel()


async def breaks_the_order(house: House, person: Person) -> None:
    line = house.line()
    await line.config(stream_config())
    await line.frames(person.ask.cut(0.0, 1.0).frames())
    await line.frame(b"\0\0", 999)
    assert (await line.refusal()).reason == "STREAM_SEQUENCE_BROKEN"


async def times_out(house: House, person: Person) -> None:
    line = house.line(timeout=0.3)
    await line.config(stream_config())
    await line.frames(person.ask.cut(0.0, 0.5).frames())
    with pytest.raises(SeleneError):
        await line.rest()


async def vanishes_after_the_half_close(house: House, person: Person) -> None:
    line = house.line()
    await line.config(stream_config())
    await line.frames(person.ask.cut(0.0, 1.0).frames())
    await line.half_close()
    line.cancel()


async def ends_well(house: House, person: Person) -> None:
    await ask(house, person.ask.cut(0.0, 1.0))


async def sends_nothing(house: House, person: Person) -> None:
    assert (await house.line().refusal()).reason == "STREAM_IDLE"


MISUSES: tuple[Misuse, ...] = (
    cancels,
    breaks_the_order,
    times_out,
    vanishes_after_the_half_close,
    ends_well,
    sends_nothing,
)


def kept(house: House) -> int:
    """Bytes that Python holds, once everything that can be forgotten was."""
    house.conversation.live.expire()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("misuse", MISUSES)
async def test_nothing_is_left_behind(home: Path, mira: Person, misuse: Misuse) -> None:
    clock = SteppedClock()
    flags: dict[str, Any] = {"owners.voiceid.replay_min_s": 600.0, "owners.voiceid.resume_window_s": WINDOW_S}
    if misuse is sends_nothing:
        flags["limits.idle_s"] = 0.2
    async with serving(home, flags, clock=clock) as house:

        async def rounds(count: int) -> int:
            for _ in range(count):
                await asyncio.gather(*(misuse(house, mira) for _ in range(AT_ONCE)))
            await house.idle()
            await house.hang_up()
            clock.skip(WINDOW_S + 1)
            return kept(house)

        await rounds(1)
        tracemalloc.start()
        try:
            before = await rounds(2)
            after = await rounds(ROUNDS)
        finally:
            tracemalloc.stop()
        assert house.open_streams == 0
        assert house.conversation.live.waiting == 0
        assert not house.conversation.live._attached
        assert house.batcher.waiting() == 0
        assert sum(thread.name.startswith("voiceid-scorer") for thread in threading.enumerate()) == CORES
        assert threading.active_count() < MOST_THREADS
        # A leaked stream holds its audio, 32 KB a second, and its features: hundreds of KiB each.
        assert after - before < ROUNDS * AT_ONCE * 16 * KIB


async def test_ten_minutes_of_silence_are_refused_in_bounded_memory(home: Path) -> None:
    async with serving(home) as house:
        line = house.line()
        await line.config(stream_config())
        await line.started()
        await line.frames(silence(600.0).frames(0.4))
        refusal = await line.refusal()
        assert (refusal.reason, refusal.metadata) == ("STREAM_TOO_LONG", {"max_s": "60"})
        await house.idle()
        assert house.conversation.live.waiting == 0


async def test_ten_minutes_of_silence_where_they_are_allowed_are_no_speech_in_flat_memory(home: Path) -> None:
    """What is kept grows with the sound (2 bytes a sample), not with the features of speech that is not there."""
    process = psutil.Process()
    flags: dict[str, Any] = {"owners.voiceid.max_audio_s": 600.0}
    async with serving(home, flags) as house:
        line = house.line(timeout=120.0)
        await line.config(stream_config())
        half = list(silence(298.0).frames(0.4))
        await line.frames(half)
        middle = process.memory_info().rss
        await line.frames(half)
        grown = process.memory_info().rss - middle
        decision = (await line.finish()).v2
        assert decision.telemetry.audio.ToTimedelta().total_seconds() == 596.0
        assert decision.telemetry.voiced.ToTimedelta().total_seconds() == 0.0
        await house.idle()
    assert decision.reason_code == VOICE_ID_REASON_NO_SPEECH
    assert grown < 40 * KIB * KIB
