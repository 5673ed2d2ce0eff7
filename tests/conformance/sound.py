"""What a case says about sound, as the frames of a stream.

    - speech: {speaker: A, from: 2.4, seconds: 3}    the 30 s recording's two people, each from what they say alone
    - speech: {speaker: A, seconds: 3, gain: 30}     so loud that it clips
    - speech: {speaker: A, seconds: 3, beside: B}    another voice at the same time
    - speech: {speaker: A, seconds: 3, snr: 0}       noise as loud as the voice, dB
    - silence: {seconds: 2}
    - noise: {seconds: 2}

The format is that of the stream's config unless `format` says otherwise (`opus@48000`). Frames are `frame_ms` long.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr

from clients import audio, turns
from servers.voiceid.models.registry import default_cache_dir
from servers.voiceid.models.wheels import fetch_sample

RATE = 16_000
FRAME_MS = 100
OPUS_FRAME_MS = 20
KINDS = ("speech", "silence", "noise")
ENCODINGS = {"AUDIO_ENCODING_LINEAR16": "linear16", "AUDIO_ENCODING_FLOAT32": "float32", "AUDIO_ENCODING_OPUS": "opus"}

Samples = npt.NDArray[np.float32]


@functools.cache
def speakers() -> dict[str, Samples]:
    """What each of the two people says alone, at RATE: `A` 10.6 s, `B` 9.8 s."""
    wav, rttm = fetch_sample(default_cache_dir(), lambda task, fraction: None)
    recording = audio.read(Path(wav))
    spoken = turns.parse_rttm(Path(rttm).read_text())
    said = [audio.join(name, [recording.cut(*span) for span in turns.alone(spoken, name)]) for name in spoken]
    most_first = sorted(said, key=lambda speech: -speech.seconds)
    return {name: speech.samples.astype(np.float32) / 32768 for name, speech in zip("AB", most_first, strict=True)}


def frames(directive: dict[str, Any], config: dict[str, Any], sequence: int) -> list[dict[str, Any]]:
    """The frames of one directive as proto JSON, numbered from `sequence`."""
    (kind, said) = next((name, directive[name]) for name in KINDS if name in directive)
    encoding, _, rate = said.get("format", _format_of(config)).partition("@")
    samples = _resampled(_SOUNDS[kind](said), int(rate))
    duration = OPUS_FRAME_MS if encoding == "opus" else said.get("frame_ms", FRAME_MS)
    pieces = list(_encoded(samples, encoding, int(rate), duration))
    return [
        {
            "frame": {
                "sequence": sequence + index,
                "offset": f"{(sequence + index) * duration / 1000:.3f}s",
                "audio": base64.b64encode(piece).decode(),
            }
        }
        for index, piece in enumerate(pieces)
    ]


def _format_of(config: dict[str, Any]) -> str:
    found = config.get("audio_format") or config.get("stream", {}).get("audio_format")
    return f"{ENCODINGS[found['encoding']]}@{found['sample_rate_hz']}"


def _speech(said: dict[str, Any]) -> Samples:
    voice = _cut(speakers()[said["speaker"]], said)
    if "beside" in said:
        voice = voice + _cut(speakers()[said["beside"]], said)
    if "snr" in said:
        noise = _noise(said)
        voice = voice + noise * np.sqrt(np.mean(voice**2) / np.mean(noise**2)) * 10 ** (-said["snr"] / 20)
    return np.clip(voice * said.get("gain", 1), -1, 1).astype(np.float32)


def _cut(voice: Samples, said: dict[str, Any]) -> Samples:
    start = round(said.get("from", 0) * RATE)
    part = voice[start : start + round(said["seconds"] * RATE)]
    assert len(part) == round(said["seconds"] * RATE), f"{said['speaker']} does not say that much"
    return part


def _noise(said: dict[str, Any]) -> Samples:
    return (0.05 * np.random.default_rng(1).standard_normal(round(said["seconds"] * RATE))).astype(np.float32)


def _silence(said: dict[str, Any]) -> Samples:
    return np.zeros(round(said["seconds"] * RATE), np.float32)


_SOUNDS = {"speech": _speech, "silence": _silence, "noise": _noise}


def _resampled(samples: Samples, rate: int) -> Samples:
    return samples if rate == RATE else np.asarray(soxr.resample(samples, RATE, rate), np.float32)


def _encoded(samples: Samples, encoding: str, rate: int, duration_ms: int) -> Iterator[bytes]:
    if encoding == "opus":
        yield from _opus(samples, rate)
        return
    whole = samples if encoding == "float32" else np.clip(np.rint(samples * 32768), -32768, 32767)
    raw = whole.astype({"linear16": "<i2", "float32": "<f4"}[encoding]).tobytes()
    size = rate * duration_ms // 1000 * {"linear16": 2, "float32": 4}[encoding]
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


def _opus(samples: Samples, rate: int) -> Iterator[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "flt"
    encoder.open()
    size = rate * OPUS_FRAME_MS // 1000
    for start in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], "flt", "mono")
        frame.sample_rate, frame.pts = rate, start
        yield from (bytes(packet) for packet in encoder.encode(frame))
    yield from (bytes(packet) for packet in encoder.encode(None))
