"""(c) How long does it take to find the few worth verifying among everyone enrolled, and is anyone lost?

    python -m bench.voiceid.gallery voices.npz SIZE REPEATS

measures one size in a process of its own, whose numeric libraries keep to one thread. The profiles are invented, but
as voices are: new speakers are drawn from the Gaussian of real GE2E profiles, so they lie as close to one another as
real ones do, and an utterance is its speaker's profile with the scatter of a real speaker's own utterances.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from bench.machine import read_bandwidth
from bench.parts import Say
from bench.process import memory, python
from bench.report import Cell, Report, Table, Target
from bench.stats import percentile
from bench.voiceid.material import gather
from servers.runtime.audio.resample import MODEL_RATE_HZ
from servers.voiceid.extract import PipelineExtractor, Recording
from servers.voiceid.fusion import ScoringFailure
from servers.voiceid.models import registry
from servers.voiceid.prune import KEEP, Gallery, gallery, prune
from servers.voiceid.roster import Rosters, to_blob
from servers.voiceid.scorer import open_batcher, open_models
from servers.voiceid.silero import vad_path
from store import Store
from store.voiceid import GalleryEntry

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SIZES = (100, 1_000, 10_000, 100_000)
PRUNE_MS, RECALL = 10.0, 0.999
QUERIES, QUICK_QUERIES = 200, 50
VOICES, QUICK_VOICES = 60, 12
DIMENSIONS = (256, 192)
"""Of the two models that a roster holds; the prune reads the first."""

BANDWIDTH_BYTES = 1 << 30
CHUNK_ROWS = 5_000
TENANT, MODEL_SET = "bench", "00"
CLEAR_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Measured:
    """One size. Times of one thread; `roster_*` of a whole roster of two models, from decrypted profiles on.

    `bandwidth` is bytes a second that were read just before, in the same process.
    """

    size: int
    dimensions: int
    bandwidth: float
    queries: int
    p50_ms: float
    p95_ms: float
    peer_p50_ms: float
    peer_p95_ms: float
    recall: float
    own_found: float
    build_ms: float
    roster_ms: float
    roster_mib: float
    roster_peak_mib: float


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """What to draw from: `mean` [D], and real deviations of speakers, `between` [n, D], and theirs, `within` [m, D]."""

    mean: Doubles
    between: Doubles
    within: Doubles

    @classmethod
    def of(cls, said: Sequence[Doubles]) -> Voices:
        """From the embeddings ``[k, D]`` of each speaker's utterances; ValueError without two of one speaker."""
        centres = np.array([one.mean(axis=0) for one in said])
        within = np.concatenate([one - one.mean(axis=0) for one in said if len(one) > 1] or [np.zeros((0, 1))])
        if len(within) < 2 or len(centres) < 2:
            raise ValueError("two speakers are needed, one of them with two utterances")
        # A speaker's utterances scatter around their own mean by less than around the speaker.
        freedom = sum(len(one) - 1 for one in said if len(one) > 1)
        return cls(
            centres.mean(axis=0),
            (centres - centres.mean(axis=0)) * np.sqrt(1 / (len(centres) - 1)),
            within * np.sqrt(1 / freedom),
        )

    @classmethod
    def anywhere(cls) -> Voices:
        """Where no speech says how people differ: directions without preference, utterances a little off."""
        axes = np.eye(DIMENSIONS[0]) / np.sqrt(DIMENSIONS[0])
        return cls(np.zeros(DIMENSIONS[0]), axes, axes / 2)

    def speakers(self, count: int, random: np.random.Generator) -> Floats:
        """Unit vectors ``[count, D]`` of people who never were."""
        return _unit(self.mean + random.standard_normal((count, len(self.between))) @ self.between)

    def utterances(self, profiles: Floats, random: np.random.Generator) -> Floats:
        """What the people of `profiles` may say: unit vectors, one a profile."""
        return _unit(profiles + random.standard_normal((len(profiles), len(self.within))) @ self.within)


def _unit(rows: Doubles) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def exact(queries: Floats, profiles: Floats, keep: int) -> list[frozenset[int]]:
    """The `keep` nearest rows of every query, by float64 and a full sort."""
    wide = profiles.astype(np.float64)
    best = (np.argsort(-(wide @ query.astype(np.float64)), kind="stable")[:keep] for query in queries)
    return [frozenset(rows.tolist()) for rows in best]


def recall(found: Sequence[frozenset[int]], wanted: Sequence[frozenset[int]]) -> float:
    """The share of the wanted rows that were found, over all queries."""
    return sum(len(one & other) for one, other in zip(found, wanted, strict=True)) / sum(map(len, wanted))


