"""(d) How often is the wrong one named, and the right one not? Through the streaming pipeline, and through a server."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import av
import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import fftconvolve, resample_poly

from bench.parts import Say
from bench.process import Server
from bench.report import Cell, Report, Table, Target, number
from bench.stats import percentile
from bench.voiceid.caller import Decided, Plan
from bench.voiceid.load import drive, enrol, write_pool
from bench.voiceid.material import ENROL_CLIPS, Person, Utterance, shared_speech
from clients import audio as client_audio
from clients import turns
from servers.runtime.audio.resample import MODEL_RATE_HZ
from servers.shipped import SHIPPED
from servers.statistics import Interval
from servers.voiceid.calibration import metrics
from servers.voiceid.calibration.fit import llrs
from servers.voiceid.calibration.folder import (
    Clip,
    ClipUnusable,
    Cut,
    FolderError,
    Heard,
    all_pairs,
    find_clips,
    manifest_hash,
)
from servers.voiceid.calibration.pack import ThresholdPack, parse
from servers.voiceid.calibration.trials import Trials, split_speakers
from servers.voiceid.extract import PipelineExtractor, Recording
from servers.voiceid.models import registry
from servers.voiceid.models.wheels import fetch_sample
from servers.voiceid.scorer import open_batcher, open_models
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.silero import vad_path

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]
Damage = Callable[[Recording], Recording]
Answer = TypeVar("Answer")

DURATIONS = (1.0, 1.5, 2.0, 3.0, 5.0)
EER_LIMITS = {3.0: 0.3, 1.5: 1.0, 1.0: 2.5}
"""Promised equal error rates, in percent, by seconds of net speech."""

CONDITION_S = ASK_S = 3.0
RESAMPLES, SEED, CONFIDENCE = 1000, 0, 0.95
COHORT_SPEAKERS = 40
"""Whose impostor cosines normalise the score that is fitted to nothing."""

SHARES: Final = (("FRR at FAR 1 %", 0.01), ("FRR at FAR 0.1 %", 0.001))
PACK_SHARE = 0.5
"""`Request.holdout_share`, with which the shipped pack was made."""

REPLAY_FROM_S, REPLAY_S = 0.37, 4.0
OPUS_BPS, OPUS_RATE_HZ, OPUS_FRAME = 24_000, 48_000, 960


@dataclass(frozen=True, slots=True)
class Speech:
    """Who is tried, and the strangers: whoever has one recording. `folder` None: the recording that pip can fetch."""

    statement: str
    folder: Path | None
    targets: tuple[Clip, ...]
    strangers: tuple[Clip, ...]

    def by_speaker(self) -> dict[str, list[Clip]]:
        clips: dict[str, list[Clip]] = {}
        for clip in self.targets:
            clips.setdefault(clip.speaker, []).append(clip)
        return clips


@dataclass(frozen=True, slots=True)
class Rates:
    """Error rates of one score with their intervals, as shares; NaN where the scores are no LLRs."""

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]

    def cell(self, name: str, scale: float = 1.0) -> Cell:
        value = self.values[name]
        if np.isnan(value):
            return None
        between = self.intervals[name]
        return f"{number(value * scale)} [{number(between.lower * scale)}; {number(between.upper * scale)}]"


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """A way to score trials: its name, the scores ``[n]``, whether they are natural-log LLRs."""

    name: str
    scores: Floats
    is_llr: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One score under one condition."""

    condition: str
    score: str
    speakers: int
    genuine: int
    impostor: int
    rates: Rates

    @property
    def eer_percent(self) -> float:
        return self.rates.values["EER"] * 100


