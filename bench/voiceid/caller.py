"""The load generator: many phones in one process of their own, each on a connection of its own.

    python -m bench.voiceid.caller plan.json

It shares the machine with the server it measures, so it is cheap: frames are serialised before anything is timed,
messages pass grpc as bytes, only the last reply of a stream is parsed. It prints ``steady`` when the measured time
begins, ``over`` when it ends, and then its result as one line of JSON. What it cost is in the result.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop
from google.protobuf.duration_pb2 import Duration
from selene.common.v1 import audio_pb2
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2
from selene.voiceid.v2 import voiceid_pb2 as v2

from bench.stats import Spread

METHOD = "/selene.voiceid.v2.VoiceIdService/Identify"
FRAME_S = 0.02
RATE_HZ = 16_000
FRAME_BYTES = round(FRAME_S * RATE_HZ) * 2
STREAM_TIMEOUT_S = 120.0
_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `pool` is an .npz with `pcm` int16, `bounds` [n + 1] and `speakers` [n].

    Paced, frames leave when a microphone would have filled them; else as fast as the server takes them. The run ends
    `seconds` after `warm_up_s`, or when `utterances` were streamed.
    """

    target: str
    pool: str
    streams: int
    paced: bool = True
    warm_up_s: float = 0.0
    seconds: float = 3600.0
    utterances: int | None = None
    seed: int = 0
    device_id: str = "bench"


@dataclass(frozen=True, slots=True)
class Decided:
    """One stream: when it was half-closed (seconds of this process), and what came of it."""

    closed_at: float
    latency_ms: float
    server_ms: float
    seconds: float
    speaker: str
    named: str
    tier: str
    reason: str
    score_bp: int
    conf_high_bp: int
    overlap_ratio: float
    replay_similarity: float
    stage2_skipped: bool


@dataclass(slots=True)
class Outcome:
    """What a run brought. `late_ms` is of every frame: how long after its time it was given to grpc."""

    decided: list[Decided] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    frames: int = 0
    repeats: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Ready:
    """An utterance as serialised messages."""

    speaker: str
    seconds: float
    frames: tuple[bytes, ...]


