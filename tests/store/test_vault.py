from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from store import KeyDestroyed, SealBroken, Store, WrongMasterKey
from store.vault import HEADER_BYTES, SubjectKey, unwrap, wrap
from tests.support.stores import MASTER_KEY, SIGNING_KEY, audit, open_store
from tests.support.time import FakeClock, SeqIds

OTHER_MASTER_KEY = bytes(range(64, 96))


async def sealed_by(store: Store, plaintext: bytes = b"secret") -> bytes:
    async with store.transaction() as tx:
        sealed = await tx.vault.seal("t1", "u1", "purpose", plaintext)
        audit(tx)
    return sealed


def files_of(path: str) -> bytes:
    return b"".join(Path(file).read_bytes() for file in (path, f"{path}-wal"))


async def opened_with(url: str, active: bytes, *retired: bytes) -> Store:
    return await Store.open(
        url,
        clock=FakeClock(),
        ids=SeqIds("other"),
        signing_key=SIGNING_KEY,
        master_key=active,
        retired_master_keys=retired,
    )


async def test_what_is_sealed_opens_and_does_not_contain_the_plaintext(store: Store) -> None:
    sealed = await sealed_by(store, b"an embedding")
    assert b"an embedding" not in sealed
    assert await store.vault.open("t1", "u1", "purpose", sealed) == b"an embedding"


async def test_two_seals_of_one_plaintext_differ(store: Store) -> None:
    assert await sealed_by(store) != await sealed_by(store)


@pytest.mark.parametrize(
    ("tenant_id", "subject_id", "purpose"),
    [("t2", "u1", "purpose"), ("t1", "u2", "purpose"), ("t1", "u1", "another")],
)
async def test_sealed_bytes_open_only_where_they_belong(
    sqlite_store: Store, tenant_id: str, subject_id: str, purpose: str
) -> None:
    sealed = await sealed_by(sqlite_store)
    async with sqlite_store.transaction() as tx:
        await tx.vault.key_for(tenant_id, subject_id)
        audit(tx)
    with pytest.raises((SealBroken, KeyDestroyed)):
        await sqlite_store.vault.open(tenant_id, subject_id, purpose, sealed)


@pytest.mark.parametrize("at", [0, HEADER_BYTES - 1, HEADER_BYTES, -1])
async def test_altered_bytes_do_not_open(sqlite_store: Store, at: int) -> None:
    sealed = bytearray(await sealed_by(sqlite_store))
    sealed[at] ^= 1
    with pytest.raises(SealBroken):
        await sqlite_store.vault.open("t1", "u1", "purpose", bytes(sealed))


async def test_truncated_bytes_do_not_open(sqlite_store: Store) -> None:
    sealed = await sealed_by(sqlite_store)
    for length in (0, 1, HEADER_BYTES - 1, len(sealed) - 1):
        with pytest.raises(SealBroken):
            await sqlite_store.vault.open("t1", "u1", "purpose", sealed[:length])


async def test_a_destroyed_key_opens_nothing_even_after_a_new_one_was_made(store: Store) -> None:
    sealed = await sealed_by(store)
    async with store.transaction() as tx:
        assert await tx.vault.destroy("t1", "u1")
        audit(tx)
    with pytest.raises(KeyDestroyed):
        await store.vault.open("t1", "u1", "purpose", sealed)
    await sealed_by(store)
    with pytest.raises(KeyDestroyed):
        await store.vault.open("t1", "u1", "purpose", sealed)


async def test_destroying_no_key_says_so(store: Store) -> None:
    async with store.transaction() as tx:
        assert not await tx.vault.destroy("t1", "u1")


async def test_a_destroyed_key_is_nowhere_in_the_files_of_a_running_store(sqlite_store: Store, sqlite_url: str) -> None:
    await sealed_by(sqlite_store)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as raw:
        (wrapped,) = raw.execute("SELECT wrapped FROM subject_keys").fetchone()
    assert wrapped in files_of(path)
    async with sqlite_store.transaction() as tx:
        await tx.vault.destroy("t1", "u1")
        audit(tx)
    assert wrapped not in files_of(path)


