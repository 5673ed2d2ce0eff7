"""What the benchmark of capturing is made of; nothing here is timed."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module

from selene.audit.v1.service_pb2 import GetInclusionProofResponse

from bench.delivery.world import TENANT
from bench.learning import activation, capturing, proofs
from bench.learning.__main__ import ROOM
from servers.learning.capturing import Rules, nanoseconds
from servers.learning.settings import IntakeSettings
from store import Store
from store.ledger import AUDIT

RULES = Rules(IntakeSettings().limits())


def test_signals_of_a_run_are_sound_and_all_different() -> None:
    made = [capturing.signal(number, "run") for number in range(100)]
    assert [RULES.broken(one) for one in made] == [None] * 100
    assert {RULES.sound(one, nanoseconds(datetime.now(UTC))).late for one in made} == {None}
    assert len({(one.signal_id, one.idempotency_key) for one in made}) == 100
    assert capturing.signal(1, "other").idempotency_key not in {one.idempotency_key for one in made}


def test_every_part_of_the_room_can_be_measured() -> None:
    for module in ROOM.parts.values():
        assert callable(import_module(f"bench.learning.{module}").measure)


def test_fewer_rows_than_promised_can_miss_the_target_of_proofs_but_not_meet_it() -> None:
    few, slow, fast = proofs.ROWS - 1, proofs.LIMIT_MS + 1, proofs.LIMIT_MS - 1
    assert proofs.counted(fast, few) is None
    assert proofs.counted(slow, few) == slow
    assert proofs.counted(fast, proofs.ROWS) == fast


async def test_a_proof_is_checked_by_its_row_its_path_and_the_signed_root(sqlite_store: Store) -> None:
    rows, _ = await proofs._filled(sqlite_store, 11)
    checkpoint = await sqlite_store.checkpoint(TENANT, AUDIT)
    assert rows == 11
    assert checkpoint is not None
    (event,) = await sqlite_store.audit.page(TENANT, after=4, limit=1)
    path = await sqlite_store.proofs.inclusion(AUDIT, TENANT, 5, rows)
    reply = GetInclusionProofResponse(event=event, proof=path, root_hash=checkpoint.root_hash)
    keys = sqlite_store.trusted_keys()
    assert proofs.checked(reply, checkpoint, keys)
    assert not proofs.checked(reply, checkpoint, {})
    reply.event.event.reason_code = "ELSE"
    assert not proofs.checked(reply, checkpoint, keys)
    reply.event.event.reason_code = "OK"
    reply.proof.path[0] = bytes(32)
    assert not proofs.checked(reply, checkpoint, keys)


async def test_looks_that_show_the_old_version_are_counted_until_the_new_one_shows() -> None:
    versions = iter((1, 1, 2, 3))

    async def look() -> int:
        return next(versions)

    spent, old = await activation.until_seen(look, 2)
    assert old == 2
    assert spent >= 0
    assert next(versions) == 3
