"""Watches that wait long for something to happen: each client's goes on, as long as its server can be reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from selene.audit.v1 import service_pb2 as audit_wire
from selene.audit.v1 import service_pb2_grpc as audit_rpc
from selene.delivery.v1 import service_pb2 as delivery_wire
from selene.delivery.v1 import service_pb2_grpc as delivery_rpc
from selene.routing.v1 import service_pb2 as routing_wire
from selene.routing.v1 import service_pb2_grpc as routing_rpc

from clients import following
from clients.audit import Audit
from clients.channel import Connection, connect
from clients.delivery import Deliveries
from clients.errors import SeleneError
from clients.retry import RetryPolicy
from clients.routing import Circuits

QUICK = RetryPolicy(first_wait=0.001, longest_wait=0.002)


@dataclass
class Quiet:
    """A server on which nothing happens: each watch lasts for the next of `lasts` seconds of the clients' clock and
    ends as a connection does that was moved; after the last of them something happens at last.
    """

    lasts: list[float]
    ends_with: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    now: float = 0.0
    watches: int = 0
    asked: list[Any] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    async def wait(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        self.watches += 1
        if self.watches <= len(self.lasts):
            self.now += self.lasts[self.watches - 1]
            await context.abort(self.ends_with, "moved")

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.wait(request, context)
        yield audit_wire.WatchEventsResponse(event={"event": {"sequence": request.from_sequence}})

    async def WatchCircuits(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.wait(request, context)
        yield routing_wire.WatchCircuitsResponse(circuit={"provider_ref": "at-last"})

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.wait(request, context)
        yield delivery_wire.WatchResponse(cursor=request.after + 1, delivery={"delivery_id": "at-last"})


class _Audit(Quiet, audit_rpc.AuditServiceServicer):
    pass


class _Circuits(Quiet, routing_rpc.CircuitServiceServicer):
    pass


class _Deliveries(Quiet, delivery_rpc.DeliveryServiceServicer):
    pass


Watch = Callable[[Connection], AsyncGenerator[Any, None]]
WATCHES: dict[str, tuple[type[Quiet], Callable[[Any, Any], None], Watch]] = {
    "audit": (
        _Audit,
        audit_rpc.add_AuditServiceServicer_to_server,
        lambda connection: Audit(connection, policy=QUICK).watch(7),
    ),
    "circuits": (
        _Circuits,
        routing_rpc.add_CircuitServiceServicer_to_server,
        lambda connection: Circuits(connection, policy=QUICK).watch(),
    ),
    "deliveries": (
        _Deliveries,
        delivery_rpc.add_DeliveryServiceServicer_to_server,
        lambda connection: Deliveries(connection, policy=QUICK).watch(after=7),
    ),
}
each_watch = pytest.mark.parametrize("name", WATCHES)


@asynccontextmanager
async def watching(
    name: str, monkeypatch: pytest.MonkeyPatch, *lasts: float, **given: Any
) -> AsyncIterator[tuple[Quiet, AsyncGenerator[Any, None]]]:
    kind, add, watch = WATCHES[name]
    quiet, server = kind(list(lasts), **given), grpc.aio.server()
    monkeypatch.setattr(following, "monotonic", quiet.monotonic)
    add(quiet, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as connection, aclosing(watch(connection)) as events:
            yield quiet, events
    finally:
        await server.stop(None)


@each_watch
async def test_a_first_event_may_be_waited_for_longer_than_a_server_may_be_away(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(name, monkeypatch, 61.0, 300.0, 61.0) as (quiet, events):
        assert await anext(events) is not None
    assert quiet.watches == 4
    assert all(request == quiet.asked[0] for request in quiet.asked)


@each_watch
async def test_a_watch_whose_time_is_over_is_asked_for_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    over = grpc.StatusCode.DEADLINE_EXCEEDED
    async with watching(name, monkeypatch, 590.0, 590.0, ends_with=over) as (quiet, events):
        assert await anext(events) is not None
    assert quiet.watches == 3


@each_watch
async def test_a_server_that_turns_every_watch_away_for_a_minute_is_given_up(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(name, monkeypatch, *[4.0] * 100) as (quiet, events):
        with pytest.raises(SeleneError) as given_up:
            await anext(events)
    assert given_up.value.code is grpc.StatusCode.UNAVAILABLE
    assert quiet.watches == 15  # 15 times 4 s


@each_watch
async def test_a_watch_that_is_refused_is_not_asked_for_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    never = grpc.StatusCode.PERMISSION_DENIED
    async with watching(name, monkeypatch, 1.0, ends_with=never) as (quiet, events):
        with pytest.raises(SeleneError) as refused:
            await anext(events)
    assert (refused.value.code, quiet.watches) == (never, 1)
