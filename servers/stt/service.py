"""The gRPC edge of transcription: audio in; interims, and one judged transcript out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from grpc.aio import EOF
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_OK, ProviderResultV1
from selene.stt.v1 import service_pb2 as messages
from selene.stt.v1 import service_pb2_grpc as stt_grpc

from servers.routing.edge import duration, permitted, routed_call, switched, unservable
from servers.routing.envelope import Asked, failed
from servers.routing.reasons import ProviderReason
from servers.routing.router import Finished, Limit, RoutedCall, Router, Switched
from servers.runtime.audio.order import config_expected
from servers.runtime.clock import Clock
from servers.runtime.ids import Ids
from servers.stt.adapter import Interim, SttAdapter, SttReason, Transcript, Transcription, Word
from servers.stt.gate import judge
from servers.stt.learned import ADAPTATION, VOCABULARY, Adaptation, Terms
from servers.stt.settings import SttSettings
from servers.stt.utterance import Listening, Utterance, hear

SECONDS_A_UNIT: Final = 60.0
"""A price is of a minute of audio."""

ELSEWHERE: Final = frozenset({SttReason.LOCALE_UNSUPPORTED, SttReason.AUDIO_TOO_LONG, ProviderReason.CONTENT_REFUSED})
"""What one provider cannot serve and another may."""

MOST_CHARACTERS: Final = 100_000
"""Of a text; nobody says more in the longest utterance."""

LATEST_S: Final = 3_600.0
"""After the beginning; no utterance is as long."""

Said = messages.InterimTranscript | messages.Transcript


class SpeechToTextV1(stt_grpc.SpeechToTextServiceServicer):
    """selene.stt.v1.SpeechToTextService."""

    def __init__(self, router: Router[SttAdapter], settings: SttSettings, clock: Clock, ids: Ids) -> None:
        self._router = router
        self._settings = settings
        self._clock = clock
        self._ids = ids

    async def Transcribe(self, request_iterator: Any, context: Any) -> AsyncIterator[messages.TranscribeResponse]:
        config = _config(await context.read())
        caller = permitted(config.scope)
        call = routed_call(
            config.scope,
            caller,
            self._clock,
            locale=config.locale,
            request_id=self._ids.new(),
            idempotency_key=config.idempotency_key,
            content=config,
            units=self._settings.expected_audio_s / SECONDS_A_UNIT,
            packs=self._router.packs,
        )
        started = messages.TranscribeStarted(request_id=call.request_id, config=config)
        yield messages.TranscribeResponse(started=started)
        utterance, transcript = Utterance(), messages.Transcript()
        transcribing = Transcribing(config.locale, utterance, call.packs.get(VOCABULARY), call.packs.get(ADAPTATION))

        def units() -> float:
            return utterance.seconds / SECONDS_A_UNIT

        hearing = asyncio.create_task(
            hear(context, config.audio_format, utterance, max_s=self._settings.max_audio_s), name="stt.hear"
        )
        try:
            async with aclosing(self._router.run(call, transcribing, units)) as events:
                async for event in events:
                    match event:
                        case messages.InterimTranscript():
                            yield messages.TranscribeResponse(interim=event)
                        case messages.Transcript():
                            transcript = event
                        case Switched():
                            yield messages.TranscribeResponse(switched=switched(event))
                        case Finished():
                            transcript.audio.CopyFrom(duration(utterance.seconds))
                            final = self._final(event, transcript, call)
                            yield messages.TranscribeResponse(final=final)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    def _final(self, finished: Finished, transcript: messages.Transcript, call: RoutedCall) -> messages.FinalTranscript:
        """What the gate says of it. Refusal: INPUT_UNSERVABLE."""
        result = finished.result
        if not finished.done and result.reason_code != SttReason.NO_SPEECH:
            raise unservable(finished)
        judged = judge(transcript.text, result.quality_score_bp, accept_min_bp=self._settings.accept_min_bp)
        if judged.of_provider:
            self._router.judge_transcript(call, finished.key, accepted=judged.accepted)
        return messages.FinalTranscript(
            transcript=transcript,
            verdict=judged.verdict,
            reason_code=judged.reason_code,
            result=result,
            route=finished.route,
        )


class Transcribing:
    """One utterance, as any provider is asked to transcribe it.

    While its audio still comes, the provider is not what is waited for: its time begins at the half-close.
    """

    def __init__(
        self, locale: str, utterance: Utterance, terms: Terms | None = None, adaptation: Adaptation | None = None
    ) -> None:
        self._locale = locale
        self._utterance = utterance
        self._terms = () if terms is None else terms.serving(locale)
        self._substitutions = None if adaptation is None else adaptation.serving(locale)

    async def begin(
        self, adapter: SttAdapter, asked: Asked, limit: Limit
    ) -> AsyncGenerator[Said | ProviderResultV1, None]:
        """See `servers.routing.router.Work`: an OK has a transcript, and one of all the audio."""
        utterance = self._utterance
        if utterance.ended:
            limit.restart()
        else:
            limit.lift()
            utterance.when_ended = limit.restart
        request = Transcription(
            tenant_id=asked.tenant_id,
            request_id=asked.request_id,
            idempotency_key=asked.idempotency_key,
            locale=self._locale,
            simulation_context_ref=asked.simulation_context_ref,
            terms=self._terms,
        )
        listening = utterance.listen()
        transcript: Transcript | None = None
        async with aclosing(adapter.transcribe(request, listening, deadline=limit.at)) as events:
            while (event := await utterance.unless_refused(anext(events, None))) is not None:
                try:
                    match event:
                        case Interim():
                            yield interim_message(self._meant(event))
                        case Transcript():
                            transcript = event if self._substitutions is None else self._substitutions.applied(event)
                        case ProviderResultV1():
                            for said in _checked(event, transcript, listening, asked):
                                yield said
                            return
                except Malformed:
                    yield failed(asked, ProviderReason.RESPONSE_MALFORMED)
                    return

    def _meant(self, interim: Interim) -> Interim:
        if self._substitutions is None:
            return interim
        return Interim(self._substitutions.text(interim.text), interim.end_s)


class Malformed(Exception):
    """What a provider said cannot be shown in the contract's words."""


