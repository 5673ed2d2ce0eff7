"""Which providers the owner has, on a machine that lacks some of what they need."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from servers.runtime.clock import SystemClock
from servers.runtime.server import OnStop
from servers.stt.assembly import Closable, local, vendors
from servers.stt.settings import GoogleSettings, SttSettings
from tests.support.keys import RotatingKey

GOOGLE = GoogleSettings(recognizer="projects/p-1/locations/global/recognizers/_")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def made(settings: SttSettings, stack: AsyncExitStack) -> Mapping[str, Closable]:
    adapters = vendors(settings, lambda provider_ref: RotatingKey(provider_ref), SystemClock())
    for adapter in adapters.values():
        stack.push_async_callback(adapter.close)
    return adapters


async def test_each_vendor_goes_by_the_name_that_the_profile_has_for_it(stack: AsyncExitStack) -> None:
    adapters = made(SttSettings(google=GOOGLE), stack)
    assert adapters.keys() == {"openai/stt", "google/stt"}
    assert all(adapter.provider_ref == provider_ref for provider_ref, adapter in adapters.items())


async def test_google_is_not_there_without_a_recogniser_to_ask(stack: AsyncExitStack) -> None:
    assert made(SttSettings(), stack).keys() == {"openai/stt"}


@pytest.mark.parametrize("missing", ["openai", "google"])
async def test_a_vendor_whose_client_is_not_installed_is_left_out(
    missing: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, f"servers.stt.{missing}", None)
    adapters = made(SttSettings(google=GOOGLE), stack)
    assert adapters.keys() == {"openai/stt", "google/stt"} - {f"{missing}/stt"}
    assert f"provider={missing}/stt" in capfd.readouterr().out


async def test_a_recogniser_whose_model_cannot_be_had_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    stops: list[OnStop] = []
    assert await local(SttSettings(models_dir=tmp_path), SystemClock(), stops.append) == {}
    assert stops == []
    assert "DOWNLOAD_FAILED" in capfd.readouterr().out
