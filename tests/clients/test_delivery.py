"""The client of delivery against a server that drops its calls when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from selene.delivery.v1 import delivery_pb2 as nouns
from selene.delivery.v1 import service_pb2 as wire
from selene.delivery.v1 import service_pb2_grpc as rpc
from selene_messages.selene.delivery import v1

from clients.channel import connect
from clients.delivery import LARGEST_BATCH, LARGEST_CALL_BYTES, Deliveries
from clients.errors import SeleneError
from clients.retry import RetryPolicy
from tests.clients.conftest import refuse

QUICK = RetryPolicy(first_wait=0.001, longest_wait=0.002)
ID = "ab" * 32


@dataclass
class Server(rpc.DeliveryServiceServicer):
    """Keeps what it is asked. Its log has a change for each state; a watch drops after `watch_limit` of them."""

    states: list[Any] = field(default_factory=list)
    watch_limit: int = 1_000
    watch_ends_with: grpc.StatusCode | None = grpc.StatusCode.UNAVAILABLE
    store_away: int = 0
    now: int = 0
    drops: int = 0
    asked: list[Any] = field(default_factory=list)

    async def Send(self, request: wire.SendRequest, context: Any) -> wire.SendResponse:
        repeated = request in self.asked
        self.asked.append(request)
        if self.drops:
            self.drops -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the reply was lost")
        return wire.SendResponse(delivery=nouns.Delivery(delivery_id=ID), repeated=repeated)

    async def SendBatch(self, request: wire.SendBatchRequest, context: Any) -> wire.SendBatchResponse:
        self.asked.append(request)
        items = [wire.SendBatchItem(delivery=nouns.Delivery(message_id=one.message_id)) for one in request.intents]
        return wire.SendBatchResponse(items=items)

    async def Get(self, request: wire.GetRequest, context: Any) -> wire.GetResponse:
        return wire.GetResponse(delivery=nouns.Delivery(delivery_id=request.delivery_id, state=self.states[0]))

    async def List(self, request: wire.ListRequest, context: Any) -> wire.ListResponse:
        self.asked.append(request)
        begin = int(request.page.page_token or 0)
        reply = wire.ListResponse(deliveries=[nouns.Delivery(message_id=str(begin))])
        reply.page.next_page_token = "" if begin == 2 else str(begin + 1)
        return reply

    async def Watch(self, request: wire.WatchRequest, context: Any) -> AsyncIterator[wire.WatchResponse]:
        self.asked.append(request)
        if self.store_away:
            self.store_away -= 1
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "away", {"cause": "LOCKED"})
        if request.from_now:
            yield wire.WatchResponse(cursor=self.now)
            return
        for cursor in range(request.after + 1, min(len(self.states), request.after + self.watch_limit) + 1):
            yield wire.WatchResponse(cursor=cursor, delivery=nouns.Delivery(state=self.states[cursor - 1]))
        if self.watch_ends_with is not None:
            await context.abort(self.watch_ends_with, "dropped")

    async def Cancel(self, request: wire.CancelRequest, context: Any) -> wire.CancelResponse:
        self.asked.append(request)
        if self.drops:
            self.drops -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the reply was lost")
        return wire.CancelResponse(delivery=nouns.Delivery(state=nouns.DELIVERY_STATE_CANCELLED))

    async def Resolve(self, request: wire.ResolveRequest, context: Any) -> wire.ResolveResponse:
        self.asked.append(request)
        return wire.ResolveResponse(delivery=nouns.Delivery(state=nouns.DELIVERY_STATE_SENT_ACKED))

    async def Reconcile(self, request: wire.ReconcileRequest, context: Any) -> wire.ReconcileResponse:
        self.asked.append(request)
        return wire.ReconcileResponse(due=3)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, Deliveries]]:
    server, state = grpc.aio.server(), Server()
    rpc.add_DeliveryServiceServicer_to_server(state, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with connect(f"127.0.0.1:{port}") as connection:
        yield state, Deliveries(connection, policy=QUICK)
    await server.stop(None)


def intent(message_id: str = "m-1", text: str = "hello") -> v1.Intent:
    return v1.Intent(
        message_id=message_id,
        recipient=v1.Recipient(recipient_id="ann", address="+442071838750"),
        channel=v1.DeliveryChannel.SMS,
        content=v1.Content(text=v1.TextContent(text)),
    )


async def test_an_intent_whose_reply_was_lost_is_handed_over_again_as_it_was(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    server.drops = 2
    reply = await deliveries.send(intent())
    assert reply.repeated
    assert len(server.asked) == 3
    assert server.asked[0] == server.asked[1] == server.asked[2]
    assert server.asked[0].intent.tenant_id == "dev"


async def test_an_intent_of_a_named_tenant_keeps_it(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    given = intent()
    given.tenant_id = "acme"
    await deliveries.send(given)
    assert server.asked[0].intent.tenant_id == "acme"


async def test_many_go_in_calls_of_what_one_takes(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    names = [str(number) for number in range(2 * LARGEST_BATCH + 1)]
    items = await deliveries.send_batch(intent(name) for name in names)
    assert [item.delivery.message_id for item in items if item.delivery] == names
    assert [len(asked.intents) for asked in server.asked] == [LARGEST_BATCH, LARGEST_BATCH, 1]


async def test_large_ones_go_in_calls_that_a_server_takes(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    half = "x" * (LARGEST_CALL_BYTES // 2)
    await deliveries.send_batch([intent("a", half), intent("b", half), intent("c", half)])
    assert [len(asked.intents) for asked in server.asked] == [1, 1, 1]


async def test_none_at_all_is_no_call(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    assert await deliveries.send_batch([]) == []
    assert server.asked == []


async def test_a_list_is_read_to_its_end(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    found = [each.message_id async for each in deliveries.list(state=v1.DeliveryState.UNKNOWN, page_size=1)]
    assert found == ["0", "1", "2"]
    assert {asked.state for asked in server.asked} == {nouns.DELIVERY_STATE_UNKNOWN}


@pytest.mark.parametrize("ends_with", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, None])
async def test_a_watch_tells_everything_once_however_often_it_is_dropped(
    served: tuple[Server, Deliveries], ends_with: grpc.StatusCode | None
) -> None:
    server, deliveries = served
    server.states = [nouns.DELIVERY_STATE_ACCEPTED] * 10
    server.watch_limit, server.watch_ends_with = 3, ends_with
    seen: list[int] = []
    async with aclosing(deliveries.watch(ID, after=2)) as changes:
        async for change in changes:
            seen.append(change.cursor)
            if change.cursor == 10:
                break
    assert seen == [3, 4, 5, 6, 7, 8, 9, 10]
    assert [asked.after for asked in server.asked] == [2, 5, 8]
    assert {asked.delivery_id for asked in server.asked} == {ID}


async def test_a_watch_from_now_on_that_is_dropped_before_anything_happens_goes_on_where_it_began(
    served: tuple[Server, Deliveries],
) -> None:
    server, deliveries = served
    server.states, server.now = [nouns.DELIVERY_STATE_ACCEPTED] * 5, 3
    async with aclosing(deliveries.watch(from_now=True)) as changes:
        assert [(await anext(changes)).cursor, (await anext(changes)).cursor] == [4, 5]
    assert [(asked.from_now, asked.after) for asked in server.asked] == [(True, 0), (False, 3)]


async def test_a_watch_outlives_a_store_that_is_away(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    server.states, server.store_away = [nouns.DELIVERY_STATE_ACCEPTED], 2
    async with aclosing(deliveries.watch()) as changes:
        assert (await anext(changes)).cursor == 1
    assert len(server.asked) == 3


async def test_a_watch_that_is_refused_says_so(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    server.watch_ends_with = grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(SeleneError) as refused:
        await anext(deliveries.watch())
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert len(server.asked) == 1


async def test_a_delivery_is_waited_for_until_it_is_final(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    server.states = [
        nouns.DELIVERY_STATE_ACCEPTED,
        nouns.DELIVERY_STATE_UNKNOWN,
        nouns.DELIVERY_STATE_SENT_ACKED,
    ]
    server.watch_limit = 1
    assert (await deliveries.until_final(ID)).state is v1.DeliveryState.SENT_ACKED


async def test_a_delivery_that_is_final_is_not_watched(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    server.states = [nouns.DELIVERY_STATE_EXPIRED]
    assert (await deliveries.until_final(ID)).state is v1.DeliveryState.EXPIRED
    assert server.asked == []


async def test_a_cancellation_whose_reply_was_lost_has_the_same_key_again(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    server.drops = 1
    reply = await deliveries.cancel(ID, "ORDER_WITHDRAWN")
    assert reply.delivery is not None and reply.delivery.state is v1.DeliveryState.CANCELLED
    first, second = server.asked
    assert first.idempotency_key == second.idempotency_key != ""
    assert (first.delivery_id, first.reason_code) == (ID, "ORDER_WITHDRAWN")


async def test_a_resolution_says_what_how_and_where(served: tuple[Server, Deliveries]) -> None:
    server, deliveries = served
    done = await deliveries.resolve(ID, v1.Resolution.SENT, "VENDOR_CONSOLE", evidence_ref="ticket-7")
    assert done.state is v1.DeliveryState.SENT_ACKED
    (asked,) = server.asked
    assert (asked.resolution, asked.reason_code, asked.evidence_ref) == (
        wire.RESOLUTION_SENT,
        "VENDOR_CONSOLE",
        "ticket-7",
    )
    assert asked.idempotency_key


async def test_reconciling_tells_how_many_are_due(served: tuple[Server, Deliveries]) -> None:
    _, deliveries = served
    assert await deliveries.reconcile() == 3
