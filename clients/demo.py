"""A demonstration on real voices: enrol some, ask with others of their recordings and with a stranger's, and watch.

    python -m clients.demo --audio folder              # folder/<speaker>/*.wav|flac
    python -m clients.demo --recording talk.wav --rttm talk.rttm

Exits with 1 when a known voice was refused or mistaken, or a stranger CONFIRMED. Every run enrols under names and a
device of its own, so that earlier runs are not part of it.
"""

import asyncio
import secrets
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from clients import audio
from clients.audio import AudioUnusable, Recording
from clients.cli.live import Lane, LiveView
from clients.cli.session import OK, REFUSED, UNREACHABLE, Session, remote
from clients.cli.speak import converse, outcome_document
from clients.errors import SeleneError
from clients.posted import permit, two_messages
from clients.spoken import spoken_turn
from clients.stream import Outcome
from clients.turns import Voice, split_voice, voices_of
from clients.voiceid import DEFAULT_DEVICE, VoiceId
from clients.wire import to_document

CLIPS: Final = 3
"""Clips that an enrolment is given at least; the server says when it has enough."""

ASK_SECONDS: Final = 5.0
LEAST_ASK_SECONDS: Final = 2.6
ASKS_PER_VOICE: Final = 2
VOICES: Final = 6
CONSENT: Final = "demonstration"
TARGETS: Final = "--targets"

_Audio = Annotated[Path | None, typer.Option("--audio", help="Folder with one folder of recordings a speaker")]
_Recording = Annotated[Path | None, typer.Option("--recording", help="One recording of several speakers")]
_Rttm = Annotated[Path | None, typer.Option("--rttm", help="Who speaks when in it")]
_Fast = Annotated[bool, typer.Option("--fast", help="As fast as the server takes it, not at the pace of speech")]
_Endpoint = Annotated[str, typer.Option("--endpoint", help="Where the language model can be broken; unset: no turn")]
_Mailbox = Annotated[str, typer.Option("--mailbox", help="A mailbox that keeps a ledger; unset: no messages")]
_Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the server to come up")]


@dataclass(frozen=True, slots=True)
class Asked:
    """One stream: whose voice it was, the name it should get (empty for a stranger), and how it ended."""

    voice: str
    expected: str
    result: Outcome | SeleneError

    @property
    def right(self) -> bool:
        """A known voice is named, and a stranger is not CONFIRMED."""
        if isinstance(self.result, SeleneError):
            return False
        if self.expected:
            return self.result.user_id == self.expected
        return not self.confirmed

    @property
    def confirmed(self) -> bool:
        return isinstance(self.result, Outcome) and self.result.tier == "CONFIRMED"


async def demo(
    session: Session,
    folder: _Audio = None,
    recording: _Recording = None,
    rttm: _Rttm = None,
    wait: _Wait = 0.0,
    fast: _Fast = False,
    endpoint: _Endpoint = "",
    mailbox: _Mailbox = "",
) -> int:
    """Enrol real voices, then ask with other recordings of them and of a stranger, at the pace of speech.

    With --endpoint a turn by voice follows, and the same turn with its language model broken; with --mailbox two
    messages, one of which its first provider refuses.
    """
    voices = _voices(folder, recording, rttm)
    if wait and not await _reachable(session, wait):
        session.output.note(f"no server at {session.settings.target} within {wait:.0f} s")
        return UNREACHABLE
    run = secrets.token_hex(2)
    voice = session.voice()
    if voice.device_id == DEFAULT_DEVICE:
        voice.device_id = f"demo-{run}"
    known, stranger = voices[:-1], voices[-1]
    names = {person.name: f"{person.name}-{run}" for person in voices}
    if mailbox:
        await permit(session)
    for person in known:
        if not await _enrol(session, voice, person, names[person.name]):
            return REFUSED
    session.output.note(f"{stranger.name} is a stranger")
    with LiveView(session.output.out, quiet=session.output.as_json) as view:
        pace = audio.unpaced if fast else audio.paced
        asks = [_ask(view, voice, person, ask, names[person.name], pace) for person in known for ask in person.asks]
        asks += [_ask(view, voice, stranger, ask, "", pace) for ask in stranger.asks]
        asked = list(await asyncio.gather(*asks))
        if len(voices) == 2 and await _enrol(session, voice, stranger, names[stranger.name], needed=False):
            # The same words again: a stranger's before, a known person's now.
            again = [_ask(view, voice, stranger, ask, names[stranger.name], pace) for ask in stranger.asks]
            asked += await asyncio.gather(*again)
    recognised = _conclude(session, asked)
    turned = not endpoint or await spoken_turn(session, endpoint)
    posted = not mailbox or await two_messages(session, mailbox)
    return recognised if turned and posted else REFUSED


def _voices(folder: Path | None, recording: Path | None, rttm: Path | None) -> list[Voice]:
    if folder is not None and recording is None and rttm is None:
        voices = read_folder(folder)
    elif folder is None and recording is not None and rttm is not None:
        voices = voices_of(audio.read(recording), rttm.read_text(), clips=CLIPS, ask_seconds=LEAST_ASK_SECONDS)
    else:
        raise AudioUnusable("give --audio FOLDER, or --recording FILE with --rttm FILE")
    if len(voices) < 2:
        raise AudioUnusable("at least two speakers are needed: one to enrol, one to be a stranger")
    # The one with the most speech first: where there are only two, the first must be enrolled.
    return sorted(voices, key=lambda voice: -sum(clip.seconds for clip in voice.clips))


