"""Known answers are the Certificate Transparency reference vectors of RFC 6962, which RFC 9162 kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import merkle
from store.merkle import EMPTY_ROOT, Frontier, consistency_proof, inclusion_proof, leaf_hash, tree_root

INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
LEAVES = [leaf_hash(bytes.fromhex(data)) for data in INPUTS]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION_OF_FIRST_IN_8 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
CONSISTENCY_6_TO_8 = [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
]

sizes = st.integers(1, 80)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]


def test_the_empty_tree_hashes_the_empty_string() -> None:
    assert tree_root([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_vectors(size: int) -> None:
    assert tree_root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_proofs_are_those_of_the_reference_vectors() -> None:
    assert [node.hex() for node in inclusion_proof(LEAVES, 0)] == INCLUSION_OF_FIRST_IN_8
    assert [node.hex() for node in consistency_proof(LEAVES, 6)] == CONSISTENCY_6_TO_8


@given(sizes)
def test_a_frontier_survives_its_encoding_at_any_size(size: int) -> None:
    frontier = Frontier()
    for leaf in leaves_of(size):
        frontier = Frontier.decode(frontier.size, frontier.encode()).append(leaf)
    assert frontier.root() == tree_root(leaves_of(size))


@given(sizes)
def test_a_frontier_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="cannot belong"):
        Frontier.decode(size, bytes(32 * size.bit_count() + 32))


@given(sizes, st.data())
def test_every_leaf_is_proven_and_no_other_leaf_is(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    path, root = inclusion_proof(leaves, index), tree_root(leaves)
    assert merkle.verify_inclusion(leaves[index], index, size, path, root)
    assert not merkle.verify_inclusion(leaf_hash(b"another"), index, size, path, root)
    assert not merkle.verify_inclusion(leaves[index], index, size, [*path, bytes(32)], root)
    assert not merkle.verify_inclusion(leaves[index], size, size, path, root)
    if path:
        assert not merkle.verify_inclusion(leaves[index], index, size, path[:-1], root)


@given(sizes, st.data())
def test_growth_is_proven_and_rewriting_is_not(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, size))
    leaves = leaves_of(size)
    path = consistency_proof(leaves, first)
    old, new = tree_root(leaves[:first]), tree_root(leaves)
    assert merkle.verify_consistency(first, old, size, new, path)
    rewritten = tree_root([leaf_hash(b"rewritten"), *leaves[1:first]])
    assert not merkle.verify_consistency(first, rewritten, size, new, path)
    assert not merkle.verify_consistency(first, old, size, leaf_hash(b"another"), path)
    assert not merkle.verify_consistency(size + 1, old, size, new, path)


def test_a_proof_of_a_leaf_outside_the_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_proof(LEAVES, 8)
    with pytest.raises(ValueError, match="no consistency"):
        consistency_proof(LEAVES, 9)
