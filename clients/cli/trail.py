"""`selene audit`: list, follow and check the audit trail."""

import asyncio
from datetime import datetime
from typing import Annotated, Final, Literal

import typer
from rich.table import Table
from rich.text import Text
from selene_messages.selene.audit import v1

from clients.cli.output import Output
from clients.cli.registry import GET_SERVER, Commands
from clients.cli.session import EXIT_CODES, OK, REFUSED, USAGE, Session, local, remote
from clients.cli.settings import Settings
from clients.wire import to_document

OFFLINE: Final = "audit.verify_store"
"""Offered by the server's package: `(store_url: str, *, as_json: bool) -> int`, printing its findings."""

Ledger = Literal["audit_events", "artifacts_ledger"]

_From = Annotated[int, typer.Option("--from", help="First sequence; 0 means from now on", min=0)]
_Last = Annotated[int, typer.Option("--last", "-n", help="Begin with this many of the latest events", min=0)]
_Follow = Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Wait for what comes")]
_Owner = Annotated[str, typer.Option("--owner", help="Only this owner, such as PH1.VOICE.ID")]
_Transition = Annotated[str, typer.Option("--transition", help="Only this transition, such as voiceid.decided")]
_Correlation = Annotated[str, typer.Option("--correlation", help="Only this correlation id")]
_OfSession = Annotated[str, typer.Option("--session", help="Only this session")]
_Since = Annotated[datetime | None, typer.Option("--since", help="From when, local time")]
_Until = Annotated[datetime | None, typer.Option("--until", help="Until when, local time")]
_Ledger = Annotated[Ledger, typer.Option("--ledger", help="Which ledger")]
_Store = Annotated[str, typer.Option("--store", help="Check this store offline, trusting no server")]


def register(commands: Commands) -> None:
    """Adds the sub-commands that go over gRPC; `audit verify --store` hands over to the server's package."""
    audit = commands.group("audit", help_text="The audit trail: list it, follow it, prove it whole.")
    audit.command("list", epilog=EXIT_CODES)(remote(audit_list, owner="audit"))
    audit.command("tail", epilog=EXIT_CODES)(remote(audit_tail, owner="audit"))
    audit.command("checkpoint", epilog=EXIT_CODES)(remote(audit_checkpoint, owner="audit"))

    def audit_verify(settings: Settings, output: Output, store: _Store = "") -> int:
        """Check the chain and every checkpoint of the trail.

        Without --store the server is asked, and trusted. With it the store itself is read, here, and no server is.

        \b
          selene audit verify
          selene audit verify --store sqlite:///var/lib/selene/selene.db
        """
        if not store:
            return asyncio.run(_verify_served(settings, output))
        verify = commands.provided(OFFLINE)
        if verify is None:
            output.misuse(f"checking a store needs the server's package: {GET_SERVER}")
            return USAGE
        return int(verify(store, as_json=output.as_json))

    audit.command("verify", epilog=EXIT_CODES)(local(audit_verify))


async def _verify_served(settings: Settings, output: Output) -> int:
    async with settings.connect("audit") as connection:
        reply = await Session(settings, output, connection).audit().verify()
    summary = f"{'whole' if reply.whole else 'BROKEN'}: {reply.rows} rows, {reply.checkpoints} checkpoints checked"
    output.show(to_document(reply), Text("\n".join([summary, *reply.findings])))
    return OK if reply.whole else REFUSED


async def audit_list(
    session: Session,
    owner: _Owner = "",
    transition: _Transition = "",
    correlation: _Correlation = "",
    of_session: _OfSession = "",
    since: _Since = None,
    until: _Until = None,
) -> None:
    """List events, oldest first; with --json one line an event.

    \b
      selene audit list --transition voiceid.decided --since 2026-01-31
    """
    events = session.audit().list_events(
        owner=owner,
        transition=transition,
        correlation_id=correlation,
        session_id=of_session,
        since=since.astimezone() if since else None,
        until=until.astimezone() if until else None,
    )
    async for event in events:
        session.output.line(to_document(event), line(event))


async def audit_tail(session: Session, last: _Last = 10, from_sequence: _From = 0, follow: _Follow = True) -> None:
    """Follow the trail across dropped connections, without gap or repeat; Ctrl-C ends it.

    \b
      selene audit tail -n 50
      selene audit tail --from 1 --no-follow --json > trail.jsonl
    """
    audit = session.audit()
    length = await audit.length()
    first = from_sequence or max(1, length - last + 1)
    if not follow and first > length:
        return
    async for event in audit.watch(first):
        session.output.line(to_document(event), line(event))
        if not follow and event.event and event.event.sequence >= length:
            return


async def audit_checkpoint(session: Session, ledger: _Ledger = "audit_events") -> None:
    """Show the latest signed checkpoint; keep it elsewhere, and a trail cut short later will show."""
    reply = await session.audit().checkpoint(ledger)
    checkpoint = reply.checkpoint or v1.Checkpoint()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("rows", str(checkpoint.tree_size))
    table.add_row("root", checkpoint.root_hash.hex())
    table.add_row("signed", checkpoint.signed_at.isoformat(timespec="seconds") if checkpoint.signed_at else "-")
    table.add_row("key", f"{checkpoint.key_id} {reply.public_key.hex()}")
    session.output.show(to_document(reply), table)


def line(chained: v1.ChainedEvent) -> Text:
    """An event on one line: sequence, time, owner, what, why, facts."""
    event = chained.event or v1.AuditEvent()
    when = event.occurred_at.isoformat(timespec="milliseconds") if event.occurred_at else "-"
    facts = " ".join(f"{fact.name}={fact.value}" for fact in event.facts)
    return Text(
        f"{event.sequence:>6}  {when}  {event.owner}  {event.transition}  {event.reason_code}  {facts}".rstrip()
    )
