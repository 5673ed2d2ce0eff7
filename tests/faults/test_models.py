"""Models that are missing, damaged, slow or answer nonsense: every decision is UNKNOWN with its reason (VID-9)."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.errors import SeleneError
from servers.voiceid.models import registry
from servers.voiceid.models.manifest import read, to_json
from servers.voiceid.silero import vad_path
from tests.support.servers import House, ask, serving, swap_lane
from tests.support.speech import Person

Damage = Callable[[Path], None]


def build_of(cache: Path, model_id: str) -> Path:
    return cache / model_id / (cache / model_id / "current").read_text().strip()


def flip(file: Path) -> None:
    """One bit in the middle of the file is another."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def impersonate(cache: Path) -> None:
    """A well-formed file that is not the model it claims to be, under a manifest that vouches for it."""
    folder = build_of(cache, registry.GE2E_ID)
    model = onnx.load(folder / "model.onnx")
    weights = next(one for one in model.graph.initializer if len(one.dims) == 2)
    values = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    raw = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(raw | {"sha256": registry.sha256(data)}))


DAMAGES: dict[str, Damage] = {
    "nothing-built": lambda cache: shutil.rmtree(cache / registry.GE2E_ID),
    "second-model-missing": lambda cache: shutil.rmtree(cache / registry.CAMPPLUS_ID),
    "model-deleted": lambda cache: (build_of(cache, registry.GE2E_ID) / "model.onnx").unlink(),
    "bit-flipped": lambda cache: flip(build_of(cache, registry.CAMPPLUS_ID) / "model.onnx"),
    "truncated": lambda cache: (build_of(cache, registry.GE2E_ID) / "model.onnx").write_bytes(b"\x08\x07"),
    "not-json": lambda cache: (build_of(cache, registry.GE2E_ID) / "manifest.json").write_text("{"),
    "wrong-golden": impersonate,
    "vad-missing": lambda cache: vad_path(cache).unlink(),
    "vad-garbage": lambda cache: vad_path(cache).write_bytes(b"garbage"),
    "overlap-missing": lambda cache: shutil.rmtree(cache / registry.SEGMENTATION_ID),
}


@pytest.fixture
def cache(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of the built models."""
    return Path(shutil.copytree(models_dir, tmp_path / "models", ignore=shutil.ignore_patterns("sources")))


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_model_is_never_used(home: Path, cache: Path, mira: Person, damage: str) -> None:
    DAMAGES[damage](cache)
    async with serving(home, {"owners.voiceid.models_dir": cache}) as house:
        decision = (await ask(house, mira.ask)).v2
        assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN
        assert decision.reason_code == v1.VOICE_ID_REASON_MODEL_UNAVAILABLE
        assert not decision.candidate_set
        with pytest.raises(SeleneError) as caught:
            enrollment = await house.client().create_enrollment("eve", consent_ref="c")
            await house.client().add_clip(enrollment.enrollment_id, mira.clips[0])
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")


async def test_an_enrolment_is_not_completed_without_models_and_is_once_they_are_back(
    home: Path, tmp_path: Path, mira: Person
) -> None:
    async with serving(home) as house:
        enrollment_id = (await house.client().create_enrollment("eve", consent_ref="c")).enrollment_id
        for clip in mira.clips:
            assert (await house.client().add_clip(enrollment_id, clip)).accepted
    async with serving(home, {"owners.voiceid.models_dir": tmp_path / "none"}) as house:
        with pytest.raises(SeleneError) as caught:
            await house.client().complete_enrollment(enrollment_id)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")
    async with serving(home) as house:
        assert (await house.client().complete_enrollment(enrollment_id)).profile is not None


NAN_OF_SPEECH = "nan"
SLOW_OF_SPEECH = "slow"


def mel_model(kind: str) -> onnx.ModelProto:
    """A model of mel features, finite and quick on the registry's synthetic input, which has negative values.

    On real speech, whose energies are never negative, it answers NaN (the root of a negative number) or takes long.
    """
    nodes = [helper.make_node("ReduceMin", ["mels", "axes"], ["least"], keepdims=0)]
    if kind == NAN_OF_SPEECH:
        nodes += [
            helper.make_node("Neg", ["least"], ["turned"]),
            helper.make_node("Sub", ["turned", "tiny"], ["under"]),
            helper.make_node("Sqrt", ["under"], ["factor"]),
        ]
    else:
        nodes += [
            helper.make_node("Less", ["least", "zero"], ["synthetic"]),
            helper.make_node("Where", ["synthetic", "few", "many"], ["rounds"]),
            helper.make_node("Loop", ["rounds", "", "square"], ["result"], body=_rounds()),
            helper.make_node("ReduceMean", ["result"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "one"], ["factor"]),
        ]
    nodes += [
        helper.make_node("ReduceMean", ["mels", "time"], ["mean_mel"], keepdims=0),
        helper.make_node("Add", ["mean_mel", "one"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "factor"], ["embedding"]),
    ]
    constants = {
        "axes": np.array([0, 1, 2], np.int64),
        "time": np.array([1], np.int64),
        "tiny": np.float32(1e-6),
        "zero": np.float32(0),
        "one": np.float32(1),
        "few": np.int64(1),
        "many": np.int64(20_000),
        "square": np.zeros((128, 128), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("mels", TensorProto.FLOAT, ["B", "T", 40])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", 40])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _rounds() -> onnx.GraphProto:
    """A loop's body that multiplies a matrix with itself."""
    matrix = [TensorProto.FLOAT, [128, 128]]
    return helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["go_on"]),
            helper.make_node("MatMul", ["state", "state"], ["next"]),
        ],
        "rounds",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", *matrix),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", *matrix),
        ],
    )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(NAN_OF_SPEECH, v1.VOICE_ID_REASON_MODEL_FAILED), (SLOW_OF_SPEECH, v1.VOICE_ID_REASON_MODEL_SLOW)],
)
async def test_an_added_model_that_fails_on_speech_ends_in_unknown(
    home: Path, cache: Path, tmp_path: Path, mira: Person, kind: str, reason: int
) -> None:
    onnx.save(mel_model(kind), tmp_path / "model.onnx")
    usual = json.loads(to_json(read(build_of(cache, registry.GE2E_ID) / "manifest.json")))
    (tmp_path / "manifest.json").write_text(json.dumps(usual | {"model_id": kind, "dimension": 40}))
    registry.add(cache, tmp_path / "model.onnx", tmp_path / "manifest.json")
    flags = {
        "owners.voiceid.models_dir": cache,
        "owners.voiceid.models": (kind, registry.CAMPPLUS_ID),
        "owners.voiceid.decision_budget_s": 0.2,
    }
    async with serving(home, flags) as house:
        assert house.models.names == (f"{kind}@1", "campplus-zh-en@1")
        decision = (await ask(house, mira.ask.cut(0.0, 1.5))).v2
        await house.idle()
    assert (decision.identity_tier, decision.reason_code) == (v2.IDENTITY_TIER_UNKNOWN, reason)
    assert not decision.candidate_set


