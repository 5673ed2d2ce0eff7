"""Selene Local TTS: espeak-ng, offline, in a hundred locales (RTE-6, RTE-7). Intelligible, plainly a machine's voice.

``quality_score_bp`` is the share of the text that came out audible. A formant synthesiser cannot judge how natural it
sounds, and this number does not say so.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from selene.provider.v1.provider_pb2 import CAPABILITY_TTS, ProviderResultV1

from servers.routing.envelope import answered, status_of
from servers.routing.reasons import ProviderReason
from servers.tts.adapter import (
    CALLER_FAULTS,
    AudioChunk,
    Mark,
    MarkKind,
    Markup,
    Synthesis,
    TtsEvent,
    TtsReason,
)
from servers.tts.espeak import (
    BUFFER_MS,
    EVENT_SENTENCE,
    MAX_RATE_PERCENT,
    MIN_RATE_PERCENT,
    Espeak,
    EspeakFailed,
    Event,
    Voice,
)
from servers.tts.lexicon import Terms
from servers.tts.phonemes import LANGUAGE, Respelt, respell
from servers.tts.segments import Named, Segment, Silence, Step, plan, speakable, word_mark
from servers.tts.ssml import Spoken, SsmlRefused, parse
from servers.tts.voices import by_locale, voice_for

_AUDIBLE = 327
"""-40 dB of full scale."""


class _Refused(Exception):
    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Spoken:
    """How far a synthesis has come; ``samples`` handed out so far."""

    began_at: float
    samples: int = 0
    segments: int = 0
    audible: int = 0
    first_at: float | None = None


@dataclass(slots=True)
class _Inbox:
    """What the engine's thread has made and nobody has taken; touched on the event loop only, but for ``stopped``."""

    items: deque[AudioChunk | Mark] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False

    def put(self, items: Sequence[AudioChunk | Mark]) -> None:
        self.items.extend(items)
        self.changed.set()


