"""Speech, language and routing as users meet them: every routing owner in this process, and the command beside it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer import testing
from typer.main import get_command
from typer.testing import CliRunner

from clients import cli
from tests.support.owners import Owners, serving

Run = Callable[..., Awaitable[Any]]

# To build every command and option of `selene` takes longer than most commands take; once a process is enough.
_selene = functools.cache(cli.build)
_commands = functools.cache(get_command)


@pytest.fixture
async def talking(quiet_log: None, tmp_path: Path) -> AsyncIterator[Owners]:
    """Speech made and language, as a fresh deployment routes them: by what is on this machine."""
    async with serving(["tts", "llm"], tmp_path) as owners:
        yield owners


@pytest.fixture
async def hearing(quiet_log: None, tmp_path: Path) -> AsyncIterator[Owners]:
    """The same, and speech heard."""
    async with serving(["stt", "tts", "llm"], tmp_path) as owners:
        yield owners


def command(owners: Owners, folder: Path, monkeypatch: pytest.MonkeyPatch, *, columns: int = 200) -> Run:
    """Runs `selene …` against the owners, with a loop of its own beside the servers'."""
    targets = ",".join(f"{name}={owners.running.target(name)}" for name in owners.running.ports)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setenv("SELENE_TARGET", "127.0.0.1:1")
    monkeypatch.setenv("SELENE_TARGETS", targets)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(testing, "_get_command", _commands)

    async def invoke(*arguments: object) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, _selene(), [str(argument) for argument in arguments])

    return invoke
