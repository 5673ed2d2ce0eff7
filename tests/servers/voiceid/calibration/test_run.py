"""A calibration from labelled audio or from a score list, with an extractor whose voices are known."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from servers.voiceid.calibration.folder import (
    ClipUnusable,
    Cut,
    FolderError,
    Heard,
    Plan,
    all_pairs,
    find_clips,
    make_trials,
    manifest_hash,
)
from servers.voiceid.calibration.gates import Resampling
from servers.voiceid.calibration.metrics import TooFewTrials
from servers.voiceid.calibration.plots import Shown, draw_det, draw_reliability
from servers.voiceid.calibration.run import Request, calibrate
from servers.voiceid.calibration.trials import Cohort

COHORT = Cohort("en", "us", "headset", "clean")
SECONDS = {"long.wav": 12.0, "short.wav": 1.0}


class KnownVoices:
    """Two models that hear a speaker's own direction plus noise that falls with the length of the cut."""

    models = ("fast@1", "slow@1")

    def __init__(self) -> None:
        self.cuts: dict[Path, list[Cut]] = {}

    def voiced_seconds(self, path: Path) -> float:
        if path.name == "broken.wav":
            raise ClipUnusable("broken.wav cannot be read")
        return SECONDS.get(path.name, 6.0)

    def extract(self, path: Path, cuts: list[Cut]) -> list[Heard]:
        self.cuts[path] = list(cuts)
        return [self._hear(path, cut) for cut in cuts]

    def profile(self, pieces: list[Heard]) -> tuple[np.ndarray, ...]:
        return tuple(np.mean([piece.embeddings[model] for piece in pieces], axis=0) for model in range(2))

    def _hear(self, path: Path, cut: Cut) -> Heard:
        seconds = cut.seconds if cut.seconds is not None else self.voiced_seconds(path) - cut.start
        voice = np.random.default_rng(_seed(path.parent.name))
        noise = np.random.default_rng(_seed(f"{path}{cut}"))
        return Heard(
            seconds, tuple(voice.normal(size=32) + noise.normal(0, 0.8 / seconds**0.5, 32) for _ in self.models)
        )


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _folder(root: Path, layout: dict[str, list[str]]) -> Path:
    for speaker, names in layout.items():
        (root / speaker).mkdir(parents=True)
        for name in names:
            (root / speaker / name).write_bytes(f"{speaker}{name}".encode())
    return root


def _silent(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total


FEW_CUTS = Plan(durations=(1.0, 2.0), clips_per_profile=(1, 3), cuts_per_clip=1)


def test_the_first_folder_names_the_speaker(tmp_path):
    _folder(tmp_path, {"ann": ["a.wav"], "bob/kitchen": ["b.FLAC", "notes.txt"]})
    assert [(clip.speaker, clip.path.name) for clip in find_clips(tmp_path)] == [("ann", "a.wav"), ("bob", "b.FLAC")]


def test_a_librispeech_name_names_the_speaker_wherever_it_lies(tmp_path):
    _folder(tmp_path, {"train-clean": ["103-1240-0000.flac", "1040-133433-0000.flac"]})
    assert [clip.speaker for clip in find_clips(tmp_path)] == ["103", "1040"]


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        ({"ann": []}, "0 clips of 0 speakers"),
        ({"ann": ["a.wav", "b.wav"]}, "2 clips of 1 speakers"),
        ({".": ["a.wav"]}, "a.wav names no speaker"),
    ],
)
def test_a_folder_without_two_speakers_is_refused(tmp_path, layout, problem):
    with pytest.raises(FolderError, match=problem):
        find_clips(_folder(tmp_path / "data", layout))


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FolderError, match="is not a folder"):
        find_clips(tmp_path / "nowhere")


def test_the_listing_hash_is_that_of_sha256sum(tmp_path):
    _folder(tmp_path, {"bob": ["b.wav"], "ann": ["a.wav"]})
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("ann/a.wav", b"anna.wav"), ("bob/b.wav", b"bobb.wav"))
    )
    assert manifest_hash(tmp_path, find_clips(tmp_path)) == hashlib.sha256(lines.encode()).hexdigest()


def _made(tmp_path, layout, plan=FEW_CUTS):
    extractor = KnownVoices()
    clips = find_clips(_folder(tmp_path / "data", layout))
    return make_trials(clips, extractor, plan, cohort=COHORT, progress=_silent), extractor


