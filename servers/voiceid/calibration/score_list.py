"""Score lists: files of comparisons made elsewhere (§38.1).

CSV and TSV have a header. Needed: ``label`` (genuine or impostor), ``enrolled`` and ``tested`` (speakers),
``seconds`` (net speech), and one ``cosine:<model_id@version>`` column a model. Optional: ``language``,
``accent_band``, ``device_class``, ``noise_class``, ``utterance``, ``clips``, ``same_session`` (0 or 1),
``condition``. JSONL has the same names, with ``cosines`` an object from model to number. Any other name is refused.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from servers.voiceid.calibration.trials import Cohort, Trial, Trials, collect, condition_of

REQUIRED = ("label", "enrolled", "tested", "seconds")
OPTIONAL = (*Cohort._fields, "utterance", "clips", "same_session", "condition")
COSINE_PREFIX = "cosine:"
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class ScoreListError(ValueError):
    """A score list that cannot be used; says which file, which line (from 1) and what is wrong there."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path.name}, line {line}: {problem}")
        self.path, self.line, self.problem = path, line, problem


def read_score_list(path: Path, *, durations: Sequence[float]) -> Trials:
    """The trials of a .csv, .tsv or .jsonl file; one without ``condition`` is put into the bucket of its seconds
    among `durations`.

    ScoreListError at the first line that is wrong; OSError when the file cannot be read.
    """
    rows = _jsonl_rows(path) if path.suffix == ".jsonl" else _table_rows(path)
    models: tuple[str, ...] = ()
    trials: list[Trial] = []
    line = 1
    try:
        for line, fields, cosines in rows:
            models = models or tuple(cosines)
            if set(cosines) != set(models):
                raise ScoreListError(
                    path, line, f"cosines of {_names(cosines)}, but the lines before have {_names(models)}"
                )
            try:
                trials.append(_trial(fields, tuple(cosines[model] for model in models), durations))
            except ValueError as problem:
                raise ScoreListError(path, line, str(problem)) from problem
    except UnicodeDecodeError as problem:
        raise ScoreListError(path, line, "is not UTF-8 text") from problem
    if not trials:
        raise ScoreListError(path, line, "holds no trials")
    return collect(models, trials)


def _table_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str], Mapping[str, float]]]:
    if path.suffix not in DELIMITERS:
        raise ScoreListError(path, 1, "a score list is a .csv, .tsv or .jsonl file")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=DELIMITERS[path.suffix], strict=True)
        try:
            header = next(reader, [])
            models = [name.removeprefix(COSINE_PREFIX) for name in header if name.startswith(COSINE_PREFIX)]
            _check_names(path, 1, [name for name in header if not name.startswith(COSINE_PREFIX)], models)
            if len(set(header)) != len(header):
                raise ScoreListError(path, 1, "a column is named twice")
            for values in reader:
                if len(values) != len(header):
                    raise ScoreListError(
                        path, reader.line_num, f"{len(values)} fields where the header has {len(header)}"
                    )
                row = dict(zip(header, values, strict=True))
                cosines = {
                    model: _number(path, reader.line_num, model, row.pop(COSINE_PREFIX + model)) for model in models
                }
                yield reader.line_num, row, cosines
        except csv.Error as problem:
            raise ScoreListError(path, reader.line_num, str(problem)) from problem


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str], Mapping[str, float]]]:
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            try:
                row = json.loads(text)
            except json.JSONDecodeError as problem:
                raise ScoreListError(path, line, f"is not JSON: {problem.msg}") from problem
            if not isinstance(row, dict) or not isinstance(row.get("cosines"), dict):
                raise ScoreListError(path, line, 'is not an object with "cosines"')
            cosines = {model: _number(path, line, model, value) for model, value in row.pop("cosines").items()}
            _check_names(path, line, list(row), list(cosines))
            flat = {name: str(int(value) if isinstance(value, bool) else value) for name, value in row.items()}
            yield line, flat, cosines


def _check_names(path: Path, line: int, names: Sequence[str], models: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in REQUIRED and name not in OPTIONAL]
    if missing:
        raise ScoreListError(path, line, f"lacks {_names(missing)}")
    if unknown:
        raise ScoreListError(path, line, f"does not know {_names(unknown)}")
    if not models:
        raise ScoreListError(path, line, "names no model's cosine")


def _number(path: Path, line: int, name: str, value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        return float(value)
    except ValueError as problem:
        raise ScoreListError(path, line, f"{name}: {value!r} is not a number") from problem


def _trial(fields: Mapping[str, str], cosines: tuple[float, ...], durations: Sequence[float]) -> Trial:
    if fields["label"] not in ("genuine", "impostor"):
        raise ValueError(f"label {fields['label']!r} is neither genuine nor impostor")
    if fields.get("same_session", "0") not in ("0", "1"):
        raise ValueError(f"same_session {fields['same_session']!r} is neither 0 nor 1")
    seconds = float(fields["seconds"])
    trial = Trial(
        genuine=fields["label"] == "genuine",
        enrolled=fields["enrolled"],
        tested=fields["tested"],
        seconds=seconds,
        cosines=cosines,
        cohort=Cohort(*(fields.get(name, "") for name in Cohort._fields)),
        utterance=fields.get("utterance", ""),
        clips=int(fields.get("clips", "1")),
        same_session=fields.get("same_session", "0") == "1",
        condition=fields.get("condition", ""),
    )
    return trial if trial.condition else _in_bucket(trial, durations)


def _in_bucket(trial: Trial, durations: Sequence[float]) -> Trial:
    return replace(trial, condition=condition_of(trial.seconds, durations))


def _names(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(names) or "nothing"