async def test_a_destroyed_key_behind_a_reader_is_overwritten_with_a_later_commit(
    sqlite_store: Store, sqlite_url: str
) -> None:
    await sealed_by(sqlite_store)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        (wrapped,) = raw.execute("SELECT wrapped FROM subject_keys").fetchone()
        raw.execute("BEGIN")
        raw.execute("SELECT * FROM subject_keys").fetchall()
        async with sqlite_store.transaction() as tx:
            await tx.vault.destroy("t1", "u1")
            audit(tx)
        assert wrapped in files_of(path)
    async with sqlite_store.transaction() as tx:
        audit(tx)
    # The commit returns before the scrub that follows it; the next transaction waits for both.
    async with sqlite_store.transaction() as tx:
        audit(tx)
    assert wrapped not in files_of(path)


async def test_a_commitment_is_stable_per_subject_and_unlinkable_between_them(store: Store) -> None:
    async with store.transaction() as tx:
        first = await tx.vault.commitment("t1", "u1", b"alice")
        again = await tx.vault.commitment("t1", "u1", b"alice")
        other = await tx.vault.commitment("t1", "u2", b"alice")
        audit(tx)
    assert first == again != other
    assert len(first) == 32


async def test_a_commitment_cannot_be_repeated_after_erasure(store: Store) -> None:
    async with store.transaction() as tx:
        before = await tx.vault.commitment("t1", "u1", b"alice")
        await tx.vault.destroy("t1", "u1")
        after = await tx.vault.commitment("t1", "u1", b"alice")
        audit(tx)
    assert before != after


async def test_a_wrong_master_key_is_refused_when_the_store_starts(store: Store, store_url: str) -> None:
    sealed = await sealed_by(store)
    wrong = await opened_with(store_url, OTHER_MASTER_KEY)
    with pytest.raises(WrongMasterKey):
        await wrong.migrate()
    with pytest.raises(WrongMasterKey):
        await wrong.vault.open("t1", "u1", "purpose", sealed)
    await wrong.close()


async def test_rotation_moves_every_key_to_the_new_master_key(store: Store, store_url: str) -> None:
    sealed = await sealed_by(store)
    async with store.transaction() as tx:
        await tx.vault.key_for("t1", "u2")
        audit(tx)
    rotating = await opened_with(store_url, OTHER_MASTER_KEY, MASTER_KEY)
    moved = []
    while not moved or moved[-1]:
        async with rotating.transaction() as tx:
            moved.append(await tx.vault.rewrap(1))
            audit(tx, transition="master_key.rotated")
    assert moved == [1, 1, 0]
    await rotating.close()
    rotated = await opened_with(store_url, OTHER_MASTER_KEY)
    await rotated.migrate()
    assert await rotated.vault.open("t1", "u1", "purpose", sealed) == b"secret"
    await rotated.close()


def test_a_wrapped_key_moved_to_another_subject_does_not_unwrap() -> None:
    key = SubjectKey("t1", "u1", bytes(16), b"d" * 32, b"s" * 32)
    wrapped = wrap(key, MASTER_KEY, bytes(12))
    assert unwrap("t1", "u1", bytes(16), wrapped, MASTER_KEY) == key
    with pytest.raises(SealBroken):
        unwrap("t1", "u2", bytes(16), wrapped, MASTER_KEY)


async def test_a_master_key_of_the_wrong_length_is_refused(sqlite_url: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await opened_with(sqlite_url, b"short")


async def test_a_key_is_not_printed() -> None:
    key = SubjectKey("t1", "u1", bytes(16), b"d" * 32, b"s" * 32)
    assert "d" * 32 not in repr(key)


async def test_two_servers_that_make_a_key_at_once_agree_on_one(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    one, other = [await sealed_by(store, store.healthy.__name__.encode()) for store in stores]
    assert await stores[0].vault.open("t1", "u1", "purpose", other) == b"healthy"
    assert await stores[1].vault.open("t1", "u1", "purpose", one) == b"healthy"
    for store in stores:
        await store.close()


async def test_many_are_sealed_at_once_each_under_the_key_of_its_subject(store: Store) -> None:
    async with store.transaction() as tx:
        earlier = await tx.vault.seal("t1", "u1", "p", b"earlier")
        sealed = await tx.vault.seal_all("t1", "p", [("u1", b"one"), ("u2", b"two"), ("u1", b"three")])
        audit(tx)
    opened = [await store.vault.open("t1", who, "p", one) for who, one in zip(("u1", "u2", "u1"), sealed, strict=True)]
    assert opened == [b"one", b"two", b"three"]
    assert await store.vault.open("t1", "u1", "p", earlier) == b"earlier"
    with pytest.raises(SealBroken):
        (await store.vault.key("t1", "u2")).open("other", sealed[1])