def test_a_speaker_of_many_clips_is_asked_only_with_clips_not_enrolled(tmp_path):
    made, _ = _made(tmp_path, {name: [f"{i}.wav" for i in range(4)] for name in ("ann", "bob")})
    trials = made.trials
    assert trials.conditions == ("1 s", "2 s", "whole")
    three = trials.where(trials.clips == 3)
    # One profile of three clips each; asked with the one clip left, at three lengths, and with all clips of the other.
    assert int(three.genuine.sum()) == 2 * 1 * 3
    assert int((~three.genuine).sum()) == 2 * 4 * 3
    one = trials.where(trials.clips == 1)
    assert int(one.genuine.sum()) == 2 * 4 * 3 * 3
    assert not trials.same_session.any()


def test_a_speaker_of_one_clip_is_split_in_time_and_marked(tmp_path):
    made, extractor = _made(tmp_path, {"ann": ["long.wav"], "bob": ["long.wav"]})
    cuts = extractor.cuts[tmp_path / "data" / "ann" / "long.wav"]
    # Three pieces of the first six seconds for the profile, everything asked starts after them.
    assert cuts[:3] == [Cut(0.0, 2.0), Cut(2.0, 2.0), Cut(4.0, 2.0)]
    assert all(cut.start >= 6.0 for cut in cuts[3:])
    genuine = made.trials.where(made.trials.genuine)
    assert len(genuine) == 2 * 2 * 3
    assert genuine.same_session.all()
    assert not made.trials.same_session[~made.trials.genuine].any()


def test_short_cuts_of_one_clip_do_not_overlap(tmp_path):
    plan = Plan(durations=(1.0,), whole=False, clips_per_profile=(1,), cuts_per_clip=9)
    _, extractor = _made(tmp_path, {name: ["a.wav", "b.wav"] for name in ("ann", "bob")}, plan)
    assert extractor.cuts[tmp_path / "data" / "ann" / "a.wav"][1:] == [Cut(float(start), 1.0) for start in range(6)]


def test_clips_that_cannot_be_used_are_named_and_left_out(tmp_path):
    layout = {name: [f"{i}.wav" for i in range(4)] for name in ("ann", "bob")}
    made, _ = _made(tmp_path, {**layout, "cleo": ["broken.wav"]})
    assert [(clip.speaker, why) for clip, why in made.unusable] == [("cleo", "broken.wav cannot be read")]
    assert made.trials.speaker_names() == {"ann", "bob"}


def test_a_speaker_of_too_little_speech_for_a_profile_is_asked_as_an_impostor(tmp_path):
    layout = {name: [f"{i}.wav" for i in range(4)] for name in ("ann", "bob")}
    made, _ = _made(tmp_path, {**layout, "dan": ["short.wav"]})
    trials, dan = made.trials, made.trials.speakers.index("dan")
    assert (trials.tested == dan).any()
    assert not (trials.enrolled == dan).any()


def test_too_little_speech_for_any_trial_is_refused(tmp_path):
    with pytest.raises(FolderError, match="too little speech"):
        _made(tmp_path, {"ann": ["short.wav"], "bob": ["short.wav"]})


def test_a_profile_of_more_clips_scores_higher(tmp_path):
    made, _ = _made(tmp_path, {f"s{i}": [f"{j}.wav" for j in range(7)] for i in range(6)})
    trials = made.trials.where(made.trials.genuine)
    assert trials.cosines[trials.clips == 3].mean() > trials.cosines[trials.clips == 1].mean()


def test_all_pairs_takes_each_pair_once(tmp_path):
    clips = find_clips(_folder(tmp_path, {name: ["a.wav", "b.wav", "c.wav"] for name in ("ann", "bob")}))
    trials = all_pairs(clips, KnownVoices(), 2.0)
    assert len(trials) == 6 * 5 // 2
    assert int(trials.genuine.sum()) == 6
    assert set(trials.seconds) == {2.0}


def test_all_pairs_needs_clips_that_are_long_enough(tmp_path):
    clips = find_clips(_folder(tmp_path, {name: ["short.wav"] for name in ("ann", "bob")}))
    with pytest.raises(FolderError, match="0 clips hold 3 s"):
        all_pairs(clips, KnownVoices(), 3.0)


