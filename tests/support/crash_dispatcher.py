"""A dispatcher to kill, in a process of its own: leases, lets each delivery become SENT_ACKED, and tells its message id
after the store acknowledged that.
"""

from __future__ import annotations

from datetime import timedelta
from multiprocessing.connection import Connection

from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_SENT_ACKED

from store.delivery import Change
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

LEASE = timedelta(seconds=30)


async def main(tells: Connection, url: str, name: str) -> None:
    """Drain what is due, a few at a time."""
    clock = FakeClock()
    store = await open_store(url, clock, prefix=name)
    while True:
        async with store.transaction() as tx:
            until = clock.now() + LEASE
            leased = await tx.delivery.lease_due(clock.now(), holder=name, until=until, limit=5)
            audit(tx)
        if not leased:
            break
        for row in leased:
            sent = Change(
                tenant_id=row.tenant_id,
                delivery_id=row.delivery_id,
                state=DELIVERY_STATE_SENT_ACKED,
                due_at=None,
                body={"by": name},
                releases=True,
            )
            async with store.transaction() as tx:
                kept = await tx.delivery.swap(sent, revision=row.revision, fence=row.fence)
                audit(tx)
            if kept:
                tells.send(row.message_id)
    await store.close()
