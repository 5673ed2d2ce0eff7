"""RFC 9162 Merkle trees over row hashes: tree heads, inclusion and consistency proofs, and their verification.

Pure. A *leaf* here is always a leaf hash, `leaf_hash(data)`; a `Frontier` hashes any tree in bounded memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EMPTY_ROOT = hashlib.sha256(b"").digest()
HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data), RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The roots of the perfect subtrees of a growing tree, largest first: all that appending and the root need.

    Holds one 32-byte peak per set bit of `size`, so a tree of any length costs O(log n) to keep.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """The frontier after one more leaf hash."""
        return self.grown(leaf)[0]

    def grown(self, leaf: bytes) -> tuple[Frontier, list[bytes]]:
        """The frontier after one more leaf hash, and the roots of the perfect subtrees that this leaf completes.

        Root k is that of the last 2^k leaves; the first is the leaf itself.
        """
        peaks, completed, rest = list(self.peaks), [leaf], self.size
        while rest & 1:
            completed.append(node_hash(peaks.pop(), completed[-1]))
            rest >>= 1
        return Frontier(self.size + 1, (*peaks, completed[-1])), completed

    def root(self) -> bytes:
        """The Merkle tree hash of everything appended so far."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def encode(self) -> bytes:
        """The peaks, concatenated; `decode` needs the size beside them."""
        return b"".join(self.peaks)

    @staticmethod
    def decode(size: int, encoded: bytes) -> Frontier:
        """Inverse of `encode`. ValueError where the number of peaks cannot belong to `size`."""
        if len(encoded) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(encoded)} bytes of peaks cannot belong to a tree of {size}")
        return Frontier(size, tuple(encoded[at : at + HASH_BYTES] for at in range(0, len(encoded), HASH_BYTES)))


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """Merkle tree hash over leaf hashes in order."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root()


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The half-open leaf ranges whose roots prove leaf `index` in a tree of `size`, leaf upwards (section 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    ranges, start, end = [], 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[tuple[int, int]]:
    """The half-open leaf ranges whose roots prove that a tree only grew from `first` to `second` (section 2.1.4.1)."""
    if not 0 < first <= second:
        raise ValueError(f"no consistency between trees of {first} and {second}")
    ranges, start, end = [], 0, second
    while end != first:
        split = start + _split(end - start)
        if first <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    if start:
        ranges.append((start, end))
    return ranges[::-1]


def perfect_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """The fewest perfect subtrees that make up the half-open leaf range, from the left: level, last leaf's number + 1.

    A subtree of level k has 2^k leaves and begins at a multiple of that.
    """
    subtrees = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        start += 1 << level
        subtrees.append((level, start))
    return subtrees


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from leaf `index` upwards in the tree over all `leaves` (section 2.1.3.1)."""
    return [tree_root(leaves[start:end]) for start, end in inclusion_ranges(index, len(leaves))]


def consistency_proof(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """Nodes that show that the tree over `leaves` only appended to its first `first` leaves (section 2.1.4.1)."""
    return [tree_root(leaves[start:end]) for start, end in consistency_ranges(first, len(leaves))]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that `leaf` is at `index` of the tree of `size` with `root` (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree of `second` leaves extends the one of `first` (section 2.1.4.2)."""
    if first == second and first > 0:
        return not path and first_root == second_root
    if not 0 < first < second or not path:
        return False
    nodes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