def _request(**more):
    settings = {
        "name": "known voices",
        "note": "",
        "version": 1,
        "model_set_hash": bytes(32),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "tool": "tests",
        "cohort": COHORT,
        "plan": FEW_CUTS,
        "resampling": Resampling(resamples=20),
    }
    return Request(**{**settings, **more})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    layout = {f"s{i:02}": [f"{j}.wav" for j in range(4)] for i in range(16)}
    folder = _folder(tmp_path_factory.mktemp("data"), {**layout, **{f"t{i:02}": ["long.wav"] for i in range(8)}})
    return calibrate(folder, KnownVoices(), _request(), _silent)


def test_calibrating_audio_keeps_the_holdout_apart(result):
    split, data = result.split, result.pack.data
    assert not split.calibration & split.holdout
    assert (data.calibration_speakers, data.holdout_speakers) == (12, 12)
    assert result.holdout.speaker_names() <= split.holdout
    names = "".join(f"{name}\n" for name in sorted(split.holdout))
    assert data.holdout_sha256 == hashlib.sha256(names.encode()).hexdigest()
    # Speakers of several clips and of one are both on both sides.
    assert {name[0] for name in split.holdout} == {name[0] for name in split.calibration} == {"s", "t"}


def test_calibrating_audio_reports_both_sizes_of_profile(result):
    assert {row.clips for row in result.pack.cohorts} == {1, 3}
    assert {row.clips for row in result.pack.cohorts if row.gated} == {3}
    assert all((row.language, row.noise_class) == ("en", "clean") for row in result.pack.cohorts)


def test_genuine_speakers_of_the_holdout_are_recognised(result):
    whole = [row for row in result.pack.cohorts if row.condition == "whole" and row.clips == 3]
    assert whole[0].mid is not None
    assert whole[0].mid.tar.value > 0.9
    assert whole[0].mid.far.value < 0.05


def test_a_frozen_holdout_is_taken_as_given(tmp_path):
    folder = _folder(tmp_path, {f"s{i:02}": [f"{j}.wav" for j in range(4)] for i in range(12)})
    frozen = frozenset({f"s{i:02}" for i in range(6)})
    assert calibrate(folder, KnownVoices(), _request(holdout=frozen), _silent).split.holdout == frozen


def test_audio_needs_the_models(tmp_path):
    with pytest.raises(ValueError, match="needs the models"):
        calibrate(_folder(tmp_path, {"ann": ["a.wav"]}), None, _request(), _silent)


def test_calibrating_a_score_list_needs_no_models(tmp_path, make_normal_trials):
    trials = make_normal_trials(speakers=24, utterances=1, distances=(0.6, 0.6))
    header = "label,enrolled,tested,seconds,cosine:fast@1,cosine:slow@1,language,utterance,clips"
    rows = [
        f"{'genuine' if trials.genuine[i] else 'impostor'},{trials.speakers[trials.enrolled[i]]},"
        f"{trials.speakers[trials.tested[i]]},{trials.seconds[i]},{trials.cosines[i][0]},{trials.cosines[i][1]},"
        f"de,u{trials.utterance[i]},3"
        for i in range(len(trials))
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join((header, *rows)))
    pack = calibrate(path, None, _request(plan=Plan(durations=(1.0, 3.0))), _silent).pack
    assert pack.data.inputs[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert pack.data.inputs[0].items == len(trials)
    assert {row.language for row in pack.cohorts} == {"de"}
    assert {row.condition for row in pack.cohorts} == {"1 s", "3 s"}


def test_a_holdout_of_everybody_leaves_nothing_to_fit(tmp_path):
    folder = _folder(tmp_path, {f"s{i:02}": [f"{j}.wav" for j in range(4)] for i in range(8)})
    everyone = frozenset({f"s{i:02}" for i in range(8)})
    with pytest.raises(TooFewTrials):
        calibrate(folder, KnownVoices(), _request(holdout=everyone), _silent)


def test_plots_are_png_files(result, tmp_path):
    shown = Shown(result.holdout, result.fused_llrs, result.prune_llrs, result.pack)
    draw_det(shown, Resampling(resamples=5), tmp_path / "det.png")
    draw_reliability(shown, tmp_path / "reliability.png")
    for name in ("det.png", "reliability.png"):
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 20_000
