"""One decision stream: audio in, events out, one decision; it survives dropped connections by resuming."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

import grpc
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_FLOAT32, AUDIO_ENCODING_LINEAR16, AudioFormat, AudioFrame
from selene.voiceid.v1.voiceid_pb2 import StreamConfig
from selene_messages.selene.voiceid import v1 as messages1
from selene_messages.selene.voiceid import v2 as messages2

from clients import retry
from clients.duplex import Call, Duplex
from clients.errors import SeleneError
from clients.outbox import PENDING_BYTES, REPLAY_BYTES, Outbox
from clients.retry import RetryPolicy
from clients.wire import to_message

MAX_FRAME_BYTES: Final = 15_360
_EVENTS_KEPT: Final = 1024
_MAX_RESUMES: Final = 10
# A server notices a dead connection later than its client: until then a resume is refused as "still attached".
_ATTACHED_GRACE: Final = 3.0
_DROPS: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    }
)
_SAMPLE_BYTES: Final = {AUDIO_ENCODING_LINEAR16: 2, AUDIO_ENCODING_FLOAT32: 4}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision of one stream.

    ``tier`` is CONFIRMED, PROBABLE or UNKNOWN from generation V2, and OK or UNKNOWN where only V1 was asked.
    ``latency`` runs from the first half-close to the decision, measured here. ``re_enrollment`` is set once where the
    user who was named should enrol again: tell them.
    """

    stream_id: str
    tier: str
    v1: messages1.VoiceIdDecision | None
    v2: messages2.VoiceIdDecision | None
    latency: timedelta | None
    resumed: int
    re_enrollment: messages2.ReEnrollmentPrompt | None = None

    @property
    def decision(self) -> messages1.VoiceIdDecision | messages2.VoiceIdDecision:
        """V2 where there is one, else V1."""
        decision = self.v2 or self.v1
        assert decision is not None  # `_outcome` refuses a final event without any
        return decision

    @property
    def user_id(self) -> str:
        """Who was named; empty when nobody was."""
        return self.decision.candidate_set[0].user_id if self.decision.candidate_set else ""

    @property
    def server_latency(self) -> timedelta | None:
        """Half-close to decision as the server measured it."""
        return self.decision.telemetry.decision_latency if self.decision.telemetry else None


