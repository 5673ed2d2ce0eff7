"""The Silero VAD model: many chunks of many streams in one call, the recurrent state kept by the caller.

``silero_golden.npz`` holds 0.64 s of a synthetic voice (``pcm`` int16) and what the published model says of its twenty
chunks (``probabilities``). A model that says otherwise is refused at start-up.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from servers.voiceid.vad import WINDOW_SAMPLES, ChunkFramer, Samples, VadPolicy, VadStep, VadStream

Floats = npt.NDArray[np.float32]

_GOLDEN = Path(__file__).with_name("silero_golden.npz")
_TOLERANCE = 1e-4
_NOTHING = VadStep((), np.zeros(0, np.bool_))


VAD_VERSION = "6.2.3"


def vad_path(cache_dir: Path) -> Path:
    """Where the built model lies in the cache; `silero_graph.prepare_vad` puts it there."""
    return cache_dir / f"silero-vad-{VAD_VERSION}" / "model.onnx"


class VadFault(RuntimeError):
    """The model cannot be loaded, or was asked about what is no sound."""


class VadModel:
    """One ONNX session for all streams, on one thread. Safe to call from several threads."""

    def __init__(self, model: Path | bytes) -> None:
        """Load what :func:`servers.voiceid.silero_graph.build_vad` made; raises :class:`VadFault` unless it is that."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base but this
            raise VadFault(f"the VAD model cannot be loaded: {error}") from error
        self._verify()

    @staticmethod
    def initial_state(streams: int = 1) -> Floats:
        """The state of streams that have heard nothing, ``[2, B, 128]``."""
        return np.zeros((2, streams, 128), np.float32)

    def run(
        self, windows: Floats, state: Floats, lengths: npt.NDArray[np.int32] | None = None
    ) -> tuple[Floats, Floats]:
        """Speech probabilities ``[B, N]`` of ``windows`` ``[B, N, 576]``, and the state after them ``[2, B, 128]``.

        ``lengths`` ``[B]`` says how many windows of each row count, each at least 1; what lies beyond is ignored and
        answers nothing of meaning. Rows do not influence each other. Raises :class:`VadFault`.
        """
        if not np.isfinite(windows).all():  # the ReLUs of the graph would turn NaN into a confident silence
            raise VadFault("the sound is not finite")
        rows, count = windows.shape[:2]
        if lengths is None:
            lengths = np.full(rows, count, np.int32)
        feed = {"windows": windows, "lengths": lengths, "h": state[:1], "c": state[1:]}
        try:
            probabilities, hidden, cell = self._session.run(["probabilities", "hn", "cn"], feed)
        except Exception as error:  # onnxruntime's own exceptions share no base but this
            raise VadFault(f"the VAD model failed: {error}") from error
        if not np.isfinite(probabilities).all():
            raise VadFault("a speech probability is not finite")
        return probabilities, np.concatenate((hidden, cell))

    def _verify(self) -> None:
        with np.load(_GOLDEN) as golden:
            samples, expected = golden["pcm"].astype(np.float32) / 32768, golden["probabilities"]
        probabilities, _ = self.run(ChunkFramer().push(samples)[None], self.initial_state())
        if not np.allclose(probabilities[0], expected, rtol=0, atol=_TOLERANCE):
            raise VadFault("the VAD model disagrees with its golden vectors")


class Vad:
    """One stream from samples to events, for a caller that does not batch across streams.

    ``block`` chunks are collected for a model call: fewer answer sooner, more cost less.
    """

    def __init__(self, model: VadModel, policy: VadPolicy, block: int = 4) -> None:
        self._model = model
        self._framer = ChunkFramer()
        self._stream = VadStream(policy)
        self._state = model.initial_state()
        self._block = block
        self._waiting = np.zeros((0, WINDOW_SAMPLES), np.float32)

    @property
    def voiced_samples(self) -> int:
        return self._stream.voiced_samples

    @property
    def speaking(self) -> bool:
        return self._stream.speaking

    def push(self, samples: Samples) -> VadStep:
        """Take samples at 16 kHz, ``[n]``; the step covers the chunks of the blocks that they complete."""
        fresh = self._framer.push(samples)
        if not len(fresh):
            return _NOTHING
        self._waiting = np.concatenate((self._waiting, fresh))
        ready = len(self._waiting) - len(self._waiting) % self._block
        if not ready:
            return _NOTHING
        windows, self._waiting = self._waiting[:ready], self._waiting[ready:]
        return self._stream.push(self._probabilities(windows))

    def flush(self) -> VadStep:
        """The stream has ended: the remaining chunks, and the end of speech that was still open."""
        step = self._stream.push(self._probabilities(self._waiting))
        last = self._stream.flush(self._probabilities(self._framer.flush()), self._framer.total_samples)
        return VadStep(step.events + last.events, np.concatenate((step.voiced, last.voiced)))

    def _probabilities(self, windows: Floats) -> Floats:
        if not len(windows):
            return np.zeros(0, np.float32)
        probabilities, self._state = self._model.run(windows[None], self._state)
        row: Floats = probabilities[0]
        return row