def read_folder(folder: Path) -> list[Voice]:
    """The speakers of `folder/<speaker>/*.wav|flac`, the first VOICES of them. Raises AudioUnusable."""
    rooms = sorted(room for room in folder.iterdir() if room.is_dir()) if folder.is_dir() else []
    voices: list[Voice] = []
    for room in rooms:
        files = sorted(file for file in room.iterdir() if file.suffix.lower() in audio.SUFFIXES)
        if files and len(voices) < VOICES:
            voices.append(_voice(room.name, [audio.read(file) for file in files]))
    if not voices:
        raise AudioUnusable(f"{folder}: wanted {folder}/<speaker>/*.wav or *.flac")
    return voices


def _voice(name: str, recordings: list[Recording]) -> Voice:
    """With enough recordings the last ones are to ask with; with few, they are cut."""
    if len(recordings) <= CLIPS:
        speech = audio.join(name, recordings)
        ask = max(LEAST_ASK_SECONDS, min(ASK_SECONDS, speech.seconds / 3))
        return split_voice(name, speech, clips=CLIPS, ask_seconds=ask)
    kept = min(ASKS_PER_VOICE, len(recordings) - CLIPS)
    asks = [ask.cut(0, min(ask.seconds, ASK_SECONDS)) for ask in recordings[-kept:]]
    return Voice(name, tuple(recordings[:-kept]), tuple(asks))


async def _reachable(session: Session, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await session.connection.channel.channel_ready()
    except TimeoutError:
        return False
    return True


async def _enrol(session: Session, voice: VoiceId, person: Voice, user_id: str, *, needed: bool = True) -> bool:
    enrolled = await voice.enroll(user_id, person.clips, consent_ref=CONSENT, stop_when_enough=True)
    accepted = enrolled.enrollment.accepted_clips
    document = {"event": "enrolled", "user_id": user_id, "enrollment": to_document(enrolled.enrollment)}
    if enrolled.profile is not None:
        session.output.line(document, Text(f"enrolled {person.name} from {accepted} clips"))
        return True
    hints = " ".join(dict.fromkeys(reply.hint for reply in enrolled.graded if reply.hint and not reply.accepted))
    why = Text(f"{person.name} has too little usable speech to be enrolled. {hints}".rstrip())
    session.output.line(document, why if needed else None)
    return False


async def _ask(
    view: LiveView,
    voice: VoiceId,
    person: Voice,
    ask: Recording,
    expected: str,
    pace: Callable[[Iterable[bytes]], AsyncIterator[bytes]],
) -> Asked:
    name = f"{person.name} {person.asks.index(ask) + 1}" if len(person.asks) > 1 else person.name
    lane: Lane = view.lane(name, "enrolled" if expected else "stranger")
    config = voice.config(rate=ask.rate)
    config.device_members_only = True
    result: Outcome | SeleneError
    try:
        stream = voice.identify(config)
        result = await converse(stream, pace(ask.frames()), lambda event: view.take(lane, event))
    except SeleneError as error:
        view.fail(lane, error)
        result = error
    return Asked(person.name, expected, result)


def _conclude(session: Session, asked: list[Asked]) -> int:
    known = [item for item in asked if item.expected]
    strangers = [item for item in asked if not item.expected]
    outcomes = [item.result for item in asked if isinstance(item.result, Outcome)]
    seen = sorted(_ms(outcome.latency) for outcome in outcomes if outcome.latency is not None)
    document: dict[str, Any] = {
        "event": "summary",
        "known": len(known),
        "known_named": sum(item.right for item in known),
        "strangers": len(strangers),
        "strangers_confirmed": sum(item.confirmed for item in strangers),
        "latency_ms_median": statistics.median(seen) if seen else None,
        "latency_ms_max": seen[-1] if seen else None,
    }
    text = (
        f"{document['known_named']} of {len(known)} known voices named, "
        f"{document['strangers_confirmed']} of {len(strangers)} strangers confirmed"
    )
    if seen:
        text += (
            f"; decided {statistics.median(seen):.0f} ms after the end of speech (median; longest {seen[-1]:.0f} ms)"
        )
    for item in asked:
        if isinstance(item.result, Outcome):
            session.output.line({"event": "decision", "voice": item.voice, **outcome_document(item.result)})
    session.output.line(document, Text(text, style="bold"))
    return OK if all(item.right for item in asked) else REFUSED


def _ms(duration: timedelta) -> float:
    return round(duration.total_seconds() * 1000, 1)


def main() -> None:
    """Entry point of `python -m clients.demo`. `--targets -` takes them from a line of the standard input: whoever
    starts the servers and this at once knows them later.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(remote(demo))
    words = sys.argv[1:]
    if TARGETS in words and words[words.index(TARGETS) + 1 :][:1] == ["-"]:
        words[words.index(TARGETS) + 1] = sys.stdin.readline().strip()
    app(words)


if __name__ == "__main__":
    main()