Event = messages1.StreamStarted | messages1.SpeechEvent | messages1.InterimConfidence | Outcome


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one RPC says config, frame and call: V1 or V2, Identify or Verify."""

    open: Callable[[float], Call]
    config: Callable[[StreamConfig], Any]
    frame: Callable[[AudioFrame], Any]


def is_drop(error: SeleneError) -> bool:
    """The connection or the server went away, as against: the call was refused."""
    return error.reason == "NOT_SERVING" or (not error.reason and error.code in _DROPS)


class DecisionStream:
    """An Identify or Verify stream, used as an async context manager; leaving it before the decision cancels it.

    `send` waits while the server is behind, so memory stays bounded. When the connection drops, the stream resumes by
    its id within the server's window, from the frame that the server names; the caller notices a delay, nothing else.
    Everything raises SeleneError once the stream cannot go on.
    """

    def __init__(
        self,
        dialect: Dialect,
        config: StreamConfig,
        *,
        timeout: float,
        policy: RetryPolicy,
        pending_bytes: int = PENDING_BYTES,
        replay_bytes: int = REPLAY_BYTES,
    ) -> None:
        self._dialect = dialect
        self._config = config
        self._policy = policy
        self._deadline = time.monotonic() + timeout
        self._outbox = Outbox(pending_bytes=pending_bytes, replay_bytes=replay_bytes)
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._stirred = asyncio.Event()
        self._window = 0.0
        self._half_closed_at: float | None = None
        self._runner: asyncio.Task[Outcome] | None = None
        self._byte_rate = _byte_rate(config.audio_format)
        self._bytes = 0
        self._clocked_here = True
        self.stream_id = ""
        self.resumed = 0

    async def __aenter__(self) -> "DecisionStream":
        self._runner = asyncio.create_task(self._run())
        self._runner.add_done_callback(lambda _: self._stirred.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    @property
    def kept_bytes(self) -> int:
        """Audio held for sending and for a resume."""
        return self._outbox.kept_bytes

    async def send(self, audio: bytes, *, offset: timedelta | None = None) -> None:
        """Queues audio: PCM of any length, or one Opus packet; waits while the server is behind.

        ``offset`` is where the audio starts by the capture clock; unset, PCM follows on what was sent before. Once
        the stream is decided this does nothing; after it failed it raises.
        """
        if self._task.done():
            self._task.result()
            return
        for piece in self._pieces(audio):
            await self._put(piece, offset)
            offset = offset + timedelta(seconds=len(piece) / self._byte_rate) if offset and self._byte_rate else None

    def _pieces(self, audio: bytes) -> list[bytes]:
        if len(audio) <= MAX_FRAME_BYTES:
            return [audio] if audio else []
        if not self._byte_rate:
            raise ValueError(f"an Opus packet of {len(audio)} bytes; a frame holds at most {MAX_FRAME_BYTES}")
        return [audio[start : start + MAX_FRAME_BYTES] for start in range(0, len(audio), MAX_FRAME_BYTES)]

    async def _put(self, audio: bytes, offset: timedelta | None) -> None:
        frame = AudioFrame(audio=audio)
        if offset is not None:
            self._clocked_here = False
            frame.offset.FromTimedelta(offset)
        elif self._byte_rate:
            frame.offset.FromMicroseconds(round(self._bytes / self._byte_rate * 1e6))
        self._bytes += len(audio)
        # With a foreign clock the server's count of heard audio may include gaps, so nothing is let go because of it.
        end = self._bytes / self._byte_rate if self._byte_rate and self._clocked_here else None
        await self._outbox.put(frame, end)

    async def events(self) -> AsyncIterator[Event]:
        """Events as they come, the Outcome last. May be read beside `send`; raises what ended the stream."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._task.done():
                self._task.result()
                return
            self._stirred.clear()
            await self._stirred.wait()

    async def finish(self) -> Outcome:
        """Half-closes after the last frame and waits for the decision."""
        self._outbox.close()
        return await asyncio.shield(self._task)

    @property
    def _task(self) -> asyncio.Task[Outcome]:
        if self._runner is None:
            raise RuntimeError("use the stream inside `async with`")
        return self._runner

    async def _run(self) -> Outcome:
        failure: SeleneError | None = None
        try:
            return await self._attach_and_converse()
        except SeleneError as error:
            failure = error
            raise
        finally:
            self._outbox.stop(failure)

    async def _attach_and_converse(self) -> Outcome:
        while True:
            call = await self._attached()
            try:
                return await self._converse(call)
            except SeleneError as error:
                if not is_drop(error) or self.resumed == _MAX_RESUMES:
                    raise
                self.resumed += 1
            finally:
                call.cancel()

    async def _attached(self) -> Duplex:
        """A call whose `started` has come. Before it no frame is sent, so a lost first attempt left nothing behind."""
        began = time.monotonic()
        resuming = bool(self.stream_id)
        left = self._deadline - began

        def may_retry(error: SeleneError) -> bool:
            if error.reason == "SESSION_NOT_RESUMABLE":
                return resuming and time.monotonic() - began < _ATTACHED_GRACE
            return is_drop(error) or error.code in self._policy.codes

        policy = self._policy
        if resuming:
            policy = RetryPolicy(1_000_000, policy.first_wait, policy.longest_wait, policy.attempt_timeout)
            left = min(left, self._window)
        return await retry.call(self._attach, within=left, policy=policy, may_retry=may_retry)

    async def _attach(self, seconds: float) -> Duplex:
        self._config.resume_stream_id = self.stream_id
        call = Duplex(self._dialect.open(max(self._deadline - time.monotonic(), 0.0)))
        try:
            first = await within(seconds, self._first_response(call))
            self._begin(first)
        except BaseException:
            call.cancel()
            raise
        return call

    async def _first_response(self, call: Duplex) -> Any:
        await call.write(self._dialect.config(self._config))
        return await call.read()

    def _begin(self, first: Any) -> None:
        if first is None or first.WhichOneof("event") != "started":
            raise SeleneError(grpc.StatusCode.DATA_LOSS, "the server did not begin the stream")
        started = first.started
        self.stream_id = started.stream_id
        self._window = started.resume_window.ToMicroseconds() / 1e6
        self._outbox.rewind(started.next_sequence)
        self._note(to_message(started, messages1.StreamStarted))

    async def _converse(self, call: Duplex) -> Outcome:
        reader = asyncio.create_task(self._read(call))
        writer = asyncio.create_task(self._write(call))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if writer.done() and not writer.cancelled():
                writer.result()
            return await reader
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _write(self, call: Duplex) -> None:
        while (frame := await self._outbox.head()) is not None:
            if not await call.write(self._dialect.frame(frame)):
                return
            self._outbox.sent()
        if self._half_closed_at is None:
            self._half_closed_at = time.monotonic()
        await call.half_close()

    async def _read(self, call: Duplex) -> Outcome:
        while (response := await call.read()) is not None:
            kind = response.WhichOneof("event")
            if kind == "final":
                return self._outcome(response.final)
            if kind == "speech":
                self._note(to_message(response.speech, messages1.SpeechEvent))
            elif kind == "interim":
                self._outbox.acknowledge(response.interim.audio.ToMicroseconds() / 1e6)
                self._note(to_message(response.interim, messages1.InterimConfidence))
        raise SeleneError(grpc.StatusCode.DATA_LOSS, "the stream ended without a decision")

    def _outcome(self, final: Any) -> Outcome:
        latency = None if self._half_closed_at is None else timedelta(seconds=time.monotonic() - self._half_closed_at)
        first = second = prompt = None
        if final.DESCRIPTOR.name == "FinalDecision":
            second = to_message(final.v2, messages2.VoiceIdDecision) if final.HasField("v2") else None
            first = to_message(final.v1, messages1.VoiceIdDecision) if final.HasField("v1") else None
            if final.HasField("re_enrollment"):
                prompt = to_message(final.re_enrollment, messages2.ReEnrollmentPrompt)
        else:
            first = to_message(final, messages1.VoiceIdDecision)
        if first is None and second is None:
            raise SeleneError(grpc.StatusCode.DATA_LOSS, "the final event holds no decision")
        outcome = Outcome(self.stream_id, _tier(first, second), first, second, latency, self.resumed, prompt)
        self._note(outcome)
        return outcome

    def _note(self, event: Event) -> None:
        self._events.append(event)
        self._stirred.set()


def _tier(first: messages1.VoiceIdDecision | None, second: messages2.VoiceIdDecision | None) -> str:
    """Whatever is not clearly a name is UNKNOWN: an enum value that this client does not know claims nothing."""
    if second is not None:
        named = second.identity_tier in (messages2.IdentityTier.CONFIRMED, messages2.IdentityTier.PROBABLE)
        return second.identity_tier.name or "UNKNOWN" if named else "UNKNOWN"
    return "OK" if first is not None and first.decision == messages1.Decision.OK else "UNKNOWN"


def _byte_rate(audio_format: AudioFormat) -> int:
    """Bytes a second of PCM; 0 for Opus, whose packets cannot be cut."""
    return _SAMPLE_BYTES.get(audio_format.encoding, 0) * audio_format.sample_rate_hz


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    """What ``work`` gives, if it does in time. SeleneError."""
    try:
        async with asyncio.timeout(seconds if seconds != float("inf") else None):
            return await work
    except TimeoutError:
        raise SeleneError(grpc.StatusCode.DEADLINE_EXCEEDED, "the server did not answer the stream's config") from None
