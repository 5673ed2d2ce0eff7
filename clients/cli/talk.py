"""`selene say`, `transcribe`, `ask`: speech and language by whichever provider the routing profile chooses."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from selene_messages.selene.llm import v1 as llm
from selene_messages.selene.routing.v1 import ProviderSwitched
from selene_messages.selene.stt import v1 as stt
from selene_messages.selene.tts import v1 as tts

from clients import audio
from clients.audio import AudioUnusable, Loudspeaker, Recording
from clients.cli import routed
from clients.cli.output import whole
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, INTERRUPTED, OK, REFUSED, UNREACHABLE, USAGE, Session, remote
from clients.errors import SeleneError
from clients.language import Answered, Language, Reply
from clients.speech import SPEECH_RATE, Heard, Said, Speech, Spoken, Stt, Transcription, Tts
from clients.wire import to_document

_LISTEN_SECONDS: Final = 10.0

_Words = Annotated[str, typer.Argument(help="What to say", show_default=False)]
_Question = Annotated[str, typer.Argument(help="What was said", show_default=False)]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write this WAV file instead of playing")]
_Ssml = Annotated[bool, typer.Option("--ssml", help="The text is SSML 1.1")]
_Pace = Annotated[int, typer.Option("--rate", help="Pace in percent of the voice's own", min=1, max=400)]
_Files = Annotated[list[Path] | None, typer.Argument(help="WAV or FLAC recordings", show_default=False)]
_Mic = Annotated[bool, typer.Option("--mic", help="Listen to the microphone until Ctrl-C")]
_Seconds = Annotated[float, typer.Option("--seconds", help="With --mic: listen no longer than this", min=0.5)]
_Fast = Annotated[bool, typer.Option("--fast", help="As fast as the server takes it, not at the pace of speech")]
_Zone = Annotated[str, typer.Option("--time-zone", help="Where the speaker's clock stands (this machine's)")]


def register(commands: Commands) -> None:
    """Adds the commands of speech and language."""
    commands.app.command("say", epilog=EXIT_CODES)(remote(say, owner="tts"))
    commands.app.command("transcribe", epilog=EXIT_CODES)(remote(transcribe, owner="stt"))
    commands.app.command("ask", epilog=EXIT_CODES)(remote(ask, owner="llm"))


async def say(
    session: Session,
    text: _Words,
    out: _Out = None,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    ssml: _Ssml = False,
    rate: _Pace = 100,
    user: routed.User = "",
    channel: routed.Channel = "",
) -> int:
    """Speak a text on the loudspeaker, or into a WAV file; words are shown as they begin. Ctrl-C interrupts it.

    Without a loudspeaker a WAV file is written beside you, and named.

    \b
      selene say "It is noon."
      selene say "It is noon." --out noon.wav --locale en-GB --rate 90
      selene say '<speak>It is <mark name="now"/> noon.</speak>' --ssml
    """
    if out is not None and not out.parent.is_dir():
        session.output.misuse(f"{out}: there is no folder {out.parent}")
        return USAGE
    speaker = Tts(
        session.connection, scope=routed.scope(session, user, channel), timeout=max(session.settings.timeout, 60.0)
    )
    markup = tts.TextMarkup.SSML if ssml else tts.TextMarkup.PLAIN
    with ExitStack() as open_device:
        device: Loudspeaker | None = None
        if out is None:
            try:
                device = open_device.enter_context(audio.loudspeaker(SPEECH_RATE))
            except AudioUnusable as error:
                session.output.note(str(error))
        speech = speaker.say(text, markup=markup, locale=locale, rate_percent=rate)
        async with speech:
            show = _Marks(session, "" if ssml else text, speech.rate)
            spoken = await speak(speech, device, show.take)
    final = speech.final
    assert final is not None  # `speak` raises where there was none
    file: Path | None = None
    if device is None and spoken.seconds:
        file = out or Path(f"speech-{speech.request_id[-6:]}.wav")
        audio.write(file, spoken)
        session.output.note(f"written: {file} ({spoken.seconds:.1f} s)")
    told = Text(f"{final.outcome.name}  {spoken.seconds:.2f} s  ").append_text(routed.route_words(final.route))
    session.output.line({"event": "final", "file": str(file) if file else None, **to_document(final)}, told)
    return INTERRUPTED if final.outcome is tts.SynthesizeOutcome.INTERRUPTED else OK


async def speak(speech: Speech, device: Loudspeaker | None, show: Callable[[Said], Any]) -> Recording:
    """Plays a speech on the device and answers what was heard, all that came where there is none. SeleneError.

    Ctrl-C interrupts it. ``show`` is given each event when a listener comes to it.
    """
    spoken = Spoken(speech.rate)
    stopped = asyncio.Event()
    waiting: asyncio.Queue[Said | None] = asyncio.Queue()

    async def play() -> None:
        while (event := await waiting.get()) is not None:
            if device is not None and stopped.is_set() and isinstance(event, tts.SpeechChunk):
                continue
            show(event)
            spoken.take(event)
            if device is not None and isinstance(event, tts.SpeechChunk):
                await device.play(event.audio)
        if device is not None and not stopped.is_set():
            await device.drain()

    async def interrupt() -> None:
        await stopped.wait()
        await speech.interrupt()

    with on_ctrl_c(stopped.set):
        playing, interrupting = asyncio.create_task(play()), asyncio.create_task(interrupt())
        try:
            async for event in speech.events():
                waiting.put_nowait(event)
            waiting.put_nowait(None)
            await playing
        finally:
            for task in (playing, interrupting):
                task.cancel()
            await asyncio.gather(playing, interrupting, return_exceptions=True)
    return spoken.recording("speech")


class _Marks:
    """Tells of a speech, mark by mark."""

    def __init__(self, session: Session, text: str, rate: int) -> None:
        self._output = session.output
        self._text = text
        self._rate = rate

    def take(self, event: Said) -> None:
        output = self._output
        if isinstance(event, tts.SpeechMark):
            at = f"{event.sample_offset / self._rate:6.2f} s  "
            words = event.name or self._text[event.text_offset : event.text_offset + event.text_length]
            kind = (event.kind.name or "?").lower()
            # How long a sentence is nobody knows when it begins; its words tell it.
            output.line({"event": "mark", **to_document(event)}, Text(f"{at}{kind:9}{words}") if words else None)
        elif isinstance(event, tts.SpeechSwitched):
            switched = event.provider or ProviderSwitched()
            output.line({"event": "switched", **to_document(event)}, routed.switch_words(switched))
        elif isinstance(event, tts.SpeechChunk):
            chunk = {"sequence": event.sequence, "sample_offset": event.sample_offset, "bytes": len(event.audio)}
            output.line({"event": "chunk", **chunk})
        elif isinstance(event, tts.SynthesizeStarted):
            output.line({"event": "started", **to_document(event)})


async def transcribe(
    session: Session,
    files: _Files = None,
    mic: _Mic = False,
    seconds: _Seconds = _LISTEN_SECONDS,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    fast: _Fast = False,
    user: routed.User = "",
    channel: routed.Channel = "",
) -> int:
    """Write down what was said in recordings, or into the microphone: live, then whether it may be used.

    A transcript that is REJECTED is a decision, not an error: ask the speaker to say it again.

    \b
      selene transcribe hello.wav
      selene transcribe calls/*.flac --fast --json
      selene transcribe --mic --seconds 30
    """
    if mic == bool(files):
        session.output.misuse("give recordings, or --mic for the microphone")
        return USAGE
    hearing = Stt(
        session.connection, scope=routed.scope(session, user, channel), timeout=max(session.settings.timeout, 120.0)
    )
    if mic:
        async with audio.microphone() as frames:
            session.output.note("listening; Ctrl-C ends the utterance")
            stopped = asyncio.Event()
            with on_ctrl_c(stopped.set):
                await _hear(session, "microphone", hearing.transcribe(_until(frames, stopped, seconds), locale=locale))
        return OK
    failed: list[SeleneError] = []
    for recording in [audio.read(path) for path in files or ()]:
        sound: Recording | AsyncIterable[bytes] = recording if fast else audio.paced(recording.frames())
        try:
            await _hear(session, recording.name, hearing.transcribe(sound, rate=recording.rate, locale=locale))
        except SeleneError as refused:
            error = session.told(refused)
            session.output.note(f"{recording.name}: {error}")
            session.output.line({"stream": recording.name, "event": "error", **error.document()})
            failed.append(error)
    if failed:
        return UNREACHABLE if all(error.unreachable for error in failed) else REFUSED
    return OK


async def _hear(session: Session, name: str, transcription: Transcription) -> None:
    def on_event(event: Heard) -> None:
        kind = _HEARD_NAMES[type(event)]
        told = heard_words(event) if isinstance(event, stt.FinalTranscript) else None
        session.output.line({"stream": name, "event": kind, **to_document(event)}, told)

    await hear(session.output.out, name, transcription, on_event, quiet=session.output.as_json)


async def hear(
    console: Console,
    name: str,
    transcription: Transcription,
    on_event: Callable[[Heard], Any],
    *,
    quiet: bool = False,
) -> stt.FinalTranscript:
    """Transcribes with what is heard so far shown live; ``on_event`` is given each event. SeleneError."""
    async with transcription as heard:
        with Growing(console, f"{name}: ", quiet=quiet) as line:
            async with aclosing(heard.events()) as events:
                async for event in events:
                    if isinstance(event, stt.InterimTranscript):
                        line.become(event.text)
                    elif isinstance(event, ProviderSwitched):
                        line.void(routed.switch_words(event))
                    elif isinstance(event, stt.FinalTranscript):
                        line.settle((event.transcript or stt.Transcript()).text)
                        continue
                    on_event(event)
    assert heard.final is not None  # `events` raises where there was none
    on_event(heard.final)
    return heard.final


def heard_words(final: stt.FinalTranscript) -> Text:
    """The verdict, who heard it, and how it came to them."""
    accepted = final.verdict is stt.TranscriptVerdict.ACCEPTED
    told = Text(f"  {final.verdict.name} ", style="green" if accepted else "magenta")
    quality = final.result.quality_score_bp / 100 if final.result else 0.0
    told.append(f"{final.reason_code}, quality {quality:.0f} %  ", style="default")
    return told.append_text(routed.route_words(final.route))


async def ask(
    session: Session,
    text: _Question,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    time_zone: _Zone = "",
    user: routed.User = "",
    channel: routed.Channel = "",
) -> None:
    """Ask what an utterance means: the reply as it comes, then what it was taken for. Nothing is carried out.

    \b
      selene ask "what time is it"
      selene ask "set a timer for ten minutes" --json | jq 'select(.event == "final").packet'
    """
    language = Language(
        session.connection, scope=routed.scope(session, user, channel), timeout=max(session.settings.timeout, 60.0)
    )

    def on_event(event: Answered) -> None:
        session.output.line({"event": _ANSWERED_NAMES[type(event)], **to_document(event)})

    reply = language.respond(text, locale=locale, time_zone=time_zone or local_zone())
    final = await answer(session.output.out, "", reply, on_event, quiet=session.output.as_json)
    if not session.output.as_json:
        whole(session.output.out, packet_table(final))


async def answer(
    console: Console, name: str, reply: Reply, on_event: Callable[[Answered], Any], *, quiet: bool = False
) -> llm.RespondFinal:
    """Answers with the reply shown as it comes; ``on_event`` is given each event. SeleneError."""
    async with reply:
        with Growing(console, f"{name}: " if name else "", quiet=quiet) as line:
            async with aclosing(reply.events()) as events:
                async for event in events:
                    if isinstance(event, llm.ReplyDelta):
                        line.grow(event.text)
                    elif isinstance(event, ProviderSwitched):
                        line.void(routed.switch_words(event))
                    elif isinstance(event, llm.RespondFinal):
                        line.settle((event.packet or llm.DecisionPacket()).reply)
                    on_event(event)
    assert reply.final is not None  # `events` raises where there was none
    return reply.final


def packet_table(final: llm.RespondFinal) -> Table:
    """What an utterance was taken for, and who took it so."""
    packet = final.packet or llm.DecisionPacket()
    rows = Table(box=None, pad_edge=False, show_header=False)
    slots = " ".join(f"{slot.name}={slot.value}" for slot in packet.slots)
    rows.add_row("intent", Text(packet.intent + (" (ask first)" if packet.needs_clarification else ""), style="bold"))
    rows.add_row("slots", Text(slots or "-"))
    rows.add_row("confidence", f"{packet.confidence_bp / 100:.0f} %")
    rows.add_row("route", routed.route_words(final.route))
    return rows


_HEARD_NAMES: Final[dict[type, str]] = {
    stt.TranscribeStarted: "started",
    stt.InterimTranscript: "interim",
    ProviderSwitched: "switched",
    stt.FinalTranscript: "final",
}
_ANSWERED_NAMES: Final[dict[type, str]] = {
    llm.RespondStarted: "started",
    llm.ReplyDelta: "delta",
    ProviderSwitched: "switched",
    llm.RespondFinal: "final",
}


class Growing:
    """One line of text that grows or changes in place; off a terminal only what it came to is printed."""

    def __init__(self, console: Console, before: str, *, quiet: bool = False) -> None:
        self._console = console
        self._before = before
        self._quiet = quiet
        self._text = ""
        self._settled = False
        self._live: Live | None = None

    def __enter__(self) -> "Growing":
        if self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._line, console=self._console, refresh_per_second=20)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif not self._quiet and (self._text or self._settled):
            self._console.print(self._line(), soft_wrap=True)

    def become(self, text: str) -> None:
        """The line reads so now."""
        self._text = text

    def grow(self, text: str) -> None:
        """More at its end."""
        self._text += text

    def void(self, why: Text) -> None:
        """What was said so far does not count."""
        self._text = ""
        if not self._quiet:
            self._console.print(why, soft_wrap=True)

    def settle(self, text: str) -> None:
        """The line reads so for good."""
        self._text, self._settled = text, True

    def _line(self) -> Text:
        return Text(self._before, style="dim").append(self._text, style="bold" if self._settled else "italic")


@contextmanager
def on_ctrl_c(act: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C does this instead of ending the command, the first time; where no loop can be told, it ends it."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def restore() -> None:
        if loop.remove_signal_handler(signal.SIGINT):
            signal.signal(signal.SIGINT, before)

    def once() -> None:
        restore()
        act()

    try:
        loop.add_signal_handler(signal.SIGINT, once)
    except (NotImplementedError, RuntimeError, ValueError):
        yield
        return
    try:
        yield
    finally:
        restore()


async def _until(frames: AsyncIterator[bytes], stopped: asyncio.Event, seconds: float) -> AsyncGenerator[bytes, None]:
    left = seconds
    async for frame in frames:
        yield frame
        left -= audio.FRAME_SECONDS
        if stopped.is_set() or left <= 0:
            return


def local_zone() -> str:
    """The IANA name of this machine's time zone; empty, which means UTC, where it cannot be told."""
    named = (
        os.environ.get("TZ", "").removeprefix(":") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    )
    try:
        return ZoneInfo(named).key if named else ""
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return ""