def measure(say: Say, *, audio: Path | None, quick: bool) -> Report:
    """All pairs, then degraded speech, then what a server answers."""
    report = Report("d", "Accuracy, through the streaming pipeline")
    pack = parse((resources.files("servers.voiceid") / "packs" / SHIPPED).read_bytes())
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="selene-bench-")))
        speech = _speech(audio, scratch, quick=quick)
        cache, settings = registry.default_cache_dir(), VoiceIdSettings()
        models = open_models(cache, vad_path(cache), settings.models, None)
        batcher = open_batcher()
        stack.callback(batcher.close)
        ears = Ears(PipelineExtractor(models, batcher))
        trial = _Trial(ears, speech, pack, resamples=100 if quick else RESAMPLES)
        rows = trial.durations((1.5, 3.0) if quick else DURATIONS, say)
        damaged = trial.conditions(dict(list(CONDITIONS.items())[:1]) if quick else CONDITIONS, say)
        report.notes += _notes(speech, pack, trial)
        report.tables += [_errors(rows, "All pairs, clean"), _costs(rows), _errors(damaged, "All pairs, 3 s, degraded")]
        report.targets += _targets(rows if speech.folder else [])
        report.data |= {"rows": [asdict(one) for one in (*rows, *damaged)], "unusable": trial.unusable}
        _deploy(report, ears, speech, pack, scratch, say)
    return report


def _speech(folder: Path | None, scratch: Path, *, quick: bool) -> Speech:
    folder = folder or shared_speech()
    if folder is None:
        clips = _sample(scratch)
        statement = (
            f"the 30 s recording of two people, {len(clips)} pieces of it: one room, one minute, one conversation. Two "
            "speakers support nothing: these numbers only show that the measurement runs; give --audio FOLDER"
        )
        return Speech(statement, None, clips, ())
    found = find_clips(folder)
    count = Counter(clip.speaker for clip in found)
    most = 6 if quick else None
    targets = [clip for name in count if count[name] > 1 for clip in _of(found, name)[:most]]
    strangers = [clip for clip in found if count[clip.speaker] == 1]
    statement = (
        f"{folder.name}: {len(targets)} recordings of {len({clip.speaker for clip in targets})} speakers are tried, "
        f"{len(strangers)} speakers with one recording are strangers"
    )
    return Speech(statement, folder, tuple(targets), tuple(strangers[: 12 if quick else None]))


def _of(clips: Sequence[Clip], speaker: str) -> list[Clip]:
    return [clip for clip in clips if clip.speaker == speaker]


def _sample(scratch: Path) -> tuple[Clip, ...]:
    """What each of the two says alone, in pieces."""
    path, rttm = fetch_sample(registry.default_cache_dir(), lambda what, share: None)
    recording, said = client_audio.read(path), turns.parse_rttm(rttm.read_text(encoding="utf-8"))
    clips = []
    for name in said:
        parts = [recording.cut(start, end) for start, end in turns.alone(said, name)]
        spoken = client_audio.join(name, parts).samples
        for index, piece in enumerate(np.array_split(spoken, max(2, round(len(spoken) / recording.rate / 4)))):
            file = scratch / name / f"{index}.wav"
            file.parent.mkdir(exist_ok=True)
            soundfile.write(file, piece, recording.rate)
            clips.append(Clip(name, file))
    return tuple(clips)


