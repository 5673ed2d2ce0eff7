"""Manifests survive the disk, and a wrong one names every field that is wrong."""

import json

import pytest

from servers.voiceid.models import manifest
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.models.manifest import FrontEnd, ModelKind, ModelManifest

MANIFEST = ModelManifest(
    model_id="ecapa.v2",
    version="2.1",
    kind=ModelKind.SPEAKER,
    front_end=FrontEnd("fbank80", {"bands": 80, "low_hz": 20.0, "scale": "mel"}),
    sample_rate_hz=16_000,
    window_seconds=1.5,
    hop_seconds=0.75,
    min_seconds=0.5,
    dimension=192,
    sha256="a" * 64,
    golden_sha256="b" * 64,
    build_key="c" * 64,
    licence="Apache-2.0",
    provenance="a paper",
)


def changed(**values):
    return json.dumps({**json.loads(manifest.to_json(MANIFEST)), **values})


def refusal(text):
    with pytest.raises(ModelError) as caught:
        manifest.from_json(text)
    assert caught.value.reason is ModelFault.MANIFEST_INVALID
    return str(caught.value)


def test_a_manifest_survives_the_disk(tmp_path):
    (tmp_path / "m.json").write_text(manifest.to_json(MANIFEST))
    assert manifest.read(tmp_path / "m.json") == MANIFEST


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("model_id", "../escape"),
        ("model_id", ""),
        ("version", " "),
        ("kind", "oracle"),
        ("front_end", {"id": "fbank80"}),
        ("front_end", {"id": "fbank80", "parameters": {"bands": [80]}}),
        ("sample_rate_hz", 0),
        ("sample_rate_hz", True),
        ("window_seconds", "1.5"),
        ("hop_seconds", -1),
        ("min_seconds", 1e9),
        ("dimension", 19.2),
        ("sha256", "A" * 64),
        ("golden_sha256", "b" * 63),
        ("build_key", "../../etc"),
        ("licence", None),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, wrong):
    assert f"{field} must be" in refusal(changed(**{field: wrong}))


def test_every_problem_is_named_at_once():
    raw = json.loads(changed(dimension=0, colour="blue"))
    del raw["licence"]
    message = refusal(json.dumps(raw))
    assert all(part in message for part in ("licence is missing", "unknown field 'colour'", "dimension must be"))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"window_seconds": NaN}'])
def test_what_is_no_manifest_is_refused(text):
    assert refusal(text)


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_duration_must_be_finite(value):
    assert "hop_seconds must be" in refusal(changed().replace('"hop_seconds": 0.75', f'"hop_seconds": {value}'))


def test_a_missing_file_is_a_missing_model(tmp_path):
    with pytest.raises(ModelError) as caught:
        manifest.read(tmp_path / "none.json")
    assert caught.value.reason is ModelFault.MODEL_MISSING
