"""Builds, starts and stops the gRPC servers of a process, one per owner."""

import asyncio
import gc
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import (
    health,
    health_pb2,
    health_pb2_grpc,
)

from servers.runtime.audit import AuditSink, RefusalAudit, discard
from servers.runtime.auth import (
    DEVELOPMENT_PRINCIPAL,
    ROLE_SERVICE,
    KeySet,
    Principal,
    SigningKey,
    TokenVerifier,
    generate_signing_key,
    issue_token,
    load_signing_key,
    make_data_dir,
    write_secret,
    write_signing_key,
)
from servers.runtime.clock import Clock, SystemClock
from servers.runtime.config import LimitSettings, Settings
from servers.runtime.ids import Ids, UuidV7Ids
from servers.runtime.interceptors import (
    AuthenticationLayer,
    Chain,
    DeadlineLayer,
    RecoveryLayer,
    TelemetryLayer,
    ValidationLayer,
)
from servers.runtime.interceptors.deadline import DeadlineLimits
from servers.runtime.peers import SERVICE_TENANT, Peer
from servers.runtime.reflection import add_reflection
from servers.runtime.telemetry import Telemetry, make_telemetry
from servers.runtime.tls import ListenError, TlsFiles, check_exposure, server_credentials

DEVELOPMENT_KEY: Final = "development_signing_key.pem"
ACTOR_SALT: Final = "actor_salt"
PEER_TOKEN_LIFETIME: Final = timedelta(minutes=5)

_LOOKAHEAD_BYTES = 16 * 1024
_READ_TO_REFUSE = 1024 * 1024  # beyond a message's limit, and no more than that again: gRPC refuses without a reason
_CORE_HEADROOM = 64  # what gRPC admits above our limit: room for probes, and for refusals that carry a reason
_COLLECT_EVERY = 20_000  # objects that came and did not go; Python's own is 700
_SWITCH_INTERVAL_S = 0.001
_CHANNELZ = "grpc.channelz.v1.Channelz"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_log = structlog.get_logger("selene.server")

OnStop = Callable[[], Awaitable[None]]


class Service(NamedTuple):
    """A servicer, the generated function that adds it, and its full name (``selene.voiceid.v1.VoiceIdService``).

    ``watches`` names its server-streaming methods that last as long as their caller wants, beyond ``limits.stream_s``.
    """

    add: Callable[[Any, Any], None]
    servicer: Any
    full_name: str
    watches: tuple[str, ...] = ()


class Health:
    """The health of one owner: its services, its own name, and the whole server (the empty name)."""

    def __init__(self, owner: str) -> None:
        self.servicer = health.aio.HealthServicer()
        self._owner = owner
        self._names: tuple[str, ...] = ()

    async def open(self, services: Sequence[str]) -> None:
        """Everything serves."""
        self._names = ("", self._owner, *services)
        for name in self._names:
            await self.servicer.set(name, _SERVING)

    async def set_serving(self, service: str, *, serving: bool) -> None:
        """Says whether one service, the owner's name or the empty name serves."""
        await self.servicer.set(service, _SERVING if serving else _NOT_SERVING)

    async def close(self) -> None:
        """Nothing serves any more; cannot be undone."""
        await self.servicer.enter_graceful_shutdown()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an owner is built from. ``store`` is whatever the process opened; the runtime does not look into it."""

    owner: str
    settings: Settings
    clock: Clock
    ids: Ids
    store: Any
    telemetry: Telemetry
    audit: AuditSink
    health: Health
    on_stop: Callable[[OnStop], None]
    """Registers what is to happen after the last call has ended; last registered runs first."""
    peer: Callable[[str], Peer | None]
    """An owner that this process serves too, in the development mode; None elsewhere. Known once all have started."""
    stopping: asyncio.Event
    """Set when the server begins to stop: calls that would last as long as their caller wants end then."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner as the runtime sees it. ``engine_id`` is its name in the source (``PH1.VOICE.ID``); port 0 is any.

    ``receive_bytes``: the largest message of its contract, where that is more than ``limits.receive_bytes``.
    """

    name: str
    engine_id: str
    build: Callable[[Runtime], Awaitable[Sequence[Service]]]
    port: int = 0
    receive_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process brings to its servers; each has a working default."""

    clock: Clock = field(default_factory=SystemClock)
    ids: Ids | None = None
    store: Any = None
    audit: AuditSink = discard
    telemetry: Telemetry | None = None
    on_stop: tuple[OnStop, ...] = ()
    shared_ports: Mapping[str, int] = field(default_factory=dict)
    """Ports by owner that workers share (SO_REUSEPORT); all others are exclusive."""
    worker_index: int = 0
    """Added to the metrics port, so that each worker has its own."""


