"""Inclusion and consistency proofs over a stored ledger (AUD-1), from the kept roots of its perfect subtrees.

A proof reads O(log n) rows of `ledger_subtrees` and fewer than `2 * 2**SUBTREE_LEVEL` rows of the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from selene.audit.v1.audit_pb2 import ConsistencyProof, InclusionProof
from sqlalchemy import select

from store.access import Reads
from store.errors import NotFound
from store.ledger import SUBTREE_LEVEL
from store.merkle import (
    HASH_BYTES,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    perfect_subtrees,
    tree_root,
)
from store.schema import LEDGERS, chain_heads, ledger_subtrees, metadata

Subtree = tuple[int, int]
"""Level, and the number of its last row: it has 2^level rows."""


class Proofs:
    """Proofs that anyone can check with `store.merkle` against a signed checkpoint."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def inclusion(self, ledger: str, tenant_id: str, sequence: int, tree_size: int) -> InclusionProof:
        """Proof that the row with `sequence` (from 1) is among the first `tree_size`. NotFound."""
        if not 0 < sequence <= tree_size:
            raise NotFound(f"row {sequence} of a ledger of {tree_size}")
        path = await self._roots(ledger, tenant_id, inclusion_ranges(sequence - 1, tree_size), tree_size)
        return InclusionProof(leaf_index=sequence - 1, tree_size=tree_size, path=path)

    async def consistency(self, ledger: str, tenant_id: str, first_size: int, second_size: int) -> ConsistencyProof:
        """Proof that the first `second_size` rows begin with the first `first_size`. NotFound."""
        if not 0 < first_size <= second_size:
            raise NotFound(f"ledgers of {first_size} and {second_size}")
        path = await self._roots(ledger, tenant_id, consistency_ranges(first_size, second_size), second_size)
        return ConsistencyProof(first_size=first_size, second_size=second_size, path=path)

    async def root(self, ledger: str, tenant_id: str, tree_size: int) -> bytes:
        """RFC 9162 root of the first `tree_size` rows, at least one. NotFound."""
        if tree_size < 1:
            raise NotFound("a tree without rows")
        (root,) = await self._roots(ledger, tenant_id, [(0, tree_size)], tree_size)
        return root

    async def _roots(
        self, ledger: str, tenant_id: str, ranges: Sequence[tuple[int, int]], tree_size: int
    ) -> list[bytes]:
        """The roots of half-open ranges of rows, each of which RFC 9162 splits off a tree of `tree_size`."""
        if ledger not in LEDGERS:
            raise ValueError(f"{ledger!r} is no ledger")
        head = chain_heads.c
        sizes = await self._reads.rows(select(head.size).where(head.tenant_id == tenant_id, head.ledger == ledger))
        length = sizes[0].size if sizes else 0
        if length < tree_size:
            raise NotFound(f"the ledger has {length} rows, not {tree_size}")
        parts = {leaves: perfect_subtrees(*leaves) for leaves in ranges}
        needed = {subtree for subtrees in parts.values() for subtree in subtrees}
        high = {(level, last) for level, last in needed if level >= SUBTREE_LEVEL}
        roots = await self._kept(ledger, tenant_id, high)
        roots |= await self._hashed(ledger, tenant_id, needed - high)
        return [
            Frontier(end - start, tuple(roots[subtree] for subtree in parts[start, end])).root()
            for start, end in ranges
        ]

    async def _kept(self, ledger: str, tenant_id: str, subtrees: set[Subtree]) -> dict[Subtree, bytes]:
        if not subtrees:
            return {}
        kept = ledger_subtrees.c
        found = select(kept.tree_size, kept.roots).where(
            kept.tenant_id == tenant_id, kept.ledger == ledger, kept.tree_size.in_({last for _, last in subtrees})
        )
        stored = {row.tree_size: bytes(row.roots) for row in await self._reads.rows(found)}
        roots = {}
        for level, last in subtrees:
            at = (level - SUBTREE_LEVEL) * HASH_BYTES
            roots[level, last] = stored.get(last, b"")[at : at + HASH_BYTES]
            if not roots[level, last]:
                raise NotFound(f"rows {last - 2**level + 1} to {last} of {ledger} have no kept root: verify the store")
        return roots

    async def _hashed(self, ledger: str, tenant_id: str, subtrees: set[Subtree]) -> dict[Subtree, bytes]:
        if not subtrees:
            return {}
        row = metadata.tables[ledger].c
        leaves: dict[int, bytes] = {}
        for first, last in _stretches(subtrees):
            # One at a time: an index is not used for several ranges in one condition.
            found = select(row.sequence, row.row_hash).where(
                row.tenant_id == tenant_id, row.sequence >= first, row.sequence <= last
            )
            leaves |= {one.sequence: leaf_hash(bytes(one.row_hash)) for one in await self._reads.rows(found)}
        roots = {}
        for level, last in subtrees:
            rows = range(last - 2**level + 1, last + 1)
            if missing := [number for number in rows if number not in leaves]:
                raise NotFound(f"row {missing[0]} of {ledger} is not there: verify the store")
            roots[level, last] = tree_root(leaves[number] for number in rows)
        return roots


def _stretches(subtrees: Collection[Subtree]) -> list[tuple[int, int]]:
    """First and last rows of what the subtrees have without a gap."""
    stretches: list[tuple[int, int]] = []
    for level, last in sorted(subtrees, key=lambda subtree: subtree[1]):
        first = last - 2**level + 1
        if stretches and stretches[-1][1] + 1 == first:
            first = stretches.pop()[0]
        stretches.append((first, last))
    return stretches
