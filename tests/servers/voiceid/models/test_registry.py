"""The model cache: what it hands out runs as described, and everything else is refused with its reason."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from servers.voiceid.models import manifest, registry, vectors
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.models.graph import Graph
from servers.voiceid.models.manifest import FrontEnd, ModelKind, ModelManifest

UNSET = "0" * 64
TOY = ModelManifest(
    model_id="toy",
    version="1",
    kind=ModelKind.SPEAKER,
    front_end=FrontEnd("fbank80", {"bands": 80}),
    sample_rate_hz=16_000,
    window_seconds=0.3,
    hop_seconds=0.3,
    min_seconds=0.1,
    dimension=80,
    sha256=UNSET,
    golden_sha256=UNSET,
    build_key=UNSET,
    licence="CC0-1.0",
    provenance="made by this test",
)


def toy_model(scale=2.0):
    """The mean over time of each band, times ``scale``."""
    graph = Graph("toy")
    mean = graph.node("ReduceMean", ["feats"], {"axes": [1], "keepdims": 0})
    scaled = graph.node("Mul", [mean, graph.constant(scale)])
    return graph.build({"feats": ["B", "T", 80]}, scaled, "embedding", ["B", 80]).SerializeToString()


def offer(folder, model=None, **changes):
    """An ONNX file and its manifest, as someone would bring them."""
    folder.mkdir(exist_ok=True)
    (folder / "toy.onnx").write_bytes(toy_model() if model is None else model)
    (folder / "toy.json").write_text(manifest.to_json(replace(TOY, **changes)))
    return folder / "toy.onnx", folder / "toy.json"


@pytest.fixture
def cache(tmp_path):
    registry.add(tmp_path / "cache", *offer(tmp_path / "offer"))
    return tmp_path / "cache"


def in_use(cache):
    return cache / "toy" / (cache / "toy" / "current").read_text()


def refusal(act, *arguments):
    with pytest.raises(ModelError) as caught:
        act(*arguments)
    return caught.value.reason


def test_an_added_model_loads_and_embeds(cache):
    model = registry.load(cache, "toy")
    windows = vectors.synthetic((3, 25, 80), seed=5)
    np.testing.assert_allclose(registry.embed(model, windows), 2 * windows.mean(axis=1), atol=1e-6)
    assert model.manifest.sha256 == model.manifest.build_key != UNSET


def test_a_model_that_was_never_added_is_missing(cache):
    assert refusal(registry.load, cache, "other") is ModelFault.MODEL_MISSING


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "golden.npz"])
def test_a_model_that_lost_a_file_is_missing(name, cache):
    (in_use(cache) / name).unlink()
    assert refusal(registry.load, cache, "toy") is ModelFault.MODEL_MISSING


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:9] + b"?" + data[10:], lambda data: b""])
def test_a_damaged_file_is_refused(name, damage, cache):
    path = in_use(cache) / name
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(registry.load, cache, "toy") is ModelFault.MODEL_CORRUPT


def test_another_model_under_the_same_manifest_disagrees_with_the_golden_vectors(cache):
    impostor = toy_model(scale=2.001)
    folder = in_use(cache)
    (folder / "model.onnx").write_bytes(impostor)
    described = manifest.read(folder / "manifest.json")
    (folder / "manifest.json").write_text(manifest.to_json(replace(described, sha256=registry.sha256(impostor))))
    assert refusal(registry.load, cache, "toy") is ModelFault.GOLDEN_MISMATCH


def test_a_pointer_out_of_the_cache_is_not_followed(cache, tmp_path):
    shutil.copytree(in_use(cache), tmp_path / "outside")
    (cache / "toy" / "current").write_text("../../outside")
    assert refusal(registry.load, cache, "toy") is ModelFault.MODEL_MISSING


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dimension": 81}, ModelFault.MANIFEST_INVALID),
        ({"model_id": registry.GE2E_ID}, ModelFault.MANIFEST_INVALID),
        ({"model": b"not onnx"}, ModelFault.MODEL_CORRUPT),
        ({"model": toy_model(scale=float("nan"))}, ModelFault.GOLDEN_MISMATCH),
    ],
)
def test_an_unfit_model_is_not_admitted(changes, reason, tmp_path):
    assert refusal(registry.add, tmp_path / "cache", *offer(tmp_path / "offer", **changes)) is reason
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_fills_up_leaves_the_previous_model_in_use(cache, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        registry.add(cache, *offer(tmp_path / "offer", model=toy_model(scale=3.0)))
    monkeypatch.undo()
    ones = np.ones((1, 10, 80), np.float32)
    np.testing.assert_allclose(registry.embed(registry.load(cache, "toy"), ones), 2.0)


def test_a_new_build_replaces_the_one_in_use(cache, tmp_path):
    registry.add(cache, *offer(tmp_path / "offer", model=toy_model(scale=3.0)))
    ones = np.ones((1, 10, 80), np.float32)
    np.testing.assert_allclose(registry.embed(registry.load(cache, "toy"), ones), 3.0)


def test_building_again_touches_nothing(built_cache):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in built_cache.rglob("*") if path.is_file()}

    before = stamps()
    again = registry.build_all(built_cache, lambda task, fraction: None)
    assert [each.model_id for each in again] == list(registry.BUILT_IN)
    assert stamps() == before


def test_a_damaged_build_is_made_again_from_the_same_sources(built_cache, tmp_path):
    (tmp_path / "sources").symlink_to(built_cache / "sources")
    for model_id in registry.BUILT_IN:
        shutil.copytree(built_cache / model_id, tmp_path / model_id)
    wrecked = next((tmp_path / registry.GE2E_ID).rglob("model.onnx"))
    whole = wrecked.read_bytes()
    wrecked.write_bytes(whole[:-1])
    registry.build_all(tmp_path, lambda task, fraction: None)
    assert wrecked.read_bytes() == whole


def test_every_manifest_describes_what_the_model_does(built_cache):
    for model_id in registry.BUILT_IN:
        model = registry.load(built_cache, model_id)
        [(given, expected), *_] = vectors.from_bytes(
            (built_cache / model_id / model.manifest.build_key / "golden.npz").read_bytes()
        )
        assert registry.embed(model, given).shape == expected.shape
        assert expected.shape[-1] == model.manifest.dimension
        assert model.manifest.licence in {"Apache-2.0", "MIT"}


def test_manifests_on_disk_are_plain_json(built_cache):
    text = next((built_cache / registry.CAMPPLUS_ID).rglob("manifest.json")).read_text()
    assert json.loads(text)["kind"] == "speaker"


def test_built_files_are_valid_onnx(built_cache):
    for path in built_cache.rglob("model.onnx"):
        onnx.checker.check_model(onnx.load(path), full_check=True)