def measure(say: Say, *, audio: Path | None, quick: bool) -> Report:
    """Every size in a process of its own."""
    report = Report("c", "Gallery size: prune time and recall, one thread")
    say("embedding voices to draw galleries from")
    statement, voices = _voices(audio, QUICK_VOICES if quick else VOICES)
    rows: list[Measured] = []
    sizes = SIZES[:-1] if quick else SIZES
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
        path = Path(folder) / "voices.npz"
        np.savez(path, mean=voices.mean, between=voices.between, within=voices.within)
        for size in sizes:
            say(f"{size:,} profiles")
            rows.append(_in_process(path, size, QUICK_QUERIES if quick else QUERIES))
    report.notes += [
        f"Profiles and queries are drawn from the Gaussian of real GE2E embeddings ({statement}): 256 dimensions, "
        f"prune keeps {KEEP}, every query the utterance of somebody in the gallery.",
        "`peer` is what one writes without thought: row-major float32, matrix times vector, full argsort. `memory` "
        "is how long the machine takes to read the bytes of the matrix at all, at the rate at which one core adds up "
        f"1 GiB (best of five just before, {_rates(rows)} GB/s); what fits into a cache may be faster.",
        "`recall` is the share of the exact nearest 32 (float64, full sort) that the prune keeps; `speaker kept` the "
        "share of queries whose own speaker is among them, which also depends on how alike people sound.",
        "A roster is both models' matrices with the index of users, built from decrypted profiles as a server does on "
        "a change; memory is what the process grew by beyond these profiles, `peak` while it was built.",
    ]
    report.tables += [_times(rows), _recalls(rows), _rosters(rows)]
    largest = next((one.p95_ms for one in rows if one.size == SIZES[-1]), None)
    report.targets += [
        Target(f"prune p95 among {SIZES[-1]:,}", PRUNE_MS, largest, "ms"),
        Target(f"recall@{KEEP}, worst size", RECALL, min(one.recall for one in rows), "", at_least=True),
    ]
    report.data = {"sizes": [asdict(one) for one in rows], "voices": statement}
    return report


def _rates(rows: Sequence[Measured]) -> str:
    rates = sorted(one.bandwidth / 1e9 for one in rows)
    return f"{rates[0]:.1f} to {rates[-1]:.1f}"


def _times(rows: Sequence[Measured]) -> Table:
    columns = ("profiles", "p50 ms", "p95 ms", "peer p50", "peer p95", "memory ms", "p50/memory")
    cells: list[list[Cell]] = []
    for one in rows:
        limit_ms = one.size * one.dimensions * 4 / one.bandwidth * 1000
        times = (one.p50_ms, one.p95_ms, one.peer_p50_ms, one.peer_p95_ms)
        cells.append([one.size, *times, limit_ms, one.p50_ms / limit_ms])
    return Table(f"Prune to {KEEP}", columns, cells)


def _recalls(rows: Sequence[Measured]) -> Table:
    cells: list[list[Cell]] = [[one.size, one.queries, f"{one.recall:.5f}", f"{one.own_found:.3f}"] for one in rows]
    return Table("Who is lost", ("profiles", "queries", f"recall@{KEEP}", "speaker kept"), cells)


def _rosters(rows: Sequence[Measured]) -> Table:
    columns = ("profiles", "matrix ms", "roster ms", "roster MiB", "peak MiB", "KiB a profile")
    cells: list[list[Cell]] = [
        [
            one.size,
            one.build_ms,
            one.roster_ms,
            one.roster_mib,
            one.roster_peak_mib,
            one.roster_mib * 1024 / one.size if one.size >= 10_000 else None,
        ]
        for one in rows
    ]
    return Table("Building a roster after a change", columns, cells)


def _voices(audio: Path | None, count: int) -> tuple[str, Voices]:
    """Several utterances of each of `count` speakers, embedded by the first model as the server does it."""
    cache = registry.default_cache_dir()
    models = open_models(cache, vad_path(cache), [registry.GE2E_ID], None)
    batcher = open_batcher()
    extractor = PipelineExtractor(replace(models, segmentation=None), batcher)
    material = gather(audio, most_people=count)
    clips = {person.name: list(person.clips) for person in material.people}
    for one in material.strangers:
        clips.setdefault(one.speaker, []).append(one.pcm)
    try:
        said = [[_embedded(extractor, pcm) for pcm in clips[name][:3]] for name in list(clips)[:count]]
    finally:
        batcher.close()
    spoken = [np.array(one, np.float64) for one in said]
    try:
        voices = Voices.of(spoken)
    except ValueError:
        return f"no: too few speakers in {material.statement}; random directions instead", Voices.anywhere()
    return f"{material.statement}; {sum(map(len, said))} utterances of {len(said)} speakers used", voices


def _embedded(extractor: PipelineExtractor, pcm: npt.NDArray[np.int16]) -> Floats:
    recording = Recording(pcm[: 4 * MODEL_RATE_HZ].astype(np.float32) / np.float32(32768), MODEL_RATE_HZ)
    return extractor.hear(recording).embeddings[0]


