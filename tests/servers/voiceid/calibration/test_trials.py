"""Score lists say what is wrong with them and where; the split lets no speaker through."""

from __future__ import annotations

import json

import numpy as np
import pytest

from servers.voiceid.calibration.score_list import ScoreListError, read_score_list
from servers.voiceid.calibration.trials import (
    Cohort,
    Leakage,
    Split,
    Trial,
    collect,
    condition_of,
    split_speakers,
    strata_of,
)

HEADER = "label,enrolled,tested,seconds,cosine:fast@1,cosine:slow@1,language,utterance,same_session"
ROWS = ("genuine,ann,ann,1.1,0.8,0.7,en,a1,1", "impostor,ann,bob,3.2,0.1,-0.2,en,b1,0")


def _write(tmp_path, text, name="scores.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _read(tmp_path, text, name="scores.csv"):
    return read_score_list(_write(tmp_path, text, name), durations=(1.0, 3.0))


@pytest.mark.parametrize(("name", "delimiter"), [("s.csv", ","), ("s.tsv", "\t")])
def test_table_is_read(tmp_path, name, delimiter):
    trials = _read(tmp_path, "\n".join((HEADER, *ROWS)).replace(",", delimiter), name)
    assert trials.models == ("fast@1", "slow@1")
    assert trials.cosines.tolist() == [[0.8, 0.7], [0.1, -0.2]]
    assert trials.genuine.tolist() == [True, False]
    assert [trials.speakers[code] for code in trials.tested] == ["ann", "bob"]
    assert [trials.conditions[code] for code in trials.condition] == ["1 s", "3 s"]
    assert trials.cohorts == (Cohort(language="en"),)
    assert trials.same_session.tolist() == [True, False]


def test_jsonl_is_read_the_same(tmp_path):
    rows = [
        {"label": "genuine", "enrolled": "ann", "tested": "ann", "seconds": 1.1, "language": "en", "utterance": "a1"},
        {"label": "impostor", "enrolled": "ann", "tested": "bob", "seconds": 3.2, "language": "en", "utterance": "b1"},
    ]
    cosines = ({"fast@1": 0.8, "slow@1": 0.7}, {"slow@1": -0.2, "fast@1": 0.1})
    text = "\n".join(
        json.dumps({**row, "cosines": pair, "same_session": row["label"] == "genuine"})
        for row, pair in zip(rows, cosines, strict=True)
    )
    from_json, from_csv = _read(tmp_path, text, "s.jsonl"), _read(tmp_path, "\n".join((HEADER, *ROWS)))
    assert from_json.cosines.tolist() == from_csv.cosines.tolist()
    assert from_json.same_session.tolist() == from_csv.same_session.tolist()
    assert from_json.speakers == from_csv.speakers


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "lacks label"),
        (HEADER, 1, "holds no trials"),
        (HEADER.replace("seconds,", ""), 1, "lacks seconds"),
        (HEADER + ",colour", 1, "does not know colour"),
        (HEADER + ",language", 1, "named twice"),
        ("label,enrolled,tested,seconds", 1, "names no model"),
        (f"{HEADER}\n{ROWS[0]}\n{ROWS[1]},more", 3, "10 fields where the header has 9"),
        (f"{HEADER}\n{ROWS[0].replace('0.8', 'high')}", 2, "fast@1: 'high' is not a number"),
        (f"{HEADER}\n{ROWS[0].replace('0.8', 'nan')}", 2, "not all numbers between -1 and 1"),
        (f"{HEADER}\n{ROWS[0].replace('0.8', '1.8')}", 2, "not all numbers between -1 and 1"),
        (f"{HEADER}\n{ROWS[0]}\n{ROWS[1].replace('3.2', '0')}", 3, "net speech of 0.0 s"),
        (f"{HEADER}\n{ROWS[0].replace('1.1', 'inf')}", 2, "net speech of inf s"),
        (f"{HEADER}\n{ROWS[0].replace('genuine', 'target')}", 2, "'target' is neither genuine nor impostor"),
        (
            f"{HEADER}\n{ROWS[0].replace('ann,ann', 'ann,bob')}",
            2,
            "labelled genuine, but the speakers are 'ann' and 'bob'",
        ),
        (f"{HEADER}\n{ROWS[1].replace('bob', 'ann')}", 2, "labelled impostor"),
        (f"{HEADER}\n{ROWS[1].replace('bob', '')}", 2, "both speakers must be named"),
        (f"{HEADER}\n{ROWS[0][:-1]}2", 2, "same_session '2'"),
        (f'{HEADER}\n{ROWS[0]}\n"{ROWS[1]}', 3, "unexpected end of data"),
    ],
)
def test_bad_table_is_refused_with_its_line(tmp_path, text, line, problem):
    with pytest.raises(ScoreListError, match=problem) as refused:
        _read(tmp_path, text)
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[1]", 'is not an object with "cosines"'),
        ('{"cosines": {"a@1": true}}', "a@1: True is not a number"),
        ('{"cosines": {"a@1": 0.5}}', "lacks label"),
    ],
)
def test_bad_jsonl_is_refused(tmp_path, text, problem):
    with pytest.raises(ScoreListError, match=problem):
        _read(tmp_path, text, "s.jsonl")


