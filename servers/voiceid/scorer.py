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
from servers.voiceid.pipeline import Heard, Utterance, Voiceprint, Window, WindowPlan
from servers.voiceid.silero import Vad, VadFault, VadModel
from servers.voiceid.vad import VadPolicy

Floats = npt.NDArray[np.float32]

# Silero's published operating point; 96 ms of voice begin speech, 288 ms without it end speech.
VAD_POLICY = VadPolicy(begin_probability=0.5, end_probability=0.35, min_speech=1536, min_silence=4608)

# Recurrent layers gain from company (half the time a window at 4), convolutions are bound by arithmetic already.
MAX_BATCH = {registry.GE2E_ID: 4}
MAX_WAIT_S = 0.015


@dataclass(frozen=True, slots=True)
class SpeakerModel:
    """One opened speaker model: its name (`model_id@version`), how audio is cut for it and how windows are run."""

    name: str
    dimension: int
    plan: WindowPlan
    lane: Lane


@dataclass(frozen=True, slots=True)
class Models:
    """All opened models. `model_set_hash` is SHA-256 over each model's name, build and window plan, in order."""

    speakers: tuple[SpeakerModel, ...]
    model_set_hash: bytes
    vad: VadModel

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.speakers)


def open_models(cache_dir: Path, vad_path: Path, model_ids: Sequence[str]) -> Models:
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
    return Models(tuple(speakers), digest.digest(), vad)


def _speaker(loaded: registry.LoadedModel) -> SpeakerModel:
    manifest = loaded.manifest
    try:
        plan = WindowPlan.of(manifest)
    except ValueError as error:
        raise ModelError(ModelFault.MANIFEST_INVALID, str(error)) from error
    name = f"{manifest.model_id}@{manifest.version}"
    lane = Lane(name, lambda windows: registry.embed(loaded, windows), MAX_BATCH.get(manifest.model_id, 1), MAX_WAIT_S)
    return SpeakerModel(name, manifest.dimension, plan, lane)


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
        return heard

    def finish(self, *, deadline: float) -> Heard:
        """The stream was half-closed: its last windows go before those of streams that still speak.

        Raises AudioError and ModelFailed as `push` does.
        """
        try:
            heard = self.utterance.finish()
        except VadFault as error:
            raise ModelFailed(str(error)) from error
        self._batcher.hurry([future for _, future in self._running])
        self._submit(heard.windows, deadline=deadline, urgent=True)
        return heard

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

    async def ended(self, model: int, *, deadline: float) -> Voiceprint:
        """After `finish`: the voiceprint once every window of one model is in it. Raises ModelFailed, ModelSlow."""
        return await self._wait([future for window, future in self._running if window.model == model], deadline)

    async def ended_all(self, *, deadline: float) -> Voiceprint:
        """After `finish`: the voiceprint once every window is in it. Raises ModelFailed, ModelSlow."""
        return await self._wait([future for _, future in self._running], deadline)

    def fingerprint(self) -> Fingerprint:
        """After `finish`: what a later replay of this utterance would be recognised by."""
        if self._fingerprint is None:
            self._fingerprint = self.utterance.fingerprint()
        return self._fingerprint

    def abandon(self) -> None:
        """Windows that no worker has taken yet are not embedded; those that are running end unheard."""
        for _, future in self._running:
            future.cancel()
        self._running.clear()

    async def _wait(self, futures: Sequence[Future[Floats]], deadline: float) -> Voiceprint:
        """The futures stay with their windows: waiting must not cancel what `so_far` reads."""
        if futures:
            waits = [asyncio.wrap_future(future) for future in futures]
            _, late = await asyncio.wait(waits, timeout=max(0.0, deadline - self._batcher.monotonic()))
            if late:
                raise ModelSlow("the models did not answer within the decision budget")
        return self.so_far()

    def _submit(self, windows: Sequence[Window], *, deadline: float, urgent: bool) -> None:
        for window in windows:
            lane = self._models.speakers[window.model].lane
            future = self._batcher.submit(lane, window.features, deadline=deadline, urgent=urgent)
            self._running.append((window, future))
