"""One stage of the server's work in a process of its own, so that its CPU time is nobody else's.

    python -m bench.voiceid.stage STAGE pool.npz COUNT [DATA_DIR]

Every stage hears the same first COUNT utterances of the pool, one after the other, and prints one line of JSON: CPU
seconds of the whole process while it did, seconds of audio, and what else it found. Models are opened before that.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import uvloop
from prometheus_client import CollectorRegistry
from selene.common.v1 import audio_pb2
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.auth import DEVELOPMENT_PRINCIPAL
from servers.runtime.clock import SystemClock
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.logging import configure_logging
from servers.runtime.storage import open_store
from servers.voiceid.batcher import Batcher
from servers.voiceid.engine import Ask, Engine
from servers.voiceid.fingerprint import FingerprintStream
from servers.voiceid.frontend import FbankStream, MelStream
from servers.voiceid.models import registry
from servers.voiceid.pipeline import BLOCK_SAMPLES, PCM_SCALE, Utterance, Window
from servers.voiceid.scorer import (
    GOOD_SEGMENT_SAMPLES,
    LEAST_SEGMENT_SAMPLES,
    SEGMENT_SAMPLES,
    VAD_POLICY,
    Models,
    open_batcher,
    open_models,
)
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.silero import Vad, vad_path
from servers.voiceid.telemetry import DecisionMetrics
from servers.voiceid.vad import CHUNK_SAMPLES, ChunkFramer

Floats = npt.NDArray[np.float32]

FRAME_SAMPLES = 320
BLOCK_CHUNKS = BLOCK_SAMPLES // CHUNK_SAMPLES
INTERIM_FRAMES = 25
"""An interim every 0.5 s, as a client gets it that asks for nothing else."""

FORMAT = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_LINEAR16, sample_rate_hz=16_000, channel_count=1)


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of the work, and of how much audio."""

    cpu_s: float
    audio_s: float
    calls: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """What the models are asked about an utterance: windows by model, and samples for segmentation."""

    windows: tuple[Window, ...]
    segments: tuple[Floats, ...]


class Speech:
    """Utterances as frames of PCM16."""

    def __init__(self, pool: Path, count: int) -> None:
        with np.load(pool) as file:
            bounds = file["bounds"][: count + 1]
            pcm = file["pcm"][: bounds[-1]]
        self.utterances = [pcm[start:end] for start, end in itertools.pairwise(bounds)]
        self.audio_s = len(pcm) / 16_000

    def frames(self) -> list[list[bytes]]:
        """20 ms each."""
        return [
            [one[start : start + FRAME_SAMPLES].tobytes() for start in range(0, len(one), FRAME_SAMPLES)]
            for one in self.utterances
        ]

    def blocks(self) -> list[Floats]:
        """Samples in the blocks that the pipeline works in."""
        return [
            one[start : start + BLOCK_SAMPLES].astype(np.float32) / np.float32(PCM_SCALE)
            for one in self.utterances
            for start in range(0, len(one), BLOCK_SAMPLES)
        ]


def spent(speech: Speech, work: Callable[[], int]) -> Spent:
    """The CPU time of `work`, which returns how many calls it made; its first run, not counted, warms up."""
    work()
    began = time.process_time()
    calls = work()
    return Spent(time.process_time() - began, speech.audio_s, calls)


def cuts(speech: Speech, models: Models) -> list[Cut]:
    """Exactly the windows that a stream of each utterance brings before the models, those for its interim confidence
    among them, and what segmentation hears.
    """
    found = []
    for frames in speech.frames():
        utterance = _utterance(models)
        windows: list[Window] = []
        segments: list[Floats] = []
        segmented_to, glimpse = 0, None
        for index, frame in enumerate(frames, start=1):
            windows += utterance.push(frame).windows
            if glimpse is None and index % INTERIM_FRAMES == 0:
                glimpse = utterance.glimpse()
            while utterance.processed_samples >= segmented_to + SEGMENT_SAMPLES:
                segments.append(utterance.audio(segmented_to, segmented_to + SEGMENT_SAMPLES))
                segmented_to += SEGMENT_SAMPLES
        windows += utterance.finish().windows
        windows += [glimpse] if glimpse is not None else []
        total = utterance.processed_samples
        if total - segmented_to >= LEAST_SEGMENT_SAMPLES:
            segments.append(utterance.audio(max(0, min(segmented_to, total - GOOD_SEGMENT_SAMPLES)), total))
        found.append(Cut(tuple(windows), tuple(segments)))
    return found


def bare(speech: Speech, models: Models, batch: int = 1) -> Spent:
    """ONNX Runtime and nothing else: one thread, every window of the speaker models and of segmentation.

    Windows of the first model go `batch` at a time, where neighbours have one shape.
    """
    found = cuts(speech, models)
    feeds: list[tuple[Callable[[Floats], Floats], Floats]] = []
    for model, speaker in enumerate(models.speakers):
        features = [window.features for cut in found for window in cut.windows if window.model == model]
        feeds += [(speaker.lane.run, group) for group in _stacked(features, batch if model == 0 else 1)]
    if models.segmentation is not None:
        feeds += [(models.segmentation.run, segment[None, None]) for cut in found for segment in cut.segments]

    def work() -> int:
        for run, feed in feeds:
            run(feed)
        return len(feeds)

    return spent(speech, work)


