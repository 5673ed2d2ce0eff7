"""(b) What a second of audio costs the server, against bare ONNX Runtime on the same windows, and where it goes."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.parts import Say
from bench.process import Server, python
from bench.report import Cell, Report, Table, Target
from bench.voiceid.caller import Plan
from bench.voiceid.load import Load, copy_of, drive, enrol, write_pool
from bench.voiceid.material import gather

RATIO = 1.3
UTTERANCES, QUICK_UTTERANCES = 40, 6
PEOPLE = 12
AT_ONCE = 10
PACED_S = 12.0

STAGES = {
    "bare": "speaker models and segmentation, one window a call",
    "bare-batched": "the same, the prune model four windows a call",
    "bare-vad": "voice activity windows, eight chunks a call",
    "vad": "voice activity, with framing and hysteresis",
    "front-ends": "both front ends",
    "fingerprints": "fingerprints against replay",
    "pipeline": "decoding to windows, all of the above, no speaker model",
    "listening": "pipeline and models on two worker threads",
    "engine": "the same, with interim confidence, decision and store",
}
"""What runs in a process of its own, and what it is."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of one process a second of audio."""

    name: str
    ms_per_s: float
    per_message_us: float | None = None


def measure(say: Say, *, audio: Path | None, quick: bool) -> Report:
    """Stages in isolation, then the server under the same utterances."""
    report = Report("b", "CPU a second of audio, against bare ONNX Runtime on the same windows")
    count = QUICK_UTTERANCES if quick else UTTERANCES
    material = gather(audio, most_people=2 if quick else PEOPLE)
    utterances = [*material.known, *material.strangers]
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        template, pool = Path(folder) / "template", Path(folder) / "pool.npz"
        with Server.up(template) as server:
            say(f"enrolling {len(material.people)} people")
            enrolled = enrol(server.target, material.people)
        # Known voices and strangers in turn, so that every stage hears both.
        mixed = [one for pair in zip(utterances, utterances[::-1], strict=True) for one in pair][: len(utterances)]
        write_pool(pool, mixed, enrolled)
        stages = {name: _stage(name, pool, count, template, say) for name in STAGES}
        served = dict(_served(template, pool, count, say, quick=quick))
        transports = dict(_transports(Path(folder), pool, count, say, quick=quick))
    bare = stages["bare"].ms_per_s
    with_vad = bare + stages["bare-vad"].ms_per_s
    report.notes += [
        f"Speech: {material.statement}; the first {min(count, len(utterances))} utterances of 3 to 6 s, known voices "
        "and strangers in turn.",
        "CPU time is the process's own clock, all threads, user and system. `bare` is one thread and one window a "
        "call; the server may do better than that by sharing calls between streams.",
        "As fast as possible, messages come in bunches; at the pace of speech each one wakes grpc up: compare with "
        "the transport alone, which reads the same messages and does nothing.",
    ]
    report.tables.append(_ladder(stages, served, bare, with_vad))
    report.tables.append(_transport_table(transports, bare))
    report.tables.append(_shares(stages, served, transports, bare))
    flat = served[f"as fast as possible, {AT_ONCE} at once"].ms_per_s
    report.targets += [
        Target("server / bare, same speaker and segmentation windows", RATIO, flat / bare, "x"),
        Target("server / bare, voice activity windows too", RATIO, flat / with_vad, "x"),
    ]
    report.data.update(
        stages={name: asdict(cost) for name, cost in stages.items()},
        served={name: asdict(cost) for name, cost in served.items()},
        transports={name: asdict(cost) for name, cost in transports.items()},
    )
    return report


def _stage(name: str, pool: Path, count: int, template: Path, say: Say) -> Cost:
    say(f"stage {name}")
    data_dir = template.with_name(f"stage-{name}")
    shutil.copytree(template, data_dir)
    process = python("bench.voiceid.stage", [name, str(pool), str(count), str(data_dir)])
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"stage {name} ended with {process.returncode}")
    found = json.loads(said)
    return Cost(name, 1000 * found["cpu_s"] / found["audio_s"])


