"""Whole servers in this process: real models, a real store, real channels on port 0, and handles to look inside."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_LINEAR16, AudioEncoding, AudioFormat, AudioFrame
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service
from selene.voiceid.v2 import service_pb2_grpc as v2_grpc

from clients.audio import Recording, paced
from clients.audit import Audit
from clients.channel import Connection, Tls, connect
from clients.duplex import Duplex
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from clients.voiceid import Generation, VoiceId
from servers.process import owner
from servers.runtime.auth import make_data_dir, write_secret
from servers.runtime.config import Settings, load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Owner, Parts, RunningServer, Runtime, Service, serve
from servers.runtime.storage import DATABASE, SIGNING_SEED, LedgerSink, master_key, open_store
from servers.shipped import register_shipped_pack
from servers.voiceid.batcher import Batcher
from servers.voiceid.conversation import Conversation
from servers.voiceid.engine import Engine
from servers.voiceid.scorer import Models
from store import Store
from tests.support.speech import Person
from tests.support.stores import migrated_sqlite

DEVICE = "kitchen"
TENANT = "dev"
CONSENT = "consent-form-7"


class SteppedClock:
    """The machine's clock plus what a test skipped: what really takes time (models, locks) still takes it."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._skipped)

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self._skipped

    def skip(self, seconds: float) -> None:
        """Let time pass at once."""
        self._skipped += seconds


class House:
    """A running server, clients for it, and what lies behind it."""

    def __init__(self, running: RunningServer, store: Store, clock: SteppedClock) -> None:
        self.running = running
        self.store = store
        self.clock = clock
        self.services: Sequence[Service] = ()
        self.tls: Tls | None = None
        self._connections = AsyncExitStack()

    @property
    def conversation(self) -> Conversation:
        edge = self.services[0].servicer._edge
        conversation: Conversation = edge._conversation
        return conversation

    @property
    def engine(self) -> Engine:
        return self.conversation._engine

    @property
    def batcher(self) -> Batcher:
        return self.engine._batcher

    @property
    def models(self) -> Models:
        assert self.engine.models is not None
        return self.engine.models

    @property
    def open_streams(self) -> float:
        """The gauge of streams being heard, as the metrics page shows it."""
        return self.running.telemetry.registry.get_sample_value("selene_voiceid_streams") or 0.0

    @property
    def metrics(self) -> str:
        """The metrics page."""
        from prometheus_client import generate_latest

        return generate_latest(self.running.telemetry.registry).decode()

    def connection(
        self, token: str = "", owner: str = "voiceid", options: tuple[tuple[str, Any], ...] = ()
    ) -> Connection:
        """A channel of its own, closed with the house or by `hang_up`."""
        opened = connect(self.running.target(owner), token=token, tls=self.tls, options=(*_OWN_CHANNEL, *options))
        self._connections.push_async_callback(opened.close)
        return opened

    def client(
        self, token: str = "", *, device: str = DEVICE, tenant: str = "", generation: Generation = "v2"
    ) -> VoiceId:
        """The typed client, as patient as one attempt."""
        return VoiceId(
            self.connection(token), tenant_id=tenant, device_id=device, generation=generation, policy=NO_RETRY
        )

    def auditor(self, token: str = "", *, tenant: str = "") -> Audit:
        """The client of the audit trail."""
        return Audit(self.connection(token, "audit"), tenant_id=tenant)

    def line(self, token: str = "", *, claim: str = "", generation: Generation = "v2", timeout: float = 10.0) -> Line:
        """A decision stream by hand, Verify where there is a claim."""
        return Line(self.connection(token), claim, generation, timeout)

    async def trail(self, tenant: str = TENANT) -> list[AuditEvent]:
        """Every audit event of a tenant, from the store."""
        return [chained.event async for chained in self.store.audit.stream(tenant)]

    async def hang_up(self) -> None:
        """Closes every connection made so far."""
        await self._connections.aclose()

    async def idle(self, within: float = 10.0) -> None:
        """Returns once nothing runs: no stream open, no window waiting. Fails after `within` seconds."""
        await until(lambda: self.open_streams == 0 and self.batcher.waiting() == 0, within)


_OWN_CHANNEL = (("grpc.use_local_subchannel_pool", 1),)


