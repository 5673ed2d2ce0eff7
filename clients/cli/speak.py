"""`selene enroll`, `identify`, `verify`: the commands that carry sound."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.progress import Progress
from rich.table import Table
from selene_messages.selene.voiceid import v1, v2

from clients import audio
from clients.cli.live import LiveView
from clients.cli.registry import Commands
from clients.cli.session import BELOW_REQUIRED, EXIT_CODES, OK, REFUSED, UNREACHABLE, USAGE, Session, remote
from clients.errors import SeleneError
from clients.stream import DecisionStream, Event, Outcome
from clients.voiceid import Generation
from clients.wire import to_document

Tier = Literal["confirmed", "probable"]

_RANK: Final = {"UNKNOWN": 0, "OK": 1, "PROBABLE": 1, "CONFIRMED": 2}
_STREAMS_AT_ONCE: Final = 16
_MICROPHONE_SECONDS: Final = 10.0

_STREAM_ENDED: Final = "interrupted: the stream was cancelled, nothing is left open"
_INTERRUPTED: Final = {
    "enroll": "interrupted: nobody was enrolled; the enrolment stays open, and a new one does not mind it",
    "identify": _STREAM_ENDED,
    "verify": _STREAM_ENDED,
}

_WHY: Final = {
    v2.ReEnrollmentCause.QUALITY_DECAY: ": more of what is heard of them is too poor to decide by than before",
    v2.ReEnrollmentCause.MARGIN_COMPRESSION: ": their voice is told from others less clearly than before",
}

_Files = Annotated[list[Path], typer.Argument(help="WAV or FLAC recordings", show_default=False)]
_OptionalFiles = Annotated[list[Path] | None, typer.Argument(help="WAV or FLAC recordings", show_default=False)]
_User = Annotated[str, typer.Argument(help="The person's user id", show_default=False)]
_Mic = Annotated[bool, typer.Option("--mic", help="Listen to the microphone until the speaker stops")]
_Channel = Annotated[int, typer.Option("--channel", help="Which channel of the recordings, from 0")]
_Fast = Annotated[bool, typer.Option("--fast", help="As fast as the server takes it, not at the pace of speech")]
_Session = Annotated[str, typer.Option("--session", help="Session id, for ask-once and retry budgets (a new one)")]
_Gen = Annotated[Generation, typer.Option("--contract", help="Generation of the decision")]
_Require = Annotated[Tier | None, typer.Option("--require", help="Exit with 3 for a decision below this tier")]
_Members = Annotated[bool, typer.Option("--members-only", help="Compare only with people enrolled on this device")]
_Consent = Annotated[str, typer.Option("--consent", help="Reference to the person's consent", show_default=False)]
_Enrollment = Annotated[str, typer.Option("--enrollment", help="Go on with this one, by its id: give only new clips")]
_Locale = Annotated[str, typer.Option("--locale", help="Locale of the speech, such as en-GB")]


def register(commands: Commands) -> None:
    """Adds the commands that carry sound."""
    commands.app.command("enroll", epilog=EXIT_CODES)(remote(enroll, interrupted=_INTERRUPTED["enroll"]))
    commands.app.command("identify", epilog=EXIT_CODES)(remote(identify, interrupted=_INTERRUPTED["identify"]))
    commands.app.command("verify", epilog=EXIT_CODES)(remote(verify, interrupted=_INTERRUPTED["verify"]))


async def enroll(
    session: Session,
    user: _User,
    files: _Files,
    consent: _Consent = "",
    locale: _Locale = "",
    channel: _Channel = 0,
    enrollment: _Enrollment = "",
) -> int:
    """Enrol a person from recordings of their voice; the profile is locked when there is enough speech.

    Give three or more clips of a few seconds each, one person alone in each. Where that was not enough, the enrolment
    stays open and its id is told: with --enrollment only the clips that it lacks are given, and no consent again.

    \b
      selene enroll mira mira/*.flac --consent form-2031
      selene enroll mira more.flac --enrollment 01a20686-3b05-7000-8fc1-177abb0ff44b
    """
    if bool(consent) == bool(enrollment):
        session.output.misuse(
            "a new enrolment needs the reference to the person's consent: --consent REF"
            if not consent
            else "--enrollment goes on with one that has its consent: leave --consent away"
        )
        return USAGE
    clips = [audio.read(path, channel=channel) for path in files]
    with Progress(console=session.output.err, transient=True) as progress:
        task = progress.add_task(f"enrolling {user}", total=len(clips))
        try:
            enrolled = await session.voice().enroll(
                user,
                clips,
                consent_ref=consent,
                locale=locale,
                enrollment_id=enrollment,
                on_clip=lambda *_: progress.advance(task),
            )
        except ValueError as error:
            session.output.misuse(str(error))
            return USAGE
    table = Table("clip", "result", "voiced", "hint", box=None, pad_edge=False)
    for clip, reply in zip(clips, enrolled.graded, strict=False):
        voiced = f"{reply.voiced.total_seconds():.2f} s" if reply.voiced else "-"
        table.add_row(clip.name, "accepted" if reply.accepted else reply.rejection.name, voiced, reply.hint)
    document = {
        "enrollment": to_document(enrolled.enrollment),
        "clips": [
            {"name": clip.name, **to_document(reply)} for clip, reply in zip(clips, enrolled.graded, strict=False)
        ],
        "profile": to_document(enrolled.profile) if enrolled.profile else None,
    }
    session.output.show(document, table)
    if enrolled.profile is None:
        left = enrolled.enrollment
        session.output.note(f"{user} is not enrolled yet: {_missing(left)}")
        session.output.note(
            f"its {_clips(left.accepted_clips)} and the consent are kept; go on with other clips: "
            f"selene enroll {shlex.quote(user)} FILES --enrollment {left.enrollment_id}"
        )
        return REFUSED
    version = enrolled.profile.profile_version
    before = f", in the place of version {version - 1}" if version > 1 else ""
    session.output.note(f"{user} is enrolled: profile version {version}{before}")
    return OK


def _missing(enrollment: v1.Enrollment) -> str:
    voiced = enrollment.voiced_missing.total_seconds() if enrollment.voiced_missing else 0.0
    wanted = [_clips(enrollment.clips_missing, "more ")] if enrollment.clips_missing else []
    if voiced > 0:
        wanted.append(f"{max(voiced, 0.1):.1f} s more speech")
    return f"wanted: {' and '.join(wanted)}"


def _clips(count: int, which: str = "") -> str:
    return f"{count} {which}clip{'' if count == 1 else 's'}"


async def identify(
    session: Session,
    files: _OptionalFiles = None,
    mic: _Mic = False,
    channel: _Channel = 0,
    fast: _Fast = False,
    session_id: _Session = "",
    members_only: _Members = False,
    contract: _Gen = "v2",
    require: _Require = None,
) -> int:
    """Who is speaking? Streams recordings or the microphone and shows the confidence rise, then the decision.

    An unknown speaker is a decision, not an error: the exit code stays 0 unless --require asks for more.

    \b
      selene identify hello.wav
      selene identify calls/*.flac --fast --json
      selene identify --mic --require confirmed && unlock
    """
    voice = session.voice(contract)

    def open_stream(rate: int) -> DecisionStream:
        config = voice.config(rate=rate, session_id=session_id)
        config.device_members_only = members_only
        return voice.identify(config)

    return await _decide(session, open_stream, files or [], mic=mic, channel=channel, fast=fast, require=require)


async def verify(
    session: Session,
    user: _User,
    files: _OptionalFiles = None,
    mic: _Mic = False,
    channel: _Channel = 0,
    fast: _Fast = False,
    session_id: _Session = "",
    contract: _Gen = "v2",
    require: _Require = None,
) -> int:
    """Is the speaker the person that is claimed?

    \b
      selene verify mira hello.wav
      selene verify mira --mic --require confirmed
    """
    voice = session.voice(contract)

    def open_stream(rate: int) -> DecisionStream:
        return voice.verify(user, voice.config(rate=rate, session_id=session_id))

    return await _decide(session, open_stream, files or [], mic=mic, channel=channel, fast=fast, require=require)


async def _decide(
    session: Session,
    open_stream: Callable[[int], DecisionStream],
    files: list[Path],
    *,
    mic: bool,
    channel: int,
    fast: bool,
    require: Tier | None,
) -> int:
    if mic == bool(files):
        session.output.misuse("give recordings, or --mic for the microphone")
        return USAGE
    recordings = [audio.read(path, channel=channel) for path in files]
    at_once = asyncio.Semaphore(_STREAMS_AT_ONCE)
    with LiveView(session.output.out, quiet=session.output.as_json) as view:

        async def file(recording: audio.Recording) -> Outcome | SeleneError:
            frames = recording.frames()
            async with at_once:
                paced = audio.unpaced(frames) if fast else audio.paced(frames)
                return await follow(session, view, recording.name, open_stream(recording.rate), paced)

        if mic:
            async with audio.microphone() as frames:
                stream = open_stream(16_000)
                results = [await follow(session, view, "microphone", stream, frames, until_silence=True)]
        else:
            results = await asyncio.gather(*(file(recording) for recording in recordings))
    for result in results:
        if isinstance(result, Outcome) and result.re_enrollment:
            session.output.note(should_enrol(result.re_enrollment))
    return _exit_code(results, require)


async def follow(
    session: Session,
    view: LiveView,
    name: str,
    stream: DecisionStream,
    frames: AsyncIterator[bytes],
    *,
    until_silence: bool = False,
) -> Outcome | SeleneError:
    """Sends the frames, feeds the view and the JSON lines, and answers how it ended."""
    lane = view.lane(name)
    silent = asyncio.Event()

    def on_event(event: Event) -> None:
        view.take(lane, event)
        session.output.line(event_document(name, event))
        if isinstance(event, v1.SpeechEvent) and event.kind == v1.SpeechEventKind.SPEECH_END:
            silent.set()

    try:
        return await converse(stream, _until(frames, silent) if until_silence else frames, on_event)
    except SeleneError as failed:
        error = session.told(failed)
        view.fail(lane, error)
        session.output.line({"stream": name, "event": "error", **error.document()})
        return error


async def converse(stream: DecisionStream, frames: AsyncIterator[bytes], on_event: Callable[[Event], Any]) -> Outcome:
    """One stream from first frame to decision, with every event told as it comes. Raises SeleneError."""

    async def listen() -> None:
        async for event in stream.events():
            on_event(event)

    async with stream:
        listening = asyncio.create_task(listen())
        try:
            async for frame in frames:
                await stream.send(frame)
            outcome = await stream.finish()
            await listening
            return outcome
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _until(frames: AsyncIterator[bytes], silent: asyncio.Event) -> AsyncIterator[bytes]:
    left = _MICROPHONE_SECONDS
    async for frame in frames:
        yield frame
        left -= audio.FRAME_SECONDS
        if silent.is_set() or left <= 0:
            return


def event_document(name: str, event: Event) -> dict[str, Any]:
    """One JSON line of a stream."""
    if isinstance(event, Outcome):
        return {"stream": name, "event": "decision", **outcome_document(event)}
    kind = {v1.StreamStarted: "started", v1.SpeechEvent: "speech", v1.InterimConfidence: "interim"}[type(event)]
    return {"stream": name, "event": kind, **to_document(event)}


def should_enrol(prompt: v2.ReEnrollmentPrompt) -> str:
    """What to tell the user whom a decision named, where drift asks them to enrol again."""
    user = shlex.quote(prompt.user_id)
    return f"{prompt.user_id} should enrol again{_WHY.get(prompt.cause, '')} (selene enroll {user} FILES --consent REF)"


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """The decision for `--json`: what it says, then the messages as they came."""
    return {
        "stream_id": outcome.stream_id,
        "tier": outcome.tier,
        "user_id": outcome.user_id,
        "latency_ms": None if outcome.latency is None else round(outcome.latency.total_seconds() * 1000, 3),
        "resumed": outcome.resumed,
        "v2": to_document(outcome.v2) if outcome.v2 else None,
        "v1": to_document(outcome.v1) if outcome.v1 else None,
        "re_enrollment": to_document(outcome.re_enrollment) if outcome.re_enrollment else None,
    }


def _exit_code(results: list[Outcome | SeleneError], require: Tier | None) -> int:
    errors = [result for result in results if isinstance(result, SeleneError)]
    if errors:
        return UNREACHABLE if all(error.unreachable for error in errors) else REFUSED
    wanted = _RANK[require.upper()] if require else 0
    tiers = [result.tier for result in results if isinstance(result, Outcome)]
    return BELOW_REQUIRED if any(_RANK[tier] < wanted for tier in tiers) else OK
