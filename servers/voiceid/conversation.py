"""One audio stream's conversation: config first, frames in order, events out, one final decision on half-close.

The same for Identify and Verify of both generations; only how messages are wrapped differs (see `service`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from grpc.aio import EOF
from selene.common.v1 import audio_pb2
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.audio.decode import AudioError
from servers.runtime.audio.order import FrameOrder, too_long, undecodable
from servers.runtime.audio.resample import MODEL_RATE_HZ
from servers.runtime.auth import Principal
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.voiceid.engine import Ask, Engine, Verdict
from servers.voiceid.pipeline import Heard
from servers.voiceid.streams import LiveStream, LiveStreams
from servers.voiceid.telemetry import DecisionMetrics
from servers.voiceid.vad import SpeechEvent

FrameOf = Callable[[object, int], audio_pb2.AudioFrame]
"""The frame of a message that is the stream's n-th, from 0; refuses a message that holds none."""
Event = v1.StreamStarted | v1.SpeechEvent | v1.InterimConfidence | Verdict


class Caller(Protocol):
    """The other side of a stream, as the runtime presents it."""

    defer_half_close: bool
    received: int

    async def read(self) -> object: ...

    async def confirm_half_close(self) -> None: ...

    def time_remaining(self) -> float: ...


class Conversation:
    """Serves decision streams with one engine."""

    def __init__(self, engine: Engine, clock: Clock, new_id: Callable[[], str], metrics: DecisionMetrics) -> None:
        self._engine = engine
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self.live = LiveStreams(engine.settings.resume_window_s, clock.monotonic)

    def ask(self, config: v1.StreamConfig, claimed_user_id: str, caller: Principal, *, asks_to_enrol: bool) -> Ask:
        """What a config asks for: under a new stream id, or under the one that it resumes."""
        return Ask(config.resume_stream_id or self._new_id(), config, claimed_user_id, caller, asks_to_enrol)

    async def events(self, ask: Ask, stage: v1.MigrationStage, call: Caller, frame_of: FrameOf) -> AsyncIterator[Event]:
        """Everything that is said on the stream."""
        live = self._begin(ask)
        call.defer_half_close = True
        dropped = True
        self._metrics.streams(1)
        try:
            await live.hearing.hear_again(deadline=self._audio_deadline(call))
            yield self._started(live, stage)
            if live.hearing.finished or live.verdict is not None:
                await _drain(call, frame_of)
                live.half_closed_at = self._clock.monotonic()
            else:
                async for event in self._heard(live, call, frame_of):
                    yield event
            yield await self._decided(live)
            dropped = False
        except Refusal:
            dropped = False
            self.live.end(live)
            raise
        finally:
            self._metrics.streams(-1)
            # A decided stream stays resumable too: the reply may have been lost on its way.
            if live.attached and (dropped or live.verdict is not None):
                self.live.detach(live)
                asyncio.get_running_loop().call_later(self.live.window_s, self.live.expire)

    def _begin(self, ask: Ask) -> LiveStream:
        if ask.config.resume_stream_id:
            return self.live.resume(ask)
        try:
            return self.live.open(self._engine.hear(ask))
        except AudioError as error:
            raise undecodable(error, 0) from error

    def _started(self, live: LiveStream, stage: v1.MigrationStage) -> v1.StreamStarted:
        started = v1.StreamStarted(
            stream_id=live.ask.stream_id, config=live.ask.config, next_sequence=live.next_sequence, stage=stage
        )
        started.resume_window.FromTimedelta(timedelta(seconds=self.live.window_s))
        return started

    async def _heard(self, live: LiveStream, call: Caller, frame_of: FrameOf) -> AsyncIterator[Event]:
        hearing, order = live.hearing, FrameOrder(live.next_sequence)
        step = _interval(live.ask.config.interim_interval, self._engine.settings.interim_interval_s)
        next_interim = _audio_seconds(live) + step
        while (message := await call.read()) is not EOF:
            frame = frame_of(message, call.received - 1)
            order.admit(frame)
            try:
                offset_s = frame.offset.seconds + frame.offset.nanos / 1e9 if frame.HasField("offset") else None
                heard = hearing.push(frame.audio, offset_s, deadline=self._audio_deadline(call))
            except AudioError as error:
                raise undecodable(error, frame.sequence) from error
            live.next_sequence = order.following
            for event in heard.events:
                yield _speech(event)
            seconds = _audio_seconds(live)
            if seconds > self._engine.settings.max_audio_s:
                raise too_long(self._engine.settings.max_audio_s)
            if seconds >= next_interim:
                next_interim = seconds + step
                interim = await self._engine.interim(hearing)
                if interim is not None:
                    yield interim
        # grpc reports an end of stream a moment before it reports that the caller vanished, and a vanished caller may
        # come back with more audio: the last windows are embedded meanwhile, and not trusted before it is certain.
        live.half_closed_at = self._clock.monotonic()
        hearing.hurry()
        self._engine.prepare(hearing)
        try:
            budget = self._clock.monotonic() + self._engine.settings.decision_budget_s
            heard, failed = hearing.finish(deadline=budget), None
        except AudioError as error:
            heard, failed = Heard(), error
        try:
            await call.confirm_half_close()
        except BaseException:
            hearing.unfinish()
            raise
        if failed is not None:
            raise undecodable(failed, order.following - 1) from failed
        for event in heard.events:
            yield _speech(event)

    def _audio_deadline(self, call: Caller) -> float:
        return self._clock.monotonic() + min(call.time_remaining(), self._engine.settings.max_audio_s)

    async def _decided(self, live: LiveStream) -> Verdict:
        if live.verdict is None:
            live.verdict = await self._engine.decide(live.hearing, live.half_closed_at)
            live.hearing.release()
        return live.verdict


async def _drain(call: Caller, frame_of: FrameOf) -> None:
    """A stream that was half-closed is resumed: its utterance is over, whatever is sent."""
    while (message := await call.read()) is not EOF:
        frame_of(message, call.received - 1)
    await call.confirm_half_close()


def _audio_seconds(live: LiveStream) -> float:
    listening = live.hearing.listening
    return listening.utterance.audio_seconds if listening else 0.0


def _interval(wanted: Duration, default_s: float) -> float:
    seconds = wanted.seconds + wanted.nanos / 1e9
    return seconds if seconds > 0.0 else default_s


def _speech(event: SpeechEvent) -> v1.SpeechEvent:
    said = v1.SpeechEvent(kind=event.kind)
    said.offset.FromTimedelta(timedelta(seconds=event.offset / MODEL_RATE_HZ))
    return said
