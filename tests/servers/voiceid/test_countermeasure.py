"""Any countermeasure model by manifest (VID-14): its log-odds decide the spoof risk, and its failure names nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid.models import registry
from tests.support.servers import ask, serving
from tests.support.speech import Person

MODEL_ID = "constant-countermeasure"


def detector(log_odds: float) -> onnx.ModelProto:
    """A spoof detector that is equally sure whatever it hears."""
    nodes = [
        helper.make_node("ReduceMean", ["audio", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["log_odds"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axes"),
        onnx.numpy_helper.from_array(np.float32(0), "zero"),
        onnx.numpy_helper.from_array(np.float32(log_odds), "answer"),
    ]
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["B", "N"])
    answer = helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, ["B", 1])
    graph = helper.make_graph(nodes, "detector", [audio], [answer], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def cache(models_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models_dir, tmp_path / "models", ignore=shutil.ignore_patterns("sources")))


def add(cache: Path, folder: Path, log_odds: float, **changes: object) -> None:
    manifest = {
        "model_id": MODEL_ID,
        "version": "1",
        "kind": "countermeasure",
        "front_end": {"id": "waveform", "parameters": {}},
        "sample_rate_hz": 16_000,
        "window_seconds": 4.0,
        "hop_seconds": 4.0,
        "min_seconds": 1.0,
        "dimension": 1,
        "sha256": "0" * 64,
        "golden_sha256": "0" * 64,
        "build_key": "0" * 64,
        "licence": "MIT",
        "provenance": "made in this test",
    }
    onnx.save(detector(log_odds), folder / "model.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    registry.add(cache, folder / "model.onnx", folder / "manifest.json")


@pytest.mark.parametrize(
    ("log_odds", "risk", "named"),
    [
        (-3.0, v1.SPOOF_LIVENESS_STATUS_LOW, True),
        (0.5, v1.SPOOF_LIVENESS_STATUS_MEDIUM, False),
        (9.0, v1.SPOOF_LIVENESS_STATUS_HIGH, False),
    ],
)
async def test_the_countermeasure_decides_the_spoof_risk(
    home: Path, cache: Path, tmp_path: Path, mira: Person, log_odds: float, risk: int, named: bool
) -> None:
    add(cache, tmp_path, log_odds)
    flags = {"owners.voiceid.models_dir": cache, "owners.voiceid.countermeasure": MODEL_ID}
    async with serving(home, flags) as house:
        decision = (await ask(house, mira.ask)).v2
    assert decision.spoof_liveness_status == risk
    assert decision.telemetry.countermeasure_score == pytest.approx(log_odds)
    assert bool(decision.candidate_set) is named
    if not named:
        assert decision.reason_code == v1.VOICE_ID_REASON_SPOOF_RISK
        assert decision.next_action == v1.NEXT_ACTION_STEP_UP


async def test_a_model_of_another_kind_is_not_taken_for_a_countermeasure(
    home: Path, cache: Path, tmp_path: Path, mira: Person
) -> None:
    add(cache, tmp_path, 0.0, kind="speaker")
    flags = {"owners.voiceid.models_dir": cache, "owners.voiceid.countermeasure": MODEL_ID}
    async with serving(home, flags) as house:
        decision = (await ask(house, mira.ask)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
    assert decision.reason_code == v1.VOICE_ID_REASON_MODEL_UNAVAILABLE


async def test_without_one_no_score_is_reported(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        decision = (await ask(house, mira.ask)).v2
    assert not decision.telemetry.HasField("countermeasure_score")
    assert decision.spoof_liveness_status == v1.SPOOF_LIVENESS_STATUS_LOW
