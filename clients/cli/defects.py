"""`selene defects`: the defects at which safety is at stake, what mends them, and who closes them (§8, path A)."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text
from selene.governance.v1 import service_pb2 as wire
from selene_messages.selene.gold.v1 import GoldDomain
from selene_messages.selene.governance import v1

from clients.cli.documents import DocumentUnusable, read
from clients.cli.gate import UnknownName, choices, named
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, USAGE, Session, remote
from clients.governance import Defects
from clients.wire import to_document

_File = Annotated[Path, typer.Argument(help="JSON with the contract's field names", show_default=False)]
_Signals = Annotated[
    list[str] | None, typer.Argument(help="Signals of the defects, beside those in the file", show_default=False)
]
_Artifact = Annotated[str, typer.Option("--artifact", help="Id of the pack that is the fix", show_default=False)]
_Fix = Annotated[str, typer.Argument(help="Id of the fix", show_default=False)]
_All = Annotated[bool, typer.Option("--all", help="Also those that are closed")]
_Domain = Annotated[str, typer.Option("--domain", help=f"Only of this one: {choices(GoldDomain)}", show_default=False)]
_Most = Annotated[int, typer.Option("--most", "-n", help="At most so many", min=1)]
_Idem = Annotated[str, typer.Option("--idempotency-key", help="The same again is done once", show_default=False)]

_PAGE: Final = 100
_STYLES: Final = {v1.DefectState.OPEN: "red", v1.DefectState.FIX_PROPOSED: "yellow", v1.DefectState.CLOSED: "green"}


def register(commands: Commands) -> None:
    """Adds `selene defects` and its sub-commands."""
    text = "Defects at which safety is at stake: what is learned of their domain waits until they are closed."
    defects = commands.group("defects", help_text=text)
    for name, command in (("list", defects_list), ("fix", defects_fix), ("close", defects_close)):
        defects.command(name, epilog=EXIT_CODES)(remote(command, owner="governance"))


async def defects_list(session: Session, every: _All = False, domain: _Domain = "", most: _Most = 100) -> int:
    """List the defects that hold promotion, the oldest first.

    \b
      selene defects list
      selene defects list --domain voice_identity --all
    """
    try:
        only = named(GoldDomain, domain) if domain else GoldDomain.UNSPECIFIED
    except UnknownName as unknown:
        session.output.misuse(str(unknown))
        return USAGE
    rows: list[v1.Defect] = []
    async for row in _defects(session).list(only_open=not every, domain=only, page_size=min(most, _PAGE)):
        rows.append(row)
        if len(rows) == most:
            break
    session.output.show({"defects": [to_document(row) for row in rows]}, _table(rows))
    return OK


async def defects_fix(
    session: Session, proof: _File, signals: _Signals = None, artifact: _Artifact = "", idempotency_key: _Idem = ""
) -> int:
    """Name what mends defects, by the proof in a file (ProposeDefectFixRequest without tenant and key).

    A pack has to have been learned from one of them; else the release candidate of the Builder's report is the fix.

    \b
      selene defects fix proof.json signal-7 signal-9
      selene defects fix proof.json signal-7 --artifact 0198c1…
    """
    try:
        shown = read(proof, wire.ProposeDefectFixRequest, v1.ProposeDefectFixRequest)
        if shown.regression_test is None or shown.report is None:
            raise DocumentUnusable(f"{proof}: `regression_test` and `report` are wanted")
    except DocumentUnusable as unusable:
        session.output.misuse(str(unusable))
        return USAGE
    shown.signal_ids = list(dict.fromkeys((*shown.signal_ids, *(signals or ()))))
    shown.artifact_id = artifact or shown.artifact_id
    fix = await _defects(session).fix(shown, idempotency_key=idempotency_key)
    words = Text(
        f"fix {fix.fix_id} of {len(fix.signal_ids)}; somebody else closes them: selene defects close {fix.fix_id}"
    )
    session.output.show({"fix": to_document(fix)}, words)
    return OK


async def defects_close(session: Session, fix: _Fix, idempotency_key: _Idem = "") -> int:
    """Close the defects of a fix for good, as the person that your token names. Needs an approver's token.

    \b
      selene defects close 0198c1… --token-file approver.jwt
    """
    closures = await _defects(session).close(fix, idempotency_key=idempotency_key)
    statements = [one.statement or v1.DefectClosureStatement() for one in closures]
    text = Text("closed: " + ", ".join(one.signal_id for one in statements), style="green")
    session.output.show({"closures": [to_document(one) for one in closures]}, text)
    return OK


def _defects(session: Session) -> Defects:
    return Defects(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _table(rows: list[v1.Defect]) -> Table:
    table = Table("captured", "domain", "state", "fix", "signal", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            f"{row.captured_at:%Y-%m-%d %H:%M}" if row.captured_at else "-",
            _words(row.domain.name),
            Text(_words(row.state.name), style=_STYLES.get(row.state, "")),
            Text(row.fix.fix_id if row.fix else "-"),
            Text(row.signal_id),
        )
    return table


def _words(name: str | None) -> str:
    return (name or "?").lower().replace("_", " ")