class Ears:
    """The pipeline as an extractor that hears on all cores beforehand, and remembers; `damage` befalls every cut."""

    def __init__(self, pipeline: PipelineExtractor, damage: Damage | None = None, cut: Ears | None = None) -> None:
        self._pipeline = pipeline
        self._damage = damage
        self._sounds: dict[tuple[Path, Cut], Recording] = cut._sounds if cut else {}
        self._voiced: dict[Path, float] = cut._voiced if cut else {}
        self._heard: dict[tuple[Path, Cut], Heard] = {}

    @property
    def models(self) -> tuple[str, ...]:
        return self._pipeline.models

    def damaged(self, damage: Damage) -> Ears:
        """Ears for the same cuts of the same clips, each damaged before it is heard."""
        return Ears(self._pipeline, damage, self)

    def voiced_seconds(self, path: Path) -> float:
        return self._voiced[path]

    def extract(self, path: Path, cuts: Sequence[Cut]) -> Sequence[Heard]:
        return [self._heard[path, cut] for cut in cuts]

    def profile(self, pieces: Sequence[Heard]) -> tuple[Samples, ...]:
        return self._pipeline.profile(pieces)

    def hear(self, clips: Sequence[Clip], seconds: float) -> list[Clip]:
        """Those of the clips that hold so much speech, embedded; what cannot be embedded is left out."""
        cut = Cut(0.0, seconds)

        def one(clip: Clip) -> Clip | None:
            sound = self.sound(clip, cut)
            if sound is None:
                return None
            try:
                self._heard[clip.path, cut] = self._pipeline.hear(self._damage(sound) if self._damage else sound)
            except ClipUnusable:
                return None
            return clip

        return [clip for clip in _on_all_cores(one, clips) if clip is not None]

    def sound(self, clip: Clip, cut: Cut) -> Recording | None:
        """A cut of a clip; None when the clip holds less speech."""
        if clip.path not in self._voiced:
            self._voiced[clip.path] = self._pipeline.voiced_seconds(clip.path)
        if self._voiced[clip.path] < cut.start + (cut.seconds or 0.0):
            return None
        if (clip.path, cut) not in self._sounds:
            (self._sounds[clip.path, cut],) = self._pipeline.pieces(clip.path, [cut])
        return self._sounds[clip.path, cut]

    def embeddings(self, clips: Sequence[Clip], seconds: float) -> list[Floats]:
        """Unit vectors ``[n, D]`` of clips that were heard, one array a model."""
        heard = [self._heard[clip.path, Cut(0.0, seconds)].embeddings for clip in clips]
        return [_unit(np.array([one[model] for one in heard], np.float64)) for model in range(len(self.models))]


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


def _on_all_cores(work: Callable[[Clip], Answer], clips: Sequence[Clip]) -> list[Answer]:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(work, clips))


