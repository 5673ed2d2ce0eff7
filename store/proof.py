"""Inclusion and consistency proofs over a stored ledger (AUD-1): one pass over its row hashes, in bounded memory."""

from __future__ import annotations

from selene.audit.v1.audit_pb2 import ConsistencyProof, InclusionProof
from sqlalchemy import select

from store.access import Reads
from store.errors import NotFound
from store.merkle import RangeRoots, consistency_ranges, inclusion_ranges, leaf_hash
from store.schema import LEDGERS, metadata


class Proofs:
    """Proofs that anyone can check with `store.merkle` against a signed checkpoint."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def inclusion(self, ledger: str, tenant_id: str, sequence: int, tree_size: int) -> InclusionProof:
        """Proof that the row with `sequence` (from 1) is among the first `tree_size`. NotFound."""
        if not 0 < sequence <= tree_size:
            raise NotFound(f"row {sequence} of a ledger of {tree_size}")
        ranges = inclusion_ranges(sequence - 1, tree_size)
        path = await self._path(ledger, tenant_id, ranges, tree_size)
        return InclusionProof(leaf_index=sequence - 1, tree_size=tree_size, path=path)

    async def consistency(self, ledger: str, tenant_id: str, first_size: int, second_size: int) -> ConsistencyProof:
        """Proof that the first `second_size` rows begin with the first `first_size`. NotFound."""
        if not 0 < first_size <= second_size:
            raise NotFound(f"ledgers of {first_size} and {second_size}")
        ranges = consistency_ranges(first_size, second_size)
        path = await self._path(ledger, tenant_id, ranges, second_size)
        return ConsistencyProof(first_size=first_size, second_size=second_size, path=path)

    async def root(self, ledger: str, tenant_id: str, tree_size: int) -> bytes:
        """RFC 9162 root of the first `tree_size` rows, at least one. NotFound."""
        if tree_size < 1:
            raise NotFound("a tree without rows")
        (root,) = await self._path(ledger, tenant_id, [(0, tree_size)], tree_size)
        return root

    async def _path(self, ledger: str, tenant_id: str, ranges: list[tuple[int, int]], tree_size: int) -> list[bytes]:
        if ledger not in LEDGERS:
            raise ValueError(f"{ledger!r} is no ledger")
        table = metadata.tables[ledger].c
        hashes = select(table.row_hash).where(table.tenant_id == tenant_id, table.sequence <= tree_size)
        proof, length = RangeRoots(ranges), 0
        async for row in self._reads.stream(hashes.order_by(table.sequence)):
            proof.add(leaf_hash(bytes(row.row_hash)))
            length += 1
        if length != tree_size:
            raise NotFound(f"the ledger has {length} rows, not {tree_size}")
        return proof.roots()
