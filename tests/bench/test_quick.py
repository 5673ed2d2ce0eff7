"""What the benchmarks compute and write, without measuring anything."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v2 import service_pb2
from typer import BadParameter

from bench.report import Report, Table, Target, number
from bench.stats import Level, Spread, holds, knee, percentile
from bench.voiceid import __main__ as command
from bench.voiceid import caller, load
from bench.voiceid.material import MODEL_RATE_HZ, Utterance, gather, shared_speech
from bench.voiceid.stage import BLOCK_SAMPLES, Speech

LIMITS = {"p95_limit_ms": 60.0, "late_limit_ms": 20.0}


@pytest.mark.parametrize(("share", "value"), [(0.01, 1.0), (0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentile_is_the_nearest_rank(share: float, value: float) -> None:
    assert percentile([float(one) for one in range(100, 0, -1)], share) == value


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_no_more_than_the_rest_lies_above_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(one <= found for one in values) >= share * len(values) - 1e-6


def test_spread_of_nothing_is_no_number() -> None:
    spread = Spread.of([])
    assert spread.count == 0
    assert all(map(math.isnan, (spread.p50, spread.p95, spread.p99, spread.largest)))


@pytest.mark.parametrize(
    ("level", "carried"),
    [
        (Level(30, 60.0, 20.0), True),
        (Level(30, 60.1, 0.0), False),
        (Level(30, 10.0, 20.1), False),
        (Level(30, math.nan, 0.0), False),
    ],
)
def test_a_load_is_carried_when_decisions_are_in_time_and_frames_at_pace(level: Level, carried: bool) -> None:
    assert holds(level, **LIMITS) is carried


def test_knee_is_before_the_first_level_that_breaks_even_if_a_later_one_holds() -> None:
    levels = [Level(40, 50.0, 1.0), Level(10, 20.0, 1.0), Level(30, 61.0, 1.0), Level(20, 30.0, 1.0)]
    assert knee(levels, **LIMITS) == 20
    assert knee(levels[2:3], **LIMITS) == 0


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("t", 60.0, 60.0, "ms"), True),
        (Target("t", 60.0, 60.1, "ms"), False),
        (Target("t", 0.999, 0.999, "", at_least=True), True),
        (Target("t", 0.999, 0.998, "", at_least=True), False),
        (Target("t", 60.0, None, "ms"), None),
        (Target("t", 60.0, math.nan, "ms"), None),
    ],
)
def test_a_target_is_met_missed_or_not_measured(target: Target, met: bool | None) -> None:
    assert target.met is met


def test_report_is_written_as_json_in_which_no_number_is_null(tmp_path: Path) -> None:
    report = Report("a", "title", notes=["said"], targets=[Target("p95", 60.0, math.nan, "ms")])
    report.tables.append(Table("table", ("streams", "p95"), [[1, math.inf], [2, 3.5]]))
    report.data["levels"] = {"1": (1.0, math.nan)}
    document = json.loads(report.write(tmp_path / "new", "voiceid-a", {"cores": 2}).read_text())
    assert set(document) == {"part", "title", "machine", "notes", "targets", "tables", "data"}
    assert document["targets"] == [
        {"name": "p95", "limit": 60.0, "measured": None, "unit": "ms", "at_least": False, "met": None}
    ]
    assert document["tables"] == [{"title": "table", "columns": ["streams", "p95"], "rows": [[1, None], [2, 3.5]]}]
    assert document["data"] == {"levels": {"1": [1.0, None]}}


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "-"), (math.nan, "-"), ("a", "a"), (12345, "12,345"), (123.4, "123"), (12.34, "12.3"), (0.01234, "0.0123")],
)
def test_cells_show_three_digits_that_count(cell: str | float | None, text: str) -> None:
    assert number(cell) == text


def test_a_part_that_there_is_not_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadParameter, match="there is no part z"):
        command.main(["z"])


def test_the_pool_becomes_the_very_messages_of_a_stream(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    said = [
        Utterance(name, random.integers(-9, 9, size).astype(np.int16)) for name, size in (("mira", 800), ("otto", 321))
    ]
    pool = tmp_path / "pool.npz"
    load.write_pool(pool, said, ["mira"])
    ready = caller._read_pool(pool)
    assert [one.speaker for one in ready] == ["mira", ""]
    for one, utterance in zip(ready, said, strict=True):
        frames = [service_pb2.IdentifyRequest.FromString(message).frame for message in one.frames]
        assert [frame.sequence for frame in frames] == list(range(len(frames)))
        assert [frame.offset.ToMilliseconds() for frame in frames] == [20 * index for index in range(len(frames))]
        assert b"".join(frame.audio for frame in frames) == utterance.pcm.tobytes()


def test_stages_hear_every_sample_of_the_first_utterances(tmp_path: Path) -> None:
    said = [Utterance("", np.full(size, index, np.int16)) for index, size in enumerate((5000, 700, 900))]
    pool = tmp_path / "pool.npz"
    load.write_pool(pool, said, [])
    speech = Speech(pool, 2)
    assert [sum(map(len, frames)) for frames in speech.frames()] == [10_000, 1400]
    assert max(map(len, speech.blocks())) == BLOCK_SAMPLES
    assert speech.audio_s == 5700 / MODEL_RATE_HZ


def test_nobody_is_asked_with_speech_that_was_enrolled_from() -> None:
    if shared_speech() is None:
        pytest.skip("needs the development speech, which is not beside this checkout")
    material = gather(None, most_people=12)
    enrolled = {clip[:400].tobytes() for person in material.people for clip in person.clips}
    names = {person.name for person in material.people}
    assert len(names) == 12
    assert all(one.speaker in names for one in material.known)
    assert not any(one.speaker in names for one in material.strangers)
    assert all(3.0 <= one.seconds <= 6.0 for one in (*material.known, *material.strangers))
    assert not any(one.pcm[:400].tobytes() in enrolled for one in material.known)