def _served(template: Path, pool: Path, count: int, say: Say, *, quick: bool) -> Iterator[tuple[str, Cost]]:
    flat = [(f"as fast as possible, {streams} at once", streams) for streams in (1, AT_ONCE)]
    for index, (name, streams) in enumerate(flat):
        say(f"server, {name}")
        with copy_of(template, f"flat-{index}") as server:
            plan = Plan(target=server.target, pool=str(pool), streams=streams, paced=False, utterances=count)
            yield name, _cost(name, drive(server, plan))
    for streams in (1,) if quick else (1, AT_ONCE):
        name = f"at the pace of speech, {streams} at once"
        say(f"server, {name}")
        with copy_of(template, f"paced-{streams}") as server:
            yield name, _cost(name, drive(server, _paced(server, pool, streams, quick=quick)))


def _transports(folder: Path, pool: Path, count: int, say: Say, *, quick: bool) -> Iterator[tuple[str, Cost]]:
    for kind in ("bare", "runtime"):
        say(f"transport, {kind}")
        with _transport(kind, folder) as server:
            name = f"{kind}, as fast as possible, {AT_ONCE} at once"
            plan = Plan(target=server.target, pool=str(pool), streams=AT_ONCE, paced=False, utterances=4 * count)
            yield name, _cost(name, drive(server, plan))
        for streams in () if quick else (1, AT_ONCE):
            with _transport(kind, folder) as server:
                name = f"{kind}, at the pace of speech, {streams} at once"
                yield name, _cost(name, drive(server, _paced(server, pool, streams, quick=True)))


@contextmanager
def _transport(kind: str, folder: Path) -> Iterator[Server]:
    with Server((sys.executable, "-m", "bench.voiceid.transport", kind), folder / f"transport-{kind}.log") as server:
        yield server


def _paced(server: Server, pool: Path, streams: int, *, quick: bool) -> Plan:
    seconds = 3.0 if quick else PACED_S
    return Plan(target=server.target, pool=str(pool), streams=streams, warm_up_s=2.0, seconds=seconds)


def _cost(name: str, load: Load) -> Cost:
    return Cost(name, 1000 * load.server_cpu_s / load.audio_s, 1e6 * load.server_cpu_s / load.frames)


def _ladder(stages: dict[str, Cost], served: dict[str, Cost], bare: float, with_vad: float) -> Table:
    rows: list[list[Cell]] = [
        [STAGES[name], cost.ms_per_s, cost.ms_per_s / bare, None] for name, cost in stages.items()
    ]
    rows += [
        [f"the server, {name}", cost.ms_per_s, cost.ms_per_s / bare, cost.ms_per_s / with_vad]
        for name, cost in served.items()
    ]
    return Table("CPU of one process", ("what", "ms / s of audio", "x bare", "x bare with voice activity"), rows)


def _transport_table(transports: dict[str, Cost], bare: float) -> Table:
    rows: list[list[Cell]] = [
        [name, cost.ms_per_s, cost.per_message_us, cost.ms_per_s / bare] for name, cost in transports.items()
    ]
    return Table(
        "The transport alone: 50 messages a second of audio",
        ("server", "ms / s of audio", "µs / message", "x bare"),
        rows,
    )


def _shares(stages: dict[str, Cost], served: dict[str, Cost], transports: dict[str, Cost], bare: float) -> Table:
    """Where the server's CPU goes, as fast as possible and ten at once; what is not accounted for is said."""
    of = {name: cost.ms_per_s for name, cost in stages.items()}
    total = served[f"as fast as possible, {AT_ONCE} at once"].ms_per_s
    grpc = transports[f"bare, as fast as possible, {AT_ONCE} at once"].ms_per_s
    runtime = transports[f"runtime, as fast as possible, {AT_ONCE} at once"].ms_per_s - grpc
    known = {
        "models (bare, one window a call)": bare,
        "voice activity": of["vad"],
        "front ends": of["front-ends"],
        "fingerprints": of["fingerprints"],
        "decoding, resampling, quality, cutting": of["pipeline"] - of["vad"] - of["front-ends"] - of["fingerprints"],
        "worker threads, futures, contention between cores": of["listening"] - of["pipeline"] - bare,
        "interim confidence, decision, store": of["engine"] - of["listening"],
        "grpc": grpc,
        "interceptors, parsing, validation": runtime,
    }
    rows: list[list[Cell]] = [[name, ms, ms / bare] for name, ms in known.items()]
    rows.append(["not accounted for", total - sum(known.values()), (total - sum(known.values())) / bare])
    rows.append(["the server", total, total / bare])
    return Table(f"Where it goes, as fast as possible, {AT_ONCE} at once", ("part", "ms / s of audio", "x bare"), rows)