def nan_rows(windows: Any) -> Any:
    return np.full((len(windows), 256), np.nan, np.float32)


def too_few_rows(windows: Any) -> Any:
    return np.zeros((len(windows) + 1, 256), np.float32)


def raise_(windows: Any) -> Any:
    raise RuntimeError("the runtime broke: /secret/path")


def zeros(windows: Any) -> Any:
    return np.zeros((len(windows), 256), np.float32)


@pytest.mark.parametrize("answer", [nan_rows, too_few_rows, raise_])
async def test_a_model_that_begins_to_fail_names_nobody_and_recovers(
    home: Path, mira: Person, answer: Callable[[Any], Any]
) -> None:
    async with serving(home, {"owners.voiceid.replay_min_s": 600.0}) as house:
        put_back = swap_lane(house, 0, answer)
        decision = (await ask(house, mira.ask, session_id="failing")).v2
        put_back()
        assert decision.reason_code == v1.VOICE_ID_REASON_MODEL_FAILED
        assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN and not decision.candidate_set
        assert (await ask(house, mira.ask, session_id="well")).v2.candidate_set[0].user_id == "mira"


async def test_a_model_that_answers_zeros_names_nobody(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        swap_lane(house, 0, zeros)
        decision = (await ask(house, mira.ask)).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN and not decision.candidate_set


async def test_a_model_that_hangs_costs_the_budget_and_no_more(home: Path, mira: Person) -> None:
    release = threading.Event()

    def hang(windows: Any) -> Any:
        release.wait(10.0)
        return zeros(windows)

    flags = {"owners.voiceid.decision_budget_s": 0.2, "owners.voiceid.replay_min_s": 600.0}
    async with serving(home, flags) as house:
        put_back = swap_lane(house, 0, hang)
        decision = (await ask(house, mira.ask, session_id="hanging")).v2
        assert decision.reason_code == v1.VOICE_ID_REASON_MODEL_SLOW
        assert decision.telemetry.decision_latency.ToTimedelta().total_seconds() < 3.0
        put_back()
        release.set()
        await house.idle()
        assert await recovered(house, mira)


async def recovered(house: House, person: Person) -> bool:
    """Whether somebody is named again; a fifth of a second may be too little on a machine that others load."""
    for attempt in range(20):
        decision = (await ask(house, person.ask, session_id=f"recovered-{attempt}")).v2
        if decision.reason_code != v1.VOICE_ID_REASON_MODEL_SLOW:
            break
        await house.idle()
    return bool(decision.candidate_set) and decision.candidate_set[0].user_id == person.name


@pytest.mark.parametrize("failing", ["vad", "overlap"])
async def test_a_helper_model_that_fails_names_nobody(home: Path, mira: Person, failing: str) -> None:
    async with serving(home) as house:
        if failing == "vad":
            object.__setattr__(house.models, "vad", BrokenVad(house.models.vad))
        else:
            segmentation = house.models.segmentation
            assert segmentation is not None
            object.__setattr__(segmentation, "run", raise_)
        decision = (await ask(house, mira.ask)).v2
    assert decision.reason_code == v1.VOICE_ID_REASON_MODEL_FAILED
    assert not decision.candidate_set


class BrokenVad:
    """A VAD whose runtime breaks after its third call."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._calls = 0

    def initial_state(self, streams: int = 1) -> Any:
        return self._real.initial_state(streams)

    def run(self, *arguments: Any) -> Any:
        self._calls += 1
        if self._calls > 3:
            return self._real.run(np.full((1, 4, 576), np.nan, np.float32), self.initial_state())
        return self._real.run(*arguments)


async def test_clips_are_not_taken_while_a_model_fails(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        client = house.client()
        enrollment = await client.create_enrollment("eve", consent_ref="c")
        put_back = swap_lane(house, 1, raise_)
        with pytest.raises(SeleneError) as caught:
            await client.add_clip(enrollment.enrollment_id, mira.clips[0])
        assert (caught.value.reason, caught.value.metadata) == ("MODEL_UNAVAILABLE", {"cause": "MODEL_FAILED"})
        assert "secret" not in str(caught.value)
        put_back()
        assert (await client.add_clip(enrollment.enrollment_id, mira.clips[0])).accepted
