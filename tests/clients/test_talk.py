"""`selene say`, `transcribe`, `ask` against the real owners: what they print, write and exit with."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console
from rich.text import Text
from selene_messages.selene.tts import v1 as tts

from clients import audio
from clients.cli.talk import Growing, local_zone, on_ctrl_c, speak
from clients.speech import Tts
from tests.support.owners import Owners
from tests.support.servers import until
from tests.support.talking import Run, command

WORDS = "what time is it"


@pytest.fixture
def run(talking: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(talking, tmp_path, monkeypatch)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_say_writes_what_it_says_and_shows_each_word(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    result = await run("say", WORDS, "--out", out)
    assert "sentence" not in result.stdout, "how long it is nobody knows when it begins: its words tell it"
    assert result.exit_code == 0, result.stderr
    spoken = audio.read(out)
    assert spoken.seconds > 0.5
    assert np.abs(spoken.samples.astype(int)).max() > 1_000
    told = result.stdout.splitlines()
    assert [line.split()[-1] for line in told if " word " in line] == WORDS.split()
    assert told[-1].startswith("COMPLETED") and "selene-local/tts SPOKEN" in told[-1]


async def test_say_as_json_is_json_lines_and_carries_no_audio(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    result = await run("say", WORDS, "--out", out, "--json")
    events = lines(result.stdout)
    assert [events[0]["event"], events[-1]["event"]] == ["started", "final"]
    assert events[-1]["file"] == str(out)
    chunks = [event for event in events if event["event"] == "chunk"]
    assert sum(chunk["bytes"] for chunk in chunks) == 2 * len(audio.read(out).samples)
    assert all("audio" not in chunk for chunk in chunks)


async def test_a_slower_pace_takes_longer(run: Run, tmp_path: Path) -> None:
    for pace in (100, 50):
        assert (await run("say", WORDS, "--rate", pace, "--out", tmp_path / f"{pace}.wav")).exit_code == 0
    assert audio.read(tmp_path / "50.wav").seconds > 1.3 * audio.read(tmp_path / "100.wav").seconds


async def test_marks_of_ssml_are_told_by_name(run: Run, tmp_path: Path) -> None:
    ssml = '<speak>It is <mark name="now"/> noon.</speak>'
    result = await run("say", ssml, "--ssml", "--out", tmp_path / "said.wav")
    assert result.exit_code == 0, result.stderr
    assert any(line.split()[-2:] == ["named", "now"] for line in result.stdout.splitlines())


async def test_broken_ssml_is_refused_and_nothing_is_written(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    result = await run("say", "<speak>It is", "--ssml", "--out", out, "--json")
    assert result.exit_code == 1
    assert lines(result.stdout)[-1]["error"]["reason"] == "INPUT_UNSERVABLE"
    assert not out.exists()


async def test_without_a_loudspeaker_a_file_is_written_and_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.chdir(tmp_path)
    result = await run("say", WORDS)
    assert result.exit_code == 0
    assert "selene-platform[mic]" in result.stderr
    (name,) = re.findall(r"speech-\w+\.wav", result.stderr)
    assert audio.read(tmp_path / name).seconds > 0.5


class Device:
    """A loudspeaker in memory that lets the first chunk through and then holds."""

    def __init__(self) -> None:
        self.played = bytearray()
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()

    async def play(self, pcm: bytes) -> None:
        self.played += pcm
        self.began.set()
        await self.go_on.wait()

    async def drain(self) -> None:
        """There is nothing to wait for."""


async def test_ctrl_c_while_it_plays_interrupts_the_speech_and_keeps_what_was_heard(talking: Owners) -> None:
    device, before = Device(), signal.getsignal(signal.SIGINT)
    async with Tts(talking.connection("tts")).say("It is noon. " * 400, rate=48_000) as speech:
        speaking = asyncio.create_task(speak(speech, device, lambda event: None))  # type: ignore[arg-type]  # a double
        await device.began.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: signal.getsignal(signal.SIGINT) is before)
        device.go_on.set()
        spoken = await asyncio.wait_for(speaking, 30)
    assert speech.final is not None
    assert speech.final.outcome is tts.SynthesizeOutcome.INTERRUPTED
    assert spoken.samples.tobytes() == bytes(device.played)


async def test_ctrl_c_without_a_loudspeaker_keeps_all_that_came(talking: Owners) -> None:
    def show(event: object) -> None:
        if isinstance(event, tts.SpeechChunk) and event.sequence == 0:
            os.kill(os.getpid(), signal.SIGINT)

    async with Tts(talking.connection("tts")).say("It is noon. " * 400, rate=48_000) as speech:
        spoken = await asyncio.wait_for(speak(speech, None, show), 30)
    assert speech.final is not None and speech.final.audio is not None
    assert speech.final.outcome is tts.SynthesizeOutcome.INTERRUPTED
    assert spoken.seconds == pytest.approx(speech.final.audio.total_seconds(), abs=0.001)


async def test_only_the_first_ctrl_c_is_taken() -> None:
    taken = asyncio.Event()
    before = signal.getsignal(signal.SIGINT)
    with on_ctrl_c(taken.set):
        assert signal.getsignal(signal.SIGINT) is not before
        os.kill(os.getpid(), signal.SIGINT)
        await taken.wait()
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before


async def test_ask_shows_the_reply_the_packet_and_the_route(run: Run) -> None:
    result = await run("ask", "what is two plus three")
    assert result.exit_code == 0, result.stderr
    for told in (
        "two plus three is 5.",
        "arithmetic",
        "100 %",
        "openai/llm NOT_CONFIGURED",
        "selene-local/llm ANSWERED",
    ):
        assert told in result.stdout


async def test_ask_as_json_ends_with_the_packet(run: Run) -> None:
    events = lines((await run("ask", "what is two plus three", "--json")).stdout)
    assert [event["event"] for event in events][:2] == ["started", "delta"]
    final = events[-1]
    assert (final["event"], final["packet"]["intent"]) == ("final", "arithmetic")
    assert "".join(event["text"] for event in events if event["event"] == "delta") == final["packet"]["reply"]


async def test_a_server_that_is_not_there_exits_with_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELENE_TARGETS", "llm=127.0.0.1:1")
    assert (await run("ask", "hello", "--timeout", "2")).exit_code == 4


@pytest.mark.parametrize("targets", ["llm", "llm=", "nobody=127.0.0.1:1"])
async def test_targets_that_cannot_be_meant_are_wrong_usage(
    run: Run, monkeypatch: pytest.MonkeyPatch, targets: str
) -> None:
    monkeypatch.setenv("SELENE_TARGETS", targets)
    result = await run("ask", "hello")
    assert result.exit_code == 2
    assert "owner=host:port" in result.stderr


@pytest.mark.parametrize("port", [0, 65_536, 99_999])
async def test_a_port_that_is_none_is_wrong_usage(run: Run, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("SELENE_TARGETS", f"llm=127.0.0.1:{port}")
    result = await run("ask", "hello")
    assert result.exit_code == 2
    assert f"127.0.0.1:{port} is no target: a port is a number from 1 to 65535" in result.stderr


async def test_transcribe_shows_the_words_the_verdict_and_the_route(
    hearing: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command(hearing, tmp_path, monkeypatch)
    wav = tmp_path / "said.wav"
    assert (await run("say", WORDS, "--out", wav)).exit_code == 0
    result = await run("transcribe", wav, "--fast")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.lower().strip("?") == f"said.wav: {WORDS}"
    assert second.split()[0] == "ACCEPTED" and "selene-local/stt TRANSCRIBED" in second
    events = lines((await run("transcribe", wav, "--fast", "--json")).stdout)
    assert {event["stream"] for event in events} == {"said.wav"}
    assert events[-1]["event"] == "final"
    assert events[-1]["transcript"]["text"].lower().strip("?") == WORDS


async def test_silence_is_a_decision_and_no_failure(
    hearing: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command(hearing, tmp_path, monkeypatch)
    wav = tmp_path / "silence.wav"
    soundfile.write(wav, np.zeros(16_000, dtype=np.int16), 16_000)
    result = await run("transcribe", wav, "--fast")
    assert result.exit_code == 0, result.stderr
    assert "REJECTED NO_SPEECH" in result.stdout


@pytest.mark.parametrize("arguments", [(), ("--mic", "hello.wav"), ("absent.wav",)])
async def test_transcribe_without_usable_audio_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    result = await run("transcribe", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_growing_line_shows_each_state_in_place_and_keeps_the_last() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    with Growing(console, "heard: ") as line:
        line.become("what")
        line.void(Text("somebody else goes on"))
        line.grow("what ")
        line.grow("time")
        line.settle("what time is it")
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert "somebody else goes on" in shown
    assert "what time is it" in shown.splitlines()[-2]


def test_off_a_terminal_a_growing_line_is_printed_once() -> None:
    console = Console(file=io.StringIO(), width=20)
    with Growing(console, "heard: ") as line:
        line.become("what")
        line.settle("what time is it and how long is this line")
    assert console.file.getvalue() == "heard: what time is it and how long is this line\n"  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize(("named", "zone"), [("Europe/Berlin", "Europe/Berlin"), (":Asia/Tokyo", "Asia/Tokyo")])
def test_the_speaker_s_zone_is_this_machine_s(monkeypatch: pytest.MonkeyPatch, named: str, zone: str) -> None:
    monkeypatch.setenv("TZ", named)
    assert local_zone() == zone


@pytest.mark.parametrize("named", ["Nowhere/Atlantis", "../../etc/passwd"])
def test_a_zone_that_is_none_is_left_to_the_server(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("TZ", named)
    assert local_zone() == ""


async def test_say_looks_for_the_folder_before_anything_is_spoken(run: Run, tmp_path: Path) -> None:
    result = await run("say", WORDS, "--out", tmp_path / "absent" / "noon.wav")
    assert result.exit_code == 2
    assert "there is no folder" in result.stderr
    assert result.stdout == ""
