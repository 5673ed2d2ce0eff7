"""(e) How long an audit proof of one row among a million takes: the store's, the AuditService's, and checking it."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from selene.audit.v1 import service_pb2 as messages
from selene.audit.v1 import service_pb2_grpc as rpc
from selene.audit.v1.audit_pb2 import Checkpoint
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope

from bench.delivery.world import TENANT
from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.routing.owner import served
from bench.stats import Spread
from servers.runtime.clock import SystemClock
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import open_store
from store import Store
from store.checkpoint import checkpoint_holds
from store.ledger import AUDIT, row_hash
from store.merkle import leaf_hash, verify_inclusion

ROWS: Final = 1_000_000
QUICK_ROWS: Final = 5_000
AT_ONCE: Final = 5_000
"""Audit rows of one transaction."""
FILL_S: Final = 120.0
"""After so many seconds of filling there are as many rows as there are."""
PROOFS: Final = 50
QUICK_PROOFS: Final = 5
ASK_S: Final = 30.0
"""After so many seconds of one way of asking there are as many proofs as there are."""
CALL_S: Final = 120.0
LIMIT_MS: Final = 50.0
SCOPE: Final = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)


@dataclass(frozen=True, slots=True)
class Asked:
    """One way to a proof, or its check: milliseconds."""

    what: str
    ms: Spread


def measure(say: Say, *, quick: bool) -> Report:
    """On SQLite, where there is one machine to wait for."""
    report = Report("e", "Audit proofs: one row among a million")
    wanted, proofs = (QUICK_ROWS, QUICK_PROOFS) if quick else (ROWS, PROOFS)
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        rows, fill_s, found = asyncio.run(_measured(Path(folder), wanted, proofs, say))
    report.notes += [
        f"{rows:,} audit rows of one tenant in SQLite, written by the store's own transactions of {AT_ONCE:,} rows in "
        f"{fill_s:.0f} s. Random rows, the whole ledger's tree.",
        f"Each way is asked for {proofs} proofs or until {ASK_S:g} s have passed: the table says for how many.",
        "The check takes what was received and the signed checkpoint only: the row's hash from its bytes, the path to "
        "the root, the checkpoint's signature. It uses store.merkle: the typed client has no call for proofs.",
    ]
    if rows < ROWS:
        report.notes.append(
            f"NOT a million: {rows:,} rows were there after {fill_s:.0f} s of filling. A target that so many rows "
            "already miss is missed; one that they meet is not measured."
        )
    cells: list[list[Cell]] = [[one.what, rows, one.ms.count, one.ms.p50, one.ms.p95, one.ms.largest] for one in found]
    report.tables.append(Table("Inclusion of one row", ("what", "rows", "proofs", "p50 ms", "p95 ms", "max ms"), cells))
    called = found[0].ms
    report.targets.append(
        Target(
            f"GetInclusionProof: p95 of {called.count} among {rows:,} rows",
            LIMIT_MS,
            counted(called.p95, rows),
            "ms",
        )
    )
    report.data |= {"rows": rows, "fill_seconds": fill_s, "ways": [asdict(one) for one in found]}
    return report


def counted(p95_ms: float, rows: int) -> float | None:
    """What may be held against the target: fewer rows than the target's can miss it, but not meet it."""
    return p95_ms if rows >= ROWS or p95_ms > LIMIT_MS else None


def checked(reply: messages.GetInclusionProofResponse, checkpoint: Checkpoint, keys: Mapping[str, bytes]) -> bool:
    """Whether the row that was received is in the ledger that a trusted key signed for, by nothing but what is here."""
    row, proof = reply.event, reply.proof
    digest = row_hash(row.prev_hash, row.event.SerializeToString(deterministic=True))
    return (
        digest == row.row_hash
        and proof.leaf_index == row.event.sequence - 1
        and proof.tree_size == checkpoint.tree_size
        and verify_inclusion(
            leaf_hash(digest), proof.leaf_index, proof.tree_size, list(proof.path), checkpoint.root_hash
        )
        and checkpoint_holds(checkpoint, keys)
    )


async def _measured(folder: Path, wanted: int, proofs: int, say: Say) -> tuple[int, float, list[Asked]]:
    data_dir, clock = folder / "data", SystemClock()
    settings = load_settings(None, {"data_dir": data_dir, "development.enabled": True})
    store = await open_store(settings, clock, UuidV7Ids(clock))
    try:
        say(f"writing {wanted:,} audit rows")
        rows, fill_s = await _filled(store, wanted)
        say(f"{rows:,} rows in {fill_s:.0f} s; proving")
        chance = random.Random(rows)
        sequences = [chance.randint(1, rows) for _ in range(proofs)]
        own = await _spent(sequences, lambda sequence: store.proofs.inclusion(AUDIT, TENANT, sequence, rows))
        with served(["audit"], data_dir) as server:
            async with grpc.aio.insecure_channel(server.targets["audit"]) as channel:
                called, checks = await _called(rpc.AuditServiceStub(channel), sequences, rows)
    finally:
        await store.close()
    return (
        rows,
        fill_s,
        [
            Asked("GetInclusionProof over gRPC", Spread.of(called)),
            Asked("the store's inclusion", Spread.of(own)),
            Asked("the client's check, offline", Spread.of(checks)),
        ],
    )


async def _filled(store: Store, wanted: int) -> tuple[int, float]:
    """How many rows there are and the seconds that they took."""
    began, rows = time.perf_counter(), 0
    while rows < wanted and time.perf_counter() - began < FILL_S:
        some = min(AT_ONCE, wanted - rows)
        async with store.transaction() as tx:
            for number in range(rows, rows + some):
                tx.audit(
                    tenant_id=TENANT,
                    owner="PH1.LEARN",
                    actor="system",
                    transition="bench.filled",
                    reason_code="OK",
                    scope=SCOPE,
                    facts={"number": str(number)},
                )
        rows += some
    return rows, time.perf_counter() - began


async def _spent(sequences: Sequence[int], ask: Callable[[int], Awaitable[object]]) -> list[float]:
    """Milliseconds each, as far as `ASK_S` reaches."""
    spent: list[float] = []
    until = time.perf_counter() + ASK_S
    for sequence in sequences:
        began = time.perf_counter()
        if began >= until:
            break
        await ask(sequence)
        spent.append(1000 * (time.perf_counter() - began))
    return spent


async def _called(stub: Any, sequences: Sequence[int], rows: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each call and of the check of each reply. RuntimeError for a proof that does not hold."""
    signed = await stub.GetCheckpoint(messages.GetCheckpointRequest(tenant_id=TENANT, ledger=AUDIT), timeout=CALL_S)
    keys = {signed.checkpoint.key_id: signed.public_key}
    if signed.checkpoint.tree_size != rows:
        raise RuntimeError(f"the checkpoint is of {signed.checkpoint.tree_size} rows, not {rows}")
    replies: list[messages.GetInclusionProofResponse] = []

    async def ask(sequence: int) -> None:
        request = messages.GetInclusionProofRequest(tenant_id=TENANT, sequence=sequence, tree_size=rows)
        replies.append(await stub.GetInclusionProof(request, timeout=CALL_S))

    called, checks = await _spent(sequences, ask), []
    for reply in replies:
        began = time.perf_counter()
        if not checked(reply, signed.checkpoint, keys):
            raise RuntimeError(f"the proof of row {reply.event.event.sequence} does not hold")
        checks.append(1000 * (time.perf_counter() - began))
    return called, checks