class Line:
    """One decision stream, message by message. Reading raises SeleneError when the server refuses."""

    def __init__(self, connection: Connection, claim: str, generation: Generation, timeout: float) -> None:
        services = {"v1": (v1_service, v1_grpc), "v2": (v2_service, v2_grpc)}
        self._messages, stubs = services[generation]
        self._claim = claim
        stub = stubs.VoiceIdServiceStub(connection.channel)
        method = stub.Verify if claim else stub.Identify
        self.call = method(timeout=timeout, metadata=connection.metadata())
        self._duplex = Duplex(self.call)
        self.sent = 0

    async def config(self, config: v1.StreamConfig) -> None:
        """Send the config."""
        if self._claim:
            claim = self._messages.VerifyConfig(stream=config, claimed_user_id=self._claim)
            await self._duplex.write(self._messages.VerifyRequest(config=claim))
        else:
            await self._duplex.write(self._messages.IdentifyRequest(config=config))

    async def frame(self, audio: bytes, sequence: int | None = None) -> bool:
        """Send one frame, in order unless told otherwise; False when the call is over."""
        frame = AudioFrame(audio=audio, sequence=self.sent if sequence is None else sequence)
        self.sent = frame.sequence + 1
        request = self._messages.VerifyRequest if self._claim else self._messages.IdentifyRequest
        return await self._duplex.write(request(frame=frame))

    async def frames(self, audio: Iterable[bytes]) -> None:
        """Send frames until there are no more, or the call is over."""
        for piece in audio:
            if not await self.frame(piece):
                return

    async def speak(self, recording: Recording) -> None:
        """Send a recording at the pace of speech, as a microphone does."""
        async for piece in paced(recording.frames()):
            await self.frame(piece)

    async def half_close(self) -> None:
        await self._duplex.half_close()

    async def event(self) -> Any:
        """The next event; None at the end of a call that ended well."""
        return await self._duplex.read()

    async def started(self) -> v1.StreamStarted:
        """The first event."""
        event = await self.event()
        assert event is not None and event.WhichOneof("event") == "started"
        started: v1.StreamStarted = event.started
        return started

    async def rest(self) -> list[Any]:
        """Every event up to the end."""
        events = []
        while (event := await self.event()) is not None:
            events.append(event)
        return events

    async def finish(self) -> Any:
        """Half-close, and the decision, asserted to be the only one and the last event: FinalDecision, or V1's."""
        await self.half_close()
        events = await self.rest()
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds.count("final") == 1 and kinds[-1] == "final", kinds
        return events[-1].final

    async def refusal(self) -> SeleneError:
        """What the server refused with; fails where it did not."""
        try:
            events = await self.rest()
        except SeleneError as error:
            return error
        raise AssertionError(f"not refused: {[event.WhichOneof('event') for event in events]}")

    def cancel(self) -> None:
        """Vanish."""
        self._duplex.cancel()


def pcm16(rate: int = 16_000, encoding: AudioEncoding = AUDIO_ENCODING_LINEAR16) -> AudioFormat:
    return AudioFormat(encoding=encoding, sample_rate_hz=rate, channel_count=1)


def stream_config(**fields: Any) -> v1.StreamConfig:
    """A config of the development tenant on its kitchen device; `fields` take precedence."""
    usual = {"audio_format": pcm16(), "tenant_id": TENANT, "device_id": DEVICE, "session_id": "s-1"}
    return v1.StreamConfig(**{**usual, **fields})


async def ask(house: House, recording: Recording, *, claim: str = "", token: str = "", **fields: Any) -> Any:
    """Stream a recording through V2 and return its FinalDecision."""
    line = house.line(token, claim=claim)
    await line.config(stream_config(audio_format=pcm16(recording.rate), **fields))
    await line.frames(recording.frames())
    return await line.finish()


async def enrol(client: VoiceId, person: Person, name: str = "") -> None:
    """Enrol a person; fails unless the profile was locked."""
    enrolled = await client.enroll(name or person.name, person.clips, consent_ref=CONSENT)
    assert enrolled.profile is not None, [grade.hint for grade in enrolled.graded]


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Returns as soon as the condition holds; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        await asyncio.sleep(0.01)


