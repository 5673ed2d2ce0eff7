"""Speech as it is served: real channels, a real store, the real local voice, vendors simulated over real sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_FLOAT32, AUDIO_ENCODING_LINEAR16, AudioEncoding, AudioFormat
from selene.provider.v1.provider_pb2 import CAPABILITY_TTS, PROVIDER_STATUS_OK, ProviderResultV1
from selene.routing.v1.route_pb2 import RouteScope
from selene.routing.v1.routing_pb2 import DOMAIN_TTS, MEASURE_COMPLAINT_RATE_500, ProviderRoutingProfileV1
from selene.tts.v1 import service_pb2 as messages
from selene.tts.v1 import service_pb2_grpc as tts_grpc

from clients.channel import Connection
from clients.duplex import Duplex
from clients.errors import SeleneError, from_rpc
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.envelope import Asked, answered
from servers.routing.router import Limit
from servers.runtime.auth import ROLE_SERVICE, ROLE_USER, Principal, issue_token
from servers.runtime.clock import SystemClock
from servers.runtime.server import Runtime, Service
from servers.tts import espeak
from servers.tts.adapter import AudioChunk, Mark, MarkKind, Synthesis, TtsEvent
from servers.tts.assembly import assemble
from servers.tts.local import LocalTts
from servers.tts.service import Speaking, TextToSpeechV1
from servers.tts.speech import MAX_CHUNK_BYTES, Speech
from store import Transaction
from tests.support.about_users import deny_mira, spare_mira
from tests.support.keys import RotatingKey
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT, until
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.google import GoogleSimulator, google_simulator
from tests.support.simulators.openai import OpenAiSimulator

OPENAI, GOOGLE, LOCAL = "openai/tts", "google/tts", "selene-local/tts"
COMPLETED, INTERRUPTED = messages.SYNTHESIZE_OUTCOME_COMPLETED, messages.SYNTHESIZE_OUTCOME_INTERRUPTED
TEXT = "The kettle is on. Tea will be ready in four minutes. Call me when you want it."
RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
NATIVE = 24_000


class Line:
    """One Synthesize stream, message by message. Reading raises SeleneError when the server refuses."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        stub = tts_grpc.TextToSpeechServiceStub(connection.channel)
        self._duplex = Duplex(stub.Synthesize(timeout=timeout, metadata=connection.metadata()))

    async def config(self, **fields: Any) -> None:
        await self.send(messages.SynthesizeRequest(config=config(**fields)))

    async def interrupt(self) -> None:
        await self.send(messages.SynthesizeRequest(interrupt=messages.SynthesizeInterrupt()))

    async def send(self, message: messages.SynthesizeRequest) -> None:
        await self._duplex.write(message)

    async def half_close(self) -> None:
        await self._duplex.half_close()

    async def next(self) -> messages.SynthesizeResponse | None:
        """The next event; None at the end of a call that ended well."""
        event: messages.SynthesizeResponse | None = await self._duplex.read()
        return event

    async def until(self, kind: str) -> messages.SynthesizeResponse:
        """The next event of this kind."""
        while (event := await self.next()) is not None:
            if event.WhichOneof("event") == kind:
                return event
        raise AssertionError(f"the call has ended without {kind}")

    async def rest(self) -> list[messages.SynthesizeResponse]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events

    async def refusal(self) -> SeleneError:
        try:
            events = await self.rest()
        except SeleneError as error:
            return error
        raise AssertionError(f"not refused: {kinds(events)}")

    def cancel(self) -> None:
        self._duplex.cancel()


