"""(e) How soon does a server serve, what does it hold in memory, and what do its smallest steps cost?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine import MEBIBYTE
from bench.parts import Say
from bench.process import Memory, Server
from bench.report import Cell, Report, Table, Target
from bench.stats import Spread
from bench.voiceid.caller import Plan
from bench.voiceid.load import Load, drive, enrol, write_pool
from bench.voiceid.material import Material, gather
from servers.runtime.clock import SystemClock
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import open_store

READY_S, RESIDENT_MB = 3.0, 400.0
RUNS, QUICK_RUNS = 7, 2
BURST_STREAMS, BURST_UTTERANCES, QUICK_UTTERANCES = 10, 100, 20
COMMITS, QUICK_COMMITS = 1000, 100
MESSAGE_STREAMS, MESSAGE_UTTERANCES, QUICK_MESSAGE_UTTERANCES = 2, 200, 20
PEOPLE = 5
PAGE = bytes(4096)
TENANT = "bench"

IMPORTS = {
    "python alone": "pass",
    "the command line": "import clients.cli",
    "the server": "import servers.process, servers.voiceid.assembly, servers.audit",
}


@dataclass(frozen=True, slots=True)
class Life:
    """One server from its start to its end: seconds, and its CPU time and memory when it said that it serves."""

    ready_s: float
    ready_cpu_s: float
    stop_s: float
    memory: Memory


@dataclass(frozen=True, slots=True)
class StoreCost:
    """Commits of one writer, each one audit event made durable; `sync_ms` is a page written and synced, no more."""

    commit_ms: Spread
    sync_ms: Spread
    commits_per_s: float
    verified: int
    verified_per_s: float


def measure(say: Say, *, audio: Path | None, quick: bool) -> Report:
    """Starts, a burst, then the store and the runtime by themselves."""
    report = Report("e", "Start-up, memory, and what small steps cost")
    runs = QUICK_RUNS if quick else RUNS
    say("importing")
    imports = {name: Spread.of([_import_s(code) for _ in range(runs)]) for name, code in IMPORTS.items()}
    material = gather(audio, most_people=2 if quick else PEOPLE)
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as name:
        folder = Path(name)
        _life(folder / "warm-up")
        say(f"starting {runs} servers, each twice")
        fresh = [_life(folder / f"life-{index}") for index in range(runs)]
        again = [_life(folder / f"life-{index}") for index in range(runs)]
        pool = folder / "pool.npz"
        say(f"a burst of {BURST_STREAMS} streams")
        burst, settled = _burst(folder, pool, material, QUICK_UTTERANCES if quick else BURST_UTTERANCES)
        say("commits and verification")
        store = asyncio.run(_store(folder / "store", QUICK_COMMITS if quick else COMMITS))
        say("messages through the runtime")
        utterances = QUICK_MESSAGE_UTTERANCES if quick else MESSAGE_UTTERANCES
        messages = {kind: _messages(kind, folder, pool, utterances) for kind in ("bare", "runtime")}
    report.notes += [
        "A start is from the process being made to the line that says it serves, as `selene up --json` prints it, its "
        "files in the page cache. A fresh folder also needs its keys, its database and the pack's registration. Every "
        "start opens both speaker models, voice activity and segmentation, and checks each against its golden vectors.",
        f"Burst: {BURST_STREAMS} streams at a time, as fast as the server takes them ({material.statement}).",
        "A commit is a transaction with one audit event, chained and synced; beside it, a page of 4 KiB appended and "
        "synced in the same folder. Verification recomputes every hash of the chain.",
        "Messages: 20 ms frames to a handler that drops them, in a process of its own; `bare` is grpc.aio and bytes, "
        "`runtime` parses and goes through every interceptor. CPU time of the server, all threads.",
    ]
    report.tables += [
        _starts(imports, fresh, again),
        _memories(fresh, again, burst, settled),
        _steps(store, messages),
    ]
    resident = max(_megabytes(life.memory.resident) for life in (*fresh, *again))
    report.targets += [
        Target("ready, fresh folder, slowest start", READY_S, max(life.ready_s for life in fresh), "s"),
        Target("ready, folder in use, slowest start", READY_S, max(life.ready_s for life in again), "s"),
        Target("resident when ready, most", RESIDENT_MB, resident, "MB"),
        Target("resident, peak of the burst", RESIDENT_MB, _megabytes(settled.peak), "MB"),
    ]
    report.data = {
        "imports": {name: asdict(spread) for name, spread in imports.items()},
        "fresh": [asdict(life) for life in fresh],
        "again": [asdict(life) for life in again],
        "after_burst": asdict(settled),
        "burst": {"decisions": len(burst.decided), "failures": list(burst.failures), "audio_s": burst.audio_s},
        "store": asdict(store),
        "message_cpu_us": {kind: _message_us(load) for kind, load in messages.items()},
    }
    return report


def _import_s(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def _life(data_dir: Path) -> Life:
    server = Server.up(data_dir)
    server.start()
    try:
        held, spent = server.memory(), server.cpu_seconds()
    finally:
        began = time.perf_counter()
        server.stop()
    return Life(server.start_seconds, spent, time.perf_counter() - began, held)


def _burst(folder: Path, pool: Path, material: Material, utterances: int) -> tuple[Load, Memory]:
    """Everyone enrolled, then many streams at once; memory when the last has been decided."""
    with Server.up(folder / "burst") as server:
        enrolled = enrol(server.target, material.people)
        write_pool(pool, [*material.known, *material.strangers], enrolled)
        plan = Plan(target=server.target, pool=str(pool), streams=BURST_STREAMS, paced=False, utterances=utterances)
        return drive(server, plan), server.memory()


async def _store(data_dir: Path, commits: int) -> StoreCost:
    clock = SystemClock()
    settings = load_settings(None, {"development.enabled": True, "data_dir": data_dir})
    store = await open_store(settings, clock, UuidV7Ids(clock))
    times = []
    try:
        for index in range(commits):
            began = time.perf_counter()
            async with store.transaction() as tx:
                tx.audit(
                    tenant_id=TENANT,
                    owner="BENCH",
                    actor="system",
                    transition="bench.committed",
                    reason_code="OK",
                    facts={"index": str(index)},
                )
            times.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        checked = await store.verify(TENANT)
        verified_s = time.perf_counter() - began
    finally:
        await store.close()
    if not checked.ok or checked.rows != commits:
        raise RuntimeError(f"{checked.rows} of {commits} rows were verified, {checked.faults} faults")
    synced = Spread.of(_sync_ms(data_dir / "synced", len(times)))
    return StoreCost(Spread.of(times), synced, 1000 * len(times) / sum(times), checked.rows, checked.rows / verified_s)


def _sync_ms(path: Path, count: int) -> list[float]:
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(PAGE)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return times


def _messages(kind: str, folder: Path, pool: Path, utterances: int) -> Load:
    with Server((sys.executable, "-m", "bench.voiceid.transport", kind), folder / f"{kind}.log") as server:
        plan = Plan(target=server.target, pool=str(pool), streams=MESSAGE_STREAMS, paced=False, utterances=utterances)
        return drive(server, plan)


def _message_us(load: Load) -> float:
    return 1e6 * load.server_cpu_s / load.frames


def _megabytes(mebibytes: float) -> float:
    return mebibytes * MEBIBYTE / 1e6


def _starts(imports: dict[str, Spread], fresh: Sequence[Life], again: Sequence[Life]) -> Table:
    spreads = {f"import: {name}": spread for name, spread in imports.items()}
    for name, lives in (("fresh folder", fresh), ("folder in use", again)):
        spreads[f"{name}: start to serving"] = Spread.of([life.ready_s for life in lives])
        spreads[f"{name}: CPU time of it"] = Spread.of([life.ready_cpu_s for life in lives])
        spreads[f"{name}: SIGTERM to end"] = Spread.of([life.stop_s for life in lives])
    rows: list[list[Cell]] = [[name, one.count, one.p50, one.largest] for name, one in spreads.items()]
    return Table("Seconds", ("what", "runs", "p50 s", "max s"), rows)


def _memories(fresh: Sequence[Life], again: Sequence[Life], burst: Load, settled: Memory) -> Table:
    held = {"ready, fresh folder": fresh[-1].memory, "ready, folder in use": again[-1].memory}
    held[f"after {len(burst.decided)} decisions, {len(burst.failures)} failures"] = settled
    rows: list[list[Cell]] = [
        [name, *(_megabytes(value) for value in (one.resident, one.peak, one.anonymous, one.file))]
        for name, one in held.items()
    ]
    return Table("Memory of the server, MB", ("when", "resident", "peak", "its own", "mapped files"), rows)


def _steps(store: StoreCost, messages: dict[str, Load]) -> Table:
    bare, runtime = (_message_us(messages[kind]) for kind in ("bare", "runtime"))
    rows: list[list[Cell]] = [
        ["store: commits a second, one writer", store.commits_per_s],
        ["store: a commit, p50 ms", store.commit_ms.p50],
        ["store: a commit, p99 ms", store.commit_ms.p99],
        ["disk: a page synced, p50 ms", store.sync_ms.p50],
        ["audit: rows verified a second", store.verified_per_s],
        ["message, bare grpc.aio: CPU µs", bare],
        ["message, runtime: CPU µs", runtime],
        ["message: what the runtime adds, µs", runtime - bare],
    ]
    return Table("Small steps", ("what", "measured"), rows)