def swap_lane(house: House, model: int, run: Callable[[Any], Any]) -> Callable[[], None]:
    """Let one speaker model answer with `run` from now on; returns what puts the real one back."""
    lane = house.models.speakers[model].lane
    real = lane.run
    object.__setattr__(lane, "run", run)
    return lambda: object.__setattr__(lane, "run", real)


PATIENCE_S = 10.0
"""How long a decision may take where its time is not what a test is about: other tests share the machine."""


def settings_of(data_dir: Path, flags: Mapping[str, Any] | None = None) -> Settings:
    """Development mode on free ports; `flags` take precedence."""
    usual: dict[str, Any] = {
        "data_dir": data_dir,
        "listen.ports.voiceid": 0,
        "listen.ports.audit": 0,
        "listen.ports.kms": 0,
        "development.enabled": True,
        "owners.voiceid.interim_interval_s": 0.5,
        "owners.voiceid.decision_budget_s": PATIENCE_S,
    }
    return load_settings(None, usual | dict(flags or {}))


def begin_migrated(settings: Settings) -> None:
    """A server that would begin with an empty SQLite file begins with a migrated one: that takes it half as long."""
    make_data_dir(settings.data_dir)
    database = settings.data_dir / DATABASE
    if not settings.store.url and not database.exists():
        write_secret(database, migrated_sqlite())


@asynccontextmanager
async def serving(
    data_dir: Path,
    flags: Mapping[str, Any] | None = None,
    *,
    clock: SteppedClock | None = None,
    lock_timeout_s: float = 5.0,
    grace_s: float = 0.0,
    migrated: bool = True,
) -> AsyncIterator[House]:
    """Voice identity and the audit trail on a store in `data_dir`, until the block ends.

    With `migrated` unset the server makes its database itself, as one that is installed does.
    """
    settings = settings_of(data_dir, flags)
    if migrated:
        begin_migrated(settings)
    clock = clock or SteppedClock()
    ids = UuidV7Ids(clock)
    store = await open_store(settings, clock, ids)
    if lock_timeout_s != 5.0:
        await store.close()
        store = await _impatient(settings, clock, ids, lock_timeout_s)
    await register_shipped_pack(store)
    built: list[Sequence[Service]] = []
    async with AsyncExitStack() as parts:
        owners = [_noting(owner("voiceid"), built), owner("audit")]
        running = await serve(
            owners, settings, Parts(clock=clock, ids=ids, store=store, audit=LedgerSink(store), on_stop=(store.close,))
        )
        parts.push_async_callback(running.stop, grace_s)
        house = House(running, store, clock)
        parts.push_async_callback(house.hang_up)
        house.services = built[0]
        yield house


def _noting(served: Owner, built: list[Sequence[Service]]) -> Owner:
    async def build(runtime: Runtime) -> Sequence[Service]:
        services = await served.build(runtime)
        built.append(services)
        return services

    return replace(served, build=build)


async def _impatient(settings: Settings, clock: SteppedClock, ids: UuidV7Ids, lock_timeout_s: float) -> Store:
    """The same store, waiting less for a lock."""
    return await Store.open(
        settings.store.url or f"sqlite:///{settings.data_dir / DATABASE}",
        clock=clock,
        ids=ids,
        signing_key=(settings.data_dir / SIGNING_SEED).read_bytes(),
        master_key=master_key(settings),
        lock_timeout_s=lock_timeout_s,
    )


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory, models_dir: Path, mira: Person, otto: Person) -> Path:
    """A data folder in which mira and otto are enrolled on the kitchen device; copy it before use."""
    folder = tmp_path_factory.mktemp("enrolled")

    async def make() -> None:
        async with serving(folder, migrated=False) as house:
            client = house.client()
            await enrol(client, mira)
            await enrol(client, otto)

    asyncio.run(make())
    return folder


@pytest.fixture
def home(enrolled: Path, tmp_path: Path) -> Path:
    """A data folder of this test's own in which mira and otto are enrolled."""
    return copy_home(enrolled, tmp_path / "home")


def copy_home(enrolled: Path, to: Path) -> Path:
    """A copy of a stopped server's data folder."""
    shutil.copytree(enrolled, to)
    return to