class LocalTts:
    """Speaks on one thread, a segment of one stream at a time, so that no stream waits for another's whole text.

    The next segment is made when the last was taken: a caller that does not read costs one segment of memory.
    ``max_chars`` bounds a text, markup included. ``monotonic`` gives seconds and is the clock of every deadline.
    Close it when done.
    """

    provider_ref = "selene-local/tts"

    def __init__(
        self, engine: Espeak, *, max_chars: int = 5_000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._max_chars = max_chars
        self._monotonic = monotonic
        self._voices = by_locale(engine.voices)
        self._thread = ThreadPoolExecutor(1, "tts-local")

    @property
    def voices(self) -> Mapping[str, Voice]:
        """The voices by locale."""
        return self._voices

    def close(self) -> None:
        """Let the thread go; syntheses under way end as PROVIDER_CRASHED."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def synthesise(
        self, request: Synthesis, *, deadline: float, interrupt: asyncio.Event | None = None
    ) -> AsyncGenerator[TtsEvent, None]:
        """See `servers.tts.adapter.TtsAdapter`."""
        interrupt = interrupt or asyncio.Event()
        spoken = _Spoken(self._monotonic())
        try:
            voice, steps = self._read(request)
            is_respelt = voice.locale.split("-")[0] == LANGUAGE and request.pronunciations
            terms = Terms(request.pronunciations if is_respelt else ())
            for step in steps:
                async with aclosing(self._carry_out(step, voice, terms, spoken, deadline, interrupt)) as events:
                    async for event in events:
                        yield event
            reason: StrEnum = TtsReason.SPOKEN
        except _Refused as refused:
            reason = refused.reason
        except EspeakFailed:
            reason = ProviderReason.PROVIDER_CRASHED
        yield self._result(request, reason, spoken)

    def _read(self, request: Synthesis) -> tuple[Voice, tuple[Step, ...]]:
        if len(request.text) > self._max_chars:
            raise _Refused(TtsReason.TEXT_TOO_LONG)
        if not request.text.strip():
            raise _Refused(TtsReason.TEXT_EMPTY)
        voice = voice_for(request.locale, self._voices)
        if voice is None:
            raise _Refused(TtsReason.LOCALE_UNSUPPORTED)
        try:
            pieces = parse(request.text) if request.markup is Markup.SSML else (Spoken(request.text),)
        except SsmlRefused as refused:
            raise _Refused(refused.reason) from None
        if not speakable("".join(piece.text for piece in pieces if isinstance(piece, Spoken))):
            raise _Refused(TtsReason.TEXT_UNSPEAKABLE)
        steps = plan(pieces, request.rate_percent)
        rates = [step.rate_percent for step in steps if isinstance(step, Segment)]
        if min(rates) < MIN_RATE_PERCENT or max(rates) > MAX_RATE_PERCENT:
            raise _Refused(TtsReason.RATE_OUT_OF_RANGE)
        return voice, steps

    async def _carry_out(
        self, step: Step, voice: Voice, terms: Terms, spoken: _Spoken, deadline: float, interrupt: asyncio.Event
    ) -> AsyncGenerator[AudioChunk | Mark, None]:
        made: AsyncGenerator[AudioChunk | Mark, None]
        match step:
            case Segment():
                made = self._say(step, voice, respell(step.text, terms.spans(step.text)), spoken, deadline, interrupt)
            case Silence():
                made = self._pause(step, spoken)
            case Named():
                made = _name(step, spoken)
        async with aclosing(made):
            async for item in made:
                if interrupt.is_set():
                    raise _Refused(TtsReason.INTERRUPTED)
                if self._monotonic() >= deadline:
                    raise _Refused(ProviderReason.DEADLINE_EXCEEDED)
                if isinstance(item, AudioChunk):
                    spoken.first_at = self._monotonic() if spoken.first_at is None else spoken.first_at
                    spoken.samples = item.sample_offset + len(item.pcm) // 2
                yield item

    async def _say(
        self,
        segment: Segment,
        voice: Voice,
        respelt: Respelt | None,
        spoken: _Spoken,
        deadline: float,
        interrupt: asyncio.Event,
    ) -> AsyncGenerator[AudioChunk | Mark, None]:
        inbox = _Inbox()
        loop = asyncio.get_running_loop()
        rendered = self._render(loop, inbox, segment, voice, respelt, spoken.samples)
        rendered.add_done_callback(lambda _: inbox.changed.set())
        audible = False
        try:
            while True:
                while inbox.items:
                    item = inbox.items.popleft()
                    audible = audible or (isinstance(item, AudioChunk) and _loud(item.pcm))
                    yield item
                if rendered.done():
                    break
                inbox.changed.clear()
                await self._wait(inbox.changed, interrupt, deadline)
            rendered.result()
        except asyncio.CancelledError:
            if rendered.cancelled():  # the engine was closed, not this task cancelled
                raise EspeakFailed("closed") from None
            raise
        finally:
            inbox.stopped = True
            rendered.cancel()
        spoken.segments += 1
        spoken.audible += audible

    def _render(
        self,
        loop: asyncio.AbstractEventLoop,
        inbox: _Inbox,
        segment: Segment,
        voice: Voice,
        respelt: Respelt | None,
        base: int,
    ) -> asyncio.Future[None]:
        made = 0

        def take(pcm: bytes, events: tuple[Event, ...]) -> bool:
            nonlocal made
            if inbox.stopped:
                return False
            placed = (event if respelt is None else _in_original(event, respelt) for event in events)
            items: list[AudioChunk | Mark] = [mark for event in placed if (mark := _mark(segment, event, base))]
            if pcm:
                items.append(AudioChunk(pcm, base + made, self._engine.rate_hz))
                made += len(pcm) // 2
            loop.call_soon_threadsafe(inbox.put, items)
            return True

        def work() -> None:
            if inbox.stopped:
                return
            if respelt is None:
                self._engine.render(segment.text, voice.identifier, segment.rate_percent, take)
            else:
                self._engine.render_respelt(respelt.text, voice.identifier, segment.rate_percent, take)

        try:
            return loop.run_in_executor(self._thread, work)
        except RuntimeError:
            raise EspeakFailed("closed") from None

    async def _wait(self, changed: asyncio.Event, interrupt: asyncio.Event, deadline: float) -> None:
        """Until there is more, or the interrupt or the deadline came; raises _Refused for those."""
        waits = [asyncio.ensure_future(event.wait()) for event in (changed, interrupt)]
        try:
            left = max(0.0, deadline - self._monotonic())
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if interrupt.is_set():
            raise _Refused(TtsReason.INTERRUPTED)
        if not changed.is_set():
            raise _Refused(ProviderReason.DEADLINE_EXCEEDED)

    async def _pause(self, silence: Silence, spoken: _Spoken) -> AsyncGenerator[AudioChunk | Mark, None]:
        rate_hz = self._engine.rate_hz
        left = rate_hz * silence.milliseconds // 1_000
        while left:
            size = min(left, rate_hz * BUFFER_MS // 1_000)
            left -= size
            yield AudioChunk(bytes(2 * size), spoken.samples, rate_hz)

    def _result(self, request: Synthesis, reason: StrEnum, spoken: _Spoken) -> ProviderResultV1:
        answered_at = self._monotonic() if spoken.first_at is None else spoken.first_at
        done = reason in (TtsReason.SPOKEN, TtsReason.INTERRUPTED)
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_TTS,
            status=status_of(done=done, caller_fault=reason in CALLER_FAULTS),
            reason_code=reason,
            latency_s=answered_at - spoken.began_at,
            quality_score_bp=10_000 * spoken.audible // spoken.segments if spoken.segments else 0,
        )


async def _name(named: Named, spoken: _Spoken) -> AsyncGenerator[AudioChunk | Mark, None]:
    yield Mark(MarkKind.NAMED, spoken.samples, named.text_offset, name=named.name)


def _in_original(event: Event, respelt: Respelt) -> Event:
    return replace(event, character=respelt.original(event.character))


def _mark(segment: Segment, event: Event, base: int) -> Mark | None:
    sample = base + event.sample
    if event.kind != EVENT_SENTENCE:
        return word_mark(segment, event.character, sample)
    if event.character <= _leading(segment.text) and not segment.starts_sentence:
        return None
    return Mark(MarkKind.SENTENCE, sample, segment.text_offset + max(0, event.character))


def _leading(text: str) -> int:
    return len(text) - len(text.lstrip())


def _loud(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, "<i2")
    return bool(((samples > _AUDIBLE) | (samples < -_AUDIBLE)).any())