def test_models_may_not_change_between_lines(tmp_path):
    line = {"label": "genuine", "enrolled": "a", "tested": "a", "seconds": 1}
    text = "\n".join(json.dumps({**line, "cosines": {model: 0.5}}) for model in ("a@1", "b@1"))
    with pytest.raises(ScoreListError, match="cosines of b@1, but the lines before have a@1"):
        _read(tmp_path, text, "s.jsonl")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ScoreListError, match=r"\.csv, \.tsv or \.jsonl"):
        _read(tmp_path, "x", "scores.xlsx")
    binary = tmp_path / "b.csv"
    binary.write_bytes(b"label,\xff\xfe")
    with pytest.raises(ScoreListError, match="UTF-8"):
        read_score_list(binary, durations=(1.0,))


@pytest.mark.parametrize(
    ("seconds", "name"), [(0.4, "1 s"), (1.2, "1 s"), (1.8, "3 s"), (4.2, "3 s"), (4.3, "whole"), (60.0, "whole")]
)
def test_conditions_are_the_nearest_duration_by_ratio(seconds, name):
    assert condition_of(seconds, (1.0, 3.0)) == name


def _trial(enrolled, tested, **more):
    return Trial(
        genuine=enrolled == tested,
        enrolled=enrolled,
        tested=tested,
        seconds=1.0,
        cosines=(0.5,),
        condition="1 s",
        **more,
    )


def test_leakage_is_refused():
    with pytest.raises(Leakage, match="1 speakers are in calibration and in the holdout: bob"):
        Split(frozenset({"ann", "bob"}), frozenset({"bob"}))


def test_undecided_speakers_are_refused():
    trials = collect(["m@1"], [_trial("ann", "cleo")])
    with pytest.raises(Leakage, match="on neither side of the split: cleo"):
        Split(frozenset({"ann"}), frozenset({"bob"})).sides(trials)


def test_comparisons_across_the_split_belong_to_neither_side():
    rows = [_trial(a, b) for a in "abcd" for b in "abcd"]
    calibration, holdout = Split(frozenset("ab"), frozenset("cd")).sides(collect(["m@1"], rows))
    assert calibration.speaker_names() == frozenset("ab")
    assert holdout.speaker_names() == frozenset("cd")
    assert len(calibration) == len(holdout) == 4


def test_split_depends_on_names_alone():
    names = [f"s{index}" for index in range(40)]
    split = split_speakers([names], holdout_share=0.25, salt="x")
    assert split == split_speakers([names[::-1]], holdout_share=0.25, salt="x")
    assert split != split_speakers([names], holdout_share=0.25, salt="y")
    assert len(split.holdout) == 10


def test_scarce_speakers_are_shared_between_the_sides():
    rows = [_trial(f"a{i}", f"a{i}") for i in range(4)]
    rows += [_trial(f"b{i}", f"b{i}", same_session=True) for i in range(30)] + [_trial("a0", "c")]
    strata = strata_of(collect(["m@1"], rows))
    assert [len(stratum) for stratum in strata] == [4, 30, 1]
    split = split_speakers(strata, holdout_share=0.5, salt="x")
    assert sum(name.startswith("a") for name in split.holdout) == 2


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_holdout_of_nobody_or_everybody_is_refused(share):
    with pytest.raises(ValueError, match="outside"):
        split_speakers([["a", "b"]], holdout_share=share, salt="x")


def test_speakers_are_renumbered_for_the_bootstrap():
    trials = collect(["m@1"], [_trial("ann", "ann"), _trial("cleo", "bob"), _trial("cleo", "cleo")])
    scored = trials.where(np.array([False, True, True])).scored(np.array([1.0, 2.0]))
    assert scored.enrolled.tolist() == [1, 1]
    assert scored.tested.tolist() == [0, 1]
