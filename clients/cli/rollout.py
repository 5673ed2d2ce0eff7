"""`selene rollout`: what is on its way to everyone, stage by stage."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from selene.governance.v1 import rollout_pb2 as nouns
from selene_messages.selene.governance import v1

from clients.cli.documents import DocumentUnusable, read_many
from clients.cli.gate import UnknownName, choices, named
from clients.cli.judge import judged
from clients.cli.reasons import reason_code
from clients.cli.registry import Commands
from clients.cli.rollout_picture import drawn
from clients.cli.session import EXIT_CODES, OK, USAGE, Session, remote
from clients.governance import Governance
from clients.wire import to_document

_Artifact = Annotated[str, typer.Argument(help="Id of the artifact", show_default=False)]
_Rollout = Annotated[str, typer.Argument(help="Id of the rollout", show_default=False)]
_State = Annotated[str, typer.Option("--state", help=choices(v1.RolloutState), show_default=False)]
_Most = Annotated[int, typer.Option("--most", "-n", help="At most so many", min=1)]
_Windows = Annotated[Path, typer.Argument(help="JSON: a list of KpiWindow", show_default=False)]
_Svg = Annotated[Path | None, typer.Option("--svg", help="Draw it into this file", dir_okay=False)]
_Reason = Annotated[str, typer.Option("--reason", help="Why, UPPER_SNAKE_CASE", callback=reason_code)]
_Idem = Annotated[str, typer.Option("--idempotency-key", help="The same again is done once", show_default=False)]


def register(commands: Commands) -> None:
    """Adds `selene rollout` and its sub-commands."""
    rollout = commands.group("rollout", help_text="What is on its way to everyone, stage by stage.")
    for name, command in (
        ("start", rollout_start),
        ("list", rollout_list),
        ("show", rollout_show),
        ("record", rollout_record),
        ("rollback", rollout_rollback),
        ("report", rollout_report),
    ):
        rollout.command(name, epilog=EXIT_CODES)(remote(command, owner="governance"))


async def rollout_start(session: Session, artifact: _Artifact, idempotency_key: _Idem = "") -> int:
    """Begin the staged rollout of an artifact whose gates have all passed.

    \b
      selene rollout start 0198c1…
    """
    rollout = await _governance(session).start(artifact, idempotency_key=idempotency_key)
    session.output.show({"rollout": to_document(rollout)}, _stages(rollout))
    return OK


async def rollout_list(session: Session, state: _State = "", most: _Most = 100) -> int:
    """List rollouts, latest first.

    \b
      selene rollout list --state running
    """
    try:
        wanted = named(v1.RolloutState, state) if state else v1.RolloutState.UNSPECIFIED
    except UnknownName as unknown:
        session.output.misuse(str(unknown))
        return USAGE
    rows: list[v1.Rollout] = []
    async for rollout in _governance(session).rollouts(state=wanted, page_size=min(most, 1000)):
        rows.append(rollout)
        if len(rows) == most:
            break
    session.output.show({"rollouts": [to_document(row) for row in rows]}, _table(rows))
    return OK


async def rollout_show(session: Session, rollout: _Rollout, svg: _Svg = None) -> int:
    """Show a rollout: its stages, and what the judge said last.

    \b
      selene rollout show 0198c2…
      selene rollout show 0198c2… --svg rollout.svg
    """
    found = await _governance(session).rollout(rollout)
    if svg is not None:
        svg.write_text(drawn(found), encoding="utf-8")
        session.output.note(f"drawn into {svg}")
    session.output.show({"rollout": to_document(found)}, _stages(found))
    return OK


async def rollout_record(session: Session, rollout: _Rollout, windows: _Windows, idempotency_key: _Idem = "") -> int:
    """Hand in what was measured on both sides of a running rollout; a list of KpiWindow.

    \b
      selene rollout record 0198c2… windows.json
    """
    try:
        measured = read_many(windows, nouns.KpiWindow, v1.KpiWindow)
    except DocumentUnusable as unusable:
        session.output.misuse(str(unusable))
        return USAGE
    reply = await _governance(session).record(rollout, measured, idempotency_key=idempotency_key)
    session.output.show(to_document(reply), _stages(reply.rollout or v1.Rollout()))
    return OK


async def rollout_rollback(
    session: Session, rollout: _Rollout, reason: _Reason = "OPERATOR_REQUEST", idempotency_key: _Idem = ""
) -> int:
    """Take a running rollout back, whatever the judge says.

    \b
      selene rollout rollback 0198c2… --reason VENDOR_INCIDENT
    """
    reply = await _governance(session).rollback(rollout, reason, idempotency_key=idempotency_key)
    session.output.show(to_document(reply), _stages(reply.rollout or v1.Rollout()))
    return OK


async def rollout_report(session: Session, rollout: _Rollout) -> int:
    """Give the signed promotion report of a rollout, as JSON.

    \b
      selene rollout report 0198c2… > report.json
    """
    session.output.document(to_document(await _governance(session).promotion_report(rollout)))
    return OK


def _governance(session: Session) -> Governance:
    return Governance(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _stage(rollout: v1.Rollout) -> v1.StageEntry:
    return rollout.stages[-1] if rollout.stages else v1.StageEntry()


def _table(rows: list[v1.Rollout]) -> Table:
    table = Table("artifact", "version", "state", "stage", "share", "verdict", "since", "id", box=None, pad_edge=False)
    for row in rows:
        subject, stage = row.subject or v1.ArtifactRef(), _stage(row)
        verdict = row.last_judgement.verdict if row.last_judgement else v1.JudgeVerdict.UNSPECIFIED
        table.add_row(
            Text(subject.artifact_type),
            str(subject.artifact_version),
            Text((row.state.name or "?").lower(), style="red" if row.rollback_reason else ""),
            (stage.stage.name or "?").lower(),
            f"{stage.share_bp / 100:.0f} %",
            (verdict.name or "-").lower() if verdict else "-",
            f"{stage.entered_at:%Y-%m-%d %H:%M}" if stage.entered_at else "-",
            Text(row.rollout_id),
        )
    return table


def _stages(rollout: v1.Rollout) -> Group:
    table = _table([rollout])
    history = Table("stage", "share", "entered", "left", box=None, pad_edge=False)
    for entry in rollout.stages:
        history.add_row(
            (entry.stage.name or "?").lower(),
            f"{entry.share_bp / 100:.0f} %",
            f"{entry.entered_at:%Y-%m-%d %H:%M}" if entry.entered_at else "-",
            f"{entry.left_at:%Y-%m-%d %H:%M}" if entry.left_at else "-",
        )
    return Group(table, history, judged(rollout.last_judgement)) if rollout.last_judgement else Group(table, history)
