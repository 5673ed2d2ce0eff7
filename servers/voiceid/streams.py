"""Streams that may be resumed: a dropped one waits for its caller, within a bounded window and in bounded number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from selene.common.v1 import error_reason_pb2 as reasons
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.errors import Refusal
from servers.voiceid.engine import Ask, Hearing, Verdict

MAX_WAITING = 1024
MAX_HELD_SECONDS = 900.0
"""Audio of all waiting streams together; a second holds about 120 KB."""


@dataclass(slots=True)
class LiveStream:
    """One stream across its connections. `verdict` is set once it is decided; a repeated final is then the same."""

    hearing: Hearing
    next_sequence: int = 0
    attached: bool = True
    expires_at: float = 0.0
    half_closed_at: float = 0.0
    verdict: Verdict | None = None

    @property
    def ask(self) -> Ask:
        return self.hearing.ask


class LiveStreams:
    """The streams of one server process. `monotonic` gives seconds."""

    def __init__(self, window_s: float, monotonic: Callable[[], float]) -> None:
        self.window_s = window_s
        self._monotonic = monotonic
        self._waiting: dict[str, LiveStream] = {}
        self._attached: set[str] = set()

    def open(self, hearing: Hearing) -> LiveStream:
        """A new stream, attached."""
        self._attached.add(hearing.ask.stream_id)
        return LiveStream(hearing)

    def resume(self, ask: Ask) -> LiveStream:
        """The waiting stream that `ask` continues; SESSION_NOT_RESUMABLE unless it is the very same ask."""
        self.expire()
        stream_id = ask.config.resume_stream_id
        live = self._waiting.get(stream_id)
        if live is None or not _same(live.ask, ask):
            raise Refusal(
                reasons.ERROR_REASON_SESSION_NOT_RESUMABLE,
                "this stream cannot be resumed here; begin a new one",
                window_s=f"{self.window_s:g}",
            )
        del self._waiting[stream_id]
        self._attached.add(stream_id)
        live.attached = True
        # The reply is of the generation that is called now.
        live.hearing.ask = replace(live.ask, asks_to_enrol=ask.asks_to_enrol)
        return live

    def detach(self, live: LiveStream) -> None:
        """The connection is gone. The stream waits for its caller, the oldest giving way to the newest."""
        self._attached.discard(live.ask.stream_id)
        live.attached = False
        live.expires_at = self._monotonic() + self.window_s
        self._waiting[live.ask.stream_id] = live
        self.expire()
        while len(self._waiting) > MAX_WAITING or self._held_seconds() > MAX_HELD_SECONDS:
            self._drop(next(iter(self._waiting)))

    def end(self, live: LiveStream) -> None:
        """The stream was refused: it is not resumable."""
        self._attached.discard(live.ask.stream_id)
        live.hearing.release()

    def expire(self) -> None:
        """Forget what waited too long."""
        now = self._monotonic()
        for stream_id in [one for one, live in self._waiting.items() if live.expires_at <= now]:
            self._drop(stream_id)

    def close(self) -> None:
        """The server stops: nothing waits any more."""
        for stream_id in list(self._waiting):
            self._drop(stream_id)

    @property
    def waiting(self) -> int:
        """Streams that wait for their caller."""
        return len(self._waiting)

    def _held_seconds(self) -> float:
        heard = (live.hearing.listening for live in self._waiting.values())
        return sum(listening.utterance.audio_seconds for listening in heard if listening is not None)

    def _drop(self, stream_id: str) -> None:
        self._waiting.pop(stream_id).hearing.release()


def _same(first: Ask, again: Ask) -> bool:
    """A resume is by the same caller, for the same claim, with the same config."""
    asked = (first.caller, first.claimed_user_id, _kept(first.config))
    return asked == (again.caller, again.claimed_user_id, _kept(again.config))


def _kept(config: v1.StreamConfig) -> v1.StreamConfig:
    """What stays the same across the calls of one stream: a caller without a correlation id gets one for every call."""
    kept = v1.StreamConfig()
    kept.CopyFrom(config)
    kept.ClearField("turn")
    kept.ClearField("resume_stream_id")
    return kept
