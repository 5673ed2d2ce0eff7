"""The secrets owner as it is served: tokens, a real channel, a store on each of the two databases."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.kms.v1 import service_pb2_grpc as kms_grpc
from selene_messages.selene.kms import v1

from clients.channel import Connection, connect
from clients.retry import NO_RETRY
from clients.secrets import Secrets
from servers.process import owner
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.secrets import Redeemer, redeemer
from servers.runtime.server import Parts, RunningServer, serve
from servers.runtime.storage import SYSTEM_TENANT, LedgerSink
from store import Store
from tests.support.identity import Issuer
from tests.support.openbao import Folder
from tests.support.servers import SteppedClock, settings_of
from tests.support.simulators.openbao import Front
from tests.support.stores import MASTER_KEY, SIGNING_KEY

HANDLE = "kms://providers/openai/stt"
OWNER = "PH1.C"
SECRET = b"canary-Zk9qT4-first"
NEXT = b"canary-Zk9qT4-second"

LOOKS = ("sealing_key.read", "secret.read", "secrets.listed")


class Desk:
    """A served secrets owner: clients by role, its store, its clock, its trail."""

    def __init__(
        self, running: RunningServer, store: Store, clock: SteppedClock, issuer: Issuer, parts: AsyncExitStack
    ) -> None:
        self.running = running
        self.store = store
        self.clock = clock
        self.issuer = issuer
        self._parts = parts
        self.operator = self.client(ROLE_DEPLOYMENT_OPERATOR)
        self.service = self.own()

    def connection(self, *roles: str, subject: str = "ops", tenant: str = "t-1") -> Connection:
        """A channel of its own, closed with the desk; no role at all without any."""
        token = self.issuer.token(subject, tenant=tenant, roles=roles, now=self.clock.now())
        alone = (("grpc.use_local_subchannel_pool", 1),)
        opened = connect(self.running.target("kms"), token=token, options=alone)
        self._parts.push_async_callback(opened.close)
        return opened

    def client(self, *roles: str, subject: str = "ops", tenant: str = "t-1") -> Secrets:
        """The typed client of a caller with these roles."""
        return Secrets(self.connection(*roles, subject=subject, tenant=tenant), policy=NO_RETRY)

    def own(self, subject: str = OWNER) -> Secrets:
        """The typed client of a service of the deployment's own."""
        return self.client(ROLE_SERVICE, subject=subject, tenant=SYSTEM_TENANT)

    async def put(self, secret: bytes = SECRET, **options: Any) -> v1.SecretInfo:
        """Put a secret that PH1.C may lease."""
        usual: dict[str, Any] = {"environment": v1.Environment.PROD, "granted_owners": [OWNER]}
        return await self.operator.put(options.pop("handle", HANDLE), secret, **{**usual, **options})

    async def raw(self, method: str, request: Any, *roles: str, **caller: str) -> Any:
        """One call as the stub makes it."""
        connection = self.connection(*(roles or (ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)), **caller)
        stub = kms_grpc.SecretsServiceStub(connection.channel)
        return await getattr(stub, method)(request, timeout=10, metadata=connection.metadata())

    async def trail(self, transition: str = "") -> list[AuditEvent]:
        """Events of the deployment's trail."""
        events = [chained.event async for chained in self.store.audit.stream(SYSTEM_TENANT)]
        return [event for event in events if transition in ("", event.transition)]

    async def done(self) -> list[AuditEvent]:
        """The trail without those who only looked."""
        return [event for event in await self.trail() if event.transition not in LOOKS]


def facts(event: AuditEvent) -> dict[str, str]:
    return {fact.name: fact.value for fact in event.facts}


@asynccontextmanager
async def served(
    store_url: str, folder: Path, issuer: Issuer, kms: Mapping[str, Any] | None = None
) -> AsyncIterator[Desk]:
    """As in production, on loopback: tokens and a master key. `kms` are settings of the owner's own."""
    clock = SteppedClock()
    ids = UuidV7Ids(clock)
    store = await Store.open(store_url, clock=clock, ids=ids, signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    flags = {
        "listen.ports.kms": 0,
        "development.enabled": False,
        "auth.keys_file": issuer.keys_file,
        "master_key.value": base64.b64encode(MASTER_KEY).decode(),
        "owners.kms": dict(kms or {}),
    }
    parts = Parts(clock=clock, ids=ids, store=store, audit=LedgerSink(store), on_stop=(store.close,))
    async with AsyncExitStack() as stack:
        running = await serve([owner("kms")], settings_of(folder, flags), parts)
        stack.push_async_callback(running.stop, 0)
        yield Desk(running, store, clock, issuer, stack)


@pytest.fixture
async def desk(store_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """The owner on each of the two databases."""
    async with served(store_url, tmp_path, Issuer(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def sqlite_desk(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """The owner on SQLite, for what no database makes a difference to."""
    async with served(sqlite_url, tmp_path, Issuer(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def bao_desk(store_url: str, tmp_path: Path, bao_folder: Folder, bao_front: Front) -> AsyncIterator[Desk]:
    """The owner with OpenBao as its backend, behind the front."""
    kms = {"backend": "openbao", "openbao": bao_folder.settings(address=bao_front.address)}
    async with served(store_url, tmp_path, Issuer(tmp_path), kms) as opened:
        yield opened


@pytest.fixture
async def redeeming(bao_desk: Desk, bao_folder: Folder) -> AsyncIterator[Redeemer]:
    """What an owner that calls providers redeems with."""
    section = {"backend": "openbao", "openbao": bao_folder.settings("redeemer")}
    made = redeemer(load_settings(flags={"owners.kms": section}), bao_desk.store, bao_desk.clock)
    yield made
    await made.close()
