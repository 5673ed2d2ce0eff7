"""Secrets of every vendor are used by running owners, well and badly, and are found nowhere afterwards (KMS-1, RTE-6).

The vendors quote the key that they got in every error, as a proxy in between might.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from prometheus_client import generate_latest
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_LINEAR16, AudioFormat, AudioFrame
from selene.llm.v1 import service_pb2 as llm
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.routing.v1.route_pb2 import RouteScope
from selene.stt.v1 import service_pb2 as stt
from selene.stt.v1 import service_pb2_grpc as stt_grpc
from selene.tts.v1 import service_pb2 as tts
from selene.tts.v1 import service_pb2_grpc as tts_grpc
from selene_messages.selene.kms import v1

from clients.retry import NO_RETRY
from clients.routed import new_key
from clients.secrets import Secrets
from servers.routing.leases import Issued
from servers.runtime.storage import SYSTEM_TENANT
from tests.support.canaries import everything_logged, found
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT, until
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.google import GoogleSimulator, Portion, google_simulator, sha256
from tests.support.simulators.openai import OpenAiSimulator

GRANTED: Final = {
    "openai/stt": ("stt", "PH1.C"),
    "google/stt": ("stt", "PH1.C"),
    "openai/tts": ("tts", "PH1.TTS"),
    "google/tts": ("tts", "PH1.TTS"),
    "openai/llm": ("llm", "PH1.D"),
    "llama/endpoint": ("llm", "PH1.D"),
}
VERSIONS: Final = 2


def secret(provider_ref: str, version: int = 1) -> str:
    return f"sk-canary-{provider_ref.replace('/', '-')}-{version}-Jk5pWm8rNb"


CANARIES: Final = tuple(secret(ref, version).encode() for ref in GRANTED for version in range(1, VERSIONS + 1))
FAULTS: Final = (
    FaultKind.BUSY,
    FaultKind.INTERNAL,
    FaultKind.UNAUTHENTICATED,
    FaultKind.FORBIDDEN,
    FaultKind.BAD_REQUEST,
    FaultKind.MALFORMED,
    FaultKind.WRONG_SCHEMA,
    FaultKind.EMPTY,
    Fault(FaultKind.HALF_STREAM, after=1),
    Fault(FaultKind.RESET, after=1),
    FaultKind.RESET,
)


@dataclass(slots=True)
class House:
    """Every owner that calls vendors, the secrets owner, the vendors, and all that callers were told."""

    owners: Owners
    openai: OpenAiSimulator
    llama: OpenAiSimulator
    google: GoogleSimulator
    heard: list[str] = field(default_factory=list)

    @property
    def operator(self) -> Secrets:
        return Secrets(self.owners.connection("kms"), policy=NO_RETRY)

    async def put(self, provider_ref: str, version: int) -> None:
        info = await self.operator.put(
            f"kms://providers/{provider_ref}",
            secret(provider_ref, version).encode(),
            environment=v1.Environment.PROD,
            granted_owners=[GRANTED[provider_ref][1]],
            overlap=timedelta(0),
        )
        self.heard.append(repr(info))

    async def leased(self, provider_ref: str, version: int) -> None:
        """Returns once the owner that was granted a secret holds a lease of this version."""
        router = self.owners.services[GRANTED[provider_ref][0]][0].servicer._router
        held: dict[str, Issued] = router._unconfigured.__self__._held
        handle = f"kms://providers/{provider_ref}"
        await until(lambda: handle in held and held[handle].version == version, 10.0)

    async def calls(self) -> None:
        """One call of each owner, whatever becomes of it."""
        scope = RouteScope(tenant_id=TENANT)
        utterance = llm.RespondRequest(text="what time is it", locale="en-US", scope=scope, idempotency_key=new_key())
        sound = AudioFormat(encoding=AUDIO_ENCODING_LINEAR16, sample_rate_hz=16_000, channel_count=1)
        speech = tts.SynthesizeConfig(
            text="It is noon.",
            markup=tts.TEXT_MARKUP_PLAIN,
            locale="en-US",
            audio_format=sound,
            scope=scope,
            idempotency_key=new_key(),
        )
        hearing = stt.TranscribeConfig(audio_format=sound, scope=scope, locale="en-US", idempotency_key=new_key())
        frame = AudioFrame(sequence=0, audio=b"\x00\x10\x00\xf0" * 3_200)
        heard = [stt.TranscribeRequest(config=hearing), stt.TranscribeRequest(frame=frame)]
        language, voice, ear = (self.owners.connection(name) for name in ("llm", "tts", "stt"))
        stubs = (
            llm_grpc.LanguageServiceStub(language.channel).Respond(utterance, timeout=20),
            tts_grpc.TextToSpeechServiceStub(voice.channel).Synthesize(
                iter([tts.SynthesizeRequest(config=speech)]), timeout=20
            ),
            stt_grpc.SpeechToTextServiceStub(ear.channel).Transcribe(iter(heard), timeout=20),
        )
        await asyncio.gather(*(self._told(call) for call in stubs))

    async def _told(self, call: Any) -> None:
        try:
            async for event in call:
                self.heard.append(f"{event} {event.SerializeToString()!r}")
        except grpc.aio.AioRpcError as error:
            self.heard.append(f"{error.code()} {error.details()} {error.debug_error_string()}")
            self.heard.append(repr(error.trailing_metadata()))

    async def everywhere(self, folder: Path, log: io.StringIO) -> dict[str, bytes]:
        """All that is left of what happened, by place."""
        trails = [self.owners.store.audit.stream(tenant) for tenant in (SYSTEM_TENANT, TENANT)]
        rows = [str(one).encode() + one.SerializeToString() for trail in trails async for one in trail]
        assert len(rows) > 100
        files = left_in(folder)
        assert any(b"kms_versions" in content for content in files.values())
        return {
            "log": log.getvalue().encode(),
            "audit": b"".join(rows),
            "metrics": generate_latest(self.owners.running.telemetry.registry),
            "answers": "".join(self.heard).encode(),
            **files,
        }


def left_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with everything_logged() as stream:
        yield stream


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    keys = {canary.decode() for canary in CANARIES}
    openai, llama = OpenAiSimulator(set(keys)), OpenAiSimulator(set(keys))
    async with openai.serve(), llama.serve(), google_simulator(*keys) as google:
        google.hears = (Portion((("what", 0.1, 0.4, 0.9), ("time", 0.4, 0.8, 0.8))),)
        flags = {
            "telemetry.traces": "console",
            "owners.stt.local_workers": 0,
            "owners.stt.openai.base_url": openai.base_url,
            "owners.stt.google.recognizer": "projects/p-1/locations/global/recognizers/_",
            "owners.stt.google.endpoint": google.endpoint,
            "owners.stt.google.plaintext": True,
            "owners.tts.openai.base_url": openai.base_url,
            "owners.tts.google.endpoint": google.endpoint,
            "owners.tts.google.plaintext": True,
            "owners.llm.openai.base_url": openai.base_url,
            "owners.llm.llama.base_url": llama.base_url,
            "owners.llm.llama.needs_secret": True,
        }
        async with serving(["kms", "stt", "tts", "llm"], folder, flags) as owners:
            yield House(owners, openai, llama, google)


async def test_secrets_of_vendors_are_used_and_found_nowhere(
    tmp_path: Path, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path) as running:
        for version in range(1, VERSIONS + 1):
            for ref in GRANTED:
                await running.put(ref, version)
            for ref in GRANTED:
                await running.leased(ref, version)
            await running.calls()
            running.openai.faults.plan(*[FaultKind.UNAUTHENTICATED] * 3)
            await running.calls()
        used = {call.secret for call in running.openai.calls}
        assert used == {secret(ref, v) for ref in GRANTED if ref.startswith("openai") for v in (1, 2)}
        used = {call.secret for call in running.llama.calls}
        assert used == {secret("llama/endpoint", v) for v in (1, 2)}
        used = {call.key_sha256 for call in running.google.ledger}
        assert used == {sha256(secret(ref, v)) for ref in GRANTED if ref.startswith("google") for v in (1, 2)}
        for fault in FAULTS:
            running.openai.faults.plan(*[fault] * 3)
            running.llama.faults.plan(fault)
            running.google.faults.plan(*[fault] * 2)
            await running.calls()
        running.openai.keys = set()
        running.llama.keys = set()
        running.google.keys = set()
        await running.calls()
        for ref in GRANTED:
            running.heard.append(repr(await running.operator.revoke(f"kms://providers/{ref}", "drill")))
        await running.calls()
        running.google.break_connections()
        quoted = [call for call in running.openai.calls if call.status in (401, 429, 500, 403)]
        assert len(quoted) >= 8
        places = await running.everywhere(tmp_path, log)
    places["log at the end"] = log.getvalue().encode()
    places["terminal, traces"] = "".join(capfd.readouterr()).encode()
    assert b"selene.llm.v1.LanguageService/Respond" in places["terminal, traces"]
    assert {place: found(content, CANARIES) for place, content in places.items() if found(content, CANARIES)} == {}
    assert b"lease://" not in b"".join(places.values())
