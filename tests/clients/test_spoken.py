"""The turn by voice of the demonstration: every owner real, the model's endpoint real and really broken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from clients.cli.session import OK, REFUSED, Session, remote
from clients.spoken import LLAMA, spoken_turn
from servers.standin import standing_in
from tests.support.owners import Owners, serving
from tests.support.talking import command

LOCAL = "selene-local/llm"

Take = Callable[[Owners, str], Awaitable[Any]]


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Takes the turn as the demonstration does: the exit code, the lines, what was noted."""

    async def turn(owners: Owners, endpoint: str) -> Any:
        command(owners, tmp_path, monkeypatch)

        async def run(session: Session) -> int:
            return OK if await spoken_turn(session, endpoint) else REFUSED

        app = typer.Typer()
        app.command()(remote(run))
        return await asyncio.to_thread(CliRunner().invoke, app, ["--json"])

    return turn


def events(stdout: str) -> dict[str, list[dict[str, Any]]]:
    told: dict[str, list[dict[str, Any]]] = {}
    for document in map(json.loads, stdout.splitlines()):
        told.setdefault(document["event"], []).append(document)
    return told


async def test_the_turn_goes_on_by_who_comes_next_once_its_model_is_broken(
    quiet_log: None, tmp_path: Path, take: Take
) -> None:
    with standing_in() as model:
        flags = {"owners.llm.llama.base_url": model.base_url}
        async with serving(["stt", "tts", "llm"], tmp_path, flags) as owners:
            result = await take(owners, model.url)
    assert result.exit_code == OK, result.output
    told = events(result.stdout)
    assert told["turns"][0]["providers"] == [LLAMA, LOCAL]
    assert [each["transcript"]["text"].lower().strip("?") for each in told["heard"]] == ["what time is it"] * 2
    assert [each["what"] for each in told["said"]] == ["question", "answer"] * 2
    (transition,) = told["transition"]
    assert (transition["after"], transition["reason_code"]) == ("CIRCUIT_STATE_OPEN", "CONSECUTIVE_FAILURES")
    assert model.failed >= 25


async def test_what_cannot_be_broken_is_skipped_and_said(quiet_log: None, tmp_path: Path, take: Take) -> None:
    """As where the extra `vendors` is not installed: nobody is there that could be broken."""
    async with serving(["stt", "tts", "llm"], tmp_path) as owners:
        result = await take(owners, "http://127.0.0.1:1")
    assert result.exit_code == OK, result.output
    assert f"Breaking {LLAMA} is skipped: NO_ADAPTER" in result.stderr
    assert [each["result"]["provider_ref"] for each in events(result.stdout)["answered"]] == [LOCAL]


async def test_without_speech_the_turn_is_taken_in_writing(quiet_log: None, tmp_path: Path, take: Take) -> None:
    """As where the extra `local` is not installed."""
    flags = {"owners.tts.local": False, "owners.stt.local_workers": 0}
    with standing_in() as model:
        flags_of_llama = {"owners.llm.llama.base_url": model.base_url}
        async with serving(["stt", "tts", "llm"], tmp_path, flags | flags_of_llama) as owners:
            result = await take(owners, model.url)
    assert result.exit_code == OK, result.output
    assert "tts is skipped: nobody can be asked" in result.stderr
    told = events(result.stdout)
    assert told["turns"][0]["providers"] == [LLAMA, LOCAL]
    assert "said" not in told and "heard" not in told


async def test_an_endpoint_that_does_not_break_fails_the_demonstration(
    quiet_log: None, tmp_path: Path, take: Take
) -> None:
    with standing_in() as model, standing_in() as another:
        async with serving(["stt", "tts", "llm"], tmp_path, {"owners.llm.llama.base_url": model.base_url}) as owners:
            result = await take(owners, another.url)
    assert result.exit_code == REFUSED
    assert events(result.stdout)["broken"][0]["opened"] is False
