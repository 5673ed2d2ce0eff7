"""(c) Revocation's closure: everything that was built from signals, over a store with a million edges (§21, LRN-6)."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from store import Store
from store.gold import artifact_ref, gold_ref, signal_ref

TENANT: Final = "bench"
EDGES: Final = 1_000_000
QUICK_EDGES: Final = 5_000
SETS: Final = 100
"""Gold sets; each has a row of the ledger and a pack."""
TARGET_S: Final = 2.0
RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Walked:
    """One closure: from how many refs, to how many, and the seconds of the best run. Revocations walk down."""

    what: str
    down: bool
    refs: int
    reached: int
    seconds: float


def measure(say: Say, *, quick: bool) -> Report:
    """On SQLite, where there is one machine to wait for."""
    report = Report("c", "Lineage: what has to go when a consent is revoked")
    edges = QUICK_EDGES if quick else EDGES
    report.notes.append(
        f"{edges:,} edges in SQLite: signals of {SETS} gold sets, each with its row of the ledger and a pack. "
        f"The best of {RUNS} runs; writing the edges is not measured."
    )
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        walked = asyncio.run(_measured(Path(folder), edges, say))
    rows: list[list[Cell]] = [[one.what, one.refs, one.reached, one.seconds] for one in walked]
    report.tables.append(Table("Closures", ("closure of", "refs", "reached", "seconds"), rows))
    report.targets += [Target(f"closure of {one.what}", TARGET_S, one.seconds, "s") for one in walked if one.down]
    report.data["closures"] = [asdict(one) for one in walked]
    return report


async def _measured(folder: Path, edges: int, say: Say) -> list[Walked]:
    clock = SystemClock()
    key = bytes(32)
    store = await Store.open(
        f"sqlite:///{folder}/bench.db", clock=clock, ids=UuidV7Ids(clock), signing_key=key, master_key=key
    )
    try:
        await store.migrate()
        say(f"writing {edges:,} edges")
        signals = await _written(store, edges)
        packs = [artifact_ref(f"pack-{number}") for number in range(SETS)]
        walks = (
            ("one user's signals, a hundredth", signals[::100], True),
            ("everybody's signals", signals, True),
            ("every pack, upwards", packs, False),
        )
        return [await _walked(store, what, refs, down) for what, refs, down in walks]
    finally:
        await store.close()


async def _written(store: Store, edges: int) -> list[str]:
    """The refs of the signals. Of a set's edges two are not from a signal: to its row, and to its pack."""
    of_a_set = edges // SETS - 2
    signals: list[str] = []
    for number in range(SETS):
        gold, row = gold_ref(f"set-{number}"), artifact_ref(f"row-{number}")
        mine = [signal_ref(f"signal-{number:04}-{one:06}") for one in range(of_a_set)]
        async with store.transaction() as tx:
            await tx.gold.lineage.link(TENANT, mine, gold)
            await tx.gold.lineage.link(TENANT, [gold], row)
            await tx.gold.lineage.link(TENANT, [row], artifact_ref(f"pack-{number}"))
            tx.audit(tenant_id=TENANT, owner="PH1.LEARN", actor="system", transition="bench.linked", reason_code="OK")
        signals += mine
    return signals


async def _walked(store: Store, what: str, refs: Sequence[str], down: bool) -> Walked:
    best, reached = float("inf"), set[str]()
    for _ in range(RUNS):
        began = time.perf_counter()
        reached = await store.gold.lineage.closure(TENANT, refs, descendants=down)
        best = min(best, time.perf_counter() - began)
    return Walked(what, down, len(refs), len(reached), best)