def _stacked(features: Sequence[Floats], batch: int) -> list[Floats]:
    groups: list[list[Floats]] = []
    for one in sorted(features, key=lambda window: window.shape):
        if groups and len(groups[-1]) < batch and groups[-1][0].shape == one.shape:
            groups[-1].append(one)
        else:
            groups.append([one])
    return [np.ascontiguousarray(np.stack(group)) for group in groups]


def bare_vad(speech: Speech, models: Models) -> Spent:
    """The voice activity model on the chunks of a block, its state carried along."""
    windows = [_chunks(one) for one in speech.utterances]

    def work() -> int:
        calls = 0
        for rows in windows:
            state = models.vad.initial_state()
            for start in range(0, len(rows), BLOCK_CHUNKS):
                _, state = models.vad.run(rows[None, start : start + BLOCK_CHUNKS], state)
                calls += 1
        return calls

    return spent(speech, work)


def _chunks(pcm: npt.NDArray[np.int16]) -> Floats:
    return ChunkFramer().push(pcm.astype(np.float32) / np.float32(PCM_SCALE)).copy()


def vad(speech: Speech, models: Models) -> Spent:
    """Voice activity as the pipeline uses it."""

    def work() -> int:
        activity = Vad(models.vad, VAD_POLICY)
        return _each(speech.blocks(), activity.push)

    return spent(speech, work)


def front_ends(speech: Speech, models: Models) -> Spent:
    """Both front ends."""

    def work() -> int:
        fbank, mel = FbankStream(), MelStream()
        return _each(speech.blocks(), lambda block: (fbank.push(block), mel.push(block)))

    return spent(speech, work)


def fingerprints(speech: Speech, models: Models) -> Spent:
    """Fingerprints against replay."""

    def work() -> int:
        return _each(speech.blocks(), FingerprintStream().push)

    return spent(speech, work)


def pipeline(speech: Speech, models: Models) -> Spent:
    """Everything from frames to windows, in the thread that receives the frames; no model but voice activity."""
    frames = speech.frames()

    def work() -> int:
        calls = 0
        for one in frames:
            utterance = _utterance(models)
            for frame in one:
                calls += len(utterance.push(frame).windows)
            calls += len(utterance.finish().windows)
            utterance.fingerprint()
        return calls

    return spent(speech, work)


def _each(blocks: Sequence[Floats], take: Callable[[Floats], Any]) -> int:
    for block in blocks:
        take(block)
    return len(blocks)


def _utterance(models: Models) -> Utterance:
    return Utterance(FORMAT, Vad(models.vad, VAD_POLICY), [model.plan for model in models.speakers])


async def _engine(speech: Speech, models: Models, data_dir: Path, *, decide: bool) -> Spent:
    settings = load_settings(None, {"development.enabled": True, "data_dir": data_dir})
    clock = SystemClock()
    store = await open_store(settings, clock, UuidV7Ids(clock))
    batcher: Batcher = open_batcher()
    metrics = DecisionMetrics(CollectorRegistry())
    engine = Engine(store, clock, VoiceIdSettings(), models, batcher, metrics)
    new_id = UuidV7Ids(clock).new
    frames = speech.frames()
    try:
        await _heard(engine, frames[0], new_id(), decide=decide)
        began = time.process_time()
        for one in frames:
            await _heard(engine, one, new_id(), decide=decide)
        return Spent(time.process_time() - began, speech.audio_s, len(frames))
    finally:
        batcher.close()
        await store.close()


async def _heard(engine: Engine, frames: Sequence[bytes], stream_id: str, *, decide: bool) -> None:
    config = v1.StreamConfig(audio_format=FORMAT, tenant_id="dev", device_id="bench", session_id=stream_id)
    hearing = engine.hear(Ask(stream_id, config, "", DEVELOPMENT_PRINCIPAL))
    deadline = time.monotonic() + 60
    for index, frame in enumerate(frames, start=1):
        hearing.push(frame, None, deadline=deadline)
        if decide and index % INTERIM_FRAMES == 0:
            await engine.interim(hearing)
    hearing.finish(deadline=deadline)
    if decide:
        await engine.decide(hearing, time.monotonic())
    elif hearing.listening is not None:
        await hearing.listening.ended_all(deadline=deadline)
        await hearing.listening.overlap(deadline=deadline)
    hearing.release()


STAGES: Final[dict[str, Callable[[Speech, Models], Spent]]] = {
    "bare": bare,
    "bare-batched": lambda speech, models: bare(speech, models, 4),
    "bare-vad": bare_vad,
    "vad": vad,
    "front-ends": front_ends,
    "fingerprints": fingerprints,
    "pipeline": pipeline,
}


def main() -> None:
    """Entry point."""
    stage, pool, count, *data_dir = sys.argv[1:]
    configure_logging("warning")
    cache = registry.default_cache_dir()
    settings = VoiceIdSettings()
    models = open_models(cache, vad_path(cache), settings.models, settings.overlap_model)
    speech = Speech(Path(pool), int(count))
    if stage in STAGES:
        found = STAGES[stage](speech, models)
    else:
        found = uvloop.run(_engine(speech, models, Path(data_dir[0]), decide=stage == "engine"))
    print(json.dumps({"cpu_s": found.cpu_s, "audio_s": found.audio_s, "calls": found.calls, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
