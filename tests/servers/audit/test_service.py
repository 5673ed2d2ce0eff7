"""The audit read API (AUD-1): what happened can be found, followed without gaps, and proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from selene.audit.v1 import audit_pb2
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.common.v1.paging_pb2 import PageRequest

from clients.errors import SeleneError, from_rpc
from servers.process import owner
from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from servers.runtime.server import Parts, RunningServer, serve
from store import Store
from store.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.support.servers import settings_of, until
from tests.support.stores import MASTER_KEY, SIGNING_KEY

TENANT = "dev"
LEDGER = "audit_events"


class Desk:
    """A served trail, its store, and a stub that asks it."""

    def __init__(self, running: RunningServer, store: Store, channel: grpc.aio.Channel) -> None:
        self.running = running
        self.store = store
        self.stub = audit_grpc.AuditServiceStub(channel)

    async def write(self, count: int, *, tenant: str = TENANT, **fields: Any) -> None:
        usual = {"owner": "PH1.TEST", "actor": "system", "transition": "test.changed", "reason_code": "OK"}
        for number in range(count):
            async with self.store.transaction() as tx:
                tx.audit(tenant_id=tenant, facts={"number": str(number)}, **{**usual, **fields})

    async def list(self, **fields: Any) -> audit.ListEventsResponse:
        reply: audit.ListEventsResponse = await self.stub.ListEvents(
            audit.ListEventsRequest(tenant_id=TENANT, **fields), timeout=10
        )
        return reply


@pytest.fixture
async def desk(store_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Only the audit owner, on each of the two databases."""
    clock = SystemClock()
    ids = UuidV7Ids(clock)
    store = await Store.open(store_url, clock=clock, ids=ids, signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    parts = Parts(clock=clock, ids=ids, store=store, on_stop=(store.close,))
    async with await serve([owner("audit")], settings_of(tmp_path), parts) as running:
        async with grpc.aio.insecure_channel(running.target("audit")) as channel:
            yield Desk(running, store, channel)
        await running.stop(0)


async def reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    refusal: SeleneError = from_rpc(caught.value)
    return refusal.reason


async def test_events_are_listed_oldest_first_a_page_at_a_time(desk: Desk) -> None:
    await desk.write(7)
    sequences: list[int] = []
    page = ""
    for expected in (3, 3, 1):
        reply = await desk.list(page=PageRequest(page_size=3, page_token=page))
        assert len(reply.events) == expected
        sequences += [one.event.sequence for one in reply.events]
        page = reply.page.next_page_token
    assert page == ""
    assert sequences == list(range(1, 8))


async def test_a_page_that_is_just_full_is_the_last(desk: Desk) -> None:
    await desk.write(3)
    assert (await desk.list(page=PageRequest(page_size=3))).page.next_page_token == ""


@pytest.mark.parametrize("token", ["garbage", "YXVkaXQ6", "YXVkaXQ6AA==", "cHJvZmlsZXM6bWlyYQ==", "YXVkaXQ6eA=="])
async def test_a_page_token_of_another_list_is_refused(desk: Desk, token: str) -> None:
    await desk.write(1)
    call = desk.stub.ListEvents(audit.ListEventsRequest(tenant_id=TENANT, page=PageRequest(page_token=token)))
    assert await reason(call) == "PAGE_TOKEN_INVALID"


async def test_filters_all_have_to_agree(desk: Desk) -> None:
    await desk.write(1, owner="PH1.A", transition="a.b", session_id="s-1")
    await desk.write(1, owner="PH1.A", transition="c.d", session_id="s-1")
    await desk.write(1, owner="PH1.B", transition="a.b", session_id="s-2")
    await desk.write(1, tenant="other", owner="PH1.A", transition="a.b", session_id="s-1")

    async def found(**fields: Any) -> list[int]:
        return [one.event.sequence for one in (await desk.list(**fields)).events]

    assert await found() == [1, 2, 3]
    assert await found(owner="PH1.A") == [1, 2]
    assert await found(transition="a.b") == [1, 3]
    assert await found(owner="PH1.A", transition="a.b", session_id="s-1") == [1]
    assert await found(owner="PH1.B", session_id="s-1") == []
    assert await found(correlation_id="nobody") == []


async def test_times_bound_what_is_listed(desk: Desk) -> None:
    await desk.write(2)
    between = datetime.now(UTC)
    await desk.write(2)
    request = audit.ListEventsRequest(tenant_id=TENANT)
    request.since.FromDatetime(between)
    assert [one.event.sequence for one in (await desk.stub.ListEvents(request)).events] == [3, 4]
    request = audit.ListEventsRequest(tenant_id=TENANT)
    request.until.FromDatetime(between)
    assert [one.event.sequence for one in (await desk.stub.ListEvents(request)).events] == [1, 2]


async def test_a_follower_gets_what_is_there_and_what_comes_without_a_gap(desk: Desk) -> None:
    await desk.write(450)
    call = desk.stub.WatchEvents(audit.WatchEventsRequest(tenant_id=TENANT, from_sequence=3), timeout=20)
    seen = [(await call.read()).event.event.sequence for _ in range(448)]
    await desk.write(5)
    seen += [(await call.read()).event.event.sequence for _ in range(5)]
    call.cancel()
    assert seen == list(range(3, 456))


async def test_a_follower_from_now_on_gets_only_what_comes(desk: Desk) -> None:
    await desk.write(5)
    call = desk.stub.WatchEvents(audit.WatchEventsRequest(tenant_id=TENANT), timeout=20)
    first = asyncio.ensure_future(call.read())

    async def write() -> None:
        while not first.done():
            await desk.write(1, transition="later.came")
            await asyncio.wait([first], timeout=0.5)

    await asyncio.wait_for(write(), 10)
    event = (await first).event.event
    assert event.transition == "later.came" and event.sequence >= 6
    call.cancel()


async def test_followers_are_told_to_go_elsewhere_when_the_server_stops(desk: Desk) -> None:
    call = desk.stub.WatchEvents(audit.WatchEventsRequest(tenant_id=TENANT, from_sequence=1), timeout=20)
    waiting = asyncio.ensure_future(call.read())
    await until(
        lambda: desk.running.telemetry.registry.get_sample_value("selene_rpc_in_flight", {"owner": "audit"}) == 1
    )
    await desk.running.stop(5.0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    assert from_rpc(caught.value).reason == "NOT_SERVING"


async def test_a_checkpoint_is_signed_and_grows_with_the_trail(desk: Desk) -> None:
    request = audit.GetCheckpointRequest(tenant_id=TENANT, ledger=LEDGER)
    assert await reason(desk.stub.GetCheckpoint(request)) == "RESOURCE_NOT_FOUND"
    await desk.write(3)
    first = await desk.stub.GetCheckpoint(request)
    assert first.checkpoint.tree_size == 3
    unsigned = audit_pb2.Checkpoint()
    unsigned.CopyFrom(first.checkpoint)
    unsigned.ClearField("signature")
    key = Ed25519PublicKey.from_public_bytes(first.public_key)
    key.verify(first.checkpoint.signature, unsigned.SerializeToString(deterministic=True))
    assert (await desk.stub.GetCheckpoint(request)).checkpoint == first.checkpoint
    await desk.write(1)
    assert (await desk.stub.GetCheckpoint(request)).checkpoint.tree_size == 4


async def test_every_event_can_be_proved_to_be_in_the_tree(desk: Desk) -> None:
    await desk.write(6)
    checkpoint = (await desk.stub.GetCheckpoint(audit.GetCheckpointRequest(tenant_id=TENANT, ledger=LEDGER))).checkpoint
    for sequence in range(1, 7):
        proved = await desk.stub.GetInclusionProof(audit.GetInclusionProofRequest(tenant_id=TENANT, sequence=sequence))
        assert proved.root_hash == checkpoint.root_hash
        assert proved.proof.leaf_index == sequence - 1
        assert holds(proved, proved.event.row_hash)
        assert not holds(proved, bytes(32)), "of another row it proves nothing"


def holds(proved: audit.GetInclusionProofResponse, row_hash: bytes) -> bool:
    proof = proved.proof
    return bool(
        verify_inclusion(leaf_hash(row_hash), proof.leaf_index, proof.tree_size, list(proof.path), proved.root_hash)
    )


async def test_a_later_tree_can_be_proved_to_hold_the_earlier(desk: Desk) -> None:
    await desk.write(6)
    proved = await desk.stub.GetConsistencyProof(
        audit.GetConsistencyProofRequest(tenant_id=TENANT, first_size=4, second_size=6)
    )
    path = list(proved.proof.path)
    assert verify_consistency(4, proved.first_root, 6, proved.second_root, path)
    assert not verify_consistency(4, bytes(32), 6, proved.second_root, path)


@pytest.mark.parametrize(("first", "second", "expected"), [(3, 2, "FIELD_INVALID"), (1, 99, "RESOURCE_NOT_FOUND")])
async def test_trees_that_are_not_there_are_not_proved(desk: Desk, first: int, second: int, expected: str) -> None:
    await desk.write(3)
    request = audit.GetConsistencyProofRequest(tenant_id=TENANT, first_size=first, second_size=second)
    assert await reason(desk.stub.GetConsistencyProof(request)) == expected


@pytest.mark.parametrize(("sequence", "size"), [(9, 0), (9, 3), (3, 2), (1, 99)])
async def test_an_event_that_is_not_in_the_tree_is_not_proved(desk: Desk, sequence: int, size: int) -> None:
    await desk.write(3)
    await desk.stub.GetCheckpoint(audit.GetCheckpointRequest(tenant_id=TENANT, ledger=LEDGER))
    request = audit.GetInclusionProofRequest(tenant_id=TENANT, sequence=sequence, tree_size=size)
    assert await reason(desk.stub.GetInclusionProof(request)) == "RESOURCE_NOT_FOUND"


async def test_a_whole_trail_verifies(desk: Desk) -> None:
    await desk.write(4)
    await desk.stub.GetCheckpoint(audit.GetCheckpointRequest(tenant_id=TENANT, ledger=LEDGER))
    report = await desk.stub.VerifyLedger(audit.VerifyLedgerRequest(tenant_id=TENANT))
    assert report.whole and not report.findings
    assert (report.rows, report.checkpoints) == (4, 1)


async def test_a_store_that_is_gone_is_said_to_be(desk: Desk) -> None:
    await desk.store.close()
    assert await reason(desk.stub.ListEvents(audit.ListEventsRequest(tenant_id=TENANT))) == "STORE_UNAVAILABLE"
    assert await reason(desk.stub.VerifyLedger(audit.VerifyLedgerRequest(tenant_id=TENANT))) == "STORE_UNAVAILABLE"
