"""`selene audit`: list, follow, check and prove the audit trail."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text
from selene_messages.selene.audit import v1

from clients.cli import evidence
from clients.cli.documents import DocumentUnusable
from clients.cli.output import Output
from clients.cli.registry import GET_SERVER, Commands, runs_alone
from clients.cli.session import EXIT_CODES, LOOKED_ON, OK, REFUSED, USAGE, Session, local, remote
from clients.cli.settings import Settings
from clients.proof import Evidence, Finding, ProofBroken, findings
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
_Sequence = Annotated[
    int | None, typer.Argument(help="The event, by its number in the trail", min=1, show_default=False)
]
_Proof = Annotated[
    Path, typer.Argument(help="What `audit prove` or `audit checkpoint export` wrote", show_default=False)
]
_PublicKey = Annotated[
    str, typer.Option("--public-key", help="Key to believe: 64 hex digits, or the file of a checkpoint")
]
_SinceKept = Annotated[
    Path | None,
    typer.Option("--since", help="A checkpoint that you kept: show, by its key, that the trail only grew since"),
]
_Artifact = Annotated[
    str, typer.Argument(help="Id of the artifact, as `selene gate board` shows it", show_default=False)
]
_OfRollout = Annotated[str, typer.Option("--rollout", help="Of this rollout, and not the artifact's latest")]
_Store = Annotated[str, typer.Option("--store", help="Check this store offline, trusting no server")]


def register(commands: Commands) -> None:
    """Adds the sub-commands that go over gRPC; `audit verify --store` hands over to the server's package."""
    audit = commands.group("audit", help_text="The audit trail: list it, follow it, prove it whole.")
    audit.command("list", epilog=EXIT_CODES)(remote(audit_list, owner="audit"))
    audit.command("tail", epilog=EXIT_CODES)(remote(audit_tail, owner="audit", interrupted=LOOKED_ON))
    audit.command("prove", epilog=EXIT_CODES)(remote(audit_prove, owner="audit"))
    audit.command("check", epilog=EXIT_CODES)(local(audit_check))
    audit.command("trail", epilog=EXIT_CODES)(remote(audit_trail, owner="audit"))
    checkpoint = typer.Typer(rich_markup_mode=None)
    shown = remote(audit_checkpoint, owner="audit")
    runs_alone(checkpoint, shown, epilog=EXIT_CODES)
    checkpoint.command("export", epilog=EXIT_CODES)(remote(audit_checkpoint_export, owner="audit"))
    audit.add_typer(checkpoint, name="checkpoint")

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
    """Show the latest signed checkpoint; `export` writes the file to keep elsewhere.

    \b
      selene audit checkpoint
      selene audit checkpoint export > monday.json
    """
    reply = await session.audit().checkpoint(ledger)
    checkpoint = reply.checkpoint or v1.Checkpoint()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("rows", str(checkpoint.tree_size))
    table.add_row("root", checkpoint.root_hash.hex())
    table.add_row("signed", checkpoint.signed_at.isoformat(timespec="seconds") if checkpoint.signed_at else "-")
    table.add_row("key", f"{checkpoint.key_id} {reply.public_key.hex()}")
    session.output.show(to_document(reply), table)


async def audit_checkpoint_export(session: Session, ledger: _Ledger = "audit_events") -> None:
    """Write the latest signed checkpoint as JSON, with the key that signed it.

    It says how long the trail was and what it held. Whoever has it can show later that nothing was taken out or
    rewritten since, and check proofs by its key. Compare that key once with the one that the operator tells you.

    \b
      selene audit checkpoint export > monday.json
      selene audit prove --since monday.json > grown.json
    """
    reply = await session.audit().checkpoint(ledger)
    checkpoint = reply.checkpoint or v1.Checkpoint()
    session.output.document(evidence.document(Evidence(checkpoint, reply.public_key)))
    session.output.note(f"{_signed(checkpoint)}; its key is {reply.public_key.hex()}")


async def audit_prove(
    session: Session, sequence: _Sequence = None, since: _SinceKept = None, public_key: _PublicKey = ""
) -> int | None:
    """Prove that an event is in the trail, that the trail only grew since a checkpoint, or both. Prints a JSON file.

    The proof is checked here before it is printed. `selene audit check` checks it anywhere, with no server and no
    store: the event's hash, its path to the root (RFC 9162), and the signature over that root. Exits with 1 where the
    proof does not hold. Without --public-key and --since the key that the server names is believed for now.

    \b
      selene audit list --transition voiceid.decided    # see its number
      selene audit prove 17 > proof.json
      selene audit prove 17 --since monday.json > proof.json
      selene audit prove --since monday.json > grown.json
      selene audit check proof.json --public-key monday.json
    """
    output = session.output
    if sequence is None and since is None:
        output.misuse("nothing to prove: give the number of an event, --since with a checkpoint, or both")
        return USAGE
    try:
        kept = evidence.read(since) if since else None
        believed = _believed(public_key, kept)
    except DocumentUnusable as error:
        output.misuse(str(error))
        return USAGE
    before = kept.checkpoint if kept else None
    audit = session.audit()
    try:
        if sequence is not None:
            proved = await audit.inclusion_proof(sequence, key=believed, since=before)
        else:
            proved = await audit.consistency_proof(before or v1.Checkpoint(), key=believed)
    except ProofBroken as broken:
        return _told(output, broken.evidence, broken.findings, before, as_result=output.as_json)
    output.document(evidence.document(proved))
    return _told(output, proved, (), before, as_result=False)