class Callers:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._pool = _read_pool(Path(plan.pool))
        self._chance.shuffle(self._pool)
        self._next: Iterator[int] = itertools.count()
        self._ends_at = float("inf")
        self._outcome = Outcome()
        self._measuring = False

    async def run(self) -> Outcome:
        """All callers, from the first frame to the last decision."""
        plan = self._plan
        callers = [asyncio.create_task(self._caller(index)) for index in range(plan.streams)]
        window = asyncio.create_task(self._window())
        await asyncio.gather(*callers)
        window.cancel()
        if self._measuring:
            self._close_window()
        return self._outcome

    async def _window(self) -> None:
        await asyncio.sleep(self._plan.warm_up_s)
        self._measuring = True
        self._outcome.cpu_s, self._outcome.wall_s = -time.process_time(), -time.perf_counter()
        _say("steady")
        await asyncio.sleep(self._plan.seconds)
        self._close_window()

    def _close_window(self) -> None:
        self._outcome.cpu_s += time.process_time()
        self._outcome.wall_s += time.perf_counter()
        self._measuring = False
        self._ends_at = 0.0
        _say("over")

    async def _caller(self, index: int) -> None:
        """One phone: utterance after utterance, so that it is always speaking. Phones begin at different times."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._plan.target, options=options) as channel:
            await channel.channel_ready()
            identify: Any = channel.stream_stream(METHOD)
            if self._plan.paced:
                await asyncio.sleep(self._chance.uniform(0, min(4.0, self._plan.warm_up_s)))
            while self._ends_at and (ready := self._take()) is not None:
                try:
                    await self._speak(identify, ready, f"{self._plan.device_id}-{index}")
                except grpc.aio.AioRpcError as error:
                    self._outcome.failures.append(f"{error.code().name}: {error.details()}")

    def _take(self) -> _Ready | None:
        at = next(self._next)
        if self._plan.utterances is not None and at >= self._plan.utterances:
            return None
        self._outcome.repeats += self._measuring and at >= len(self._pool)
        return self._pool[at % len(self._pool)]

    async def _speak(self, identify: Any, ready: _Ready, device_id: str) -> None:
        call = identify(timeout=STREAM_TIMEOUT_S)
        last = asyncio.create_task(_last(call))
        await call.write(_config(device_id))
        began = time.perf_counter()
        for index, frame in enumerate(ready.frames, start=1):
            if self._plan.paced:
                due = began + index * FRAME_S
                wait = due - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                if self._measuring:
                    self._outcome.late_ms.append((time.perf_counter() - due) * 1000)
            await call.write(frame)
            self._outcome.frames += self._measuring
        # Counted when it was half-closed in time, however late the answer: else overload would hide its worst.
        counted, closed_at = self._measuring, time.perf_counter()
        await call.done_writing()
        raw, at = await last
        if counted:
            self._outcome.decided.append(_decided(ready, closed_at, (at - closed_at) * 1000, raw))


async def _last(call: Any) -> tuple[bytes, float]:
    """The last reply of a stream and when it came."""
    raw, at = b"", 0.0
    while (reply := await call.read()) is not grpc.aio.EOF:
        raw, at = reply, time.perf_counter()
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
        )
    return raw, at


def _decided(ready: _Ready, closed_at: float, latency_ms: float, raw: bytes) -> Decided:
    final = service_pb2.IdentifyResponse.FromString(raw).final.v2
    told = final.telemetry
    return Decided(
        closed_at=closed_at,
        latency_ms=latency_ms,
        server_ms=told.decision_latency.seconds * 1e3 + told.decision_latency.nanos / 1e6,
        seconds=ready.seconds,
        speaker=ready.speaker,
        named=final.candidate_set[0].user_id if final.candidate_set else "",
        tier=v2.IdentityTier.Name(final.identity_tier).removeprefix("IDENTITY_TIER_"),
        reason=v1.VoiceIdReason.Name(final.reason_code).removeprefix("VOICE_ID_REASON_"),
        score_bp=final.score_bp,
        conf_high_bp=final.provenance.conf_high_bp,
        overlap_ratio=told.overlap_ratio,
        replay_similarity=told.replay_similarity,
        stage2_skipped=told.stage2_skipped,
    )


def _config(device_id: str) -> bytes:
    config = v1.StreamConfig(
        audio_format=audio_pb2.AudioFormat(
            encoding=audio_pb2.AUDIO_ENCODING_LINEAR16, sample_rate_hz=RATE_HZ, channel_count=1
        ),
        tenant_id="dev",
        device_id=device_id,
        session_id=str(uuid.uuid4()),
    )
    return service_pb2.IdentifyRequest(config=config).SerializeToString()


def _read_pool(path: Path) -> list[_Ready]:
    with np.load(path) as pool:
        pcm, bounds, speakers = pool["pcm"], pool["bounds"], pool["speakers"]
    spans = itertools.pairwise(bounds.tolist())
    return [
        _Ready(str(speaker), (end - start) / RATE_HZ, _messages(pcm[start:end].astype("<i2").tobytes()))
        for speaker, (start, end) in zip(speakers, spans, strict=True)
    ]


def _messages(sound: bytes) -> tuple[bytes, ...]:
    messages = []
    for index, start in enumerate(range(0, len(sound), FRAME_BYTES)):
        seconds, nanos = divmod(round(index * FRAME_S * _NANOS), _NANOS)
        frame = audio_pb2.AudioFrame(
            sequence=index, offset=Duration(seconds=seconds, nanos=nanos), audio=sound[start : start + FRAME_BYTES]
        )
        messages.append(service_pb2.IdentifyRequest(frame=frame).SerializeToString())
    return tuple(messages)


def _say(word: str) -> None:
    print(word, flush=True)


def main() -> None:
    """Entry point."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    outcome = uvloop.run(Callers(plan).run())
    document = {**asdict(outcome), "late_ms": asdict(Spread.of(outcome.late_ms))}
    _say(json.dumps(document))


if __name__ == "__main__":
    main()
