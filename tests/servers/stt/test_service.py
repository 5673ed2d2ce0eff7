"""Transcription as it is served: real channels, a real store, the vendors simulated over real sockets."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.audio_pb2 import (
    AUDIO_ENCODING_FLOAT32,
    AUDIO_ENCODING_LINEAR16,
    AUDIO_ENCODING_OPUS,
    AudioEncoding,
    AudioFormat,
    AudioFrame,
)
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_OK
from selene.routing.v1.route_pb2 import RouteScope
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    DOMAIN_STT,
    MEASURE_TRANSCRIPT_ACCEPT_RATE_200,
    CircuitState,
    ProviderRoutingProfileV1,
)
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, POLICY_EFFECT_DENY
from selene.stt.v1 import service_pb2 as messages
from selene.stt.v1 import service_pb2_grpc as stt_grpc

from clients.channel import Connection
from clients.duplex import Duplex
from clients.errors import SeleneError
from servers.routing.circuit import Circuit
from servers.routing.defaults import ProviderSeed, default_profile
from servers.runtime.auth import ROLE_SERVICE, ROLE_USER, Principal, issue_token
from servers.runtime.server import Runtime, Service
from servers.stt.assembly import assemble
from servers.stt.models import WhisperFiles
from servers.stt.service import SpeechToTextV1
from servers.tts import espeak
from store import Transaction
from store.routing import Budget, Key, Quota, Rule
from tests.support.about_users import deny_mira, spare_mira
from tests.support.keys import RotatingKey
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT, until
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.google import GoogleSimulator, Portion, google_simulator
from tests.support.simulators.openai import OpenAiSimulator
from tests.support.speech import pieces

FRAME = 640
SPEECH = np.random.default_rng(7).integers(-8_000, 8_000, 16_000 * 2).astype("<i2").tobytes()
"""Two seconds; the simulators hear in it what they are told to."""
HEARD = (Portion((("what", 0.1, 0.4, 0.9), ("time", 0.4, 0.8, 0.8))),)
OPENAI, GOOGLE, LOCAL = "openai/stt", "google/stt", "selene-local/stt"
ACCEPTED, REJECTED = messages.TRANSCRIPT_VERDICT_ACCEPTED, messages.TRANSCRIPT_VERDICT_REJECTED


class Line:
    """One Transcribe stream, message by message. Reading raises SeleneError when the server refuses.

    It reads all the time: gRPC tells how a call ended only once what came before was read.
    """

    def __init__(self, connection: Connection, timeout: float = 20.0) -> None:
        stub = stt_grpc.SpeechToTextServiceStub(connection.channel)
        self._duplex = Duplex(stub.Transcribe(timeout=timeout, metadata=connection.metadata()))
        self._sent = 0
        self._events: asyncio.Queue[messages.TranscribeResponse | SeleneError | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def config(self, **fields: Any) -> None:
        await self.send(messages.TranscribeRequest(config=config(**fields)))

    async def frame(self, audio: bytes, sequence: int | None = None) -> bool:
        frame = AudioFrame(audio=audio, sequence=self._sent if sequence is None else sequence)
        self._sent = frame.sequence + 1
        return await self.send(messages.TranscribeRequest(frame=frame))

    async def frames(self, audio: Iterable[bytes]) -> None:
        for piece in audio:
            if not await self.frame(piece):
                return

    async def send(self, message: messages.TranscribeRequest) -> bool:
        return await self._duplex.write(message)

    async def next(self) -> messages.TranscribeResponse | None:
        """The next event; None at the end of a call that ended well."""
        event = await self._events.get()
        if isinstance(event, SeleneError):
            raise event
        return event

    async def event(self) -> messages.TranscribeResponse:
        event = await self.next()
        assert event is not None, "the call has ended"
        return event

    async def half_close(self) -> None:
        await self._duplex.half_close()

    async def rest(self) -> list[messages.TranscribeResponse]:
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
        self._reading.cancel()
        self._duplex.cancel()

    async def _read(self) -> None:
        event: messages.TranscribeResponse | SeleneError | None = messages.TranscribeResponse()
        while isinstance(event, messages.TranscribeResponse):
            try:
                event = await self._duplex.read()
            except SeleneError as error:
                event = error
            self._events.put_nowait(event)


@dataclass(slots=True)
class Desk:
    """The owner as it is served, with its vendors."""

    owners: Owners
    openai: OpenAiSimulator
    google: GoogleSimulator

    @property
    def service(self) -> SpeechToTextV1:
        servicer: SpeechToTextV1 = self.owners.services["stt"][0].servicer
        return servicer

    @property
    def circuit(self) -> Circuit:
        """The only circuit."""
        (circuit,) = self.service._router._board.circuits().values()
        return circuit

    @property
    def state(self) -> CircuitState:
        return self.circuit.state

    def connection(self, subject: str = "", roles: Sequence[str] = (ROLE_USER,)) -> Connection:
        """As a subject of the tenant; as the developer where none is named."""
        if not subject:
            return self.owners.connection("stt")
        key = self.owners.running.development_key
        assert key is not None
        asking = Principal(TENANT, subject, "", frozenset(roles))
        token = issue_token(key, asking, now=datetime.now(UTC), lifetime=timedelta(hours=1))
        return self.owners.connection("stt", token)

    def line(self, timeout: float = 20.0, connection: Connection | None = None) -> Line:
        return Line(connection or self.connection(), timeout)

    async def ask(self, audio: bytes = SPEECH, **fields: Any) -> list[messages.TranscribeResponse]:
        line = self.line(connection=fields.pop("connection", None))
        await line.config(**fields)
        await line.frames(pieces(audio, FRAME))
        await line.half_close()
        return await line.rest()

    async def refused(self, audio: bytes = SPEECH, **fields: Any) -> SeleneError:
        line = self.line(connection=fields.pop("connection", None))
        await line.config(**fields)
        await line.frames(pieces(audio, FRAME))
        await line.half_close()
        return await line.refusal()

    async def told(self) -> list[tuple[str, str]]:
        """The trail of the tenant's calls, once the last one's end is in it."""
        found: list[tuple[str, str]] = []
        deadline = time.monotonic() + 5.0
        while not found or found[-1][0] != "call.finished":
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.02)
            trail = await self.owners.trail()
            found = [(each.transition, each.reason_code) for each in trail if each.transition.startswith("call.")]
        return found

    async def asked_last(self, calls: int) -> list[str | None]:
        """Who came last for each selection, once the trail holds so many calls."""
        trail: list[AuditEvent] = []
        async with asyncio.timeout(5.0):
            while [each.transition for each in trail].count("call.finished") < calls:
                await asyncio.sleep(0.02)
                trail = await self.owners.trail()
        told = [{fact.name: fact.value for fact in row.facts} for row in trail if row.transition == "call.routed"]
        return [facts.get("asked_last") for facts in told]


_keys = itertools.count(1)


def config(**fields: Any) -> messages.TranscribeConfig:
    encoding: AudioEncoding = fields.pop("encoding", AUDIO_ENCODING_LINEAR16)
    sound = AudioFormat(encoding=encoding, sample_rate_hz=fields.pop("rate", 16_000), channel_count=1)
    scope = RouteScope(tenant_id=fields.pop("tenant", TENANT), user_id=fields.pop("user", ""))
    usual = {"audio_format": sound, "scope": scope, "locale": "en-US", "idempotency_key": f"k-{next(_keys)}"}
    return messages.TranscribeConfig(**{**usual, **fields})


def kinds(events: Sequence[messages.TranscribeResponse]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def final(events: Sequence[messages.TranscribeResponse]) -> messages.FinalTranscript:
    assert kinds(events)[0] == "started"
    assert kinds(events).count("final") == 1
    assert kinds(events)[-1] == "final"
    return events[-1].final


def routed(*refs: str, timeout_s: float = 5.0, retries: int = 0) -> ProviderRoutingProfileV1:
    """A profile of these providers in this order."""
    seeds = [
        ProviderSeed(provider_ref=ref, region="us", timeout_s=timeout_s, max_retries=retries)
        if ref != LOCAL
        else ProviderSeed(provider_ref=ref, region="local", timeout_s=30.0)
        for ref in refs
    ]
    profile = default_profile(
        {DOMAIN_STT: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="test-1"
    )
    for provider in profile.stt.providers:
        provider.priority = 1 + refs.index(provider.provider_ref)
    providers = sorted(profile.stt.providers, key=lambda each: each.priority)
    del profile.stt.providers[:]
    profile.stt.providers.extend(providers)
    return profile


@asynccontextmanager
async def desk(
    folder: Path,
    *refs: str,
    timeout_s: float = 5.0,
    retries: int = 0,
    prepare: Callable[[Transaction], Awaitable[None]] | None = None,
    spared: str = "",
    **flags: Any,
) -> AsyncIterator[Desk]:
    """The owner with these providers in this order, without the one that mira is `spared`; `flags` are settings with
    `__` for the dots.
    """
    key = RotatingKey()
    async with OpenAiSimulator({key.secret}).serve() as openai, google_simulator(key.secret) as google:
        google.hears = HEARD
        settings = {
            "owners.stt.local_workers": 0,
            "owners.stt.openai.base_url": openai.base_url,
            "owners.stt.google.recognizer": "projects/p-1/locations/global/recognizers/_",
            "owners.stt.google.endpoint": google.endpoint,
            "owners.stt.google.plaintext": True,
        }
        settings |= {name.replace("__", "."): value for name, value in flags.items()}

        async def build(runtime: Runtime) -> Sequence[Service]:
            return await assemble(runtime, credential_of=lambda provider_ref: key)

        profile = routed(*refs, timeout_s=timeout_s, retries=retries)
        if spared:
            spare_mira(profile, DOMAIN_STT, spared)
        async with serving(
            ["stt"], folder, settings, profile=profile, builds={"stt": build}, prepare=prepare
        ) as owners:
            yield Desk(owners, openai, google)


def heard_by(openai: OpenAiSimulator, call: int = -1) -> bytes:
    """The samples of the file that OpenAI got."""
    with wave.open(io.BytesIO(openai.ledger[call].audio)) as file:
        return bytes(file.readframes(file.getnframes()))


async def test_an_utterance_becomes_one_accepted_transcript(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as stt:
        events = await stt.ask()
        said = final(events)
        assert "interim" in kinds(events)
        assert events[0].started.config.locale == "en-US"
        assert (said.transcript.text, said.verdict, said.reason_code) == ("what time is it", ACCEPTED, "TRANSCRIBED")
        assert said.transcript.audio.ToTimedelta().total_seconds() == 2.0
        assert said.result.request_id == said.route.request_id == events[0].started.request_id
        assert [attempt.provider_ref for attempt in said.route.attempts] == [OPENAI]
        assert not said.route.failover
        assert heard_by(stt.openai) == SPEECH


async def test_interims_come_while_the_audio_still_does(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE) as stt:
        stt.google.hears = (Portion((("what", 0.1, 0.4, 0.9),), interims=("wha",)), *HEARD)
        line = stt.line()
        await line.config()
        assert (await line.event()).WhichOneof("event") == "started"
        await line.frames(pieces(SPEECH, FRAME))
        assert (await line.event()).interim.text
        await line.half_close()
        assert kinds(await line.rest())[-1] == "final"


async def test_words_come_with_their_times_and_confidences(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE) as stt:
        words = final(await stt.ask()).transcript.words
        assert [(word.text, word.confidence_bp) for word in words] == [("what", 9_000), ("time", 8_000)]
        assert [(word.start.ToMilliseconds(), word.end.ToMilliseconds()) for word in words] == [(100, 400), (400, 800)]


@pytest.mark.parametrize("kind", [FaultKind.INTERNAL, FaultKind.HALF_STREAM, FaultKind.RESET, FaultKind.MALFORMED])
async def test_a_primary_that_fails_costs_no_audio(tmp_path: Path, kind: FaultKind) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as stt:
        stt.openai.faults.plan(kind)
        events = await stt.ask()
        said = final(events)
        (switched,) = [event.switched for event in events if event.WhichOneof("event") == "switched"]
        assert (switched.from_provider_ref, switched.to_provider_ref) == (OPENAI, GOOGLE)
        assert said.transcript.text == "what time"
        assert said.route.failover
        assert [attempt.provider_ref for attempt in said.route.attempts] == [OPENAI, GOOGLE]
        assert sum(stt.google.ledger[0].audio) == len(SPEECH)


async def test_a_primary_that_hangs_in_the_middle_of_the_audio_costs_no_audio(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE, OPENAI, timeout_s=0.5) as stt:
        stt.google.faults.plan(Fault(FaultKind.HANG))
        line = stt.line()
        await line.config()
        await line.frames(pieces(SPEECH[: len(SPEECH) // 2], FRAME))
        await stt.google.begun(1)
        await line.frames(pieces(SPEECH[len(SPEECH) // 2 :], FRAME))
        await line.half_close()
        events = await line.rest()
        (switched,) = [event.switched for event in events if event.WhichOneof("event") == "switched"]
        assert switched.reason_code == "DEADLINE_EXCEEDED"
        assert final(events).result.provider_ref == OPENAI
        assert heard_by(stt.openai) == SPEECH
        await asyncio.wait_for(stt.google.ledger[0].ended.wait(), 5.0)


async def test_a_provider_that_fails_while_audio_comes_is_replaced_before_the_half_close(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE, OPENAI) as stt:
        stt.google.faults.plan(FaultKind.UNAVAILABLE)
        line = stt.line()
        await line.config()
        await line.frames(pieces(SPEECH[:6_400], FRAME))
        assert (await line.event()).WhichOneof("event") == "started"
        assert (await line.event()).switched.to_provider_ref == OPENAI
        await line.frames(pieces(SPEECH[6_400:], FRAME))
        await line.half_close()
        assert kinds(await line.rest())[-1] == "final"
        assert heard_by(stt.openai) == SPEECH


async def test_the_same_provider_is_tried_again_with_all_the_audio(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, retries=1) as stt:
        stt.openai.faults.plan(FaultKind.BUSY)
        said = final(await stt.ask())
        assert [attempt.reason_code for attempt in said.route.attempts] == ["PROVIDER_BUSY", "TRANSCRIBED"]
        assert heard_by(stt.openai, 0) == heard_by(stt.openai, 1) == SPEECH


async def test_a_transcript_of_little_confidence_is_rejected_and_counts_against_its_provider(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        stt.openai.answers.logprob = -2.0  # 1,353 basis points
        said = final(await stt.ask())
        assert (said.verdict, said.reason_code) == (REJECTED, "CONFIDENCE_LOW")
        assert said.transcript.text == "what time is it"
        (key,) = stt.service._router._board.circuits()
        reading = stt.service._router._board.measures(key).readings[MEASURE_TRANSCRIPT_ACCEPT_RATE_200]
        assert (reading.value, reading.samples) == (0, 1)


async def test_whom_a_provider_does_not_understand_asks_another_first(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE, owners__stt__accept_min_bp=5_000) as stt:
        stt.openai.answers.logprob = -2.0
        for _ in range(2):
            said = final(await stt.ask(user="mira"))
            assert (said.result.provider_ref, said.verdict) == (OPENAI, REJECTED)
        said = final(await stt.ask(user="mira"))
        assert (said.result.provider_ref, said.verdict) == (GOOGLE, ACCEPTED)
        for nobody_else in ({"user": "otto"}, {}):
            assert final(await stt.ask(**nobody_else)).result.provider_ref == OPENAI
        stt.google.faults.plan(FaultKind.UNAVAILABLE)
        said = final(await stt.ask(user="mira"))
        assert [attempt.provider_ref for attempt in said.route.attempts] == [GOOGLE, OPENAI]
        assert await stt.asked_last(6) == [None, None, OPENAI, None, None, OPENAI, OPENAI]


async def test_the_least_confidence_is_the_operators_to_set(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, owners__stt__accept_min_bp=1_000) as stt:
        stt.openai.answers.logprob = -2.0
        assert final(await stt.ask()).verdict == ACCEPTED


async def test_silence_is_a_reply_that_may_not_be_used_and_says_nothing_of_the_provider(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as stt:
        stt.openai.answers.text = ""
        said = final(await stt.ask(bytes(len(SPEECH))))
        assert (said.transcript.text, said.verdict, said.reason_code) == ("", REJECTED, "NO_SPEECH")
        assert said.transcript.audio.ToTimedelta().total_seconds() == 2.0
        assert [attempt.provider_ref for attempt in said.route.attempts] == [OPENAI]
        board = stt.service._router._board
        taken = [board.measures(key).readings.get(MEASURE_TRANSCRIPT_ACCEPT_RATE_200) for key in board.circuits()]
        assert all(reading is None or reading.samples == 0 for reading in taken)


async def test_a_stream_without_audio_is_silence(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        said = final(await stt.ask(b""))
        assert (said.verdict, said.reason_code) == (REJECTED, "NO_SPEECH")
        assert said.transcript.audio.ToTimedelta().total_seconds() == 0.0
        assert stt.openai.ledger == []


async def test_frames_of_one_byte_are_put_together(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        line, sound = stt.line(), SPEECH[:6_400]
        await line.config()
        await line.frames(pieces(sound, 1))
        await line.half_close()
        assert final(await line.rest()).verdict == ACCEPTED
        assert heard_by(stt.openai) == sound


async def test_audio_of_another_rate_is_heard_as_long_as_it_is(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        said = final(await stt.ask(SPEECH, rate=48_000))
        assert len(heard_by(stt.openai)) == pytest.approx(len(SPEECH) / 3, abs=4)
        assert said.transcript.audio.ToTimedelta().total_seconds() == pytest.approx(2 / 3, abs=1e-3)


def _frame(sequence: int, audio: bytes = b"\0\0") -> messages.TranscribeRequest:
    return messages.TranscribeRequest(frame=AudioFrame(sequence=sequence, audio=audio))


CONFIG = messages.TranscribeRequest(config=config())
NAN = np.array([0.5, np.nan], "<f4").tobytes()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([], "STREAM_CONFIG_EXPECTED"),
        ([_frame(0)], "STREAM_CONFIG_EXPECTED"),
        ([CONFIG, CONFIG], "STREAM_CONFIG_EXPECTED"),
        ([CONFIG, _frame(1)], "STREAM_SEQUENCE_BROKEN"),
        ([CONFIG, _frame(0), _frame(0)], "STREAM_SEQUENCE_BROKEN"),
        ([CONFIG, _frame(0), _frame(2)], "STREAM_SEQUENCE_BROKEN"),
        ([CONFIG, _frame(0, b"")], "FIELD_INVALID"),
        ([CONFIG, _frame(0, bytes(15_361))], "FIELD_INVALID"),
        ([CONFIG, messages.TranscribeRequest()], "FIELD_INVALID"),
        ([messages.TranscribeRequest(config=config(locale=""))], "FIELD_INVALID"),
        ([messages.TranscribeRequest(config=config(rate=11_025))], "FIELD_INVALID"),
        ([CONFIG, _frame(0, b"\0\0\0")], "AUDIO_UNDECODABLE"),
        (
            [messages.TranscribeRequest(config=config(encoding=AUDIO_ENCODING_FLOAT32)), _frame(0, NAN)],
            "AUDIO_UNDECODABLE",
        ),
        (
            [messages.TranscribeRequest(config=config(encoding=AUDIO_ENCODING_OPUS)), _frame(0, b"\xff\xff\xff")],
            "AUDIO_UNDECODABLE",
        ),
        ([messages.TranscribeRequest(config=config(tenant="other"))], "TENANT_MISMATCH"),
    ],
)
async def test_what_the_contract_does_not_allow_is_refused_by_name(
    tmp_path: Path, sent: list[messages.TranscribeRequest], reason: str
) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        line = stt.line()
        for message in sent:
            await line.send(message)
        await line.half_close()
        assert (await line.refusal()).reason == reason
        assert stt.openai.ledger == []


async def test_audio_without_end_is_refused_by_name(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, owners__stt__max_audio_s=1.0) as stt:
        line = stt.line()
        await line.config()
        while await line.frame(bytes(FRAME)):
            pass
        refusal = await line.refusal()
        assert (refusal.reason, refusal.metadata["max_s"]) == ("STREAM_TOO_LONG", "1")
        assert (await stt.told())[-1] == ("call.finished", "STREAM_TOO_LONG")


async def test_a_stream_that_says_nothing_is_refused_by_name(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE, limits__idle_s=0.3) as stt:
        line = stt.line()
        await line.config()
        await line.frame(bytes(FRAME))
        assert (await line.refusal()).reason == "STREAM_IDLE"
        await asyncio.wait_for(stt.google.ledger[0].ended.wait(), 5.0)
        assert stt.google.ledger[0].answered == "CANCELLED"


async def test_a_locale_that_nobody_serves_is_refused_with_who_said_so(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE) as stt:
        refusal = await stt.refused(locale="gsw-CH")
        assert refusal.reason == "INPUT_UNSERVABLE"
        assert (refusal.metadata["cause"], refusal.metadata["provider"]) == ("LOCALE_UNSUPPORTED", GOOGLE)


async def test_a_locale_that_one_provider_does_not_serve_is_anothers(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE, OPENAI) as stt:
        said = final(await stt.ask(locale="fr-FR"))
        assert [attempt.reason_code for attempt in said.route.attempts] == ["LOCALE_UNSUPPORTED", "TRANSCRIBED"]


async def test_where_every_provider_fails_each_is_named(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as stt:
        stt.openai.faults.plan(FaultKind.INTERNAL)
        stt.google.faults.plan(FaultKind.UNAVAILABLE)
        refusal = await stt.refused()
        assert refusal.reason == "PROVIDERS_FAILED"
        assert refusal.metadata["providers"] == f"{OPENAI}=PROVIDER_UNAVAILABLE,{GOOGLE}=PROVIDER_UNAVAILABLE"


async def test_without_credentials_and_without_a_recogniser_nobody_is_configured(tmp_path: Path) -> None:
    async with serving(["stt"], tmp_path, {"owners.stt.local_workers": 0}) as owners:
        line = Line(owners.connection("stt"))
        await line.config()
        refusal = await line.refusal()
        assert refusal.reason == "NO_PROVIDER_AVAILABLE"
        unasked = dict(each.split("=") for each in refusal.metadata["providers"].split(","))
        assert unasked == dict.fromkeys((OPENAI, GOOGLE, LOCAL), "NOT_CONFIGURED")


async def _deny(tx: Transaction) -> None:
    await tx.routing.rules.put(Rule(tenant_id=TENANT, rule_id="no-stt", effect=POLICY_EFFECT_DENY, reason="NOT_HERE"))


async def _broke(tx: Transaction) -> None:
    await tx.routing.budgets.put(Budget(Key(TENANT, DOMAIN_STT, BUDGET_PERIOD_DAY), 100, "EUR"))


async def _used_up(tx: Transaction) -> None:
    await tx.routing.quotas.put(Quota(TENANT, DOMAIN_STT, 1.0, 0.001, 0.0, time.time()))


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_deny, "POLICY_REFUSED"),
        (_broke, "BUDGET_EXCEEDED"),
        (_used_up, "QUOTA_EXHAUSTED"),
    ],
)
async def test_a_gate_refuses_before_any_audio_has_come(
    tmp_path: Path, prepare: Callable[[Transaction], Awaitable[None]], reason: str
) -> None:
    dear = {OPENAI: 6_000}  # micros a minute, 1,000 for the ten seconds that are expected
    async with desk(tmp_path, OPENAI, prepare=prepare, owners__routing__prices=dear) as stt:
        line = stt.line()
        await line.config()
        assert (await line.refusal()).reason == reason
        assert [transition for transition, _ in await stt.told()] == ["call.gated", "call.finished"]


async def test_a_rule_about_a_user_holds_although_she_does_not_name_herself(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, prepare=deny_mira) as stt:
        mira, gateway = stt.connection("mira"), stt.connection("gateway", roles=(ROLE_SERVICE,))
        for refused in (
            await stt.refused(connection=mira, user="mira"),
            await stt.refused(connection=mira),
            await stt.refused(connection=gateway, user="mira"),
        ):
            assert (refused.reason, refused.metadata["cause"]) == ("POLICY_REFUSED", "NOT_FOR_HER")
        for connection in (gateway, stt.connection("otto")):
            assert final(await stt.ask(connection=connection)).result.status == PROVIDER_STATUS_OK


async def test_a_users_exception_applies_although_she_does_not_name_herself(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE, spared=OPENAI) as stt:
        mira, otto = stt.connection("mira"), stt.connection("otto")
        assert final(await stt.ask(connection=mira, user="mira")).result.provider_ref == GOOGLE
        assert final(await stt.ask(connection=mira)).result.provider_ref == GOOGLE
        assert final(await stt.ask(connection=otto)).result.provider_ref == OPENAI


async def test_who_only_reads_the_trail_asks_for_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        refused = await stt.refused(connection=stt.connection("ada", roles=("auditor",)))
        assert (refused.reason, refused.metadata) == ("ROLE_REQUIRED", {"any_of": "operator,service,user"})


async def test_a_call_is_told_in_order(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI, GOOGLE) as stt:
        stt.openai.faults.plan(FaultKind.INTERNAL)
        request_id = (await stt.ask())[0].started.request_id
        assert [transition for transition, _ in await stt.told()] == [
            "call.gated",
            "call.routed",
            "call.attempted",
            "call.routed",
            "call.attempted",
            "call.finished",
        ]
        page = await stt.owners.store.audit.page(TENANT, limit=100)
        rows = [chained.event for chained in page if chained.event.transition.startswith("call.")]
        assert {fact.value for row in rows for fact in row.facts if fact.name == "request_id"} == {request_id}
        assert not any("what time" in str(row) for row in rows)


async def test_a_caller_that_vanishes_leaves_nothing_behind(tmp_path: Path) -> None:
    async with desk(tmp_path, GOOGLE, owners__routing__prices={GOOGLE: 6_000}, prepare=_rich) as stt:
        await stt.ask()
        before = asyncio.all_tasks()
        line = stt.line()
        await line.config()
        await line.frames(pieces(SPEECH, FRAME))
        call = await stt.google.begun(2)
        line.cancel()
        await asyncio.wait_for(call.ended.wait(), 5.0)
        assert call.answered == "CANCELLED"
        await until(lambda: not [task for task in asyncio.all_tasks() - before if "hear" in task.get_name()])
        await until(lambda: stt.service._router._recorder._waiting == [])
        assert (await stt.told())[-2:] == [("call.attempted", "CALL_CANCELLED"), ("call.finished", "CALL_CANCELLED")]
        tenant = stt.service._router._gatekeeper.accounts._tenants[TENANT]
        assert all(pool.calls == 0 for pool in tenant.pools.values())


async def test_an_open_circuit_closes_once_the_gate_accepts_what_its_probes_heard(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        await _open(stt)
        for probes in (3, 2):  # five, over two windows
            for _ in range(probes):
                said = final(await stt.ask(SPEECH[:6_400]))
                assert said.verdict == ACCEPTED
                assert said.route.attempts[0].probe
            await stt.service._router._board.tick()
            assert stt.state == CIRCUIT_STATE_HALF_OPEN
            stt.owners.clock.skip(61.0)
            await stt.service._router._board.tick()
        assert stt.state == CIRCUIT_STATE_CLOSED


async def test_a_caller_that_vanishes_gives_back_its_probe(tmp_path: Path) -> None:
    async with desk(tmp_path, OPENAI) as stt:
        await _open(stt)
        line = stt.line()
        await line.config()
        await line.frames(pieces(SPEECH, FRAME))
        await until(lambda: len(stt.circuit.leases) == 1)
        line.cancel()
        await until(lambda: not stt.circuit.leases)
        assert stt.state == CIRCUIT_STATE_HALF_OPEN


async def _open(stt: Desk) -> None:
    """Let the only provider fail until its circuit is open, then wait until it may be probed."""
    for _ in range(30):
        stt.openai.faults.plan(FaultKind.INTERNAL)
        await stt.refused(SPEECH[:6_400])
        await stt.service._router._board.tick()
        if stt.state == CIRCUIT_STATE_OPEN:
            break
    assert stt.state == CIRCUIT_STATE_OPEN
    stt.owners.clock.skip(130.0)
    await stt.service._router._board.tick()
    assert stt.state == CIRCUIT_STATE_HALF_OPEN


async def _rich(tx: Transaction) -> None:
    await tx.routing.budgets.put(Budget(Key(TENANT, DOMAIN_STT, BUDGET_PERIOD_DAY), 10**9, "EUR"))


async def test_speech_is_recognised_on_this_machine(tmp_path: Path, whisper_files: WhisperFiles) -> None:
    import soxr

    engine, spoken = espeak.load(), bytearray()

    def take(pcm: bytes, _: object) -> bool:
        spoken.extend(pcm)
        return True

    engine.render("what time is it", "gmw/en-US", 80, take)
    samples = np.frombuffer(bytes(spoken), "<i2").astype(np.float32)
    sound = soxr.resample(samples, engine.rate_hz, 16_000).clip(-32768, 32767).astype("<i2").tobytes()
    async with serving(["stt"], tmp_path, {"owners.stt.local_workers": 1}) as owners:
        line = Line(owners.connection("stt"), 60.0)
        await line.config()
        await line.frames(pieces(bytes(8_000) + sound + bytes(8_000), FRAME))
        await line.half_close()
        said = final(await line.rest())
        assert "what time is it" in said.transcript.text.lower()
        assert (said.verdict, said.reason_code) == (ACCEPTED, "TRANSCRIBED")
        assert said.result.provider_ref == LOCAL
        assert {each.provider_ref: each.reason_code for each in said.route.passed_over} == {
            OPENAI: "NOT_CONFIGURED",
            GOOGLE: "NOT_CONFIGURED",
        }
        assert said.result.status == PROVIDER_STATUS_OK
