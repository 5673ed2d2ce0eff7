"""The manifest of a model: what it is fed, what it returns, where it comes from, and how it is recognised.

On disk it is one JSON object beside the ONNX file; the names of its keys are the names of the fields here.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from servers.voiceid.models.faults import ModelError, ModelFault


class ModelKind(StrEnum):
    """What a model's output means."""

    SPEAKER = "speaker"
    COUNTERMEASURE = "countermeasure"
    SEGMENTATION = "segmentation"


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """The features a model expects: the id of a front end of this project and the parameters it was built with."""

    id: str
    parameters: Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """One model. Durations in seconds; ``dimension`` is the length of one output vector; hashes are sha256 hex.

    ``build_key`` names the exact build (checkpoint and builder version, or the ONNX file itself when it was added).
    """

    model_id: str
    version: str
    kind: ModelKind
    front_end: FrontEnd
    sample_rate_hz: int
    window_seconds: float
    hop_seconds: float
    min_seconds: float
    dimension: int
    sha256: str
    golden_sha256: str
    build_key: str
    licence: str
    provenance: str


def to_json(manifest: ModelManifest) -> str:
    return json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ModelManifest:
    """Raises ModelError(MANIFEST_INVALID) naming every field that is missing, unknown or out of range."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(ModelFault.MANIFEST_INVALID, f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ModelError(ModelFault.MANIFEST_INVALID, "a manifest is one JSON object")
    problems = _problems(raw)
    if problems:
        raise ModelError(ModelFault.MANIFEST_INVALID, "; ".join(problems))
    front_end = FrontEnd(raw["front_end"]["id"], dict(raw["front_end"]["parameters"]))
    return ModelManifest(**{**raw, "kind": ModelKind(raw["kind"]), "front_end": front_end})


def read(path: Path) -> ModelManifest:
    """The manifest in a file. Raises ModelError: MODEL_MISSING without the file, MANIFEST_INVALID otherwise."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelError(ModelFault.MODEL_MISSING, f"no manifest at {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(ModelFault.MANIFEST_INVALID, f"{path} cannot be read: {error}") from error
    return from_json(text)


def _problems(raw: Mapping[str, Any]) -> list[str]:
    names = {field.name for field in fields(ModelManifest)}
    unknown = [f"unknown field {name!r}" for name in sorted(raw.keys() - names)]
    missing = [f"{name} is missing" for name in sorted(names - raw.keys())]
    wrong = [f"{name} must be {rule}" for name, (rule, holds) in _RULES.items() if name in raw and not holds(raw[name])]
    return missing + unknown + wrong


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value) is not None


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 60


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_front_end(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"id", "parameters"}
        and _is_name(value["id"])
        and isinstance(value["parameters"], dict)
        and all(isinstance(parameter, int | float | str) for parameter in value["parameters"].values())
    )


_NAME = ("a name of lower-case letters, digits, dots, dashes and underscores", _is_name)
_HASH = ("a sha256 in lower-case hex", _is_hash)
_TEXT = ("a text that is not empty", _is_text)
_DURATION = ("a number of seconds above 0 and at most 60", _is_duration)
_WHOLE = ("a whole number above 0", _is_whole)
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "model_id": _NAME,
    "version": _TEXT,
    "kind": (f"one of {', '.join(ModelKind)}", lambda value: value in list(ModelKind)),
    "front_end": ("an object with an id and parameters (numbers or texts)", _is_front_end),
    "sample_rate_hz": _WHOLE,
    "window_seconds": _DURATION,
    "hop_seconds": _DURATION,
    "min_seconds": _DURATION,
    "dimension": _WHOLE,
    "sha256": _HASH,
    "golden_sha256": _HASH,
    "build_key": _HASH,
    "licence": _TEXT,
    "provenance": _TEXT,
}