def audit_check(
    settings: Settings, output: Output, file: _Proof, public_key: _PublicKey = "", since: _SinceKept = None
) -> int:
    """Check a proof or a checkpoint, offline: no server and no store is asked or believed.

    What is believed is one key, so it must not come from the file itself: give --public-key as the operator told
    you, or a checkpoint that you kept. With --since the trail must also have only grown since that checkpoint, whose
    key then is the one believed. Exits with 0 where everything holds and with 1 where anything does not.

    \b
      selene audit check proof.json --public-key monday.json
      selene audit check proof.json --since monday.json
      selene audit check monday.json --public-key 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8
    """
    try:
        shown = evidence.read(file)
        kept = evidence.read(since) if since else None
        believed = _believed(public_key, kept)
    except DocumentUnusable as error:
        output.misuse(str(error))
        return USAGE
    if not believed:
        named = shown.public_key.hex() or "no key"
        output.misuse(
            "whose signature is to be believed? Give --public-key (64 hex digits, or the file of a checkpoint that you "
            f"kept) or --since. The file names {named}: compare it with what the operator says"
        )
        return USAGE
    before = kept.checkpoint if kept else None
    return _told(output, shown, findings(shown, key=believed, since=before), before, as_result=True)


async def audit_trail(session: Session, artifact: _Artifact = "", rollout: _OfRollout = "") -> int:
    """Check that the trail of an activation is complete: each row that it has to hold, and the event that is it.

    Exits with 1 where one is missing or in another place than the order of the gates has it; such a rollout is taken
    back at once.

    \b
      selene audit trail 0198c1…
      selene audit trail --rollout 0198c2… --json | jq '.rows[] | select(.state != "TRAIL_ROW_STATE_FOUND")'
    """
    if bool(artifact) == bool(rollout):
        session.output.misuse("whose trail? Give the id of an artifact, or --rollout with the id of a rollout")
        return USAGE
    reply = await session.audit().check_trail(artifact_id=artifact, rollout_id=rollout)
    session.output.show(to_document(reply), Group(_trail(reply.rows), _trail_told(reply)))
    return OK if reply.complete else REFUSED


def _trail(rows: Sequence[v1.TrailRow]) -> Table:
    table = Table(Column("event", justify="right"), "when", "row", "which", "", box=None, pad_edge=False)
    for row in rows:
        event = row.event or v1.AuditEvent()
        table.add_row(
            str(event.sequence or "-"),
            f"{event.occurred_at:%Y-%m-%d %H:%M:%S}" if event.occurred_at else "-",
            row.transition,
            Text(" ".join(f"{fact.name}={fact.value}" for fact in row.facts)),
            Text("" if row.state is v1.TrailRowState.FOUND else row.state.name or "?", style="red"),
        )
    return table


def _trail_told(reply: v1.CheckTrailResponse) -> Text:
    of = f"rollout {reply.rollout_id}" if reply.rollout_id else "no rollout yet"
    if reply.complete:
        return Text(f"complete: {reply.found} of {reply.expected} rows, {of}", style="green")
    return Text(f"GAP: {reply.found} of {reply.expected} rows, {of}", style="red")


def _believed(key: str, kept: Evidence | None) -> bytes:
    """The key that is given, else that of the checkpoint that was kept. DocumentUnusable, OSError."""
    if key:
        return evidence.read_key(key)
    return kept.public_key if kept else b""


def _told(
    output: Output, shown: Evidence, found: Sequence[Finding], since: v1.Checkpoint | None, *, as_result: bool
) -> int:
    """Tells what holds, or what does not, as the result or beside it; the exit code."""
    if found:
        said = ["BROKEN: do not rely on it", *map(str, found)]
    else:
        event = shown.event
        what = f"event {event.sequence}, {event.transition} {event.reason_code}".rstrip()
        said = [f"holds: {_signed(shown.checkpoint)}"]
        said += [f"  {what}, is in it"] if event.sequence else []
        said += [f"  it only grew since it had {since.tree_size} rows"] if since else []
    if as_result:
        output.show(_checked(shown, found, since), Text("\n".join(said), style="red" if found else ""))
    else:
        output.note("\n".join(said))
    return REFUSED if found else OK


def _checked(shown: Evidence, found: Sequence[Finding], since: v1.Checkpoint | None) -> dict[str, Any]:
    checkpoint, sequence = shown.checkpoint, shown.event.sequence
    return {
        "holds": not found,
        "tenant_id": checkpoint.tenant_id,
        "ledger": checkpoint.ledger,
        "tree_size": checkpoint.tree_size,
        "signed_at": checkpoint.signed_at.isoformat() if checkpoint.signed_at else None,
        "key_id": checkpoint.key_id,
        "sequence": sequence or None,
        "since_size": since.tree_size if since else None,
        "findings": [{"fault": one.fault.value, "detail": one.detail} for one in found],
    }


def _signed(checkpoint: v1.Checkpoint) -> str:
    when = checkpoint.signed_at.isoformat(timespec="seconds") if checkpoint.signed_at else "-"
    return (
        f"{checkpoint.tree_size} rows of {checkpoint.ledger}, tenant {checkpoint.tenant_id}, "
        f"signed {when} by {checkpoint.key_id}"
    )


def line(chained: v1.ChainedEvent) -> Text:
    """An event on one line: sequence, time, owner, what, why, facts."""
    event = chained.event or v1.AuditEvent()
    when = event.occurred_at.isoformat(timespec="milliseconds") if event.occurred_at else "-"
    facts = " ".join(f"{fact.name}={fact.value}" for fact in event.facts)
    return Text(
        f"{event.sequence:>6}  {when}  {event.owner}  {event.transition}  {event.reason_code}  {facts}".rstrip()
    )
