"""`selene signals`: what went wrong or could be better, told to learning, and the table of what it was told."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from google.protobuf import json_format
from rich.table import Table
from rich.text import Text
from selene.learning.v1 import signal_pb2 as nouns
from selene_messages.selene.gold.v1 import GoldDomain
from selene_messages.selene.learning import v1

from clients.cli.documents import in_words
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, REFUSED, USAGE, Session, remote
from clients.routed import new_key
from clients.signals import Signals, Told
from clients.wire import to_document, to_message

E = TypeVar("E", bound=IntEnum)

_BP: Final = 10_000
_SHOWN_REFUSALS: Final = 20


def _choice(kind: type[IntEnum]) -> str:
    return ", ".join((one.name or "").lower() for one in kind if one)


_Class = Annotated[str, typer.Argument(help=f"What happened: {_choice(v1.SignalClass)}", show_default=False)]
_Domain = Annotated[str, typer.Option("--domain", "-d", help=f"What it teaches about: {_choice(GoldDomain)}")]
_OnlyDomain = Annotated[str, typer.Option("--domain", "-d", help="Only of this domain", show_default=False)]
_Path = Annotated[str, typer.Option("--path", help="Only defect or improvement", show_default=False)]
_OnlyUser = Annotated[str, typer.Option("--user", help="Only of this user", show_default=False)]
_Most = Annotated[int, typer.Option("--most", "-n", help="At most so many", min=1)]
_User = Annotated[str, typer.Option("--user", help="Whose signal it is; `anonymous` names nobody")]
_Consent = Annotated[bool, typer.Option("--consent", help="The user consents to its being learned from")]
_Reason = Annotated[str, typer.Option("--reason", help="Why, in the words of the engine that saw it")]
_Input = Annotated[str, typer.Option("--input", help="Reference to what went in; never the audio itself")]
_OutputRef = Annotated[str, typer.Option("--output", help="Reference to what came out")]
_Outcome = Annotated[str, typer.Option("--outcome", help="What came of it")]
_Severity = Annotated[str, typer.Option("--severity", help=_choice(v1.Severity))]
_Source = Annotated[str, typer.Option("--source", help=_choice(v1.CaptureSource))]
_Sure = Annotated[float, typer.Option("--confidence", help="How sure that is, 0 to 1", min=0, max=1)]
_Impact = Annotated[float, typer.Option("--impact", help="How much it matters to the user, 0 to 1", min=0, max=1)]
_Engine = Annotated[str, typer.Option("--engine", help="The engine that saw it")]
_Capability = Annotated[str, typer.Option("--capability", help="Its capability")]
_SessionId = Annotated[str, typer.Option("--session", help="The session it happened in")]
_Idem = Annotated[str, typer.Option("--idempotency-key", help="The same again is taken once", show_default=False)]
_File = Annotated[Path, typer.Argument(help="Signals, one JSON document a line", show_default=False)]
_StreamId = Annotated[str, typer.Option("--stream", help="The stream's name (made of the file)", show_default=False)]


def register(commands: Commands) -> None:
    """Adds `selene signals` and its sub-commands."""
    signals = commands.group("signals", help_text="What went wrong or could be better, told to learning.")
    for name, command in (("capture", signals_capture), ("import", signals_import), ("list", signals_list)):
        signals.command(name, epilog=EXIT_CODES)(remote(command, owner="learning"))


async def signals_capture(
    session: Session,
    signal_class: _Class,
    domain: _Domain = "voice_identity",
    user: _User = "anonymous",
    consent: _Consent = False,
    reason: _Reason = "REPORTED",
    input_ref: _Input = "none",
    output_ref: _OutputRef = "none",
    outcome: _Outcome = "REPORTED",
    severity: _Severity = "medium",
    source: _Source = "user_correction",
    confidence: _Sure = 0.9,
    impact: _Impact = 0.5,
    engine: _Engine = "PH1.FEEDBACK",
    capability: _Capability = "cli",
    session_id: _SessionId = "cli",
    idempotency_key: _Idem = "",
) -> int:
    """Tell one signal that happened now. Without --consent it is refused: nothing is learned from it.

    \b
      selene signals capture false_reject --user mira --consent --reason SCORE_LOW --severity high
      selene signals capture rating --source user_rating --domain tts_route --consent
    """
    key = idempotency_key or new_key()
    try:
        signal = v1.LearningSignal(
            signal_id=key,
            correlation_id=key,
            turn_id="cli",
            occurred_at=datetime.now(UTC),
            user_id=user,
            device_id=session.settings.device or "cli",
            session_id=session_id,
            source_engine_id=engine,
            source_capability_id=capability,
            reason_code=reason,
            input_ref=input_ref,
            output_ref=output_ref,
            outcome_label=outcome,
            consent_asserted=consent,
            privacy_scope=v1.PrivacyScope.TENANT,
            retention_class=v1.RetentionClass.STANDARD,
            severity=_named(v1.Severity, severity),
            confidence_bp=round(confidence * _BP),
            impact_estimate_bp=round(impact * _BP),
            idempotency_key=key,
            domain=_named(GoldDomain, domain),
            signal_class=_named(v1.SignalClass, signal_class),
            capture_source=_named(v1.CaptureSource, source),
        )
    except UnknownName as unknown:
        session.output.misuse(str(unknown))
        return USAGE
    reply = await _signals(session).capture(signal)
    captured = reply.captured or v1.CapturedSignal()
    session.output.show(to_document(reply), _table([captured]))
    return OK


async def signals_import(session: Session, file: _File, stream: _StreamId = "") -> int:
    """Tell many: a file with one signal a line, as JSON with the contract's field names. `tenant_id` may be left out.

    What is refused is named with its line; the others are taken. Interrupted, the same command goes on where the
    server had everything, and takes nothing twice.

    \b
      selene signals import corrections.jsonl
      selene signals list --json | jq -c '.signals[].signal' > signals.jsonl
    """
    try:
        lines, digest = _checked(file)
    except UnusableLine as unusable:
        session.output.misuse(str(unusable))
        return USAGE
    async with _signals(session).stream(stream or f"import-{digest}") as sending:
        done = sending.acknowledged_through
        if done:
            session.output.note(f"goes on after {done} signals, which the server has")
        for place, (_, signal) in enumerate(_read(file), start=1):
            if place > done:
                await sending.send(signal)
    _show_told(session, sending.told, lines, done)
    return REFUSED if sending.told.refused else OK


async def signals_list(
    session: Session, domain: _OnlyDomain = "", path: _Path = "", user: _OnlyUser = "", most: _Most = 100
) -> int:
    """List the tenant's signals, the most urgent first.

    \b
      selene signals list --path defect
      selene signals list --domain voice_identity --user mira
    """
    try:
        found = _signals(session).list(
            domain=_named(GoldDomain, domain) if domain else GoldDomain.UNSPECIFIED,
            intake_path=_named(v1.IntakePath, path) if path else v1.IntakePath.UNSPECIFIED,
            user_id=user,
            page_size=min(most, 1000),
        )
    except UnknownName as unknown:
        session.output.misuse(str(unknown))
        return USAGE
    rows: list[v1.CapturedSignal] = []
    async for captured in found:
        rows.append(captured)
        if len(rows) == most:
            break
    session.output.show({"signals": [to_document(row) for row in rows]}, _table(rows))
    return OK


class UnknownName(ValueError):
    """A name that its enum does not have; the text lists those that it has."""


class UnusableLine(ValueError):
    """A line that is no signal; the text names it."""


def _named(kind: type[E], name: str) -> E:
    found = next((one for one in kind if one and one.name == name.upper()), None)
    if found is None:
        raise UnknownName(f"there is no {name!r}; there are: {_choice(kind)}")
    return found


def _checked(file: Path) -> tuple[list[int], str]:
    """The numbers of the lines that hold signals, and a name for what the file says. UnusableLine, OSError."""
    digest = hashlib.sha256()
    lines = []
    for number, signal in _read(file):
        lines.append(number)
        digest.update(bytes(signal))
    return lines, digest.hexdigest()[:32]


def _read(file: Path) -> Iterator[tuple[int, v1.LearningSignal]]:
    """Signals with the numbers of their lines; empty lines are none. UnusableLine, OSError."""
    with file.open(encoding="utf-8") as text:
        try:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield number, _parsed(file, number, line)
        except UnicodeDecodeError:
            raise UnusableLine(f"{file} is not UTF-8 text") from None


def _parsed(file: Path, number: int, line: str) -> v1.LearningSignal:
    try:
        return to_message(json_format.Parse(line, nouns.LearningSignal()), v1.LearningSignal)
    except json_format.ParseError as error:
        raise UnusableLine(f"{file}, line {number}: {in_words(error)}") from None


def _show_told(session: Session, told: Told, lines: list[int], done: int) -> None:
    refused = [(lines[one.sequence - 1], one) for one in told.refused if 0 < one.sequence <= len(lines)]
    document = {
        "taken": told.taken,
        "repeated": told.repeated,
        "unheard": told.unheard,
        "before": done,
        "refused": [{"line": line, "reason": one.reason, "fields": list(one.fields)} for line, one in refused],
    }
    words = Text(f"{told.taken} taken, {told.repeated} known before, {len(refused)} refused")
    for line, one in refused[:_SHOWN_REFUSALS]:
        fields = f" ({', '.join(one.fields)})" if one.fields else ""
        words.append(f"\n  line {line}: {one.reason}{fields}", style="red")
    if len(refused) > _SHOWN_REFUSALS:
        words.append(f"\n  and {len(refused) - _SHOWN_REFUSALS} more", style="red")
    session.output.show(document, words)


def _signals(session: Session) -> Signals:
    return Signals(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _table(rows: list[v1.CapturedSignal]) -> Table:
    table = Table("urgency", "path", "what", "domain", "why", "who", "seen", "when", "id", box=None, pad_edge=False)
    for row in rows:
        signal = row.signal or v1.LearningSignal()
        defect = row.intake_path is v1.IntakePath.DEFECT
        table.add_row(
            f"{row.priority_bp / 100:.2f} %",
            Text("A defect" if defect else "B improvement", style="red" if defect else ""),
            Text("erased", style="yellow") if row.erased else (signal.signal_class.name or "?").lower(),
            (signal.domain.name or "?").lower(),
            Text(signal.reason_code),
            Text(signal.user_id),
            f"{row.frequency + 1}",
            f"{signal.occurred_at:%Y-%m-%d %H:%M}" if signal.occurred_at else "-",
            Text(signal.signal_id),
        )
    return table
