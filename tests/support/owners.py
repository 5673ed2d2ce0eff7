"""Routing owners as they are served: a store, a profile of the test's own where it has one, real channels on port 0."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from selene.audit.v1.audit_pb2 import AuditEvent
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1

from clients.channel import Connection, connect
from servers.process import OWNERS, owner
from servers.routing.directory import seed
from servers.routing.shipped import RULE_EFFECT, RULE_ID, RULE_REASON
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Parts, RunningServer, Runtime, Service, serve
from servers.runtime.storage import LedgerSink, open_store, turn
from store import Store, Transaction
from store.routing import Rule
from tests.support.servers import TENANT, SteppedClock, begin_migrated, settings_of

Build = Callable[[Runtime], Awaitable[Sequence[Service]]]


class Owners:
    """A running process with some owners, and what lies behind it."""

    def __init__(self, running: RunningServer, store: Store, clock: SteppedClock, parts: AsyncExitStack) -> None:
        self.running = running
        self.store = store
        self.clock = clock
        self.services: dict[str, Sequence[Service]] = {}
        self._parts = parts

    def connection(self, name: str, token: str = "") -> Connection:
        """A channel of its own, closed with the process."""
        alone = (("grpc.use_local_subchannel_pool", 1),)
        opened = connect(self.running.target(name), token=token, options=alone)
        self._parts.push_async_callback(opened.close)
        return opened

    async def trail(self, tenant: str = TENANT) -> list[AuditEvent]:
        """Every audit event of a tenant, from the store."""
        return [chained.event async for chained in self.store.audit.stream(tenant)]


@asynccontextmanager
async def serving(
    names: Sequence[str],
    data_dir: Path,
    flags: Mapping[str, Any] | None = None,
    *,
    profile: ProviderRoutingProfileV1 | None = None,
    builds: Mapping[str, Build] | None = None,
    prepare: Callable[[Transaction], Awaitable[None]] | None = None,
    clock: SteppedClock | None = None,
) -> AsyncIterator[Owners]:
    """These owners until the block ends, in development mode. `builds` are owners that a test builds otherwise.

    `profile` is active from the beginning in place of the shipped one; `prepare` writes what else the store holds then.
    """
    ports = {f"listen.ports.{name}": 0 for name in OWNERS}
    settings = settings_of(data_dir, ports | dict(flags or {}))
    begin_migrated(settings)
    clock = clock or SteppedClock()
    ids = UuidV7Ids(clock)
    store = await open_store(settings, clock, ids)
    if profile is not None:
        await seed(store, profile, Rule(tenant_id="", rule_id=RULE_ID, effect=RULE_EFFECT, reason=RULE_REASON))
    if prepare is not None:
        async with store.transaction() as tx:
            await prepare(tx)
            what, why = "test.prepared", "TEST"
            tx.audit(tenant_id=TENANT, owner="test", actor="test", transition=what, reason_code=why, turn=turn())
    built: dict[str, Sequence[Service]] = {}

    def noting(name: str, build: Build) -> Build:
        async def note(runtime: Runtime) -> Sequence[Service]:
            built[name] = await build(runtime)
            return built[name]

        return note

    served = [owner(name) for name in names]
    owners = [replace(one, build=noting(one.name, (builds or {}).get(one.name, one.build))) for one in served]
    parts = Parts(clock=clock, ids=ids, store=store, audit=LedgerSink(store), on_stop=(store.close,))
    async with AsyncExitStack() as stack:
        running = await serve(owners, settings, parts)
        stack.push_async_callback(running.stop, 0.0)
        house = Owners(running, store, clock, stack)
        house.services = built
        yield house
