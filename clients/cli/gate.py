"""`selene gate`: the gates between what was learned and live behaviour, and the people and engines at them."""

from enum import IntEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.table import Table
from rich.text import Text
from selene.governance.v1 import decision_pb2 as nouns
from selene.governance.v1 import service_pb2 as wire
from selene_messages.selene.governance import v1

from clients.cli.documents import DocumentUnusable, read
from clients.cli.registry import Commands
from clients.cli.session import BELOW_REQUIRED, EXIT_CODES, OK, USAGE, Session, remote
from clients.governance import Governance
from clients.wire import to_document

E = TypeVar("E", bound=IntEnum)


def choices(kind: type[IntEnum]) -> str:
    """The names of an enum, as a person types them."""
    return ", ".join((one.name or "").lower() for one in kind if one)


_Artifact = Annotated[str, typer.Argument(help="Id of the artifact", show_default=False)]
_File = Annotated[Path, typer.Argument(help="JSON with the contract's field names", show_default=False)]
_Action = Annotated[str, typer.Option("--action", help=choices(v1.DecisionAction))]
_Kind = Annotated[str, typer.Argument(help=choices(v1.ApprovalKind), show_default=False)]
_Through = Annotated[str, typer.Option("--through", help=f"Up to which gate: {choices(v1.Gate)}", show_default=False)]
_Most = Annotated[int, typer.Option("--most", "-n", help="At most so many", min=1)]
_Idem = Annotated[str, typer.Option("--idempotency-key", help="The same again is done once", show_default=False)]

_SHUT: Final = "red"


def register(commands: Commands) -> None:
    """Adds `selene gate` and its sub-commands."""
    gate = commands.group("gate", help_text="The gates between what was learned and live behaviour.")
    for name, command in (
        ("decide", gate_decide),
        ("report", gate_report),
        ("approve", gate_approve),
        ("replay", gate_replay),
        ("prove", gate_prove),
        ("check", gate_check),
        ("show", gate_show),
        ("board", gate_board),
    ):
        gate.command(name, epilog=EXIT_CODES)(remote(command, owner="governance"))


async def gate_decide(
    session: Session, artifact: _Artifact, evidence: _File, action: _Action = "activate", idempotency_key: _Idem = ""
) -> int:
    """Ask governance whether something may happen to an artifact, by the evidence in a file (DecisionEvidence).

    \b
      selene gate decide 0198c1… evidence.json
    """
    try:
        asked = named(v1.DecisionAction, action)
        shown = read(evidence, nouns.DecisionEvidence, v1.DecisionEvidence)
    except (UnknownName, DocumentUnusable) as unusable:
        session.output.misuse(str(unusable))
        return USAGE
    decided = await _governance(session).decide(artifact, asked, shown, idempotency_key=idempotency_key)
    session.output.show({"decision": to_document(decided)}, _decided(decided.statement or v1.DecisionStatement()))
    return OK


async def gate_report(session: Session, artifact: _Artifact, report: _File, idempotency_key: _Idem = "") -> int:
    """Hand in the Builder's report on an artifact (BuilderReport).

    \b
      selene gate report 0198c1… report.json
    """
    try:
        shown = read(report, nouns.BuilderReport, v1.BuilderReport)
    except DocumentUnusable as unusable:
        session.output.misuse(str(unusable))
        return USAGE
    bundle = await _governance(session).report(artifact, shown, idempotency_key=idempotency_key)
    session.output.show({"bundle": to_document(bundle)}, _gates(bundle.missing))
    return OK


async def gate_approve(session: Session, artifact: _Artifact, kind: _Kind, idempotency_key: _Idem = "") -> int:
    """Give a permission, as the person that your token names. Another person gives the other one.

    \b
      selene gate approve 0198c1… code
      selene gate approve 0198c1… launch --token-file somebody-else.jwt
    """
    try:
        permission = named(v1.ApprovalKind, kind)
    except UnknownName as unknown:
        session.output.misuse(str(unknown))
        return USAGE
    reply = await _governance(session).approve(artifact, permission, idempotency_key=idempotency_key)
    session.output.show(to_document(reply), _gates((reply.bundle or v1.GateBundle()).missing))
    return OK


async def gate_replay(session: Session, artifact: _Artifact) -> int:
    """Replay recorded turns by an artifact, as governance does itself before it believes a proof.

    A report expects this replay hash, and a proof has to have it. Exits with 3 where the consumer's parser refuses.

    \b
      selene gate replay 0198c1… --json | jq -r .replay.replay_hash
    """
    found = await _governance(session).replay(artifact)
    session.output.show({"replay": to_document(found)}, _replayed(found))
    return OK if (found.parser or v1.ParserResult()).accepted else BELOW_REQUIRED


async def gate_prove(session: Session, proof: _File, idempotency_key: _Idem = "") -> int:
    """Hand in a consumption proof (SubmitConsumptionProofRequest without tenant and key).

    Exits with 3 where the proof does not pass.

    \b
      selene gate prove proof.json
    """
    try:
        shown = read(proof, wire.SubmitConsumptionProofRequest, v1.SubmitConsumptionProofRequest)
        if shown.proof is None or shown.parser is None or shown.shadow is None:
            raise DocumentUnusable(f"{proof}: `proof`, `parser` and `shadow` are wanted")
    except DocumentUnusable as unusable:
        session.output.misuse(str(unusable))
        return USAGE
    verdict = await _governance(session).prove(shown.proof, shown.parser, shown.shadow, idempotency_key=idempotency_key)
    blocked = ", ".join((reason.name or "?") for reason in verdict.block_reasons)
    words = Text("passed", style="green") if verdict.passed else Text(f"blocked: {blocked}", style=_SHUT)
    session.output.show({"verdict": to_document(verdict)}, words)
    return OK if verdict.passed else BELOW_REQUIRED


