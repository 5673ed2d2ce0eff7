"""(d) Speech on this machine: how soon the local synthesiser is heard, how fast the local recogniser understands.

Both through their owners' gRPC edges, in a process of their own, routed as a fresh deployment routes: no vendor is
configured, so Selene's own serve. The recogniser hears what the synthesiser said, where the words are known, and people
who read, where they are not.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import uvloop
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_LINEAR16, AudioFormat, AudioFrame
from selene.routing.v1.route_pb2 import RouteScope
from selene.stt.v1 import service_pb2 as stt
from selene.stt.v1 import service_pb2_grpc as stt_rpc
from selene.tts.v1 import service_pb2 as tts
from selene.tts.v1 import service_pb2_grpc as tts_rpc

from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.routing.owner import served
from bench.routing.words import errors, words
from bench.stats import Spread
from bench.voiceid.material import gather, shared_speech
from clients.channel import connect

FIRST_BYTE_MS, REAL_TIME_FACTOR = 150.0, 0.5
RATE_HZ: Final = 16_000
FRAME_BYTES: Final = RATE_HZ * 2 // 50
FRAME_S: Final = 0.02
TIMEOUT_S: Final = 120.0
LOCALE: Final = "en-US"
SENTENCES: Final = (
    "What time is it?",
    "Turn on the light in the kitchen.",
    "Where did I leave my keys this morning?",
    "Remind me to call my sister on Friday evening.",
    "Play some quiet music in the living room, please.",
    "I would like to know more about the history of this house.",
    "The meeting has been moved to Thursday afternoon.",
    "Can you tell me who is speaking?",
    "Close the window before it starts to rain.",
    "Thank you very much for your help.",
    "The train to the city leaves from the other platform today.",
    "There is bread on the table, and the soup is still warm.",
)
PARAGRAPH: Final = " ".join(SENTENCES)
SYNTHESISED: Final = "the synthesiser's sentences"
PACED: Final = "the same at the pace of speech"
TIMES: Final = 3
PEOPLE: Final = 12


@dataclass(frozen=True, slots=True)
class Spoken:
    """One synthesis: what was said, the PCM16, and seconds to the first audio and to the end."""

    text: str
    pcm: bytes
    first_s: float
    total_s: float
    by: str

    @property
    def audio_s(self) -> float:
        return len(self.pcm) / (2 * RATE_HZ)


@dataclass(frozen=True, slots=True)
class Understood:
    """One transcript: seconds of audio, from the first frame to the final, and from the half-close to it."""

    audio_s: float
    total_s: float
    after_s: float
    text: str
    by: str

    @property
    def factor(self) -> float:
        """Of real time."""
        return self.total_s / self.audio_s


def in_all(understood: Sequence[Understood]) -> float:
    """Of real time, all the audio together. NaN where there is none."""
    audio_s = sum(one.audio_s for one in understood)
    return sum(one.total_s for one in understood) / audio_s if audio_s else math.nan


def measure(say: Say, *, quick: bool = False, seed: int | None = None) -> Report:
    """Speech, then transcripts. `seed` is of the simulation alone."""
    report = Report("d", "Speech on this machine: the local synthesiser and the local recogniser")
    times, people = (1, 2) if quick else (TIMES, PEOPLE)
    with (
        tempfile.TemporaryDirectory(prefix="selene-bench-") as folder,
        served(["tts", "stt"], Path(folder) / "owners") as owners,
    ):
        measured = uvloop.run(_measure(owners.targets, say, times=times, people=people, paced=not quick))
    report.notes += [
        "Owners of speech and transcription in one process, over gRPC, with routing, gates and audit trail on SQLite; "
        "one caller at a time. `first` is from the call to the first audio that came back.",
        f"Transcripts: 20 ms frames, as fast as they are taken; factor is from the call to the final over the length "
        f"of the audio. At the pace of speech: from half-close to the final. Words wrong are of {len(SENTENCES)} "
        "sentences of the local synthesiser's voice, without capitals and punctuation.",
    ]
    if shared_speech() is None:
        report.notes.append("People: not measured, there is no speech of people beside this checkout.")
    else:
        report.notes.append("People's recordings have no text here, so only how fast they are understood is measured.")
    report.tables += [_speech(measured), _transcripts(measured)]
    report.targets += _targets(measured)
    report.data = measured.document()
    return report


@dataclass(slots=True)
class _Measured:
    """Everything, by name."""

    spoken: dict[str, list[Spoken]]
    understood: dict[str, list[Understood]]
    wrong: int
    said: int

    def document(self) -> dict[str, Any]:
        """Without the audio."""
        spoken = {
            name: [
                {"audio_s": one.audio_s, "first_s": one.first_s, "total_s": one.total_s, "by": one.by} for one in all
            ]
            for name, all in self.spoken.items()
        }
        understood = {name: [asdict(one) for one in all] for name, all in self.understood.items()}
        return {"spoken": spoken, "understood": understood, "words_wrong": self.wrong, "words_said": self.said}


async def _measure(targets: dict[str, str], say: Say, *, times: int, people: int, paced: bool) -> _Measured:
    async with connect(targets["tts"]) as mouth, connect(targets["stt"]) as ear:
        speaks, hears = tts_rpc.TextToSpeechServiceStub(mouth.channel), stt_rpc.SpeechToTextServiceStub(ear.channel)
        keys = (f"bench-{number}" for number in count())
        say("speech")
        await _speak(speaks, SENTENCES[0], next(keys))
        sentences = [await _speak(speaks, text, next(keys)) for _ in range(times) for text in SENTENCES]
        long = [await _speak(speaks, PARAGRAPH, next(keys)) for _ in range(times)]
        say("transcripts of it")
        once = sentences[: len(SENTENCES)]
        await _transcribe(hears, once[0].pcm, next(keys), pace_s=0.0)
        heard = [await _transcribe(hears, one.pcm, next(keys), pace_s=0.0) for _ in range(times) for one in once]
        found = {SYNTHESISED: heard}
        if shared_speech() is not None:
            say("transcripts of people")
            material = gather(None, most_people=1)
            pieces = [one.pcm.astype("<i2").tobytes() for one in material.strangers[:people]]
            found["people, 3 to 6 s"] = [await _transcribe(hears, pcm, next(keys), pace_s=0.0) for pcm in pieces]
        if paced:
            say("transcripts at the pace of speech")
            found[PACED] = [await _transcribe(hears, one.pcm, next(keys), pace_s=FRAME_S) for one in once]
        pairs = [(words(one.text), words(got.text)) for one, got in zip(once * times, heard, strict=True)]
        wrong = sum(errors(wanted, got) for wanted, got in pairs)
        spoken = {"sentences": sentences, f"{len(SENTENCES)} sentences at once": long}
        return _Measured(spoken, found, wrong, sum(len(wanted) for wanted, _ in pairs))


async def _speak(stub: Any, text: str, key: str) -> Spoken:
    config = tts.SynthesizeConfig(
        text=text,
        markup=tts.TEXT_MARKUP_PLAIN,
        locale=LOCALE,
        audio_format=_format(),
        scope=RouteScope(tenant_id="dev"),
        idempotency_key=key,
    )
    pcm, first_s, by = bytearray(), 0.0, ""
    began = time.perf_counter()
    call = stub.Synthesize(timeout=TIMEOUT_S)
    await call.write(tts.SynthesizeRequest(config=config))
    await call.done_writing()
    async for response in call:
        match response.WhichOneof("event"):
            case "chunk":
                first_s = first_s or time.perf_counter() - began
                pcm += response.chunk.audio
            case "final":
                by = response.final.result.provider_ref
    return Spoken(text, bytes(pcm), first_s, time.perf_counter() - began, by)


async def _transcribe(stub: Any, pcm: bytes, key: str, *, pace_s: float) -> Understood:
    config = stt.TranscribeConfig(
        audio_format=_format(), scope=RouteScope(tenant_id="dev"), locale=LOCALE, idempotency_key=key
    )
    closed_at = 0.0
    began = time.perf_counter()
    call = stub.Transcribe(timeout=TIMEOUT_S)

    async def send() -> None:
        nonlocal closed_at
        await call.write(stt.TranscribeRequest(config=config))
        for number, at in enumerate(range(0, len(pcm), FRAME_BYTES)):
            if pace_s:
                await asyncio.sleep(max(0.0, began + number * pace_s - time.perf_counter()))
            frame = AudioFrame(audio=pcm[at : at + FRAME_BYTES], sequence=number)
            await call.write(stt.TranscribeRequest(frame=frame))
        await call.done_writing()
        closed_at = time.perf_counter()

    sending = asyncio.ensure_future(send())
    final = stt.FinalTranscript()
    async for response in call:
        if response.WhichOneof("event") == "final":
            final = response.final
    await sending
    ended = time.perf_counter()
    by = final.result.provider_ref
    return Understood(len(pcm) / (2 * RATE_HZ), ended - began, ended - closed_at, final.transcript.text, by)


def _format() -> AudioFormat:
    return AudioFormat(encoding=AUDIO_ENCODING_LINEAR16, sample_rate_hz=RATE_HZ, channel_count=1)


def _speech(measured: _Measured) -> Table:
    rows: list[list[Cell]] = []
    for name, spoken in measured.spoken.items():
        first = Spread.of([1000 * one.first_s for one in spoken])
        factor = Spread.of([one.total_s / one.audio_s for one in spoken if one.audio_s])
        row: list[Cell] = [name, _by([one.by for one in spoken]), first.count, first.p50, first.p95, first.largest]
        rows.append([*row, factor.p50, factor.p95])
    columns = ("text", "spoken by", "times", "first p50 ms", "p95", "max", "of real time p50", "p95")
    return Table("Synthesis", columns, rows)


def _transcripts(measured: _Measured) -> Table:
    rows: list[list[Cell]] = []
    for name, understood in measured.understood.items():
        factor = Spread.of([one.factor for one in understood])
        after = Spread.of([1000 * one.after_s for one in understood])
        seconds = sum(one.audio_s for one in understood)
        row: list[Cell] = [name, _by([one.by for one in understood]), factor.count, seconds]
        row += [in_all(understood), factor.p50, factor.p95]
        share = 100 * measured.wrong / measured.said if name == SYNTHESISED else None
        rows.append([*row, after.p50, after.p95, share])
    sizes = ("audio", "heard by", "times", "s", "of real time", "p50", "p95")
    columns = (*sizes, "after half-close p50 ms", "p95", "words wrong %")
    return Table("Transcription", columns, rows)


def _by(providers: Sequence[str]) -> str:
    return ", ".join(sorted({provider or "nobody" for provider in providers}))


def _targets(measured: _Measured) -> list[Target]:
    first = Spread.of([1000 * one.first_s for all in measured.spoken.values() for one in all])
    unpaced = [one for name, all in measured.understood.items() if name != PACED for one in all]
    return [
        Target("first audio of a local synthesis, p95", FIRST_BYTE_MS, first.p95, "ms"),
        Target("local transcript, all the audio", REAL_TIME_FACTOR, in_all(unpaced), "of real time"),
        Target(
            "local transcript, p95", REAL_TIME_FACTOR, Spread.of([one.factor for one in unpaced]).p95, "of real time"
        ),
    ]
