"""What the parts of the routing benchmark compute, and the backend that they measure with; nothing here is timed."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from typer import BadParameter

from bench.routing import __main__ as command
from bench.routing import backend, beside, gateway, latency, routed
from bench.routing.backend import Backend, Mode
from bench.routing.beside import Level, Way
from bench.routing.dark import Answered, Fall, where
from bench.routing.routed import Timed
from bench.routing.speech import Understood, in_all
from bench.routing.words import errors, words
from servers.llm.packet import read_packet


@asynccontextmanager
async def _served() -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.AppRunner(Backend().app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session
    await runner.cleanup()


def _body(text: str, *, stream: bool) -> dict[str, object]:
    return {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("wait_ms", [0, 7, 2_500])
def test_the_backend_waits_as_long_as_the_utterance_says(wait_ms: int) -> None:
    assert backend.wait_s(backend.asked(wait_ms)) == wait_ms / 1000


def test_the_backend_answers_at_once_what_names_no_wait() -> None:
    assert backend.wait_s("what time is it") == 0.0


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_backend_answers_is_a_packet_that_says_how_long_it_took(stream: bool) -> None:
    async with (
        _served() as session,
        session.post("/v1/chat/completions", json=_body(backend.asked(30), stream=stream)) as response,
    ):
        answer = await response.read()
    packet = read_packet(backend.content_of(answer))
    assert 0.03 <= backend.own_s(dict(packet.slots)) < 5


def test_an_answer_of_somebody_else_has_no_time_of_the_backend() -> None:
    with pytest.raises(KeyError):
        backend.own_s({"place": "here"})


async def test_a_refusing_backend_answers_500_and_its_ledger_begins_with_its_mode() -> None:
    async with _served() as session:
        async with session.post("/v1/chat/completions", json=_body("hello", stream=True)) as before:
            await before.read()
        async with session.post(f"/mode/{Mode.REFUSING}") as changed:
            since = (await changed.json())["since"]
        async with session.post("/v1/chat/completions", json=_body("hello", stream=True)) as refused:
            assert refused.status == 500
        async with session.get("/ledger") as answer:
            ledger = await answer.json()
    assert (before.status, ledger["mode"], ledger["since"]) == (200, "refusing", since)
    assert len(ledger["calls"]) == 1
    assert ledger["calls"][0] >= since


async def test_a_hanging_backend_notes_the_call_and_says_nothing() -> None:
    async with _served() as session:
        async with session.post(f"/mode/{Mode.HANGING}"):
            pass
        silent = asyncio.ensure_future(session.post("/v1/chat/completions", json=_body("hello", stream=True)))
        calls: list[float] = []
        while not calls:
            async with session.get("/ledger") as answer:
                calls = (await answer.json())["calls"]
        assert not silent.done()
        silent.cancel()
        await asyncio.gather(silent, return_exceptions=True)


def test_waits_are_the_same_each_time_lie_in_their_range_and_fill_the_time() -> None:
    level = Level(50, 100, 300)
    each = level.waits(10.0)
    assert each == level.waits(10.0)
    assert all(100 <= wait <= 300 for wait in each)
    assert sum(each) / 1000 / level.concurrent == pytest.approx(10.0, rel=0.05)


def test_a_level_has_a_call_for_every_caller_however_short_the_time() -> None:
    assert len(Level(200, 1_000, 3_000).waits(0.1)) == 200


def test_what_was_added_is_neither_the_wait_nor_the_lateness_of_waking() -> None:
    call = Timed(wait_s=0.100, total_s=0.107, had_s=0.105)
    assert call.added_ms == pytest.approx(2.0)
    assert call.late_ms == pytest.approx(5.0)
    assert call.beyond_ms == pytest.approx(call.added_ms + call.late_ms)


async def test_a_load_makes_every_call_once_and_no_more_at_a_time_than_told() -> None:
    under_way = most = 0
    made: list[tuple[int, float]] = []

    async def way(number: int, wait_s: float) -> Timed:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        made.append((number, wait_s))
        await asyncio.sleep(0)
        under_way -= 1
        return Timed(wait_s, wait_s, wait_s)

    each = [0.0] * 40
    load = await routed.drive(way, each, 7)
    assert sorted(made) == list(enumerate(each))
    assert len(load.calls) == 40
    assert 1 < most <= 7


async def test_a_call_that_brings_no_answer_is_counted_and_adds_no_time() -> None:
    asked = 0

    async def ask(text: str) -> float:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise ValueError("no answer")
        return 0.0

    added = await beside.load(Way("odd", ask), [0] * 10, 3)
    assert (added.failed, len(added.added_ms), added.cpu_s) == (5, 5, None)


def test_the_last_call_to_a_dark_provider_is_the_latest_that_reached_it() -> None:
    fall = Fall(100.0, ledger=[100.1, 100.9, 100.4])
    assert fall.last_sent_s == pytest.approx(0.9)
    assert Fall(100.0).last_sent_s == 0.0


def test_the_last_call_made_to_a_dark_provider_is_the_latest_that_went_on_to_another() -> None:
    calls = [
        Answered(at, 0.1, "b", switched=switched) for at, switched in ((99.0, True), (100.5, True), (101.0, False))
    ]
    assert Fall(100.0, calls).last_made_s == pytest.approx(0.5)
    assert Fall(100.0, calls[2:]).last_made_s == 0.0


def test_calls_without_a_final_are_lost_whenever_they_were_made() -> None:
    before, kept, lost = (
        Answered(99.0, 1.0, "", "UNAVAILABLE"),
        Answered(100.0, 0.1, "b"),
        Answered(101.0, 9.0, "", "DEADLINE_EXCEEDED"),
    )
    fall = Fall(100.0, [before, kept, lost])
    assert fall.after == [kept, lost]
    assert fall.lost == [before, lost]


def test_a_darkness_is_told_with_a_number_under_every_column() -> None:
    calls = [Answered(101.0, 0.1, "selene-local/llm", switched=True), Answered(102.0, 9.0, "", "UNAVAILABLE: gone")]
    table = where({Mode.HANGING: Fall(100.0, calls, [100.5])})
    assert [dict(zip(table.columns, row, strict=True)) for row in table.rows] == [
        {
            "dark": "hanging",
            "calls": 2,
            "since dark": 2,
            "last made s": 1.0,
            "last sent s": 0.5,
            "sent since": 1,
            "answered by it": 0,
            "by the other": 1,
            "lost": 1,
            "why": "1 times UNAVAILABLE: gone",
        }
    ]


def test_transcripts_are_measured_against_the_length_of_their_audio() -> None:
    long, short = (Understood(audio_s, 1.0, 0.5, text="", by="") for audio_s in (4.0, 1.0))
    assert (long.factor, short.factor) == (0.25, 1.0)
    assert in_all([long, short]) == pytest.approx(0.4)
    assert math.isnan(in_all([]))


@pytest.mark.parametrize(
    ("said", "heard", "wrong"),
    [
        ("what time is it", "what time is it", 0),
        ("what time is it", "what time it", 1),
        ("what time is it", "what time is it now", 1),
        ("what time is it", "what dime is it", 1),
        ("what time is it", "", 4),
        ("", "what", 1),
        ("turn on the light", "the turn on light", 2),
    ],
)
def test_wrong_words_are_the_fewest_changes(said: str, heard: str, wrong: int) -> None:
    assert errors(said.split(), heard.split()) == wrong


def test_capitals_and_punctuation_are_no_words() -> None:
    assert words("Where's MY key, please?  It is 5.") == ["where's", "my", "key", "please", "it", "is", "5"]


def test_steps_are_timed_as_often_as_asked() -> None:
    assert len(latency.selection_us(30)) == 30
    assert len(latency.normalisation_us(30)) == 30


def test_without_npm_the_gateway_is_missing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(gateway.GatewayMissing, match="no node or no npm"):
        gateway.installed(tmp_path)


def test_a_gateway_that_npm_cannot_install_is_missing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'npm error 404 not found' >&2\nexit 1\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(gateway.GatewayMissing, match="404 not found"):
        gateway.installed(tmp_path / "cache")
    wanted = json.loads((tmp_path / "cache" / "package.json").read_text())
    assert wanted["dependencies"] == {gateway.PACKAGE: gateway.VERSION}


def test_a_part_of_routing_that_there_is_not_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadParameter, match="there is no part z"):
        command.main(["z"])
