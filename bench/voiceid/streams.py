"""(a) How many people may speak at once, and how soon after each has ended is it decided who that was?"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from bench.parts import Say
from bench.process import Server
from bench.report import Cell, Report, Table, Target
from bench.stats import Level, Spread, holds, knee
from bench.voiceid.caller import Plan
from bench.voiceid.load import Load, copy_of, drive, enrol, write_pool
from bench.voiceid.material import gather

LEVELS = ((1, 45.0), (5, 8.0), (10, 8.0), (20, 10.0), (30, 20.0), (40, 10.0), (50, 10.0), (60, 10.0))
"""Streams, and for how many seconds they are measured: enough decisions for a p95 where a target is."""

QUICK = ((1, 5.0), (4, 5.0))
TARGET_STREAMS = 30
P95_MS, P99_MS, SINGLE_P95_MS = 60.0, 120.0, 40.0
LATE_MS = 20.0
"""Frames leave one after the other every 20 ms; one that is later than the next should be is behind pace."""

WARM_UP_S = 5.0
PEOPLE = 40


def measure(say: Say, *, audio: Path | None, quick: bool) -> Report:
    """Levels of concurrent streams until one is not carried any more."""
    report = Report("a", "Concurrent real-time streams: half-close to final decision")
    material = gather(audio, most_people=4 if quick else PEOPLE)
    levels, warm_up_s = (QUICK, 1.0) if quick else (LEVELS, WARM_UP_S)
    loads: dict[int, Load] = {}
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        template, pool = Path(folder) / "template", Path(folder) / "pool.npz"
        with Server.up(template) as server:
            say(f"enrolling {len(material.people)} people")
            enrolled = enrol(server.target, material.people)
        write_pool(pool, [*material.known, *material.strangers], enrolled)
        for streams, seconds in levels:
            say(f"{streams} streams for {seconds:g} s")
            with copy_of(template, f"streams-{streams}") as server:
                plan = Plan(
                    target=server.target,
                    pool=str(pool),
                    streams=streams,
                    warm_up_s=warm_up_s,
                    seconds=seconds,
                    seed=streams,
                )
                loads[streams] = drive(server, plan)
            if streams > TARGET_STREAMS and not _holds(_level(streams, loads[streams])):
                break
    report.notes += [
        f"Speech: {material.statement}; {len(enrolled)} profiles in the gallery, {len(material.known)} utterances of "
        f"theirs and {len(material.strangers)} of strangers, 3 to 6 s each, shuffled.",
        "Server: `selene up`, one process, SQLite with synchronous=FULL, every decision audited; a fresh copy of the "
        "store for every row. Client: one process on the same cores, one connection a stream, 20 ms frames at "
        "wall-clock pace, serialised beforehand; every stream begins its next utterance at once.",
        "`late` is how long after its time a frame was handed to grpc; beyond 20 ms a stream is behind pace. `server` "
        "is the latency that the decision itself states, which ends before it is stored.",
    ]
    report.tables.append(_latencies(loads))
    report.tables.append(_decisions(loads))
    report.targets += _targets(loads)
    report.data["levels"] = {str(streams): asdict(load) for streams, load in loads.items()}
    return report


def _level(streams: int, load: Load) -> Level:
    return Level(streams, Spread.of([one.latency_ms for one in load.decided]).p95, load.late_ms["p99"])


def _holds(level: Level) -> bool:
    return holds(level, p95_limit_ms=P95_MS, late_limit_ms=LATE_MS)


def _latencies(loads: dict[int, Load]) -> Table:
    latencies = ("streams", "decisions", "p50 ms", "p95 ms", "p99 ms", "max ms", "server p95", "late p99 ms")
    columns = (*latencies, "server cores", "client cores", "audio s/s", "failed")
    rows: list[list[Cell]] = []
    for streams, load in loads.items():
        client = Spread.of([one.latency_ms for one in load.decided])
        server = Spread.of([one.server_ms for one in load.decided])
        row: list[Cell] = [streams, client.count, client.p50, client.p95, client.p99, client.largest, server.p95]
        row += [load.late_ms["p99"], load.server_cpu_s / load.wall_s, load.client_cpu_s / load.wall_s]
        row += [load.audio_s / load.wall_s, len(load.failures)]
        rows.append(row)
    return Table("Half-close to final decision, at the client", columns, rows)


def _decisions(loads: dict[int, Load]) -> Table:
    counts = {streams: Counter(f"{one.tier} {one.reason}" for one in load.decided) for streams, load in loads.items()}
    names = sorted({name for count in counts.values() for name in count})
    wrong = {
        streams: sum(bool(one.named) and one.named != one.speaker for one in load.decided)
        for streams, load in loads.items()
    }
    rows: list[list[Cell]] = [[name, *(counts[streams][name] for streams in loads)] for name in names]
    rows.append(["named someone else", *wrong.values()])
    rows.append(["utterances streamed twice", *(load.repeats for load in loads.values())])
    return Table("What was decided", ("decision", *(f"{streams} streams" for streams in loads)), rows)


def _targets(loads: dict[int, Load]) -> list[Target]:
    def spread(streams: int) -> Spread:
        return Spread.of([one.latency_ms for one in loads[streams].decided] if streams in loads else [])

    many, single = spread(TARGET_STREAMS), spread(1)
    levels = [_level(streams, load) for streams, load in loads.items()]
    carried = knee(levels, p95_limit_ms=P95_MS, late_limit_ms=LATE_MS)
    return [
        Target(f"p95 with {TARGET_STREAMS} streams", P95_MS, many.p95, "ms"),
        Target(f"p99 with {TARGET_STREAMS} streams", P99_MS, many.p99, "ms"),
        Target("p95 of a single stream", SINGLE_P95_MS, single.p95, "ms"),
        Target("knee: streams carried", TARGET_STREAMS, carried if many.count else None, "streams", at_least=True),
    ]
