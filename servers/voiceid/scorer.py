"""The speaker models of a server, opened once, and what one stream needs to be embedded by them.

The first model prunes the gallery, all of them together verify (§38.4). A model that fails its start-up check refuses
the whole scorer: half of a calibrated score is no score.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from selene.common.v1 import audio_pb2

from servers.voiceid.batcher import Batcher, Lane, ModelFailed, ModelSlow
from servers.voiceid.fingerprint import Fingerprint
from servers.voiceid.models import registry
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.models.manifest import ModelKind
from servers.voiceid.overlap import overlap_ratio
from servers.voiceid.pipeline import Heard, Utterance, Voiceprint, Window, WindowPlan, unit
from servers.voiceid.silero import Vad, VadFault, VadModel
from servers.voiceid.vad import VadPolicy

Floats = npt.NDArray[np.float32]

# Silero's published operating point; 96 ms of voice begin speech, 288 ms without it end speech.
VAD_POLICY = VadPolicy(begin_probability=0.5, end_probability=0.35, min_speech=1536, min_silence=4608)

# Recurrent layers gain from company (half the time a window at 4), convolutions are bound by arithmetic already.
MAX_BATCH = {registry.GE2E_ID: 4}
# A window of a stream that still speaks is in no hurry; at half-close it no longer waits (`Listening.hurry`).
MAX_WAIT_S = 0.1

# The segmentation model hears 5 s at a time while audio arrives; at the end what is left, with what was before it where
# that alone is too short to tell voices apart: a short rest alone was taken for two voices in 1 of 28 genuine streams.
SEGMENT_SAMPLES = 80_000
GOOD_SEGMENT_SAMPLES = 48_000
LEAST_SEGMENT_SAMPLES = 8_000


@dataclass(frozen=True, slots=True)
class SpeakerModel:
    """One opened speaker model: its name (`model_id@version`), how audio is cut for it and how windows are run."""

    name: str
    dimension: int
    plan: WindowPlan
    lane: Lane


@dataclass(frozen=True, slots=True)
class Countermeasure:
    """A spoof detector (VID-14): the last `samples` of an utterance, ``[B, n]``, to log-odds of a spoof, ``[B, 1]``."""

    lane: Lane
    samples: int


@dataclass(frozen=True, slots=True)
class Models:
    """All opened models. `model_set_hash` is SHA-256 over each speaker model's name, build and window plan, in order.

    `segmentation` takes ``[B, 1, n]`` samples and says who talks in every frame; None where overlap is not measured.
    """

    speakers: tuple[SpeakerModel, ...]
    model_set_hash: bytes
    vad: VadModel
    segmentation: Lane | None
    countermeasure: Countermeasure | None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.speakers)


def open_models(
    cache_dir: Path,
    vad_path: Path,
    model_ids: Sequence[str],
    segmentation_id: str | None = registry.SEGMENTATION_ID,
    countermeasure_id: str | None = None,
) -> Models:
    """Open and check the models.

    Raises ModelError (MODEL_MISSING, MODEL_CORRUPT, GOLDEN_MISMATCH, MANIFEST_INVALID).
    """
    digest = hashlib.sha256()
    speakers = []
    for model_id in model_ids:
        loaded = registry.load(cache_dir, model_id)
        speaker = _speaker(loaded)
        digest.update(f"{speaker.name}:{loaded.manifest.build_key}:{speaker.plan}\n".encode())
        speakers.append(speaker)
    try:
        vad = VadModel(vad_path)
    except VadFault as error:
        raise ModelError(ModelFault.MODEL_CORRUPT, f"{error}; run `selene models build`") from error
    segmentation = None if segmentation_id is None else _lane(registry.load(cache_dir, segmentation_id))
    return Models(tuple(speakers), digest.digest(), vad, segmentation, _countermeasure(cache_dir, countermeasure_id))


def _countermeasure(cache_dir: Path, model_id: str | None) -> Countermeasure | None:
    if model_id is None:
        return None
    loaded = registry.load(cache_dir, model_id)
    described = loaded.manifest
    if (described.kind, described.front_end.id, described.dimension) != (ModelKind.COUNTERMEASURE, "waveform", 1):
        message = f"{model_id} is none: kind `countermeasure`, front end `waveform` and dimension 1 are wanted"
        raise ModelError(ModelFault.MANIFEST_INVALID, message)
    return Countermeasure(_lane(loaded), round(described.window_seconds * described.sample_rate_hz))


def _speaker(loaded: registry.LoadedModel) -> SpeakerModel:
    manifest = loaded.manifest
    try:
        plan = WindowPlan.of(manifest)
    except ValueError as error:
        raise ModelError(ModelFault.MANIFEST_INVALID, str(error)) from error
    lane = _lane(loaded)
    return SpeakerModel(lane.name, manifest.dimension, plan, lane)


def _lane(loaded: registry.LoadedModel) -> Lane:
    model_id, version = loaded.manifest.model_id, loaded.manifest.version
    batch = MAX_BATCH.get(model_id, 1)
    wait_s = MAX_WAIT_S if batch > 1 else 0.0
    return Lane(f"{model_id}@{version}", lambda windows: registry.embed(loaded, windows), batch, wait_s)


def open_batcher() -> Batcher:
    """Worker threads for the model calls: one a core that this process may use."""
    return Batcher(workers=len(os.sched_getaffinity(0)))


class Listening:
    """One utterance on its way through the models: its windows are embedded while audio still arrives.

    Futures are resolved by worker threads; everything else happens on the caller's.
    """

    def __init__(self, models: Models, batcher: Batcher, audio_format: audio_pb2.AudioFormat) -> None:
        self._models = models
        self._batcher = batcher
        self.utterance = Utterance(audio_format, Vad(models.vad, VAD_POLICY), [model.plan for model in models.speakers])
        self._voiceprint = Voiceprint([model.dimension for model in models.speakers])
        self._running: list[tuple[Window, Future[Floats]]] = []
        self._segmented: list[Future[Floats]] = []
        self._segmented_to = 0
        self._looked_back = max(GOOD_SEGMENT_SAMPLES, models.countermeasure.samples if models.countermeasure else 0)
        self._countered: Future[Floats] | None = None
        self._glimpse: Future[Floats] | None = None
        self._fingerprint: Fingerprint | None = None

    def push(self, frame: bytes, offset_s: float | None = None, *, deadline: float) -> Heard:
        """Take one frame's bytes, and its offset if the sender gave one.

        Raises AudioError for bytes that do not decode, ModelFailed for a VAD that fails.
        """
        try:
            heard = self.utterance.push(frame, offset_s)
        except VadFault as error:
            raise ModelFailed(str(error)) from error
        self._submit(heard.windows, deadline=deadline, urgent=False)
        while self.utterance.processed_samples >= self._segmented_to + SEGMENT_SAMPLES:
            end = self._segmented_to + SEGMENT_SAMPLES
            self._segment(self._segmented_to, end, deadline=deadline, urgent=False)
        self.utterance.forget(before=min(self._segmented_to, self.utterance.processed_samples - self._looked_back))
        return heard

    def finish(self, *, deadline: float) -> Heard:
        """The stream was half-closed: its last windows go before those of streams that still speak.

        Raises AudioError and ModelFailed as `push` does.
        """
        try:
            heard = self.utterance.finish()
        except VadFault as error:
            raise ModelFailed(str(error)) from error
        self._submit(heard.windows, deadline=deadline, urgent=True)
        total = self.utterance.processed_samples
        if total - self._segmented_to >= LEAST_SEGMENT_SAMPLES:
            start = max(0, min(self._segmented_to, total - GOOD_SEGMENT_SAMPLES))
            self._segment(start, total, deadline=deadline, urgent=True)
        self._counter(deadline=deadline)
        return heard

    def hurry(self) -> None:
        """The stream is ending: windows that still wait go before those of streams that still speak."""
        self._batcher.hurry([*(future for _, future in self._running), *self._segmented])

    def so_far(self) -> Voiceprint:
        """The voiceprint of the windows that are done. Raises ModelFailed or ModelSlow if one of them failed."""
        waiting = []
        for window, future in self._running:
            if future.done():
                self._voiceprint.add(window, future.result())
            else:
                waiting.append((window, future))
        self._running = waiting
        return self._voiceprint

    def first_so_far(self, *, deadline: float) -> Floats | None:
        """Unit vector of the first model; before its first window, of a glimpse of the speech. None when there is none.

        There is one glimpse, asked for here and answered the next time. Raises ModelFailed or ModelSlow as `so_far`.
        """
        heard = self.so_far().of(0)
        if heard is not None:
            return heard
        if self._glimpse is None:
            window = self.utterance.glimpse()
            if window is not None:
                lane = self._models.speakers[0].lane
                self._glimpse = self._batcher.submit(lane, window.features, deadline=deadline)
            return None
        return unit(self._glimpse.result()) if self._glimpse.done() else None

    async def ended(self, model: int, *, deadline: float) -> Voiceprint:
        """After `finish`: the voiceprint once every window of one model is in it. Raises ModelFailed, ModelSlow."""
        await self._wait([future for window, future in self._running if window.model == model], deadline)
        return self.so_far()

    async def ended_all(self, *, deadline: float) -> Voiceprint:
        """After `finish`: the voiceprint once every window is in it. Raises ModelFailed, ModelSlow."""
        await self._wait([future for _, future in self._running], deadline)
        return self.so_far()

    async def overlap(self, *, deadline: float) -> float | None:
        """After `finish`: the share of voiced frames with more than one voice; None where it is not measured.

        Raises ModelFailed, ModelSlow.
        """
        if not self._segmented:
            return None
        await self._wait(self._segmented, deadline)
        try:
            return overlap_ratio(np.concatenate([future.result() for future in self._segmented]))
        except ValueError as error:
            raise ModelFailed(f"segmentation: {error}") from error

    async def spoof_score(self, *, deadline: float) -> float | None:
        """After `finish`: log-odds of a spoof; None without a countermeasure. Raises ModelFailed, ModelSlow."""
        if self._countered is None:
            return None
        await self._wait([self._countered], deadline)
        return float(self._countered.result()[0])

    def fingerprint(self) -> Fingerprint:
        """After `finish`: what a later replay of this utterance would be recognised by."""
        if self._fingerprint is None:
            self._fingerprint = self.utterance.fingerprint()
        return self._fingerprint

    def abandon(self) -> None:
        """Windows that no worker has taken yet are not embedded; those that are running end unheard."""
        single = [future for future in (self._glimpse, self._countered) if future is not None]
        for future in [*(future for _, future in self._running), *self._segmented, *single]:
            future.cancel()
        self._running.clear()
        self._segmented.clear()

    async def _wait(self, futures: Sequence[Future[Floats]], deadline: float) -> None:
        """The futures stay with their windows; whoever waits reads them afterwards."""
        if not futures:
            return
        waits = [asyncio.wrap_future(future) for future in futures]
        done, late = await asyncio.wait(waits, timeout=max(0.0, deadline - self._batcher.monotonic()))
        for wait in done:
            wait.exception()  # asked for here, so that a failure which is read elsewhere is not reported as lost
        if late:
            raise ModelSlow("the models did not answer within the decision budget")

    def _segment(self, start: int, end: int, *, deadline: float, urgent: bool) -> None:
        self._segmented_to = end
        if self._models.segmentation is None:
            return
        samples = self.utterance.audio(start, end)[None]
        self._segmented.append(
            self._batcher.submit(self._models.segmentation, samples, deadline=deadline, urgent=urgent)
        )

    def _counter(self, *, deadline: float) -> None:
        """A shorter utterance is repeated until it fills the countermeasure's input, as such models are trained."""
        detector, total = self._models.countermeasure, self.utterance.processed_samples
        if detector is None or total == 0:
            return
        heard = self.utterance.audio(max(0, total - detector.samples), total)
        whole = np.resize(heard, detector.samples)
        self._countered = self._batcher.submit(detector.lane, whole, deadline=deadline, urgent=True)

    def _submit(self, windows: Sequence[Window], *, deadline: float, urgent: bool) -> None:
        for window in windows:
            lane = self._models.speakers[window.model].lane
            future = self._batcher.submit(lane, window.features, deadline=deadline, urgent=urgent)
            self._running.append((window, future))
