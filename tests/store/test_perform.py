"""`Store.perform`: the whole of a transaction as one piece of work, with the promises that `transaction` makes."""

from __future__ import annotations

import asyncio

import pytest

from store import Rooms, Store, Transaction, UnauditedChange, request_hash
from tests.support.stores import audit

KEY = request_hash("content")


async def claimed(tx: Transaction) -> bytes:
    """Claims an idempotency key once and audits it."""
    earlier = await tx.idempotent("t1", "Do", "k", KEY)
    if earlier is not None:
        return earlier
    audit(tx)
    await tx.remember("t1", "Do", "k", b"done")
    return b"first"


async def test_work_and_its_audit_row_are_kept_together(store: Store) -> None:
    assert await store.perform(claimed) == b"first"
    assert await store.perform(claimed) == b"done"
    assert await store.audit.size("t1") == 1


async def test_what_the_work_raises_undoes_it(store: Store) -> None:
    async def fail(tx: Transaction) -> None:
        await claimed(tx)
        raise LookupError("after all")

    with pytest.raises(LookupError, match="after all"):
        await store.perform(fail)
    assert await store.audit.size("t1") == 0
    assert await store.perform(claimed) == b"first"


async def test_a_change_without_an_audit_row_is_refused(store: Store) -> None:
    async def silent(tx: Transaction) -> None:
        await tx.settings.set("k", 2, tenant_id="t1", layer_id="t1", value=1)

    with pytest.raises(UnauditedChange):
        await store.perform(silent)
    assert await store.settings.all("t1") == []


async def test_work_that_waits_for_something_else_is_refused_where_it_would_block_the_writer(
    sqlite_store: Store,
) -> None:
    async def wait(tx: Transaction) -> None:
        await claimed(tx)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something"):
        await sqlite_store.perform(wait)
    assert await sqlite_store.audit.size("t1") == 0


async def test_pieces_of_work_and_blocks_take_turns(store: Store) -> None:
    async def write(tx: Transaction) -> None:
        audit(tx)

    async def block() -> None:
        async with store.transaction() as tx:
            audit(tx)

    await asyncio.gather(*(store.perform(write) if n % 2 else block() for n in range(20)))
    assert [row.event.sequence for row in await store.audit.page("t1")] == list(range(1, 21))


async def test_a_cancelled_caller_leaves_the_store_whole(store: Store) -> None:
    async def write(tx: Transaction) -> None:
        audit(tx)

    tasks = [asyncio.ensure_future(store.perform(write)) for _ in range(6)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.exception() is None for task in tasks[1::2])
    await store.perform(write)
    assert (await store.verify("t1")).ok


async def test_what_is_read_together_is_what_was_committed(store: Store) -> None:
    await store.perform(claimed)

    async def read(rooms: Rooms) -> tuple[int, int]:
        return await rooms.audit.size("t1"), await rooms.voiceid.profiles.gallery_version("t1")

    assert await store.together(read) == (1, 0)
    async with store.transaction() as tx:
        audit(tx)
        assert await store.together(read) == (1, 0)
    assert await store.together(read) == (2, 0)


async def test_reads_that_wait_for_something_else_are_refused_where_they_would_block_a_reader(
    sqlite_store: Store,
) -> None:
    async def wait(rooms: Rooms) -> int:
        await asyncio.sleep(0)
        return await rooms.audit.size("t1")

    with pytest.raises(RuntimeError, match="awaited something"):
        await sqlite_store.together(wait)


async def test_transactions_that_meet_share_a_commit_and_all_are_kept(store: Store) -> None:
    async def one(tx: Transaction) -> None:
        audit(tx)

    await asyncio.gather(*(store.perform(one) for _ in range(20)))
    assert await store.audit.size("t1") == 20