@dataclass(slots=True)
class _Trial:
    """The trials of one set of speech with the shipped pack."""

    ears: Ears
    speech: Speech
    pack: ThresholdPack
    resamples: int
    unusable: dict[str, int] = field(default_factory=dict)
    cohort: dict[float, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def durations(self, durations: Sequence[float], say: Say) -> list[Row]:
        """Every score at every length of speech that enough clips hold."""
        rows = []
        for seconds in durations:
            say(f"all pairs at {seconds:g} s")
            trials = self._trials(self.ears, seconds, f"{seconds:g} s")
            if trials is not None:
                rows += [self._row(f"{seconds:g} s", trials, score) for score in self._scores(trials, seconds)]
        return rows

    def conditions(self, damages: Mapping[str, Damage], say: Say) -> list[Row]:
        """The same cuts at 3 s, damaged on both sides of every pair."""
        rows = []
        for name, damage in damages.items():
            say(f"all pairs at {CONDITION_S:g} s, {name}")
            trials = self._trials(self.ears.damaged(damage), CONDITION_S, name)
            if trials is not None:
                rows += [self._row(name, trials, score) for score in self._scores(trials, CONDITION_S)]
        return rows

    def _trials(self, ears: Ears, seconds: float, name: str) -> Trials | None:
        heard = ears.hear(self.speech.targets, seconds)
        self.unusable[name] = len(self.speech.targets) - len(heard)
        try:
            return all_pairs(heard, ears, seconds)
        except FolderError:
            return None

    def _scores(self, trials: Trials, seconds: float) -> list[Score]:
        thresholds = self.pack.thresholds()
        scores = []
        for index, model in enumerate(trials.models):
            if thresholds.prune.models == (model,):
                scores.append(Score(model, llrs(thresholds.prune, trials), is_llr=True))
            else:
                scores.append(Score(model, trials.cosines[:, index], is_llr=False))
        scores.append(Score(FUSED, llrs(thresholds.fused, trials), is_llr=True))
        norms = self._norms(seconds)
        if norms:
            columns = [(trials.cosines[:, index] - mean) / std for index, (mean, std) in enumerate(norms)]
            scores.append(Score(UNFITTED, np.mean(columns, axis=0), is_llr=False))
        return scores

    def _norms(self, seconds: float) -> tuple[tuple[float, float], ...]:
        """Mean and deviation of the cosines of strangers with one another, a model."""
        if seconds not in self.cohort:
            strangers = self.ears.hear(self.speech.strangers[:COHORT_SPEAKERS], seconds)
            vectors = self.ears.embeddings(strangers, seconds) if len(strangers) > 2 else []
            pairs = [(rows @ rows.T)[np.triu_indices(len(rows), 1)] for rows in vectors]
            self.cohort[seconds] = tuple((float(one.mean()), float(one.std())) for one in pairs)
        return self.cohort[seconds]

    def _row(self, condition: str, trials: Trials, score: Score) -> Row:
        genuine = int(trials.genuine.sum())
        names = len(trials.speaker_names())
        rates = error_rates(trials.scored(score.scores), is_llr=score.is_llr, resamples=self.resamples)
        return Row(condition, score.name, names, genuine, len(trials) - genuine, rates)


FUSED, UNFITTED = "fused, shipped pack", "fused, nothing fitted"


def error_rates(scored: metrics.Scored, *, is_llr: bool, resamples: int) -> Rates:
    """Every rate of the tables with its interval over resampled speakers. TooFewTrials."""
    rates = _Remembered(scored, is_llr=is_llr)
    names = list(rates.of(np.ones_like(scored.scores)))
    statistics = [rates.statistic(name) for name in names]
    intervals = metrics.speaker_bootstrap(scored, statistics, resamples=resamples, seed=SEED, confidence=CONFIDENCE)
    return Rates(rates.of(np.ones_like(scored.scores)), dict(zip(names, intervals, strict=True)))


class _Remembered:
    """All rates for one vector of weights at once: the bootstrap asks for them one by one."""

    def __init__(self, scored: metrics.Scored, *, is_llr: bool) -> None:
        self._scored = scored
        self._is_llr = is_llr
        self._weights: Floats | None = None
        self._rates: dict[str, float] = {}

    def statistic(self, name: str) -> metrics.Statistic:
        """One of the rates, as the bootstrap wants it."""
        return lambda weights: self.of(weights)[name]

    def of(self, weights: Floats) -> dict[str, float]:
        if self._weights is not weights:
            self._weights, self._rates = weights, self._of(weights)
        return self._rates

    def _of(self, weights: Floats) -> dict[str, float]:
        scores, genuine = self._scored.scores, self._scored.genuine
        points, costs = metrics.curve(scores, genuine, weights), metrics.Costs()
        return {
            "EER": metrics.eer(points),
            "minDCF": metrics.min_dcf(points, costs),
            "actDCF": metrics.act_dcf(points, costs) if self._is_llr else np.nan,
            "Cllr": metrics.cllr(scores, genuine, weights) if self._is_llr else np.nan,
            **{name: metrics.frr_at_far(points, share) for name, share in SHARES},
        }


def with_noise(snr_db: float) -> Damage:
    """Pink noise at this ratio to the whole cut."""

    def damage(sound: Recording) -> Recording:
        samples = sound.samples
        shape = np.fft.rfft(np.random.default_rng(len(samples)).standard_normal(len(samples)))
        shape /= np.sqrt(np.maximum(np.arange(len(shape)), 1))
        noise = np.fft.irfft(shape, len(samples))
        level = np.sqrt(np.mean(samples**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
        return _fitting(samples + level * noise, sound.rate_hz)

    return damage


def narrowband(sound: Recording) -> Recording:
    """What an 8 kHz telephone sends; the server resamples it."""
    return _fitting(resample_poly(sound.samples, 1, sound.rate_hz // 8000), 8000)


def in_a_room(sound: Recording) -> Recording:
    """A room made of decaying noise: 0.5 s to -60 dB, as much energy in the echo as in the direct sound."""
    count = sound.rate_hz // 2
    echo = np.random.default_rng(SEED).standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    response = np.concatenate(([1.0], echo / np.linalg.norm(echo)))
    return _fitting(fftconvolve(sound.samples, response)[: len(sound.samples)], sound.rate_hz)


def overdriven(sound: Recording) -> Recording:
    """So loud that one sample in ten is cut off."""
    limit = np.quantile(np.abs(sound.samples), 0.9)
    return Recording(np.clip(sound.samples / limit, -1, 1).astype(np.float32), sound.rate_hz)


CONDITIONS: Final[dict[str, Damage]] = {
    "pink noise 20 dB": with_noise(20),
    "pink noise 10 dB": with_noise(10),
    "pink noise 5 dB": with_noise(5),
    "8 kHz": narrowband,
    "reverberation": in_a_room,
    "clipped": overdriven,
}


def recoded(sound: Recording) -> Recording:
    """Through Opus at 24 kbit/s and back."""
    encoder, decoder = _opus("w"), _opus("r")
    encoder.bit_rate = OPUS_BPS
    fine = resample_poly(_pcm(sound), OPUS_RATE_HZ // sound.rate_hz, 1)
    fine = np.clip(np.pad(fine, (0, -len(fine) % OPUS_FRAME)), -32767, 32767).astype(np.int16)
    decoded = []
    for start in range(0, len(fine), OPUS_FRAME):
        frame = av.AudioFrame.from_ndarray(fine[None, start : start + OPUS_FRAME], "s16", "mono")
        frame.sample_rate = OPUS_RATE_HZ
        decoded += [one.to_ndarray()[0] for packet in encoder.encode(frame) for one in decoder.decode(packet)]
    whole = np.concatenate(decoded) / 32767
    return _fitting(resample_poly(whole, 1, OPUS_RATE_HZ // sound.rate_hz), sound.rate_hz)


def _opus(mode: Literal["r", "w"]) -> av.AudioCodecContext:
    codec = av.CodecContext.create("libopus", mode)
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = OPUS_RATE_HZ, "mono", "s16"
    return codec


def mixed(voice: Samples, other: Samples, level_db: float) -> Samples:
    """Both at once, `other` so much louder or softer than `voice` over the shorter's length."""
    count = min(len(voice), len(other))
    one, two = voice[:count].astype(np.float64), other[:count].astype(np.float64)
    two = two * (np.sqrt(np.mean(one**2) / np.mean(two**2)) * 10 ** (level_db / 20))
    return _fitting(one + two, MODEL_RATE_HZ).samples


def _fitting(samples: npt.NDArray[Any], rate_hz: int) -> Recording:
    """Softer where it would not fit into PCM otherwise: clipping is a condition of its own."""
    return Recording((samples / max(1.0, float(np.abs(samples).max()))).astype(np.float32), rate_hz)


def _errors(rows: Sequence[Row], title: str) -> Table:
    columns = ("speech", "score", "speakers", "genuine", "impostor", "EER %", *(f"{name}, %" for name, _ in SHARES))
    cells: list[list[Cell]] = [
        [
            one.condition,
            one.score,
            one.speakers,
            one.genuine,
            one.impostor,
            *(one.rates.cell(name, 100) for name in ("EER", *(name for name, _ in SHARES))),
        ]
        for one in rows
    ]
    return Table(title, columns, cells)


def _costs(rows: Sequence[Row]) -> Table:
    names = ("minDCF", "actDCF", "Cllr")
    cells: list[list[Cell]] = [[one.condition, one.score, *(one.rates.cell(name) for name in names)] for one in rows]
    return Table(
        "All pairs, clean: what calibration costs (prior 0.01; Cllr in bits)", ("speech", "score", *names), cells
    )


def _targets(rows: Sequence[Row]) -> list[Target]:
    by_name = {(one.condition, one.score): one.eer_percent for one in rows}
    return [
        Target(f"EER at {seconds:g} s, {score}", limit, by_name.get((f"{seconds:g} s", score)), "%")
        for seconds, limit in EER_LIMITS.items()
        for score in (FUSED, UNFITTED)
    ]


def _notes(speech: Speech, pack: ThresholdPack, trial: _Trial) -> list[str]:
    short = ", ".join(f"{count} at {name}" for name, count in trial.unusable.items() if count)
    return [
        f"Speech: {speech.statement}.",
        "All pairs: the first so many seconds of net speech of every recording against those of every other, each "
        "streamed alone in 20 ms frames, each pair once. In brackets 95 % intervals over resampled speakers "
        f"({trial.resamples} draws); with a handful of speakers they are wide, and an error of 0 means fewer than "
        "about one in the number of trials, not none.",
        f"Recordings left out, too short or without speech to be found: {short or 'none'}.",
        _contamination(speech, pack),
        f"`{UNFITTED}`: both cosines less the mean, over the deviation, of up to {COHORT_SPEAKERS} strangers' cosines "
        "with one another on clean speech of the same length, half each. No speaker that is tried is in it.",
        "Degraded: the noise is pink, level over the whole cut; reverberation is 0.5 s of decaying noise as strong as "
        "the direct sound; clipped cuts off one sample in ten; 8 kHz is sent as such. Both sides of a pair suffer it.",
    ]


def _contamination(speech: Speech, pack: ThresholdPack) -> str:
    """Whether the pack was fitted to the very people who are tried."""
    about = (
        f"`{FUSED}`, and the single model that has a calibration, use the pack that ships ({pack.cohort}: calibrated "
        f"on {pack.data.calibration_speakers} speakers, {pack.data.holdout_speakers} held out)"
    )
    if speech.folder is None:
        return f"{about}; these two people are in neither."
    clips = find_clips(speech.folder)
    if manifest_hash(speech.folder, clips) not in {one.sha256 for one in pack.data.inputs}:
        return f"{about}; whether these recordings were among them is not known here."
    names = sorted(speech.by_speaker())
    split = split_speakers([names], holdout_share=PACK_SHARE, salt=pack.data.split_salt)
    return (
        f"{about}. It was made from this folder: of the speakers tried, {len(split.calibration & set(names))} "
        f"calibrated it and {len(split.holdout & set(names))} did not, so its rows are not unbiased. Two weights, a "
        "bias and their slopes were fitted; the next score is the check."
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one kind of utterance got from the server."""

    kind: str
    decided: tuple[Decided, ...]
    failures: int

    def share(self, holds: Callable[[Decided], bool]) -> float:
        return sum(map(holds, self.decided)) / len(self.decided) if self.decided else float("nan")

    def count(self, holds: Callable[[Decided], bool]) -> str:
        return f"{sum(map(holds, self.decided))} of {len(self.decided)}"


def _deploy(report: Report, ears: Ears, speech: Speech, pack: ThresholdPack, scratch: Path, say: Say) -> None:
    """Enrol from three recordings, ask with others, at a real server; then replays and mixtures."""
    cut = Cut(0.0, ASK_S)
    spoken = {name: _enough(ears, clips, cut) for name, clips in speech.by_speaker().items()}
    known = {name: clips for name, clips in spoken.items() if len(clips) > ENROL_CLIPS}
    if not known:
        report.notes.append(
            "No server was asked: nobody has more recordings of 3 s of speech than three to enrol from."
        )
        report.targets += _deployed_targets(None, None)
        return
    people = [Person(name, tuple(_pcm(_whole(clip)) for clip in clips[:ENROL_CLIPS])) for name, clips in known.items()]
    asks = [clip for clips in known.values() for clip in clips[ENROL_CLIPS:]]
    genuine = [Utterance(clip.speaker, _pcm(sound)) for clip in asks if (sound := ears.sound(clip, cut))]
    everything = Cut(0.0, None)
    sounds = _on_all_cores(lambda clip: ears.sound(clip, cut) or ears.sound(clip, everything), speech.strangers)
    strangers = [Utterance("", _pcm(sound)) for sound in sounds if sound]
    short = len(speech.strangers) - len(_enough(ears, speech.strangers, cut))
    with Server.up(scratch / "server") as server:
        say(f"enrolling {len(people)} people")
        enrolled = enrol(server.target, people)
        asked = {}
        for kind, utterances in _kinds(people, genuine, strangers).items():
            if utterances:
                say(f"asking: {kind}")
                asked[kind] = _ask(server, scratch, kind, utterances, enrolled)
    gate = pack.thresholds().policy.max_overlap_ratio
    report.notes += [
        f"Server: `selene up`; {len(enrolled)} of {len(people)} speakers enrolled from three whole recordings each, "
        f"asked with the first {ASK_S:g} s of net speech of each of their others, strangers with {ASK_S:g} s "
        f"({short} of them with all they have said, which is less). Shorter recordings neither enrol nor ask. The "
        "shipped pack is PROVISIONAL: it turns CONFIRMED into PROBABLE; `uncapped` is what the score alone would have "
        "been; `one model` counts decisions that the first model made alone, as the pack lets it when it is sure.",
        f"Replays: {REPLAY_S:g} s out of the recordings that were enrolled from. Two voices: genuine utterances with "
        f"someone else's over them. Flagged: SPOOF_RISK; more than {gate:.0%} of the voiced time overlapped.",
    ]
    report.tables += [_decisions(asked), _detectors(asked, gate)]
    report.targets += _deployed_targets(asked.get(GENUINE), asked.get(STRANGERS))
    report.data["server"] = {kind: [asdict(one) for one in got.decided] for kind, got in asked.items()}


def _enough(ears: Ears, clips: Sequence[Clip], cut: Cut) -> list[Clip]:
    """Those with so much speech: shorter ones neither enrol nor ask."""
    return [clip for clip in clips if ears.sound(clip, cut) is not None]


GENUINE, STRANGERS = "genuine", "strangers"
REPLAYS: Final[dict[str, Damage]] = {
    "replay": lambda sound: sound,
    "replay, Opus 24 kbit/s": recoded,
    "replay, noise 20 dB": with_noise(20),
}
MIXES: Final = {"two voices, 0 dB": 0.0, "two voices, -6 dB": -6.0}


def _kinds(
    people: Sequence[Person], genuine: Sequence[Utterance], strangers: Sequence[Utterance]
) -> dict[str, list[Utterance]]:
    """What the server is asked with, in this order: what it remembers must not make a genuine utterance a replay."""
    kinds = {GENUINE: list(genuine), STRANGERS: list(strangers)}
    start, end = round(REPLAY_FROM_S * MODEL_RATE_HZ), round((REPLAY_FROM_S + REPLAY_S) * MODEL_RATE_HZ)
    enrolled = [(person.name, _sound(clip[start:end])) for person in people for clip in person.clips]
    for kind, damage in REPLAYS.items():
        kinds[kind] = [Utterance(name, _pcm(damage(sound))) for name, sound in enrolled]
    for kind, level_db in MIXES.items():
        kinds[kind] = [
            Utterance(one.speaker, _pcm(Recording(mixed(_floats(one), _floats(other), level_db), MODEL_RATE_HZ)))
            for index, one in enumerate(genuine)
            if (other := _someone_else(genuine, index)) is not None
        ]
    return kinds


def _someone_else(utterances: Sequence[Utterance], index: int) -> Utterance | None:
    following = [*utterances[index + 1 :], *utterances[:index]]
    return next((one for one in following if one.speaker != utterances[index].speaker), None)


def _ask(server: Server, scratch: Path, kind: str, utterances: Sequence[Utterance], enrolled: Sequence[str]) -> _Asked:
    pool = scratch / "pool.npz"
    write_pool(pool, utterances, enrolled)
    streams = len(os.sched_getaffinity(0))
    plan = Plan(target=server.target, pool=str(pool), streams=streams, paced=False, utterances=len(utterances))
    load = drive(server, plan)
    return _Asked(kind, load.decided, len(load.failures))


def _whole(clip: Clip) -> Recording:
    return Recording.read(clip.path).at_model_rate()


def _pcm(sound: Recording) -> npt.NDArray[np.int16]:
    return (np.clip(sound.samples, -1, 1) * 32767).astype(np.int16)


def _sound(pcm: npt.NDArray[np.int16]) -> Recording:
    return Recording(pcm.astype(np.float32) / np.float32(32767), MODEL_RATE_HZ)


def _floats(utterance: Utterance) -> Samples:
    return _sound(utterance.pcm).samples


def accepted(one: Decided) -> bool:
    """The right person, CONFIRMED or PROBABLE."""
    return one.tier in ("CONFIRMED", "PROBABLE") and one.named == one.speaker


def confirmed_uncapped(one: Decided) -> bool:
    """CONFIRMED, or kept from it by nothing but a PROVISIONAL pack."""
    return one.tier == "CONFIRMED" or one.reason == "PACK_PROVISIONAL"


def _decisions(asked: Mapping[str, _Asked]) -> Table:
    columns = ["asked with", "right one", "wrong one", "CONFIRMED", "uncapped", "PROBABLE", "one model"]
    columns += ["UNKNOWN for", "failed"]
    cells: list[list[Cell]] = []
    for got in asked.values():
        reasons = Counter(one.reason for one in got.decided if one.tier == "UNKNOWN")
        cells.append(
            [
                got.kind,
                got.count(accepted),
                got.count(lambda one: one.tier != "UNKNOWN" and one.named != one.speaker),
                got.count(lambda one: one.tier == "CONFIRMED"),
                got.count(confirmed_uncapped),
                got.count(lambda one: one.tier == "PROBABLE"),
                got.count(lambda one: one.stage2_skipped),
                ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or None,
                got.failures,
            ]
        )
    return Table("What the server decided", columns, cells)


def _detectors(asked: Mapping[str, _Asked], gate: float) -> Table:
    cells: list[list[Cell]] = [
        [
            got.kind,
            got.count(lambda one: one.reason == "SPOOF_RISK"),
            percentile([one.replay_similarity for one in got.decided], 0.5),
            got.count(lambda one: one.overlap_ratio > gate),
            percentile([one.overlap_ratio for one in got.decided], 0.5),
        ]
        for got in asked.values()
    ]
    columns = ("asked with", "flagged as replay", "p50 similarity", "flagged as overlap", "p50 overlap")
    return Table("Detectors: replays and two voices; what is flagged of the first two is a false alarm", columns, cells)


def _deployed_targets(genuine: _Asked | None, strangers: _Asked | None) -> list[Target]:
    known = genuine.share(accepted) * 100 if genuine else None
    confirmed = strangers.share(lambda one: one.tier == "CONFIRMED") * 100 if strangers else None
    uncapped = strangers.share(confirmed_uncapped) * 100 if strangers else None
    return [
        Target(f"genuine at {ASK_S:g} s CONFIRMED or PROBABLE", 100.0, known, "%", at_least=True),
        Target(f"strangers at {ASK_S:g} s CONFIRMED", 0.0, confirmed, "%"),
        Target(f"strangers at {ASK_S:g} s CONFIRMED if uncapped", 0.0, uncapped, "%"),
    ]
