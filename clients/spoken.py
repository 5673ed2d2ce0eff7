"""The second half of the demonstration: a turn by voice, and the same turn after its language model was broken.

A question is spoken by one owner, written down by another, answered by a third, and the answer is spoken. Then the
endpoint of the language model fails for real: its circuit opens, and the turn completes by who comes next.
"""

import asyncio
import urllib.error
import urllib.request
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Final

from rich.progress import BarColumn, Progress, TextColumn
from rich.rule import Rule
from rich.text import Text
from selene_messages.selene.llm import v1 as llm
from selene_messages.selene.routing import v1 as routing

from clients import audio
from clients.audio import AudioUnusable, Loudspeaker, Recording
from clients.cli import routed
from clients.cli.session import Session
from clients.cli.settings import SettingsUnusable
from clients.cli.standings import Standing, clock, table
from clients.cli.talk import answer, hear, local_zone, speak
from clients.language import Language
from clients.routing import Circuits
from clients.speech import Stt, Tts
from clients.wire import to_document

QUESTION: Final = "What time is it?"
LLAMA: Final = "llama/llm"
GET_LOCAL: Final = "pip install 'selene-platform[server,local,vendors]'"
_MOST_CALLS: Final = 60
_AT_ONCE: Final = 4
_OPENS_WITHIN_S: Final = 5.0
_LOOKS: Final = 50
_LOOK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn as it went: what was heard, what was answered, by whom."""

    heard: str
    reply: str
    provider_ref: str


class SpokenTurn:
    """The owners of speech and language, as the demonstration asks them."""

    def __init__(self, session: Session, clients: AsyncExitStack, device: Loudspeaker | None) -> None:
        self._session = session
        self._clients = clients
        self._device = device

    async def open(self) -> "SpokenTurn":
        """With a connection to each owner. Raises what `Settings.connect` raises."""
        connections = {
            owner: await self._clients.enter_async_context(self._session.settings.connect(owner))
            for owner in ("stt", "tts", "llm")
        }
        scope = routed.scope(self._session, "", "")
        self._stt = Stt(connections["stt"], scope=scope)
        self._tts = Tts(connections["tts"], scope=scope)
        self._llm = Language(connections["llm"], scope=scope)
        self._circuits = {owner: Circuits(connection) for owner, connection in connections.items()}
        return self

    async def missing(self) -> dict[str, str]:
        """Owners that have nobody to ask, and why. SeleneError."""
        told: dict[str, str] = {}
        for owner in self._circuits:
            reply = await self._providers(owner)
            if not any(each.next for each in reply.providers):
                told[owner] = ", ".join(f"{each.provider_ref} {each.reason_code}" for each in reply.providers)
        return told

    async def llama(self) -> routing.ProviderStanding | None:
        """The provider that is to be broken, as it stands. SeleneError."""
        found = [each for each in (await self._providers("llm")).providers if each.provider_ref == LLAMA]
        return found[0] if found else None

    async def take(self, *, silent: bool) -> Turn:
        """One turn, told as it goes; ``silent`` where speech cannot be had. SeleneError."""
        if silent:
            heard = QUESTION
        else:
            heard = await self._hear(await self._say("question", QUESTION))
        final = await self._answer(heard)
        packet = final.packet or llm.DecisionPacket()
        if not silent:
            await self._say("answer", packet.reply)
        provider_ref = final.result.provider_ref if final.result else ""
        return Turn(heard, packet.reply, provider_ref)

    async def burst(self) -> tuple[int, bool]:
        """Calls, some at a time, until the circuit of LLAMA is open: how many, and whether it is. SeleneError."""
        console = self._session.output.err
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.completed} calls"))
        calls = 0
        opened = asyncio.create_task(self._opened())
        try:
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task("asking until its circuit opens", total=None)
                while calls < _MOST_CALLS and not opened.done():
                    replies = (self._llm.respond(QUESTION, time_zone=local_zone()) for _ in range(_AT_ONCE))
                    await asyncio.gather(*map(_drain, replies))
                    calls += _AT_ONCE
                    progress.update(task, completed=calls)
            await asyncio.wait((opened,), timeout=_OPENS_WITHIN_S)
            return calls, opened.done() and opened.result()
        finally:
            opened.cancel()
            await asyncio.gather(opened, return_exceptions=True)

    async def show_circuits(self) -> None:
        """The table of the language owner, and what happened to its circuits. SeleneError."""
        output = self._session.output
        reply = await self._providers("llm")
        output.line({"event": "circuits", **to_document(reply)}, table([Standing("llm", reply)], output.out))
        each = await self._last_transition()
        if each is not None:
            told = f"{clock(each.at)} {LLAMA}: {each.before.name} → {each.after.name}, {each.reason_code}"
            output.line({"event": "transition", **to_document(each)}, Text(told, style="dim"))

    async def _last_transition(self) -> routing.CircuitTransition | None:
        """What happened last to the circuit of LLAMA. A circuit changes at once, and is written down a moment later."""
        for _ in range(_LOOKS):
            async with aclosing(self._circuits["llm"].transitions(LLAMA, page_size=1)) as found:
                async for each in found:
                    return each
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def _providers(self, owner: str) -> routing.ListProvidersResponse:
        session = self._session
        subject = routed.subject(session, locale=routed.REFERENCE_LOCALE, user="", channel="")
        return await self._circuits[owner].providers(subject)

    async def _opened(self) -> bool:
        """Returns once the circuit of LLAMA is open."""
        async with aclosing(self._circuits["llm"].watch(LLAMA)) as circuits:
            async for circuit in circuits:
                if circuit.state is routing.CircuitState.OPEN:
                    return True
        return False

    async def _say(self, what: str, text: str) -> Recording:
        async with self._tts.say(text, rate=16_000) as speech:
            spoken = await speak(speech, self._device, lambda _: None)
        final = speech.final
        assert final is not None  # `speak` raises where there was none
        told = Text(f"{what}: ", style="dim").append(text).append(f"  {spoken.seconds:.1f} s of speech by ", "dim")
        told.append(final.result.provider_ref if final.result else "?", "dim")
        self._session.output.line({"event": "said", "what": what, "text": text, **to_document(final)}, told)
        return spoken

    async def _hear(self, recording: Recording) -> str:
        output = self._session.output
        transcription = self._stt.transcribe(audio.paced(recording.frames()), rate=recording.rate)
        final = await hear(output.out, "heard", transcription, lambda _: None, quiet=output.as_json)
        output.line({"event": "heard", **to_document(final)}, _by(routed.route_words(final.route)))
        return final.transcript.text if final.transcript else ""

    async def _answer(self, heard: str) -> llm.RespondFinal:
        output = self._session.output
        reply = self._llm.respond(heard or QUESTION, time_zone=local_zone())
        final = await answer(output.out, "answered", reply, lambda _: None, quiet=output.as_json)
        output.line({"event": "answered", **to_document(final)}, _by(routed.route_words(final.route)))
        return final


async def spoken_turn(session: Session, endpoint: str) -> bool:
    """Both halves, told as they go; what cannot be had here is skipped and said. Whether all that was tried worked.

    ``endpoint`` is where the language model can be broken: `POST {endpoint}/break`.
    """
    async with AsyncExitStack() as clients:
        with ExitStack() as open_device:
            turn = await SpokenTurn(session, clients, _device(open_device)).open()
            return await _run(session, turn, endpoint)


async def _run(session: Session, turn: SpokenTurn, endpoint: str) -> bool:
    _heading(session, "A turn by voice: spoken, heard, answered, spoken")
    told = f"{LLAMA} is an endpoint at {endpoint} that this demonstration started; it knows the time and nothing else."
    session.output.line({"event": "endpoint", "provider_ref": LLAMA, "url": endpoint}, Text(told, style="dim"))
    missing = await turn.missing()
    for owner, why in missing.items():
        session.output.note(f"{owner} is skipped: nobody can be asked ({why}). Get it: {GET_LOCAL}")
    if "llm" in missing:
        return False
    silent = bool(missing)
    first = await turn.take(silent=silent)
    standing = await turn.llama()
    if standing is None or standing.availability is not routing.Availability.READY:
        why = standing.reason_code if standing else "not in the profile"
        session.output.note(f"Breaking {LLAMA} is skipped: {why}. Get it: {GET_LOCAL}")
        return True
    _heading(session, "The same turn, its language model broken")
    await asyncio.to_thread(_break, endpoint)
    calls, opened = await turn.burst()
    ended = "until its circuit opened:" if opened else "and its circuit did not open:"
    told = f"{LLAMA} answers HTTP 500 now; {calls} calls were answered by who comes next {ended}"
    session.output.line({"event": "broken", "provider_ref": LLAMA, "calls": calls, "opened": opened}, Text(told))
    await turn.show_circuits()
    second = await turn.take(silent=silent)
    return _conclude(session, first, second) and opened


def _conclude(session: Session, first: Turn, second: Turn) -> bool:
    worked = first.provider_ref == LLAMA and second.provider_ref not in ("", LLAMA) and bool(second.reply)
    document = {
        "event": "turns",
        "providers": [first.provider_ref, second.provider_ref],
        "replies": [first.reply, second.reply],
        "worked": worked,
    }
    told = f"first by {first.provider_ref}, then by {second.provider_ref}: the turn went on without its language model"
    session.output.line(document, Text(told if worked else f"not as it should be: {told}", style="bold"))
    return worked


def _heading(session: Session, title: str) -> None:
    if not session.output.as_json:
        session.output.out.print()
        session.output.out.print(Rule(title, align="left", style="dim"))


def _by(route: Text) -> Text:
    return Text("  ").append_text(route)


def _device(opened: ExitStack) -> Loudspeaker | None:
    try:
        return opened.enter_context(audio.loudspeaker(16_000))
    except AudioUnusable:
        return None


def _break(endpoint: str) -> None:
    request = urllib.request.Request(f"{endpoint}/break", method="POST", data=b"")
    try:
        with urllib.request.urlopen(request, timeout=5.0):
            return
    except (urllib.error.URLError, ValueError) as error:
        raise SettingsUnusable(f"the endpoint {endpoint} cannot be broken: {error}") from None


async def _drain(reply: Any) -> None:
    async with reply:
        await reply.result()
