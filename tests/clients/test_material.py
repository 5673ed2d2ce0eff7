"""`selene demo-voices`: what it writes, and what it needs."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from clients import cli
from clients.cli import material, registry

RATE = 16_000
RTTM = (
    "SPEAKER talk 1 0.0 12.0 <NA> <NA> ann <NA> <NA>\n"
    "SPEAKER talk 1 12.0 9.0 <NA> <NA> bob <NA> <NA>\n"
)  # fmt: skip


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A recording of two, one as the sample value 100, who says more, and one as 200."""
    wav, rttm = tmp_path / "talk.wav", tmp_path / "talk.rttm"
    soundfile.write(wav, np.repeat(np.array([100, 200], np.int16), [12 * RATE, 9 * RATE]), RATE)
    rttm.write_text(RTTM)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(registry.Commands, "provided", lambda _, name: {material.SAMPLE: lambda: (wav, rttm)}.get(name))
    return tmp_path / "voices"


def test_the_clips_are_of_one_person_and_a_stranger_and_do_not_repeat(offered):
    result = CliRunner().invoke(cli.build(), ["demo-voices", str(offered), "--json"])
    assert result.exit_code == 0, result.stderr
    names = ["mira/1.wav", "mira/2.wav", "mira/3.wav", "hello.wav", "stranger.wav"]
    assert json.loads(result.stdout)["files"] == [str(offered / name) for name in names]
    samples = {name: soundfile.read(offered / name, dtype="int16")[0] for name in names}
    assert {name: set(values.tolist()) for name, values in samples.items()} == {
        name: {200 if name == "stranger.wav" else 100} for name in names
    }
    assert sum(len(samples[name]) for name in names[:4]) == 12 * RATE


def test_the_commands_to_try_next_name_the_files(offered):
    told = CliRunner().invoke(cli.build(), ["demo-voices", str(offered)]).stdout
    assert f"selene enroll mira {offered}/mira/*.wav" in told
    assert f"selene identify {offered}/stranger.wav" in told


def test_without_the_servers_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    result = CliRunner().invoke(cli.build(), ["demo-voices", str(tmp_path)])
    assert result.exit_code == 2
    assert "selene-platform[server]" in result.stderr
    assert not (tmp_path / "mira").exists()