@dataclass(slots=True)
class Desk:
    """The owner as it is served, with its vendors."""

    owners: Owners
    openai: OpenAiSimulator
    google: GoogleSimulator

    @property
    def service(self) -> TextToSpeechV1:
        servicer: TextToSpeechV1 = self.owners.services["tts"][0].servicer
        return servicer

    @property
    def complaints(self) -> list[tuple[float, int]]:
        """Of each provider that has spoken: complaints in basis points, and of how many."""
        board = self.service._board
        found = [board.measures(key).readings[MEASURE_COMPLAINT_RATE_500] for key in board.circuits()]
        return [(each.value, each.samples) for each in found if each.samples]

    def connection(self, subject: str = "", tenant: str = TENANT, roles: Sequence[str] = (ROLE_USER,)) -> Connection:
        """As a subject of a tenant; as the developer where none is named."""
        if not subject:
            return self.owners.connection("tts")
        key = self.owners.running.development_key
        assert key is not None
        asking = Principal(tenant, subject, "", frozenset(roles))
        token = issue_token(key, asking, now=datetime.now(UTC), lifetime=timedelta(hours=1))
        return self.owners.connection("tts", token)

    def line(self, connection: Connection | None = None, timeout: float = 20.0) -> Line:
        return Line(connection or self.connection(), timeout)

    async def say(self, text: str = TEXT, **fields: Any) -> list[messages.SynthesizeResponse]:
        line = self.line(fields.pop("connection", None))
        await line.config(text=text, **fields)
        await line.half_close()
        return await line.rest()

    async def refused(self, text: str = TEXT, **fields: Any) -> SeleneError:
        line = self.line(fields.pop("connection", None))
        await line.config(text=text, **fields)
        await line.half_close()
        return await line.refusal()

    async def complain(self, request_id: str, connection: Connection | None = None, **fields: Any) -> Any:
        """ReportComplaintResponse; the SeleneError where it was refused."""
        connection = connection or self.connection()
        usual = {"tenant_id": TENANT, "reason_code": "WRONG_WORD", "idempotency_key": "c-1"}
        request = messages.ReportComplaintRequest(request_id=request_id, **{**usual, **fields})
        stub = tts_grpc.TextToSpeechServiceStub(connection.channel)
        return await stub.ReportComplaint(request, metadata=connection.metadata(), timeout=10)


_keys = itertools.count(1)


def config(**fields: Any) -> messages.SynthesizeConfig:
    encoding: AudioEncoding = fields.pop("encoding", AUDIO_ENCODING_LINEAR16)
    sound = AudioFormat(encoding=encoding, sample_rate_hz=fields.pop("rate", NATIVE), channel_count=1)
    scope = RouteScope(tenant_id=fields.pop("tenant", TENANT), user_id=fields.pop("user", ""))
    ssml = fields.pop("ssml", False)
    usual = {
        "text": TEXT,
        "markup": messages.TEXT_MARKUP_SSML if ssml else messages.TEXT_MARKUP_PLAIN,
        "audio_format": sound,
        "scope": scope,
        "locale": "en-US",
        "idempotency_key": f"k-{next(_keys)}",
    }
    return messages.SynthesizeConfig(**{**usual, **fields})


