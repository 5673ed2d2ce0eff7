"""The gRPC edge of speech: a text in, audio and marks out as they are made, until it is spoken or interrupted."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from grpc.aio import EOF
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_OK, ProviderResultV1
from selene.tts.v1 import service_pb2 as messages
from selene.tts.v1 import service_pb2_grpc as tts_grpc

from servers.routing.board import Board, Key
from servers.routing.edge import duration, permitted, routed_call, switched, unservable
from servers.routing.envelope import Asked, failed
from servers.routing.reasons import ProviderReason
from servers.routing.router import Finished, Limit, Router, Switched
from servers.runtime.audio.order import config_expected
from servers.runtime.auth import require_subject, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.runtime.ids import Ids
from servers.runtime.storage import actor, not_found, once, turn
from servers.tts import ENGINE_ID
from servers.tts.adapter import AudioChunk, Mark, MarkKind, Markup, Synthesis, TtsAdapter, TtsReason
from servers.tts.lexicon import PACK, Lexicon, Pronunciation
from servers.tts.speech import Speech
from store import Store, Transaction, request_hash

CHARACTERS_A_UNIT: Final = 1_000
"""A price is of a thousand characters of the text."""
REMEMBERED: Final = 10_000
"""Syntheses that a complaint may still be about."""
_MARKS: Final = {
    MarkKind.SENTENCE: messages.SPEECH_MARK_KIND_SENTENCE,
    MarkKind.WORD: messages.SPEECH_MARK_KIND_WORD,
    MarkKind.NAMED: messages.SPEECH_MARK_KIND_NAMED,
}


@dataclass(slots=True)
class _Spoken:
    """A synthesis that a complaint may be about."""

    tenant_id: str
    subject: str
    key: Key
    caller: str
    complained: bool = False


class TextToSpeechV1(tts_grpc.TextToSpeechServiceServicer):
    """selene.tts.v1.TextToSpeechService."""

    def __init__(self, router: Router[TtsAdapter], board: Board, store: Store, clock: Clock, ids: Ids) -> None:
        self._router = router
        self._board = board
        self._store = store
        self._clock = clock
        self._ids = ids
        self._spoken: OrderedDict[str, _Spoken] = OrderedDict()

    async def Synthesize(self, _: Any, context: Any) -> AsyncIterator[messages.SynthesizeResponse]:
        first = await context.read()
        if first is EOF or first.WhichOneof("message") != "config":
            raise config_expected(0)
        config: messages.SynthesizeConfig = first.config
        caller = permitted(config.scope)
        call = routed_call(
            config.scope,
            caller,
            self._clock,
            locale=config.locale,
            request_id=self._ids.new(),
            idempotency_key=config.idempotency_key,
            content=config,
            units=len(config.text) / CHARACTERS_A_UNIT,
            packs=self._router.packs,
        )
        yield messages.SynthesizeResponse(started=messages.SynthesizeStarted(request_id=call.request_id, config=config))
        plain = config.markup == messages.TEXT_MARKUP_PLAIN
        speech = Speech(config.text, rate_hz=config.audio_format.sample_rate_hz, resumable=plain)
        lexicon: Lexicon | None = call.packs.get(PACK)
        speaking = Speaking(config, speech, () if lexicon is None else lexicon.serving(config.text, config.locale))
        listening = asyncio.ensure_future(_listen(context, speaking.interrupt))
        sequence = 0
        try:
            async with aclosing(self._router.run(call, speaking)) as events:
                async for event in events:
                    if listening.done():
                        listening.result()
                    match event:
                        case AudioChunk():
                            chunk = messages.SpeechChunk(
                                sequence=sequence, sample_offset=event.sample_offset, audio=event.pcm
                            )
                            sequence += 1
                            yield messages.SynthesizeResponse(chunk=chunk)
                        case Mark():
                            yield messages.SynthesizeResponse(mark=_mark(event))
                        case Switched():
                            resumed = speech.resumed()
                            moved = messages.SpeechSwitched(
                                provider=switched(event),
                                resumed_at=resumed.text_offset,
                                void_from_sample=resumed.sample_offset,
                            )
                            yield messages.SynthesizeResponse(switched=moved)
                        case Finished():
                            if not event.done:
                                raise unservable(event)
                            heard_by = config.scope.user_id or caller.subject
                            self._remember(call.request_id, _Spoken(call.tenant_id, heard_by, event.key, call.caller))
                            yield messages.SynthesizeResponse(final=_final(event, speech, speaking))
        finally:
            listening.cancel()
            # Also where it ended by itself: nobody else takes what it raised.
            await asyncio.gather(listening, return_exceptions=True)

    async def ReportComplaint(
        self, request: messages.ReportComplaintRequest, context: Any
    ) -> messages.ReportComplaintResponse:
        caller = require_tenant(request.tenant_id)
        spoken = self._spoken.get(request.request_id)
        if spoken is None or spoken.tenant_id != request.tenant_id:
            raise not_found("synthesis", request.request_id)
        require_subject(spoken.subject)
        provider_ref = spoken.key[1]
        counts, spoken.complained = not spoken.complained, True

        async def complain(tx: Transaction) -> messages.ReportComplaintResponse:
            tx.audit(
                tenant_id=request.tenant_id,
                owner=ENGINE_ID,
                actor=await actor(tx, caller),
                transition="speech.complained",
                reason_code=request.reason_code,
                turn=turn(),
                idempotency_key=request.idempotency_key,
                facts={
                    "request_id": request.request_id,
                    "provider_ref": provider_ref,
                    "counted": str(counts).lower(),
                },
            )
            return messages.ReportComplaintResponse(provider_ref=provider_ref, counted=counts)

        try:
            reply = await once(
                self._store,
                tenant_id=request.tenant_id,
                method="ReportComplaint",
                key=request.idempotency_key,
                content=request_hash(request.request_id, request.reason_code),
                reply=messages.ReportComplaintResponse,
                work=complain,
            )
        except BaseException:
            spoken.complained = not counts
            raise
        if counts:
            self._board.complain(spoken.key, spoken.caller)
        return reply

    def _remember(self, request_id: str, spoken: _Spoken) -> None:
        self._spoken[request_id] = spoken
        if len(self._spoken) > REMEMBERED:
            self._spoken.popitem(last=False)


class Speaking:
    """One text, as any provider is asked to speak it. Once `interrupt` is set no further audio comes."""

    def __init__(
        self, config: messages.SynthesizeConfig, speech: Speech, pronunciations: tuple[Pronunciation, ...] = ()
    ) -> None:
        self.interrupt = asyncio.Event()
        self.withheld = False
        """Whether the interrupt left audio unsent that was made already."""
        self._config = config
        self._speech = speech
        self._pronunciations = pronunciations

    async def begin(
        self, adapter: TtsAdapter, asked: Asked, limit: Limit
    ) -> AsyncGenerator[AudioChunk | Mark | ProviderResultV1, None]:
        """See `servers.routing.router.Work`: the limit is of the first chunk, then of each further one."""
        part = self._speech.part()
        config = self._config
        synthesis = Synthesis(
            tenant_id=asked.tenant_id,
            request_id=asked.request_id,
            idempotency_key=asked.idempotency_key,
            text=part.text,
            locale=config.locale,
            markup=Markup.SSML if config.markup == messages.TEXT_MARKUP_SSML else Markup.PLAIN,
            rate_percent=config.rate_percent or 100,
            simulation_context_ref=asked.simulation_context_ref,
            pronunciations=self._pronunciations,
        )
        waiting: list[Mark] = []
        rate_hz = 0
        said = adapter.synthesise(synthesis, deadline=limit.call_ends_at, interrupt=self.interrupt)
        async with aclosing(said) as events:
            async for event in events:
                match event:
                    case Mark() if rate_hz:
                        yield part.mark(event, rate_hz)
                    case Mark():
                        # Its place is in samples of a rate that the first chunk tells.
                        waiting.append(event)
                    case AudioChunk():
                        if (rate_hz and event.rate_hz != rate_hz) or event.rate_hz <= 0 or len(event.pcm) % 2:
                            yield failed(asked, ProviderReason.RESPONSE_MALFORMED)
                            return
                        rate_hz = event.rate_hz
                        for mark in waiting:
                            yield part.mark(mark, rate_hz)
                        waiting.clear()
                        for chunk in self._sent(part.pieces(event)):
                            yield chunk
                    case ProviderResultV1():
                        if event.status == PROVIDER_STATUS_OK:
                            for chunk in self._sent(part.rest()):
                                yield chunk
                            if not rate_hz and event.reason_code != TtsReason.INTERRUPTED:
                                yield failed(asked, ProviderReason.RESPONSE_MALFORMED)
                                return
                        yield event
                        return
                limit.restart()

    def _sent(self, pieces: Sequence[bytes]) -> Iterator[AudioChunk]:
        """The pieces in their place, as they are taken; none once the listener has begun to speak."""
        for pcm in pieces:
            if self.interrupt.is_set():
                self.withheld = True
                return
            yield self._speech.place(pcm)


async def _listen(call: Any, interrupt: asyncio.Event) -> None:
    """Wait for an interrupt until the client closes its side. Refusal for any other message."""
    try:
        while (message := await call.read()) is not EOF:
            if message.WhichOneof("message") != "interrupt":
                raise config_expected(call.received - 1)
            interrupt.set()
    except Refusal:
        interrupt.set()
        raise


def _mark(mark: Mark) -> messages.SpeechMark:
    return messages.SpeechMark(
        kind=_MARKS[mark.kind],
        sample_offset=mark.sample_offset,
        text_offset=mark.text_offset,
        text_length=mark.text_length,
        name=mark.name,
    )


def _final(finished: Finished, speech: Speech, speaking: Speaking) -> messages.SynthesizeFinal:
    interrupted = speaking.withheld or finished.result.reason_code == TtsReason.INTERRUPTED
    return messages.SynthesizeFinal(
        outcome=messages.SYNTHESIZE_OUTCOME_INTERRUPTED if interrupted else messages.SYNTHESIZE_OUTCOME_COMPLETED,
        audio=duration(speech.samples / speech.rate_hz),
        result=finished.result,
        route=finished.route,
    )