class RunningServer:
    """The servers of a process. ``ports`` are the real ones, by owner."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._servers: list[tuple[grpc.aio.Server, Health]] = []
        self._cleanup = AsyncExitStack()
        self._stopping: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.ports: dict[str, int] = {}
        self.hosts: dict[str, str] = {}
        self.metrics_port: int | None = None
        self.development_key: SigningKey | None = None
        """Signs tokens for this server; only in the development mode."""

    def on_stop(self, callback: OnStop) -> None:
        """Registers what is to happen after the last call has ended; last registered runs first."""
        self._cleanup.push_async_callback(callback)

    @property
    def telemetry(self) -> Telemetry:
        return self._telemetry

    def target(self, owner: str) -> str:
        """``host:port`` of an owner."""
        return _address(self.hosts[owner], self.ports[owner])

    async def stop(self, grace_s: float | None = None) -> None:
        """Health to NOT_SERVING, then running calls may finish within ``grace_s`` (else the setting's), then clean up.

        May be called again, also while stopping; every call returns when all is over.
        """
        if self._stopping is None:
            grace = self._settings.limits.grace_s if grace_s is None else grace_s
            self._stopping = asyncio.ensure_future(self._stop(grace))
        await asyncio.shield(self._stopping)

    async def _stop(self, grace_s: float) -> None:
        self.stopping.set()
        for _, owner_health in self._servers:
            await owner_health.close()
        await asyncio.gather(*(server.stop(grace_s) for server, _ in self._servers))
        await self._cleanup.aclose()

    async def wait(self) -> None:
        """Returns when the servers have stopped."""
        await asyncio.gather(*(server.wait_for_termination() for server, _ in self._servers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def serve(owners: Sequence[Owner], settings: Settings, parts: Parts | None = None) -> RunningServer:
    """Starts every owner and returns when all accept calls. Raises ListenError or KeyFileError."""
    given = parts or Parts()
    telemetry = given.telemetry or make_telemetry(settings.telemetry.traces, settings.telemetry.otlp_endpoint)
    running = RunningServer(settings, telemetry)
    try:
        await _Starter(running, settings, given, telemetry).start(owners)
    except BaseException:
        await running.stop(0)
        raise
    return running


class _Starter:
    """The steps of starting, which share what they are given."""

    def __init__(self, running: RunningServer, settings: Settings, parts: Parts, telemetry: Telemetry) -> None:
        self._running = running
        self._settings = settings
        self._parts = parts
        self._telemetry = telemetry
        self._ids = parts.ids or UuidV7Ids(parts.clock)
        self._is_development = settings.development.enabled

    async def start(self, owners: Sequence[Owner]) -> None:
        settings, running = self._settings, self._running
        for owner in owners:
            check_exposure(
                _host(settings, owner),
                has_tls=settings.tls.certificate is not None,
                has_authentication=settings.auth.keys_file is not None,
                is_development=self._is_development,
            )
        running._cleanup.callback(self._telemetry.close)
        for callback in self._parts.on_stop:
            running.on_stop(callback)
        verifier = self._verifier()
        salt = _actor_salt(settings.data_dir)
        for owner in owners:
            await self._start_owner(owner, verifier, salt)
        if settings.telemetry.metrics_port is not None:
            running.metrics_port = self._telemetry.expose(
                settings.telemetry.metrics_host, self._metrics_port(settings.telemetry.metrics_port)
            )
        if self._is_development:
            _log.warning(
                "DEVELOPMENT MODE: no TLS, and calls without a token are served as tenant `dev`. Loopback only."
                if settings.development.anonymous
                else "DEVELOPMENT MODE: no TLS, tokens signed by a key on this disk. Loopback only."
            )

    def _metrics_port(self, configured: int) -> int:
        return configured and configured + self._parts.worker_index

    def _verifier(self) -> TokenVerifier:
        auth, clock = self._settings.auth, self._parts.clock
        if self._is_development:
            self._running.development_key = development_key(self._settings.data_dir)
            always = [self._running.development_key.verification_key()]
        else:
            always = []
        keys = KeySet(clock, auth.keys_file, always)
        return TokenVerifier(keys, clock, issuer=auth.issuer, audience=auth.audience)

    async def _start_owner(self, owner: Owner, verifier: TokenVerifier, salt: bytes) -> None:
        running, settings = self._running, self._settings
        owner_health = Health(owner.name)
        refusals = RefusalAudit(self._parts.audit, self._parts.clock, owner.name, salt)
        running.on_stop(refusals.flush)
        runtime = Runtime(
            owner=owner.name,
            settings=settings,
            clock=self._parts.clock,
            ids=self._ids,
            store=self._parts.store,
            telemetry=self._telemetry,
            audit=self._parts.audit,
            health=owner_health,
            on_stop=running.on_stop,
            peer=partial(self._peer, owner.engine_id),
            stopping=running.stopping,
        )
        services = await owner.build(runtime)
        shares_port = owner.name in self._parts.shared_ports
        server = grpc.aio.server(
            interceptors=(self._chain(owner, verifier, refusals, _watches(services)),),
            options=channel_options(settings.limits, _receive_bytes(settings, owner), shares_port=shares_port),
            maximum_concurrent_rpcs=settings.limits.concurrent_calls + _CORE_HEADROOM,
        )
        _add_services(server, services, owner_health)
        host = _host(settings, owner)
        wanted = self._parts.shared_ports.get(owner.name, settings.listen.ports.get(owner.name, owner.port))
        running.ports[owner.name] = _listen(server, host, wanted, settings)
        running.hosts[owner.name] = host
        await server.start()
        running._servers.append((server, owner_health))
        await owner_health.open([service.full_name for service in services])
        _log.info("serving", owner=owner.name, engine_id=owner.engine_id, address=running.target(owner.name))

    def _peer(self, engine_id: str, name: str) -> Peer | None:
        """The engine asks as the service that it is."""
        running, clock = self._running, self._parts.clock
        key = running.development_key
        if key is None or name not in running.ports:
            return None
        asking = Principal(SERVICE_TENANT, engine_id, "", frozenset({ROLE_SERVICE}))

        def token() -> str:
            return issue_token(key, asking, now=clock.now(), lifetime=PEER_TOKEN_LIFETIME)

        return Peer(running.target(name), token)

    def _chain(self, owner: Owner, verifier: TokenVerifier, refusals: RefusalAudit, watches: Container[str]) -> Chain:
        limits = self._settings.limits
        may_be_anonymous = self._is_development and self._settings.development.anonymous
        return Chain(
            (
                RecoveryLayer(self._ids),
                TelemetryLayer(
                    self._telemetry,
                    owner.name,
                    self._ids,
                    max_in_flight=limits.concurrent_calls,
                    mode="development" if self._is_development else "",
                ),
                AuthenticationLayer(verifier, refusals, DEVELOPMENT_PRINCIPAL if may_be_anonymous else None),
                ValidationLayer(_receive_bytes(self._settings, owner), limits.answering_bytes),
                DeadlineLayer(
                    DeadlineLimits(limits.unary_s, limits.stream_s, limits.idle_s, limits.require_deadline), watches
                ),
            ),
            limits.half_close_settle_ms / 1000,
        )


def channel_options(limits: LimitSettings, receive_bytes: int, *, shares_port: bool) -> list[tuple[str, Any]]:
    """gRPC's options. Without the BDP probe and with a small look-ahead, a paused reader holds 15 KiB, not 4 MiB."""
    keepalive_ms = int(limits.keepalive_s * 1000)
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
        ("grpc.max_receive_message_length", receive_bytes + min(receive_bytes, _READ_TO_REFUSE)),
        ("grpc.max_send_message_length", limits.send_bytes),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", int(limits.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", keepalive_ms // 2),
        ("grpc.enable_channelz", 1),
    ]
    if limits.connection_age_s:
        options.append(("grpc.max_connection_age_ms", int(limits.connection_age_s * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", int(limits.stream_s * 1000)))
    return options


def development_key(data_dir: Path) -> SigningKey:
    """The key that signs development tokens: made on first use, readable by its owner only."""
    path = data_dir / DEVELOPMENT_KEY
    if not path.exists():
        make_data_dir(data_dir)
        try:
            write_signing_key(path, generate_signing_key())
        except FileExistsError:
            _log.debug("another process made the development key first")
    return load_signing_key(path)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs the program's coroutine on uvloop, where there is one."""
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        import uvloop

        uvloop.run(main)


def prefer_latency() -> None:
    """Set the interpreter for short waits, once a server has started.

    The garbage collector stops every call while it runs. Over the modules of all libraries it takes 80 ms: what is held
    by now is left alone. Over what came since it takes 1 to 5 ms: that is done once in some hundred calls, not once in
    twenty. A thread that computes, as the store's does, lets the event loop go on within a millisecond, not five.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(_COLLECT_EVERY)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def banner(running: RunningServer) -> str:
    """What a person who starts the server should know: where it listens, and loudly if it is the development mode."""
    lines = [f"{owner:>12}  {running.target(owner)}" for owner in running.ports]
    if running.metrics_port is not None:
        lines.append(f"{'metrics':>12}  http://127.0.0.1:{running.metrics_port}/metrics")
    if running.development_key is not None:
        rule = "!" * 72
        text = "DEVELOPMENT MODE: no TLS; whoever is on this machine may call this server."
        lines = [rule, text, rule, *lines]
    return "\n".join(lines)


async def run(owners: Sequence[Owner], settings: Settings, parts: Parts | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then stops gracefully; a second signal ends the process at once."""
    async with await serve(owners, settings, parts) as running:
        await stop_on_signals(running)


async def stop_on_signals(running: RunningServer) -> None:
    """Returns when the servers have stopped after SIGTERM or SIGINT; one that was ignored, as in workers, stays so."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def receive(number: signal.Signals) -> None:
        if asked.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _log.info("stopping", signal=number.name)
        asked.set()

    numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, receive, number)
    try:
        await asked.wait()
        await running.stop()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _watches(services: Sequence[Service]) -> frozenset[str]:
    return frozenset(f"/{service.full_name}/{method}" for service in services for method in service.watches)


def _add_services(server: grpc.aio.Server, services: Sequence[Service], owner_health: Health) -> None:
    for service in services:
        service.add(service.servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(owner_health.servicer, server)
    channelz.add_channelz_servicer(server)
    names = [service.full_name for service in services]
    add_reflection([*names, health.SERVICE_NAME, _CHANNELZ], server)


def _listen(server: grpc.aio.Server, host: str, port: int, settings: Settings) -> int:
    address = _address(host, port)
    tls = settings.tls
    try:
        if tls.certificate is None or tls.private_key is None:
            return server.add_insecure_port(address)
        files = TlsFiles(tls.certificate, tls.private_key, tls.client_ca)
        return server.add_secure_port(address, server_credentials(files))
    except RuntimeError as defect:
        if isinstance(defect, ListenError):
            raise
        raise ListenError(f"cannot listen on {address}: {_why(host, port)}") from None


def _why(host: str, port: int) -> str:
    """gRPC only says that binding failed; asking the system again tells why."""
    defect = unbindable(host, port)
    return f"{defect}. Is another server running there?" if defect else "the address was in use a moment ago"


def unbindable(host: str, port: int) -> str | None:
    """Why nobody can listen there now; None where somebody can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as defect:
        return defect.strerror or str(defect)
    return None


def _host(settings: Settings, owner: Owner) -> str:
    return settings.listen.hosts.get(owner.name, settings.listen.host)


def _receive_bytes(settings: Settings, owner: Owner) -> int:
    limits = settings.limits
    return limits.receive_bytes_of.get(owner.name) or max(owner.receive_bytes, limits.receive_bytes)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _actor_salt(data_dir: Path) -> bytes:
    """The salt of actor commitments, made on first use."""
    path = data_dir / ACTOR_SALT
    if not path.exists():
        try:
            write_secret(path, secrets.token_bytes(32))
        except FileExistsError:
            _log.debug("another process made the actor salt first")
    return path.read_bytes()
