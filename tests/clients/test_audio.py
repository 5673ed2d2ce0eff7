"""Files become mono PCM16 in 20 ms frames, or are refused with what to do; pace follows the clock."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from clients import audio
from clients.audio import AudioUnusable, Recording
from clients.turns import alone, parse_rttm, split_voice, voices_of


def written(path, samples, rate=16_000, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_pcm16_files_are_read_to_the_bit(tmp_path, suffix):
    samples = np.arange(-16_000, 16_000, dtype=np.int16)
    recording = audio.read(written(tmp_path / f"a{suffix}", samples))
    assert recording.rate == 16_000
    assert np.array_equal(recording.samples, samples)


def test_float_files_are_scaled_and_clipped(tmp_path):
    path = written(tmp_path / "a.wav", np.array([0.5, -0.5, 1.5, -1.5], dtype=np.float32), subtype="FLOAT")
    assert audio.read(path).samples.tolist() == [16_384, -16_384, 32_767, -32_768]


def test_one_channel_is_taken_and_none_is_mixed(tmp_path):
    path = written(tmp_path / "a.wav", np.array([[1, 100], [2, 200]], dtype=np.int16))
    assert audio.read(path).samples.tolist() == [1, 2]
    assert audio.read(path, channel=1).samples.tolist() == [100, 200]
    with pytest.raises(AudioUnusable, match="no channel 2; it has 2, counted from 0"):
        audio.read(path, channel=2)


def test_an_unusual_rate_is_refused_with_a_way_out(tmp_path):
    path = written(tmp_path / "a.wav", np.zeros(100, dtype=np.int16), rate=22_050)
    with pytest.raises(AudioUnusable, match=r"22050 Hz.*ffmpeg"):
        audio.read(path)


def test_what_is_no_audio_is_refused(tmp_path):
    text = tmp_path / "a.wav"
    text.write_bytes(b"RIFF nonsense")
    hollow = written(tmp_path / "b.wav", np.zeros(0, dtype=np.int16))
    broken = written(tmp_path / "c.wav", np.array([0.1, np.nan], dtype=np.float32), subtype="FLOAT")
    for path in (text, hollow, broken, tmp_path / "absent.wav"):
        with pytest.raises(AudioUnusable):
            audio.read(path)
    with pytest.raises(AudioUnusable, match="a folder, wanted a file"):
        audio.read(tmp_path)


@given(st.sampled_from(audio.RATES), st.integers(1, 5_000))
def test_frames_are_20_ms_and_lose_nothing(rate, length):
    recording = Recording("r", rate, np.arange(length, dtype=np.int16))
    frames = list(recording.frames())
    assert b"".join(frames) == recording.samples.tobytes()
    assert {len(frame) for frame in frames[:-1]} <= {rate // 50 * 2}


class Wall:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def test_pace_is_that_of_a_microphone_and_lateness_is_caught_up():
    wall = Wall()
    left = []
    async for frame in audio.paced([b"a", b"b", b"c", b"d"], monotonic=wall.monotonic, sleep=wall.sleep):
        left.append((frame, round(wall.now - 100, 3)))
        if frame == b"b":
            wall.now += 0.03  # a slow server
    assert left == [(b"a", 0.02), (b"b", 0.04), (b"c", 0.07), (b"d", 0.08)]


async def test_a_missing_microphone_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioUnusable, match=r"selene-platform\[mic\]"):
        async with audio.microphone():
            pass


RTTM = """
SPEAKER talk 1 0.0 4.0 <NA> <NA> ana <NA> <NA>
SPEAKER talk 1 3.0 2.0 <NA> <NA> ben <NA> <NA>
SPEAKER talk 1 6.0 1.0 <NA> <NA> ana <NA> <NA>
SPEAKER talk 1 6.2 0.2 <NA> <NA> ben <NA> <NA>
"""


def test_only_what_a_speaker_says_alone_is_kept():
    turns = parse_rttm(RTTM)
    assert turns == {"ana": [(0.0, 4.0), (6.0, 7.0)], "ben": [(3.0, 5.0), (6.2, 6.4)]}
    assert alone(turns, "ana") == [(0.0, 3.0), (6.4, 7.0)]
    assert alone(turns, "ben") == [(4.0, 5.0)]


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda t: (t[0], t[0] + t[1])), max_size=5),
        min_size=1,
    )
)
def test_no_kept_part_overlaps_anybody_else(turns):
    for speaker in turns:
        for start, end in alone(turns, speaker):
            others = [span for name, spans in turns.items() if name != speaker for span in spans]
            assert all(other_end <= start or end <= other_start for other_start, other_end in others)


def test_a_line_that_is_no_turn_is_refused():
    with pytest.raises(AudioUnusable, match="RTTM line 1"):
        parse_rttm("SPEAKER talk 1 zero 1.0 <NA> <NA> ana")


def test_audio_to_ask_with_is_never_audio_that_was_enrolled():
    speech = Recording("ana", 16_000, np.arange(16_000 * 10, dtype=np.int32).astype(np.int16))
    voice = split_voice("ana", speech, clips=3, ask_seconds=3)
    assert [round(clip.seconds, 2) for clip in voice.clips] == [2.33, 2.33, 2.33]
    assert voice.asks[0].seconds == pytest.approx(3, abs=0.001)
    assert np.array_equal(np.concatenate([part.samples for part in (*voice.clips, *voice.asks)]), speech.samples)


def test_too_little_speech_is_refused():
    recording = Recording("talk", 16_000, np.zeros(16_000 * 7, dtype=np.int16))
    with pytest.raises(AudioUnusable, match="too little"):
        voices_of(recording, RTTM, clips=3, ask_seconds=3)


def test_what_is_written_is_read_to_the_bit(tmp_path):
    recording = Recording("said", 24_000, np.arange(-12_000, 12_000, dtype=np.int16))
    audio.write(tmp_path / "said.wav", recording)
    read = audio.read(tmp_path / "said.wav")
    assert (read.rate, read.samples.tolist()) == (24_000, recording.samples.tolist())


def test_pcm_becomes_the_recording_that_gives_the_same_pcm():
    pcm = np.array([1, -2, 32_767, -32_768], dtype="<i2").tobytes()
    assert b"".join(Recording.of_pcm("said", 16_000, pcm).frames()) == pcm


def test_a_missing_loudspeaker_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioUnusable, match=r"the loudspeaker needs a library.*\[mic\]"), audio.loudspeaker(16_000):
        pass


class Device:
    """What sounddevice opens, as far as it is used."""

    def __init__(self, **given):
        self.given = given
        self.calls = []

    def write(self, pcm):
        self.calls.append(pcm)

    def __getattr__(self, name):
        return lambda: self.calls.append(name)


async def test_a_loudspeaker_plays_in_order_and_is_closed_whatever_happens(monkeypatch):
    opened = []

    def open_device(**given):
        opened.append(Device(**given))
        return opened[0]

    library = SimpleNamespace(RawOutputStream=open_device, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    with pytest.raises(RuntimeError, match="unplugged"), audio.loudspeaker(24_000) as speaker:
        await speaker.play(b"one")
        await speaker.play(b"two")
        await speaker.drain()
        raise RuntimeError("unplugged")
    assert opened[0].given == {"samplerate": 24_000, "channels": 1, "dtype": "int16"}
    assert opened[0].calls == ["start", b"one", b"two", "stop", "abort", "close"]


def test_a_text_is_said_to_be_no_recording(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Selene\n")
    with pytest.raises(AudioUnusable, match=r"README\.md: not WAV or FLAC"):
        audio.read(readme)