def kinds(events: Sequence[messages.SynthesizeResponse]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def chunks(events: Sequence[messages.SynthesizeResponse]) -> list[messages.SpeechChunk]:
    return [event.chunk for event in events if event.WhichOneof("event") == "chunk"]


def marks(events: Sequence[messages.SynthesizeResponse]) -> list[messages.SpeechMark]:
    return [event.mark for event in events if event.WhichOneof("event") == "mark"]


def audio(events: Sequence[messages.SynthesizeResponse]) -> bytes:
    """All of it, after a look at every chunk's place."""
    samples = 0
    for place, chunk in enumerate(chunks(events)):
        assert (chunk.sequence, chunk.sample_offset) == (place, samples)
        assert 0 < len(chunk.audio) <= MAX_CHUNK_BYTES and len(chunk.audio) % 2 == 0
        samples += len(chunk.audio) // 2
    return b"".join(chunk.audio for chunk in chunks(events))


def final(events: Sequence[messages.SynthesizeResponse]) -> messages.SynthesizeFinal:
    assert kinds(events)[0] == "started"
    assert kinds(events).count("final") == 1
    assert kinds(events)[-1] == "final"
    return events[-1].final


def seconds(final: messages.SynthesizeFinal) -> float:
    return final.audio.ToNanoseconds() / 1e9


def switch(events: Sequence[messages.SynthesizeResponse]) -> messages.SpeechSwitched:
    (found,) = [event.switched for event in events if event.WhichOneof("event") == "switched"]
    return found


def routed(*refs: str, timeout_s: float, retries: int) -> ProviderRoutingProfileV1:
    """A profile of these providers in this order."""
    seeds = [
        ProviderSeed(provider_ref=ref, region="us", timeout_s=timeout_s, max_retries=retries)
        if ref != LOCAL
        else ProviderSeed(provider_ref=ref, region="local", timeout_s=30.0)
        for ref in refs
    ]
    profile = default_profile(
        {DOMAIN_TTS: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="test-1"
    )
    for provider in profile.tts.providers:
        provider.priority = 1 + refs.index(provider.provider_ref)
    ordered = sorted(profile.tts.providers, key=lambda each: each.priority)
    del profile.tts.providers[:]
    profile.tts.providers.extend(ordered)
    return profile


@asynccontextmanager
async def desk(
    folder: Path,
    *refs: str,
    timeout_s: float = 5.0,
    retries: int = 0,
    prepare: Callable[[Transaction], Awaitable[None]] | None = None,
    spared: str = "",
) -> AsyncIterator[Desk]:
    """The owner with these providers in this order, without the one that mira is `spared`."""
    key = RotatingKey()
    async with OpenAiSimulator({key.secret}).serve() as openai, google_simulator(key.secret) as google:
        settings = {
            "owners.tts.openai.base_url": openai.base_url,
            "owners.tts.google.endpoint": google.endpoint,
            "owners.tts.google.plaintext": True,
        }

        async def build(runtime: Runtime) -> Sequence[Service]:
            return await assemble(runtime, credential_of=lambda provider_ref: key)

        profile = routed(*refs, timeout_s=timeout_s, retries=retries)
        if spared:
            spare_mira(profile, DOMAIN_TTS, spared)
        async with serving(
            ["tts"], folder, settings, profile=profile, builds={"tts": build}, prepare=prepare
        ) as owners:
            yield Desk(owners, openai, google)


async def native_s(text: str) -> float:
    """How long the local voice speaks a text; it is never quite the same."""
    adapter = LocalTts(espeak.load())
    request = Synthesis(TENANT, "r-1", "k-1", text, "en-US")
    async with aclosing(adapter.synthesise(request, deadline=float("inf"))) as events:
        made = [event async for event in events if isinstance(event, AudioChunk)]
    adapter.close()
    return sum(len(chunk.pcm) // 2 for chunk in made) / made[0].rate_hz


@pytest.mark.parametrize("rate", RATES)
async def test_the_audio_is_as_long_at_every_rate_and_its_chunks_follow_each_other(tmp_path: Path, rate: int) -> None:
    async with desk(tmp_path, OPENAI) as tts:
        sound = np.random.default_rng(7).integers(-8_000, 8_000, 80_011).astype("<i2").tobytes()
        tts.openai.answers.pcm_pieces = [sound[at : at + 3_331] for at in range(0, len(sound), 3_331)]
        events = await tts.say(rate=rate)
        said = final(events)
        assert abs(len(audio(events)) / 2 - 80_011 * rate / NATIVE) <= 1
        assert (rate == NATIVE) == (audio(events) == sound)
        assert seconds(said) == pytest.approx(len(audio(events)) / 2 / rate, abs=1e-8)
        assert (said.outcome, said.result.status) == (COMPLETED, PROVIDER_STATUS_OK)
        assert events[0].started.config.text == TEXT
        assert said.result.request_id == said.route.request_id == events[0].started.request_id
        assert [attempt.provider_ref for attempt in said.route.attempts] == [OPENAI]


async def test_without_any_vendor_the_local_voice_speaks(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        events = await tts.say()
        assert np.abs(np.frombuffer(audio(events), "<i2")).max() > 1_000
        assert seconds(final(events)) == pytest.approx(await native_s(TEXT), rel=0.02)


@pytest.mark.parametrize("rate", RATES)
async def test_marks_come_in_order_lie_within_the_audio_and_point_at_the_text(tmp_path: Path, rate: int) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        events = await tts.say(rate=rate)
        found, samples = marks(events), len(audio(events)) // 2
        places = [mark.sample_offset for mark in found]
        assert places == sorted(places) and places[0] >= 0 and places[-1] < samples
        sentences = [mark.text_offset for mark in found if mark.kind == messages.SPEECH_MARK_KIND_SENTENCE]
        assert sentences == [TEXT.index(start) for start in ("The kettle", "Tea", "Call")]
        words = [mark for mark in found if mark.kind == messages.SPEECH_MARK_KIND_WORD]
        assert [TEXT[mark.text_offset : mark.text_offset + mark.text_length] for mark in words][:4] == [
            "The",
            "kettle",
            "is",
            "on",
        ]


async def test_a_mark_comes_before_the_audio_that_it_points_at(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        sent = 0
        for event in await tts.say(rate=48_000):
            if event.WhichOneof("event") == "mark":
                # What the resampler still held is sent after it.
                assert event.mark.sample_offset >= sent - 1
            elif event.WhichOneof("event") == "chunk":
                sent += len(event.chunk.audio) // 2


async def test_ssml_is_spoken_by_who_can(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as tts:
        events = await tts.say('<speak>One. <mark name="here"/> <break time="500ms"/> Two.</speak>', ssml=True)
        said = final(events)
        assert [attempt.reason_code for attempt in said.route.attempts] == ["SSML_UNSUPPORTED", "SPOKEN"]
        (named,) = [mark for mark in marks(events) if mark.kind == messages.SPEECH_MARK_KIND_NAMED]
        assert (named.name, 0 < named.sample_offset < len(audio(events)) // 2) == ("here", True)
        assert tts.openai.calls == []


@pytest.mark.parametrize("text", ["<speak>One", "<speak><audio src='x'/></speak>", "no tags at all", "<speak/>"])
async def test_ssml_that_nobody_can_speak_is_the_callers_fault(tmp_path: Path, text: str) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as tts:
        refused = await tts.refused(text, ssml=True)
        assert refused.reason == "INPUT_UNSERVABLE"
        board = tts.service._board
        assert all(not board.measures(key).readings[MEASURE_COMPLAINT_RATE_500].samples for key in board.circuits())


async def test_an_interrupt_ends_the_speech_and_the_vendors_call(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, timeout_s=60.0) as tts:
        tts.openai.faults.plan(Fault(FaultKind.HANG, after=2))
        line = tts.line()
        await line.config()
        heard = 0
        while heard < 2 * 1_200:
            heard += len((await line.until("chunk")).chunk.audio) // 2
        await line.interrupt()
        (last,) = await line.rest()
        said = last.final
        assert (said.outcome, said.result.reason_code) == (INTERRUPTED, "INTERRUPTED")
        assert said.result.status == PROVIDER_STATUS_OK
        assert seconds(said) == pytest.approx(2 * 1_200 / NATIVE)
        assert [attempt.reason_code for attempt in said.route.attempts] == ["INTERRUPTED"]
        await asyncio.wait_for(tts.openai.calls[0].gone.wait(), 5)


async def test_an_interrupt_before_the_first_sound_leaves_silence(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL, timeout_s=60.0) as tts:
        tts.openai.faults.plan(Fault(FaultKind.HANG))
        line = tts.line()
        await line.config()
        await tts.openai.hung.wait()
        await line.interrupt()
        events = await line.rest()
        assert (final(events).outcome, seconds(final(events)), chunks(events)) == (INTERRUPTED, 0.0, [])


class Scripted:
    """A provider that says what it is told, and never listens for an interrupt."""

    provider_ref = "scripted/tts"

    def __init__(self, *events: TtsEvent) -> None:
        self._events = events

    async def synthesise(
        self, request: Synthesis, *, deadline: float, interrupt: asyncio.Event | None = None
    ) -> AsyncGenerator[TtsEvent, None]:
        for event in self._events:
            yield event
        yield answered(
            request, provider_ref=self.provider_ref, capability=CAPABILITY_TTS, status=PROVIDER_STATUS_OK,
            reason_code="SPOKEN",
        )  # fmt: skip


def begun(speaking: Speaking, *events: TtsEvent) -> AsyncGenerator[AudioChunk | Mark | ProviderResultV1, None]:
    asked = Asked(
        tenant_id=TENANT, provider_ref="scripted/tts", capability=CAPABILITY_TTS, request_id="r-1", idempotency_key="k"
    )
    return speaking.begin(Scripted(*events), asked, Limit(SystemClock(), 5.0, float("inf")))


async def test_after_an_interrupt_nothing_that_was_made_already_is_sent() -> None:
    speech = Speech(TEXT, rate_hz=NATIVE, resumable=True)
    speaking = Speaking(config(), speech)
    long = AudioChunk(bytes(4 * MAX_CHUNK_BYTES), 0, NATIVE)
    async with aclosing(begun(speaking, long, AudioChunk(b"\1\1", 4 * MAX_CHUNK_BYTES // 2, NATIVE))) as events:
        assert isinstance(await anext(events), AudioChunk)
        speaking.interrupt.set()
        rest = [event async for event in events]
    assert [type(event) for event in rest] == [ProviderResultV1]
    assert speaking.withheld
    assert speech.samples == MAX_CHUNK_BYTES // 2


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Mark(MarkKind.SENTENCE, 0, 0)],
        [AudioChunk(b"\1\1", 0, NATIVE), AudioChunk(b"\1\1", 1, 16_000)],
        [AudioChunk(b"\1", 0, NATIVE)],
        [AudioChunk(b"\1\1", 0, 0)],
    ],
    ids=["nothing", "a mark alone", "two rates", "half a sample", "no rate"],
)
async def test_what_is_no_speech_is_malformed(events: list[TtsEvent]) -> None:
    speaking = Speaking(config(), Speech(TEXT, rate_hz=NATIVE, resumable=True))
    async with aclosing(begun(speaking, *events)) as said:
        last = [event async for event in said][-1]
    assert isinstance(last, ProviderResultV1)
    assert last.reason_code == "RESPONSE_MALFORMED"


CONFIG = messages.SynthesizeRequest(config=config())
INTERRUPT = messages.SynthesizeRequest(interrupt=messages.SynthesizeInterrupt())


@pytest.mark.parametrize("sent", [[], [INTERRUPT]], ids=["nothing", "an interrupt"])
async def test_a_stream_that_does_not_begin_with_a_config_is_refused(
    tmp_path: Path, sent: list[messages.SynthesizeRequest]
) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        line = tts.line()
        for message in sent:
            await line.send(message)
        await line.half_close()
        assert (await line.refusal()).reason == "STREAM_CONFIG_EXPECTED"


async def test_a_second_config_ends_the_stream(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, timeout_s=60.0) as tts:
        tts.openai.faults.plan(Fault(FaultKind.HANG, after=1))
        line = tts.line()
        await line.config()
        await line.until("chunk")
        await line.send(CONFIG)
        assert (await line.refusal()).reason == "STREAM_CONFIG_EXPECTED"
        await asyncio.wait_for(tts.openai.calls[0].gone.wait(), 5)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": "x" * 10_001}, "FIELD_INVALID"),
        ({"text": ""}, "FIELD_INVALID"),
        ({"rate": 22_050}, "FIELD_INVALID"),
        ({"encoding": AUDIO_ENCODING_FLOAT32}, "FIELD_INVALID"),
        ({"markup": messages.TEXT_MARKUP_UNSPECIFIED}, "FIELD_INVALID"),
        ({"idempotency_key": ""}, "FIELD_INVALID"),
        ({"text": " \n"}, "INPUT_UNSERVABLE"),
        ({"text": "\u0001\u0002"}, "INPUT_UNSERVABLE"),
        ({"locale": "tlh-QO"}, "INPUT_UNSERVABLE"),
        ({"tenant": "t-other"}, "TENANT_MISMATCH"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_reason(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as tts:
        assert (await tts.refused(**fields)).reason == reason
        assert tts.openai.calls == []


async def test_a_user_speaks_for_no_other(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        refused = await tts.refused(user="otto", connection=tts.connection("mira"))
        assert refused.reason == "SUBJECT_MISMATCH"


async def test_a_rule_about_a_user_holds_although_she_does_not_name_herself(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL, prepare=deny_mira) as tts:
        mira, gateway = tts.connection("mira"), tts.connection("gateway", roles=(ROLE_SERVICE,))
        for refused in (
            await tts.refused(connection=mira, user="mira"),
            await tts.refused(connection=mira),
            await tts.refused(connection=gateway, user="mira"),
        ):
            assert (refused.reason, refused.metadata["cause"]) == ("POLICY_REFUSED", "NOT_FOR_HER")
        for connection in (gateway, tts.connection("otto")):
            assert final(await tts.say(connection=connection)).outcome == COMPLETED


async def test_a_users_exception_applies_although_she_does_not_name_herself(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL, spared=OPENAI) as tts:
        mira, otto = tts.connection("mira"), tts.connection("otto")
        assert final(await tts.say(connection=mira, user="mira")).result.provider_ref == LOCAL
        assert final(await tts.say(connection=mira)).result.provider_ref == LOCAL
        assert final(await tts.say(connection=otto)).result.provider_ref == OPENAI


async def test_who_only_reads_the_trail_asks_for_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        refused = await tts.refused(connection=tts.connection("ada", roles=("auditor",)))
        assert (refused.reason, refused.metadata) == ("ROLE_REQUIRED", {"any_of": "operator,service,user"})


async def test_the_longest_text_is_spoken_by_who_takes_it(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, LOCAL) as tts:
        tts.openai.answers.pcm_pieces = [b"\x00\x10" * 24_000]
        refused = await tts.refused("word " * 2_000)
        assert (refused.reason, refused.metadata["cause"]) == ("INPUT_UNSERVABLE", "TEXT_TOO_LONG")


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.HALF_STREAM, FaultKind.HANG])
async def test_a_voice_that_breaks_off_is_replaced_without_a_gap(tmp_path: Path, kind: FaultKind) -> None:
    text = "  " + TEXT
    async with desk(tmp_path, GOOGLE, LOCAL, timeout_s=60.0 if kind is FaultKind.RESET else 2.0) as tts:
        # What a reset connection had not delivered is lost, so it is broken once audio has come.
        tts.google.faults.plan(Fault(FaultKind.HANG if kind is FaultKind.RESET else kind, after=1))
        line = tts.line()
        await line.config(text=text, rate=16_000)
        await line.half_close()
        events: list[messages.SynthesizeResponse] = []
        while not chunks(events):
            event = await line.next()
            assert event is not None
            events.append(event)
        if kind is FaultKind.RESET:
            tts.google.break_connections()
        events += await line.rest()
        moved, place = switch(events), kinds(events).index("switched")
        assert (moved.provider.from_provider_ref, moved.provider.to_provider_ref) == (GOOGLE, LOCAL)
        before, after = chunks(events[:place]), chunks(events[place:])
        assert before and after
        # Google tells of its first sentence only, which begins after the blanks.
        assert (moved.resumed_at, moved.void_from_sample) == (2, 0)
        assert after[0].sample_offset == sum(len(chunk.audio) // 2 for chunk in before)
        heard_s = sum(len(chunk.audio) // 2 for chunk in after) / 16_000
        assert heard_s == pytest.approx(await native_s(TEXT), rel=0.02)
        first = marks(events[place:])[0]
        assert (first.sample_offset, first.text_offset) == (after[0].sample_offset, 2)
        assert len(audio(events)) // 2 == round(seconds(final(events)) * 16_000)
        assert final(events).route.failover


async def test_a_voice_that_tells_of_no_sentences_is_followed_from_the_beginning(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE, timeout_s=2.0) as tts:
        tts.openai.faults.plan(Fault(FaultKind.HANG, after=2))
        events = await tts.say(rate=48_000)
        moved, place = switch(events), kinds(events).index("switched")
        assert (moved.resumed_at, moved.void_from_sample) == (0, 0)
        assert chunks(events[:place])
        assert tts.google.ledger[0].text == TEXT
        audio(events)


async def test_what_failed_before_its_first_sound_leaves_no_trace_in_the_audio(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as tts:
        tts.openai.faults.plan(FaultKind.INTERNAL)
        events = await tts.say()
        assert kinds(events).index("switched") == 1
        assert (switch(events).resumed_at, switch(events).void_from_sample) == (0, 0)
        assert chunks(events)[0].sample_offset == 0
        assert final(events).result.provider_ref == GOOGLE


async def test_nobody_left_is_told_with_every_reason(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as tts:
        tts.openai.faults.plan(FaultKind.INTERNAL)
        tts.google.faults.plan(FaultKind.UNAVAILABLE)
        refused = await tts.refused()
        assert refused.reason == "PROVIDERS_FAILED"
        assert refused.metadata["providers"] == f"{OPENAI}=PROVIDER_UNAVAILABLE,{GOOGLE}=PROVIDER_UNAVAILABLE"


async def test_a_slow_reader_loses_nothing_and_costs_no_providers_time(tmp_path: Path) -> None:
    sound = (np.arange(4_000_000) % 1_000 + 1).astype("<i2").tobytes()
    async with desk(tmp_path, OPENAI, LOCAL, timeout_s=3.0) as tts:
        tts.openai.answers.pcm_pieces = [sound[at : at + 100_000] for at in range(0, len(sound), 100_000)]
        line = tts.line(timeout=300.0)
        await line.config()
        events = [await line.until("chunk")]
        call = tts.openai.calls[0]
        sent, quiet = -1, 0
        while quiet < 20:
            await asyncio.sleep(0.01)
            sent, quiet = call.pieces, quiet + 1 if call.pieces == sent else 0
        assert sent < len(tts.openai.answers.pcm_pieces), "everything was taken before anybody read"
        tts.owners.clock.skip(100.0)
        await line.half_close()
        events += await line.rest()
        assert audio(events) == sound
        said = events[-1].final
        assert [attempt.reason_code for attempt in said.route.attempts] == ["SPOKEN"]
        assert call.ended


async def test_a_caller_that_leaves_takes_everything_with_it(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, timeout_s=60.0) as tts:
        before = asyncio.all_tasks()
        tts.openai.faults.plan(Fault(FaultKind.HANG, after=1))
        line = tts.line()
        await line.config()
        await line.until("chunk")
        await tts.openai.hung.wait()
        line.cancel()
        await asyncio.wait_for(tts.openai.calls[0].gone.wait(), 5)

        def left() -> list[str]:
            running = (repr(task.get_coro()) for task in asyncio.all_tasks() - before)
            return [name for name in running if "_listen" in name or "Synthesize" in name or "wait" in name]

        await until(lambda: not left())
        assert tts.service._spoken == {}
        tenant = tts.service._router._gatekeeper.accounts._tenants[TENANT]
        assert all(pool.calls == 0 for pool in tenant.pools.values())


async def synthesised(tts: Desk, connection: Connection | None = None, **fields: Any) -> str:
    """The id of a synthesis that was made."""
    line = tts.line(connection)
    await line.config(text="Yes.", **fields)
    await line.half_close()
    return final(await line.rest()).result.request_id


async def test_a_complaint_counts_once_against_the_provider(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        request_id = await synthesised(tts)
        await synthesised(tts)
        assert tts.complaints == [(0, 2)]
        first = await tts.complain(request_id)
        assert (first.provider_ref, first.counted) == (LOCAL, True)
        assert tts.complaints == [(5_000, 2)]
        assert (await tts.complain(request_id)).counted
        assert not (await tts.complain(request_id, idempotency_key="c-2")).counted
        assert tts.complaints == [(5_000, 2)]
        told = [each for each in await tts.owners.trail() if each.transition == "speech.complained"]
        assert [(each.reason_code, {fact.name: fact.value for fact in each.facts}["counted"]) for each in told] == [
            ("WRONG_WORD", "true"),
            ("WRONG_WORD", "false"),
        ]


async def test_of_many_complaints_at_once_one_counts(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        request_id = await synthesised(tts)
        await synthesised(tts)
        replies = await asyncio.gather(*(tts.complain(request_id, idempotency_key=f"c-{n}") for n in range(8)))
        assert [reply.counted for reply in replies].count(True) == 1
        assert tts.complaints == [(5_000, 2)]


async def refused_complaint(tts: Desk, request_id: str, connection: Connection, **fields: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tts.complain(request_id, connection, **fields)
    return from_rpc(caught.value).reason


async def test_nobody_complains_of_what_was_said_to_others(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        mira, otto = tts.connection("mira"), tts.connection("otto")
        abroad = tts.connection("mira", "t-other")
        request_id = await synthesised(tts, mira)
        assert await refused_complaint(tts, request_id, abroad, tenant_id="t-other") == "RESOURCE_NOT_FOUND"
        assert await refused_complaint(tts, request_id, abroad) == "TENANT_MISMATCH"
        assert await refused_complaint(tts, request_id, otto) == "SUBJECT_MISMATCH"
        assert await refused_complaint(tts, "r-unknown", mira) == "RESOURCE_NOT_FOUND"
        assert tts.complaints == [(0, 1)]
        assert (await tts.complain(request_id, mira)).counted


async def test_who_was_spoken_to_may_complain_of_what_a_service_asked_for(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as tts:
        service = tts.connection("gateway", roles=(ROLE_SERVICE,))
        request_id = await synthesised(tts, service, user="mira")
        assert await refused_complaint(tts, request_id, tts.connection("otto")) == "SUBJECT_MISMATCH"
        assert (await tts.complain(request_id, tts.connection("mira"))).counted
