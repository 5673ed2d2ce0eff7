"""The built graphs compute what the published models compute, for any batch and any length."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from servers.voiceid import frontend
from servers.voiceid.models import registry, segmentation, vectors, wheels
from tests.servers.voiceid.models import reference

SHARED = Path(__file__).parents[5] / "shared"


def shared(name):
    path = SHARED / "voice" / name
    if not path.exists():
        pytest.skip(f"{name} of the shared golden vectors is not here")
    return np.load(path)


@pytest.fixture(scope="module")
def models(built_cache):
    return {model_id: registry.load(built_cache, model_id) for model_id in registry.BUILT_IN}


@pytest.mark.parametrize("model_id", registry.BUILT_IN)
def test_committed_golden_vectors_are_those_of_the_numpy_forward_pass(model_id, built_cache):
    packaged = resources.files("servers.voiceid.models") / "golden" / f"{model_id}.npz"
    committed = vectors.from_bytes(packaged.read_bytes())
    for (given, expected), (reference_given, reference_expected) in zip(
        committed, reference.CASES[model_id](built_cache), strict=True
    ):
        np.testing.assert_array_equal(given, reference_given)
        np.testing.assert_allclose(expected, reference_expected, atol=1e-5)


@pytest.mark.parametrize("frames", [3, 57, 199, 200, 201, 202, 430])
def test_campplus_agrees_with_numpy_at_every_length(frames, models, built_cache):
    feats = vectors.synthetic((1, frames, 80), seed=frames)
    expected = reference.campplus(reference.campplus_tensors(built_cache), feats)
    np.testing.assert_allclose(registry.embed(models[registry.CAMPPLUS_ID], feats), expected, atol=1e-4)


@pytest.mark.parametrize("model_id", [registry.GE2E_ID, registry.CAMPPLUS_ID])
def test_a_window_is_embedded_alike_alone_and_in_a_batch(model_id, models):
    bands = {registry.GE2E_ID: 40, registry.CAMPPLUS_ID: 80}[model_id]
    windows = np.abs(vectors.synthetic((5, 148, bands), seed=9))
    together = registry.embed(models[model_id], windows)
    alone = np.concatenate([registry.embed(models[model_id], window[None]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_not_a_number_spoils_its_own_window_only(models):
    windows = vectors.synthetic((2, 148, 80), seed=9)
    windows[0, 20, 3] = np.nan
    embeddings = registry.embed(models[registry.CAMPPLUS_ID], windows)
    assert np.isnan(embeddings[0]).any()
    assert np.isfinite(embeddings[1]).all()


def test_campplus_keeps_the_negative_half_of_its_embedding(models):
    embedding = registry.embed(models[registry.CAMPPLUS_ID], vectors.synthetic((1, 148, 80), seed=1))
    assert 0.2 < (embedding < 0).mean() < 0.8


def test_ge2e_agrees_with_torch(models):
    golden = shared("ge2e_golden.npz")
    embedding = registry.embed(models[registry.GE2E_ID], golden["mels"])
    np.testing.assert_allclose(embedding, golden["embedding"], atol=1e-4)


@pytest.mark.parametrize("frames", [298, 700])
def test_campplus_agrees_with_torch(frames, models):
    golden = shared("campplus_golden.npz")
    embedding = registry.embed(models[registry.CAMPPLUS_ID], golden[f"feats_{frames}"])
    np.testing.assert_allclose(embedding, golden[f"embedding_{frames}"], atol=1e-4)


@pytest.mark.parametrize("index", range(10))
def test_streamed_speech_gives_the_golden_embeddings(index, models):
    soundfile = pytest.importorskip("soundfile")
    golden = shared("frontend_golden.npz")
    samples, _ = soundfile.read(SHARED / "data" / "librispeech-dev" / str(golden["files"][index]), dtype="float32")
    pieces = np.split(samples, range(320, len(samples), 320))
    fbank, mel = frontend.FbankStream(), frontend.MelStream()
    banks = np.concatenate([*(fbank.push(piece) for piece in pieces), fbank.flush()])
    mels = np.concatenate([*(mel.push(piece) for piece in pieces), mel.flush()])
    windows = np.stack([mels[start : start + 160] for start in range(0, len(mels) - 159, 80)])
    campplus = registry.embed(models[registry.CAMPPLUS_ID], frontend.campplus_input(banks)[None])[0]
    ge2e = registry.embed(models[registry.GE2E_ID], frontend.ge2e_input(windows)).mean(axis=0)
    assert cosine(campplus, golden["campplus_embedding"][index]) >= 0.9999
    assert cosine(ge2e, golden["ge2e_embedding"][index]) >= 0.9999


def test_two_voices_at_once_are_heard_as_the_reference_transcript_says(models, built_cache):
    soundfile = pytest.importorskip("soundfile")
    wav, rttm = wheels.fetch_sample(built_cache, lambda task, fraction: None)
    samples, _ = soundfile.read(wav, dtype="float32")
    turns = [tuple(map(float, line.split()[3:5])) for line in rttm.read_text().splitlines()]
    window = samples[160_000:320_000]
    classes = registry.embed(models[registry.SEGMENTATION_ID], window[None, None])[0].argmax(axis=1)
    heard = np.array([0, 1, 1, 1, 2, 2, 2])[classes]
    middle = 10 + (np.arange(len(classes)) * 270 + 495) / 16_000
    spoken = sum(((middle >= start) & (middle < start + length)).astype(int) for start, length in turns)
    assert (spoken == 2).sum() > 50
    assert (heard == spoken).mean() >= 0.9


def test_one_reader_is_never_heard_as_two(models):
    soundfile = pytest.importorskip("soundfile")
    files = [SHARED / "data" / "librispeech-dev" / str(name) for name in shared("frontend_golden.npz")["files"]]
    for file in files:
        samples, _ = soundfile.read(file, dtype="float32")
        classes = registry.embed(models[registry.SEGMENTATION_ID], samples[None, None, :160_000])[0].argmax(axis=1)
        assert np.isin(classes, segmentation.OVERLAP_CLASSES).mean() < 0.02


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