async def gate_check(session: Session, artifact: _Artifact, through: _Through = "") -> int:
    """Whether an artifact may begin its rollout, for a job that must stop where it may not: exits with 3 then.

    \b
      selene gate check 0198c1… --through launch_approval && ./release.sh
    """
    try:
        gate = named(v1.Gate, through) if through else v1.Gate.UNSPECIFIED
    except UnknownName as unknown:
        session.output.misuse(str(unknown))
        return USAGE
    reply = await _governance(session).gate(artifact, gate)
    words = _gates(reply.missing)
    if reply.open_defects:
        words.append(f"\nopen defects: {', '.join(reply.open_defects)}")
    session.output.show(to_document(reply), words)
    return OK if reply.open else BELOW_REQUIRED


async def gate_show(session: Session, artifact: _Artifact) -> int:
    """Show what there is of an artifact's evidence, and what is missing.

    \b
      selene gate show 0198c1…
    """
    reply = await _governance(session).bundle(artifact)
    bundle = reply.bundle or v1.GateBundle()
    words = _gates(bundle.missing)
    if reply.gate_bundle_ref:
        words.append(f"\nsigned: {reply.gate_bundle_ref}")
    session.output.show(to_document(reply), words)
    return OK


async def gate_board(session: Session, most: _Most = 100) -> int:
    """Show where everything that was proposed stands, what blocks it, and who must act.

    What is held by no_row would never leave the shadow: no row of the judge's table is about its kind, so nothing could
    show a regression, and an operator has to take it back.

    \b
      selene gate board
    """
    rows: list[v1.BoardRow] = []
    async for row in _governance(session).board(page_size=min(most, 1000)):
        rows.append(row)
        if len(rows) == most:
            break
    session.output.show({"rows": [to_document(row) for row in rows]}, _board(rows))
    return OK


class UnknownName(ValueError):
    """A name that its enum does not have; the text lists those that it has."""


def named(kind: type[E], name: str) -> E:
    """The value of an enum by its name, as a person types it. UnknownName."""
    found = next((one for one in kind if one and one.name == name.upper()), None)
    if found is None:
        raise UnknownName(f"there is no {name!r}; there are: {choices(kind)}")
    return found


def _governance(session: Session) -> Governance:
    return Governance(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _gates(missing: list[v1.Gate]) -> Text:
    if not missing:
        return Text("every gate has passed", style="green")
    return Text("missing: " + ", ".join((gate.name or "?").lower() for gate in missing), style=_SHUT)


def _replayed(found: v1.ConsumptionReplay) -> Text:
    parser, shadow = found.parser or v1.ParserResult(), found.shadow or v1.ShadowResult()
    if not parser.accepted:
        return Text(f"its consumer would not load it: {parser.defect}", style=_SHUT)
    told = f"{shadow.turns} turns beside version {found.beside_version}" if shadow.turns else "no recorded turns"
    events = f"safety events {shadow.safety_events_candidate}, of the version beside it {shadow.safety_events_active}"
    return Text(f"replay hash {found.replay_hash.hex()}\n{told}; {events}; privacy leaks {shadow.privacy_leaks}")


def _decided(statement: v1.DecisionStatement) -> Text:
    reasons = ", ".join((reason.name or "?").lower() for reason in statement.reasons)
    style = "green" if statement.decision is v1.Decision.ALLOW else _SHUT
    return Text(f"{statement.decision.name}: {reasons}", style=style)


def blocked_by(row: v1.BoardRow) -> list[str]:
    """What keeps an artifact where it stands: the revocation, the gates, open defects, the judge, what was not
    measured.
    """
    if row.frozen_by:
        return [f"frozen by {row.frozen_by}"]
    blocked = [(gate.name or "?").lower() for gate in row.missing]
    blocked += [f"defect {signal_id} open" for signal_id in row.open_defects]
    blocked += [(reason.name or "?").lower() for reason in row.held_by]
    return blocked + [
        f"{(each.metric.name or '?').lower() if each.metric else 'latency_p95'} of the "
        f"{(each.arm.name or '?').lower()} not measured"
        for each in row.unmeasured
    ]


def _board(rows: list[v1.BoardRow]) -> Table:
    table = Table(
        "artifact",
        "version",
        "decision",
        "blocked by",
        "stage",
        "who must act",
        "rollout",
        "id",
        box=None,
        pad_edge=False,
    )
    for row in rows:
        subject = row.subject or v1.ArtifactRef()
        table.add_row(
            Text(subject.artifact_type),
            str(subject.artifact_version),
            Text((row.decision.name or "-").lower(), style="" if row.decision is v1.Decision.ALLOW else _SHUT),
            Text(", ".join(blocked_by(row)) or "-"),
            (row.stage.name or "?").lower() if row.stage else "-",
            (row.next_actor.name or "nobody").lower() if row.next_actor else "nobody",
            Text(row.rollout_id or "-"),
            Text(subject.artifact_id),
        )
    return table
