"""Frozen evaluation sets of voice identity (§38.1, §38.8): trials whose truth is known and that nothing learns from.

A set is canonical JSON (RFC 8785), so its hash names its content, and it never changes: another set is another version.
Trials are columns of equal length: who was enrolled and who spoke (positions in `speakers`, the same where the trial is
genuine), the cohort (position in `cohorts`) and the natural-log likelihood ratio. Ratios are of one scorer, which the
set names: a pack of another one says nothing about them. Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rfc8785

FROZEN_SET: Final = "VOICEID_FROZEN_SET_V1"
FORMAT: Final = 1
DIMENSIONS: Final = ("language", "accent", "device", "noise")
"""Of a cohort, in their order (§38.3); an empty label was not given."""
MAX_TRIALS: Final = 1_000_000

Codes = npt.NDArray[np.intp]
Scores = npt.NDArray[np.float64]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
_NAME: Final = re.compile(r"[^\x00]{1,128}")
_FIELDS: Final = frozenset(
    {"artifact_type", "format", "name", "scorer_sha256", "speakers", "cohorts", "signals", "trials"}
)
_COLUMNS: Final = ("enrolled", "tested", "cohort", "llr")


class FrozenSetFault(StrEnum):
    """Why a set is refused; stable, for programs."""

    NOT_JSON = "NOT_JSON"
    OF_ANOTHER_TYPE = "OF_ANOTHER_TYPE"
    FIELD_INVALID = "FIELD_INVALID"
    NOT_CANONICAL = "NOT_CANONICAL"


class FrozenSetUnusable(ValueError):
    """No set to evaluate by: `fault` is for programs, the text for people."""

    def __init__(self, fault: FrozenSetFault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True, eq=False)
class FrozenSet:
    """A set as it is evaluated by. `signals` are those that its rows were captured with, if any were."""

    name: str
    scorer_sha256: str
    speakers: tuple[str, ...]
    cohorts: tuple[tuple[str, ...], ...]
    signals: tuple[str, ...]
    enrolled: Codes
    tested: Codes
    cohort: Codes
    llr: Scores

    def __len__(self) -> int:
        return int(self.llr.size)

    @property
    def genuine(self) -> npt.NDArray[np.bool_]:
        """Which trials are of the speaker who is claimed."""
        return np.equal(self.enrolled, self.tested)

    def in_cohorts(self) -> dict[str, npt.NDArray[np.bool_]]:
        """The trials of each cohort, `<dimension>:<value>`, by its name."""
        found: dict[str, npt.NDArray[np.bool_]] = {}
        for place, dimension in enumerate(DIMENSIONS):
            for value in sorted({labels[place] for labels in self.cohorts} - {""}):
                codes = [code for code, labels in enumerate(self.cohorts) if labels[place] == value]
                found[f"{dimension}:{value}"] = np.isin(self.cohort, codes)
        return found

    def canonical(self) -> bytes:
        """RFC 8785 JSON."""
        return rfc8785.dumps(
            {
                "artifact_type": FROZEN_SET,
                "format": FORMAT,
                "name": self.name,
                "scorer_sha256": self.scorer_sha256,
                "speakers": list(self.speakers),
                "cohorts": [list(labels) for labels in self.cohorts],
                "signals": list(self.signals),
                "trials": {column: getattr(self, column).tolist() for column in _COLUMNS},
            }
        )


def scorer_sha256(pack: Mapping[str, Any]) -> str:
    """What made a threshold pack's scores: SHA-256 over its models and the map from their cosines to one ratio.

    ValueError where the pack names neither.
    """
    models, fused = pack.get("model_set_hash"), pack.get("fused")
    if not isinstance(models, str) or not isinstance(fused, dict):
        raise ValueError("the pack names no models, or no map")
    return hashlib.sha256(rfc8785.dumps({"model_set_hash": models, "fused": fused})).hexdigest()


def parse(payload: bytes) -> FrozenSet:
    """A set from its canonical bytes. FrozenSetUnusable."""
    try:
        content = json.loads(payload)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise FrozenSetUnusable(FrozenSetFault.NOT_JSON) from None
    if not isinstance(content, dict):
        raise FrozenSetUnusable(FrozenSetFault.NOT_JSON)
    if content.get("artifact_type") != FROZEN_SET or content.get("format") != FORMAT:
        raise FrozenSetUnusable(FrozenSetFault.OF_ANOTHER_TYPE)
    if set(content) != _FIELDS:
        raise _invalid("fields")
    read = _read(content)
    if read.canonical() != payload:
        raise FrozenSetUnusable(FrozenSetFault.NOT_CANONICAL)
    return read


def _read(content: Mapping[str, Any]) -> FrozenSet:
    name, scorer, trials = content["name"], content["scorer_sha256"], content["trials"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _invalid("name")
    if not isinstance(scorer, str) or not _DIGEST.fullmatch(scorer):
        raise _invalid("scorer_sha256")
    speakers, signals = _names(content, "speakers"), _names(content, "signals")
    cohorts = _cohorts(content["cohorts"])
    if not isinstance(trials, dict) or set(trials) != set(_COLUMNS):
        raise _invalid("trials")
    columns = [trials[column] for column in _COLUMNS]
    if any(type(column) is not list for column in columns) or len({len(column) for column in columns}) != 1:
        raise _invalid("trials")
    if not 1 <= len(columns[0]) <= MAX_TRIALS:
        raise _invalid("trials")
    return FrozenSet(
        name=name,
        scorer_sha256=scorer,
        speakers=speakers,
        cohorts=cohorts,
        signals=signals,
        enrolled=_codes(trials, "enrolled", len(speakers)),
        tested=_codes(trials, "tested", len(speakers)),
        cohort=_codes(trials, "cohort", len(cohorts)),
        llr=_llrs(trials["llr"]),
    )


def _names(content: Mapping[str, Any], field: str) -> tuple[str, ...]:
    names = content[field]
    if type(names) is not list or any(type(one) is not str or not _NAME.fullmatch(one) for one in names):
        raise _invalid(field)
    if names != sorted(set(names)):
        raise _invalid(field)
    return tuple(names)


def _cohorts(cohorts: object) -> tuple[tuple[str, ...], ...]:
    if type(cohorts) is not list:
        raise _invalid("cohorts")
    for labels in cohorts:
        if type(labels) is not list or len(labels) != len(DIMENSIONS):
            raise _invalid("cohorts")
        if any(type(label) is not str or not _LABEL.fullmatch(label) for label in labels):
            raise _invalid("cohorts")
    return tuple(tuple(labels) for labels in cohorts)


def _codes(trials: Mapping[str, Sequence[Any]], column: str, below: int) -> Codes:
    if any(type(code) is not int or not 0 <= code < below for code in trials[column]):
        raise _invalid(column)
    return np.array(trials[column], np.intp)


def _llrs(llrs: Sequence[Any]) -> Scores:
    # RFC 8785 writes a whole number without its point.
    if any(type(llr) not in (int, float) for llr in llrs):
        raise _invalid("llr")
    try:
        read = np.array(llrs, np.float64)
    except OverflowError:
        raise _invalid("llr") from None
    if not np.isfinite(read).all():
        raise _invalid("llr")
    return read


def _invalid(field: str) -> FrozenSetUnusable:
    return FrozenSetUnusable(FrozenSetFault.FIELD_INVALID, field)
