"""Quotas move to buckets outside of the store (§22): when those come into use, what the store's held is theirs."""

from __future__ import annotations

from dataclasses import replace

from selene.routing.v1.routing_pb2 import Domain

from servers.routing.buckets import Buckets, Change, Changed
from servers.routing.gates import Bucket, take
from servers.routing.holdings import NothingDone
from store import Store, Transaction
from store.routing import ELSEWHERE


async def move(store: Store, buckets: Buckets, owner: str, change: Change) -> Changed | None:
    """Take over what the store's bucket holds, whoever comes first and once; the bucket is then that of `change`.

    Tokens leave the store before they are elsewhere: where nobody answers, None, they are nobody's and granted to
    nobody twice. StoreError.
    """

    async def work(tx: Transaction) -> float:
        quota = await tx.routing.quotas.locked(change.tenant_id, change.domain)
        if quota is None or quota.is_elsewhere:
            raise NothingDone
        bucket = Bucket(capacity=quota.capacity, refill_per_s=quota.refill_per_s, tokens=quota.tokens, at=quota.at)
        tokens = take(bucket, change.now, 0.0)[0].tokens
        await tx.routing.quotas.fill(change.tenant_id, change.domain, tokens=0.0, at=ELSEWHERE)
        tx.audit(
            tenant_id=change.tenant_id,
            owner=owner,
            actor="system",
            transition="quota.moved",
            reason_code="BUCKETS_IN_USE",
            facts={"domain": Domain.Name(change.domain), "tokens": f"{tokens:.3f}"},
        )
        return tokens

    try:
        tokens = await store.perform(work)
    except NothingDone:
        tokens = 0.0
    (changed,) = await buckets.change([replace(change, put=tokens)])
    return changed
