"""Four owners in this process, on a new SQLite store and a clock that can be moved, and the people who call them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]  # the wheel ships no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # the wheel ships no stubs
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.governance.v1 import service_pb2_grpc as governance_grpc
from selene.governance.v1.rollout_pb2 import Rollout
from selene.governance.v1.service_pb2 import GetRolloutRequest
from selene.learning.v1 import service_pb2_grpc as learning_grpc
from selene.voiceid.v1 import service_pb2 as voiceid
from selene.voiceid.v1 import service_pb2_grpc as voiceid_grpc
from selene.voiceid.v1.voiceid_pb2 import ThresholdPack

from servers.process import owner
from servers.runtime.auth import Principal, issue_token
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Parts, RunningServer, serve
from servers.runtime.storage import LedgerSink, open_store
from servers.shipped import register_shipped_pack
from store import Store

TENANT: Final = "dev"
SCOPE: Final = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
OWNERS: Final = ("voiceid", "audit", "learning", "governance")
ROLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ann": ("operator",),
        "rhea": ("reviewer",),
        "ravi": ("reviewer",),
        "cody": ("approver",),
        "lena": ("approver",),
        "voiceid": ("service",),
        "builder": ("service",),
    }
)
"""Who may do what. Whoever is not named is a user, and speaks for themselves only."""

CALL_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05
"""How often control loops and KPI windows are looked after, in real seconds; they go by the moved clock."""

Reply = TypeVar("Reply")
Request = TypeVar("Request", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Method(Protocol[Request, Answer]):
    """A unary method of a generated stub."""

    def __call__(self, request: Request, /, *, timeout: float, metadata: Any) -> Awaitable[Answer]:
        """Begin the call."""
        ...


class MovedClock:
    """The machine's clock plus what was skipped: what really takes time still takes it."""

    def __init__(self) -> None:
        self._skipped = timedelta(0)

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return datetime.now(UTC) + self._skipped

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self._skipped.total_seconds()

    def skip(self, span: timedelta) -> None:
        """Let time pass at once."""
        self._skipped += span


class House:
    """The running owners, a stub for each of their services, and calls in the name of people."""

    def __init__(
        self, running: RunningServer, store: Store, clock: MovedClock, channels: Mapping[str, grpc.aio.Channel]
    ) -> None:
        self.running = running
        self.store = store
        self.clock = clock
        self.signals = learning_grpc.SignalServiceStub(channels["learning"])
        self.gold = learning_grpc.GoldServiceStub(channels["learning"])
        self.gates = governance_grpc.GovernanceServiceStub(channels["governance"])
        self.defects = governance_grpc.DefectServiceStub(channels["governance"])
        self.consents = governance_grpc.ConsentServiceStub(channels["governance"])
        self.policy = voiceid_grpc.PolicyServiceStub(channels["voiceid"])
        self.audit = audit_grpc.AuditServiceStub(channels["audit"])
        self._keys = itertools.count(1)

    def key(self) -> str:
        """An idempotency key that was not used before."""
        return f"demonstration-{next(self._keys)}"

    async def call(self, who: str, method: Method[Request, Reply], request: Request) -> Reply:
        """The reply to one call over the owner's channel. grpc.aio.AioRpcError."""
        key = self.running.development_key
        assert key is not None
        principal = Principal(TENANT, who, "", frozenset(ROLES.get(who, ("user",))))
        token = issue_token(key, principal, now=self.clock.now(), lifetime=timedelta(minutes=5))
        return await method(request, timeout=CALL_S, metadata=(("authorization", f"Bearer {token}"),))

    async def active_pack(self) -> ThresholdPack:
        """The threshold pack that the running voice identity decides by, as it says itself."""
        request = voiceid.GetThresholdPackRequest(tenant_id=TENANT)
        return (await self.call("ann", self.policy.GetThresholdPack, request)).pack

    async def payload(self, row: ArtifactRow) -> bytes:
        """An artifact's content, as its consumer loads it."""
        return await self.store.artifacts.payload(row.package_hash)

    async def rollout(self, rollout_id: str) -> Rollout:
        """A rollout as it stands."""
        request = GetRolloutRequest(tenant_id=TENANT, rollout_id=rollout_id)
        return (await self.call("ann", self.gates.GetRollout, request)).rollout

    async def ledger(self) -> audit.VerifyLedgerResponse:
        """Whether the tenant's audit trail is whole."""
        return await self.call("ann", self.audit.VerifyLedger, audit.VerifyLedgerRequest(tenant_id=TENANT))


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """The reason of a refusal and what it tells with it; empty where the owner gave none."""
    for name, value in error.trailing_metadata():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                info = ErrorInfo()
                if detail.Unpack(info):
                    return info.reason, dict(info.metadata)
    return "", {}


async def until(look: Callable[[], Awaitable[Reply]], holds: Callable[[Reply], bool], within_s: float = 30.0) -> Reply:
    """What is seen once it holds. TimeoutError after so many real seconds."""
    async with asyncio.timeout(within_s):
        seen = await look()
        while not holds(seen):
            await asyncio.sleep(LOOK_EVERY_S)
            seen = await look()
    return seen


@asynccontextmanager
async def housed(data_dir: Path, *, proves: bool = True) -> AsyncIterator[House]:
    """The owners until the block ends. Voice identity runs without models: nobody speaks here. It proves by itself what
    it consumes, unless `proves` is false.
    """
    models = data_dir / "no-models"
    models.mkdir(parents=True)
    settings = load_settings(
        None,
        {
            "data_dir": data_dir,
            "development.enabled": True,
            "development.anonymous": False,
            "owners.voiceid": {"models_dir": str(models), "kpi_look_s": LOOK_EVERY_S},
            "owners.governance": {"look_every_s": LOOK_EVERY_S},
            "owners.proofs": {"look_every_s": LOOK_EVERY_S, "loop": proves},
            **{f"listen.ports.{name}": 0 for name in OWNERS},
        },
    )
    clock = MovedClock()
    ids = UuidV7Ids(clock)
    store = await open_store(settings, clock, ids)
    await register_shipped_pack(store)
    parts = Parts(clock=clock, ids=ids, store=store, audit=LedgerSink(store), on_stop=(store.close,))
    async with AsyncExitStack() as stack:
        running = await serve([owner(name) for name in OWNERS], settings, parts)
        stack.push_async_callback(running.stop, 0.0)
        channels = {}
        for name in OWNERS:
            channel = grpc.aio.insecure_channel(running.target(name))
            stack.push_async_callback(channel.close)
            channels[name] = channel
        yield House(running, store, clock, channels)