def interim_message(interim: Interim) -> messages.InterimTranscript:
    """As the contract shows it. Malformed."""
    if not 0 <= interim.end_s <= LATEST_S:
        raise Malformed("a time is none")
    return messages.InterimTranscript(text=_text(interim.text), audio_end=duration(interim.end_s))


def transcript_message(transcript: Transcript) -> messages.Transcript:
    """As the contract shows it, but for how much audio was heard: that is not the provider's to say. Malformed."""
    return messages.Transcript(text=_text(transcript.text), words=[_word(word) for word in transcript.words])


def _checked(
    result: ProviderResultV1, transcript: Transcript | None, listening: Listening, asked: Asked
) -> tuple[messages.Transcript | ProviderResultV1, ...]:
    done = result.status == PROVIDER_STATUS_OK
    if (done or result.reason_code == SttReason.NO_SPEECH) and not listening.finished:
        return (failed(asked, ProviderReason.RESPONSE_TRUNCATED),)
    if not done:
        return (result,)
    if transcript is None or not transcript.text.strip():
        raise Malformed("there is no transcript")
    return transcript_message(transcript), result


def _word(word: Word) -> messages.TranscribedWord:
    if not 0 <= word.start_s <= word.end_s <= LATEST_S or not 0 <= word.confidence_bp <= 10_000:
        raise Malformed("a word's time or confidence is none")
    return messages.TranscribedWord(
        text=_text(word.text),
        start=duration(word.start_s),
        end=duration(word.end_s),
        confidence_bp=word.confidence_bp,
    )


def _text(text: str) -> str:
    """Text that a message can hold: a lone surrogate has no UTF-8."""
    if len(text) > MOST_CHARACTERS or any("\ud800" <= character <= "\udfff" for character in text):
        raise Malformed("a text is none, or too long")
    return text


def _config(first: Any) -> messages.TranscribeConfig:
    if first is EOF or first.WhichOneof("message") != "config":
        raise config_expected(0)
    config: messages.TranscribeConfig = first.config
    return config
