"""The demonstration: who is enrolled, who stays a stranger, and when it must fail."""

import json

import grpc
import numpy as np
import pytest
import soundfile
import typer
from selene.voiceid.v2 import voiceid_pb2
from typer.testing import CliRunner

from clients import demo
from clients.cli.session import remote


@pytest.fixture
def voices(threaded_double):
    """The double knows people by the value of their samples, which each voice in these tests holds constant."""

    def name_of(heard):
        value = heard.frames[0][:2]
        known = {
            clips[0][:2]: enrollment.user_id
            for clips, enrollment in zip(
                threaded_double.clips.values(),
                (threaded_double.enrollments[key] for key in threaded_double.clip_owners),
                strict=True,
            )
        }
        return known.get(value, "")

    threaded_double.script.name_of = name_of
    return threaded_double


@pytest.fixture
def run(threaded_double, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    app = typer.Typer()
    app.command()(remote(demo.demo))
    return lambda *given: CliRunner().invoke(
        app, [*map(str, given), "--target", threaded_double.target, "--fast", "--json"]
    )


@pytest.fixture
def folder(tmp_path):
    """Three speakers of five recordings each; `cleo` has the least speech."""
    for value, speaker, seconds in ((1, "ana", 0.5), (2, "ben", 0.4), (3, "cleo", 0.3)):
        for index in range(5):
            path = tmp_path / "talk" / speaker / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.full(round(16_000 * seconds), value, dtype=np.int16), 16_000)
    return tmp_path / "talk"


def summary(stdout: str) -> dict:
    return json.loads(stdout.splitlines()[-1])


def test_all_but_one_are_enrolled_and_the_one_left_out_is_the_stranger(run, voices, folder):
    result = run("--audio", folder)
    assert result.exit_code == 0, result.stderr
    told = summary(result.stdout)
    assert (told["known"], told["known_named"], told["strangers"], told["strangers_confirmed"]) == (4, 4, 2, 0)
    assert [enrollment.user_id.partition("-")[0] for enrollment in voices.enrollments.values()] == ["ana", "ben"]
    assert "cleo is a stranger" in result.stderr


def test_audio_that_was_enrolled_is_not_asked_with(run, voices, folder):
    run("--audio", folder)
    assert len(voices.clips) == 6
    assert len(voices.streams) == 6


def test_a_known_voice_that_is_refused_fails_the_demonstration(run, voices, folder):
    voices.script.tier = voiceid_pb2.IDENTITY_TIER_UNKNOWN
    result = run("--audio", folder)
    assert result.exit_code == 1
    assert summary(result.stdout)["known_named"] == 0


def test_a_known_voice_taken_for_another_fails_the_demonstration(run, voices, folder):
    voices.script.name_of = lambda heard: "somebody-else"
    assert run("--audio", folder).exit_code == 1


def test_a_confirmed_stranger_fails_the_demonstration(run, voices, folder):
    right = voices.script.name_of
    voices.script.name_of = lambda heard: right(heard) or "ana"
    result = run("--audio", folder)
    assert result.exit_code == 1
    assert summary(result.stdout)["strangers_confirmed"] == 2


def test_a_stream_that_fails_fails_the_demonstration_and_confirms_nobody(run, voices, folder, refusal):
    denied = refusal(grpc.StatusCode.PERMISSION_DENIED, "DEVICE_MISMATCH")
    voices.script.on_config = [denied] * 6
    result = run("--audio", folder)
    assert result.exit_code == 1
    told = summary(result.stdout)
    assert (told["known_named"], told["strangers_confirmed"]) == (0, 0)


def test_with_two_speakers_the_stranger_is_enrolled_afterwards_and_asked_again(run, voices, tmp_path):
    samples = np.concatenate([np.full(16_000 * 10, 1, np.int16), np.full(16_000 * 9, 2, np.int16)])
    soundfile.write(tmp_path / "talk.wav", samples, 16_000)
    rttm = tmp_path / "talk.rttm"
    rttm.write_text(
        "SPEAKER talk 1 0.0 10.0 <NA> <NA> ana <NA> <NA>\nSPEAKER talk 1 10.0 9.0 <NA> <NA> ben <NA> <NA>\n"
    )
    result = run("--recording", tmp_path / "talk.wav", "--rttm", rttm)
    assert result.exit_code == 0, result.stderr
    told = summary(result.stdout)
    assert (told["known"], told["known_named"], told["strangers"]) == (2, 2, 1)


@pytest.mark.parametrize("given", [[], ["--audio", "absent"], ["--recording", "talk.wav"]])
def test_without_usable_audio_it_says_what_it_wants(run, given):
    result = run(*given)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "USAGE"