def _in_process(path: Path, size: int, queries: int) -> Measured:
    process = python("bench.voiceid.gallery", [str(path), str(size), str(queries)])
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"measuring {size} profiles ended with {process.returncode}")
    return Measured(**json.loads(said))


def _measured(voices: Voices, size: int, queries: int) -> Measured:
    bandwidth = read_bandwidth(BANDWIDTH_BYTES)
    random = np.random.default_rng(size)
    profiles = _in_chunks(voices, size, random)
    speakers = random.integers(0, size, queries)
    asked = voices.utterances(profiles[speakers], random)
    names = [f"user-{row:07d}" for row in range(size)]
    wanted = exact(asked, profiles, KEEP)

    began = time.perf_counter()
    among = gallery(names, profiles, 1)
    build_ms = (time.perf_counter() - began) * 1000
    found, times = _pruned(asked, among)
    peer_times = [_peer_ms(query, profiles) for query in asked]
    roster_ms, roster_mib, peak_mib = asyncio.run(_roster(names, profiles, random))
    return Measured(
        size=size,
        dimensions=profiles.shape[1],
        bandwidth=bandwidth,
        queries=queries,
        p50_ms=percentile(times, 0.50),
        p95_ms=percentile(times, 0.95),
        peer_p50_ms=percentile(peer_times, 0.50),
        peer_p95_ms=percentile(peer_times, 0.95),
        recall=recall(found, wanted),
        own_found=float(np.mean([row in one for row, one in zip(speakers.tolist(), found, strict=True)])),
        build_ms=build_ms,
        roster_ms=roster_ms,
        roster_mib=roster_mib,
        roster_peak_mib=peak_mib,
    )


def _in_chunks(voices: Voices, size: int, random: np.random.Generator) -> Floats:
    """Float64 intermediates of 100,000 people at once would be the largest thing in the process."""
    sizes = [min(CHUNK_ROWS, size - start) for start in range(0, size, CHUNK_ROWS)]
    return np.concatenate([voices.speakers(count, random) for count in sizes])


def _pruned(queries: Floats, among: Gallery) -> tuple[list[frozenset[int]], list[float]]:
    found, times = [], []
    prune(queries[0], among)
    for query in queries:
        began = time.perf_counter()
        pruned = prune(query, among)
        times.append((time.perf_counter() - began) * 1000)
        if isinstance(pruned, ScoringFailure):
            raise RuntimeError(pruned.detail)
        found.append(frozenset(pruned.indices.tolist()))
    return found, times


def _peer_ms(query: Floats, profiles: Floats) -> float:
    began = time.perf_counter()
    _ = np.argsort(-(profiles @ query))[:KEEP]
    return (time.perf_counter() - began) * 1000


class _Entries:
    """Profiles as the store hands them out once they are decrypted: what a roster's build begins with."""

    def __init__(self, entries: list[GalleryEntry]) -> None:
        self._entries = entries
        self.profiles = self
        self.voiceid = self

    async def gallery_version(self, tenant_id: str) -> int:
        return 1

    async def gallery(self, tenant_id: str, *, since: int = 0) -> AsyncIterator[GalleryEntry]:
        for entry in self._entries:
            yield entry


async def _roster(names: list[str], profiles: Floats, random: np.random.Generator) -> tuple[float, float, float]:
    """Milliseconds until the first roster is there, MiB that it keeps, MiB at the peak."""
    others = np.zeros((len(names), DIMENSIONS[1]), np.float32)
    others[np.arange(len(names)), random.integers(0, DIMENSIONS[1], len(names))] = 1.0
    entries = [
        GalleryEntry(name, 1, 1, "LOCKED", MODEL_SET, 3, 9000, None, to_blob((first, second)))
        for name, first, second in zip(names, profiles, others, strict=True)
    ]
    rosters = Rosters(cast(Store, _Entries(entries)), DIMENSIONS, MODEL_SET)
    before = _memory_now()
    began = time.perf_counter()
    roster = await rosters.of(TENANT, datetime.now(UTC))
    seconds = time.perf_counter() - began
    after = _memory_now()
    if len(roster) != len(names) or roster.stale:
        raise RuntimeError(f"{len(roster)} of {len(names)} profiles are in the roster, {roster.stale} are stale")
    return seconds * 1000, after[0] - before[0], after[1] - before[0]


def _memory_now() -> tuple[float, float]:
    """MiB resident and at the peak since the last call, of this process."""
    held = memory(os.getpid())
    CLEAR_PEAK.write_text("5", encoding="ascii")
    return held.resident, held.peak


def main() -> None:
    """Entry point."""
    path, size, queries = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with np.load(path) as file:
        voices = Voices(file["mean"], file["between"], file["within"])
    print(json.dumps(asdict(_measured(voices, size, queries))))


if __name__ == "__main__":
    main()
