"""`selene consent`: who may be learned from, until when, and what becomes of what was learned once that is over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from selene.governance.v1 import consent_pb2 as wire
from selene_messages.selene.governance import v1

from clients.cli.documents import DocumentUnusable, read_part
from clients.cli.evidence import read_key
from clients.cli.output import Output
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, REFUSED, USAGE, Session, local, remote
from clients.cli.settings import Settings
from clients.governance import Consents
from clients.receipt import ReceiptBroken, opened
from clients.wire import to_document

_User = Annotated[str, typer.Argument(help="The user", show_default=False)]
_Anyone = Annotated[str, typer.Argument(help="The user; nobody with --policy", show_default=False)]
_Days = Annotated[float, typer.Option("--days", help="For so many days (until it is revoked)", min=0)]
_Policy = Annotated[
    bool, typer.Option("--policy", help="The tenant's policy revokes, for everyone where no user is named")
]
_Revocation = Annotated[str, typer.Argument(help="Id of the revocation", show_default=False)]
_Open = Annotated[bool, typer.Option("--open", help="Only those with steps to do")]
_Most = Annotated[int, typer.Option("--most", "-n", help="At most so many", min=1)]
_Receipt = Annotated[Path, typer.Argument(help="What `consent revocation --json` wrote", show_default=False)]
_PublicKey = Annotated[
    str, typer.Option("--public-key", help="Key to believe: 64 hex digits, or the file of a checkpoint")
]
_Idem = Annotated[str, typer.Option("--idempotency-key", help="The same again is done once", show_default=False)]


def register(commands: Commands) -> None:
    """Adds `selene consent` and its sub-commands."""
    consent = commands.group("consent", help_text="Who may be learned from, and what a revocation takes with it.")
    for name, command in (
        ("grant", consent_grant),
        ("show", consent_show),
        ("revoke", consent_revoke),
        ("revocation", consent_revocation),
        ("revocations", consent_revocations),
    ):
        consent.command(name, epilog=EXIT_CODES)(remote(command, owner="governance"))
    consent.command("check", epilog=EXIT_CODES)(local(consent_check))


async def consent_grant(session: Session, user: _User, days: _Days = 0.0, idempotency_key: _Idem = "") -> int:
    """Consent to be learned from.

    \b
      selene consent grant mira --days 365
    """
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    consent = await _consents(session).grant(user, expires_at=expires_at, idempotency_key=idempotency_key)
    session.output.show({"consent": to_document(consent)}, _consent(consent))
    return OK


async def consent_show(session: Session, user: _User) -> int:
    """Show a user's consent.

    \b
      selene consent show mira
    """
    consent = await _consents(session).get(user)
    session.output.show({"consent": to_document(consent)}, _consent(consent))
    return OK


async def consent_revoke(
    session: Session, user: _Anyone = "", policy: _Policy = False, idempotency_key: _Idem = ""
) -> int:
    """End a consent. What was said and recorded under it is erased for good, with the voice profile; what was learned
    from it is frozen at once, taken back, and rebuilt without it.

    \b
      selene consent revoke mira
      selene consent revoke --policy
    """
    kind = v1.RevocationTrigger.TENANT_POLICY if policy else v1.RevocationTrigger.USER_REQUEST
    revocation = await _consents(session).revoke(user, trigger=kind, idempotency_key=idempotency_key)
    session.output.show({"revocation": to_document(revocation)}, _revocation(revocation))
    if user and revocation.erasure is not None and not any(many for _, many in _parts(revocation.erasure)):
        session.output.note(f"nothing was kept of {user}: is the name right?")
    return OK


async def consent_revocation(session: Session, revocation: _Revocation) -> int:
    """Show how far a revocation is; with --json also its signed receipt.

    \b
      selene consent revocation 0198c3…
    """
    found = await _consents(session).revocation(revocation)
    session.output.show({"revocation": to_document(found)}, _revocation(found))
    return OK


async def consent_revocations(session: Session, only_open: _Open = False, most: _Most = 100) -> int:
    """List the tenant's revocations, latest first.

    \b
      selene consent revocations --open
    """
    rows: list[v1.Revocation] = []
    async for revocation in _consents(session).revocations(only_open=only_open, page_size=min(most, 1000)):
        rows.append(revocation)
        if len(rows) == most:
            break
    session.output.show({"revocations": [to_document(row) for row in rows]}, _table(rows))
    return OK


def consent_check(settings: Settings, output: Output, file: _Receipt, public_key: _PublicKey = "") -> int:
    """Check the receipt of an erasure, offline: no server and no store is asked or believed.

    What is believed is one key: give --public-key as the operator told you, or a checkpoint that you kept. Exits with 0
    where the receipt holds and with 1 where it does not.

    \b
      selene consent revocation 0198c3… --json > gone.json
      selene consent check gone.json --public-key monday.json
    """
    try:
        revocation = read_part(file, "revocation", wire.Revocation, v1.Revocation)
        key = read_key(public_key) if public_key else b""
    except DocumentUnusable as error:
        output.misuse(str(error))
        return USAGE
    if not key:
        output.misuse(
            "whose signature is to be believed? Give --public-key: 64 hex digits, or the file of a checkpoint that you "
            "kept (`selene audit checkpoint export`)"
        )
        return USAGE
    try:
        receipt = opened(revocation.receipt, key=key)
    except ReceiptBroken as broken:
        output.show({"holds": False, "fault": broken.fault.value}, Text(f"BROKEN: {broken.fault.value}", style="red"))
        return REFUSED
    output.show({"holds": True, "receipt": to_document(receipt)}, _receipt(receipt))
    return OK


def _consents(session: Session) -> Consents:
    return Consents(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _consent(consent: v1.Consent) -> Text:
    if consent.ended_at:
        return Text(f"{consent.user_id} consents no more since {consent.ended_at:%Y-%m-%d %H:%M}", style="red")
    until = f"until {consent.expires_at:%Y-%m-%d %H:%M}" if consent.expires_at else "until it is revoked"
    return Text(f"{consent.user_id} consents {until}", style="green")


def _step(step: v1.RevocationStep) -> str:
    return (step.name or "?").lower() if step else "done"


def _table(rows: list[v1.Revocation]) -> Table:
    table = Table("who", "why", "captured", "next step", "artifacts", "gold sets", "id", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            Text(row.user_id or "everyone"),
            (row.trigger.name or "?").lower(),
            f"{row.captured_at:%Y-%m-%d %H:%M}" if row.captured_at else "-",
            _step(row.next_step),
            str(len(row.affected_artifacts)),
            str(len(row.affected_gold_set_ids)),
            Text(row.revocation_id),
        )
    return table


def _revocation(revocation: v1.Revocation) -> Group:
    steps = Table("step", "done", "due", "about", box=None, pad_edge=False)
    for record in revocation.steps:
        steps.add_row(
            Text(_step(record.step), style="red" if record.late else ""),
            f"{record.done_at:%Y-%m-%d %H:%M:%S}" if record.done_at else "-",
            f"{record.due_at:%H:%M:%S}" if record.due_at else "-",
            str(record.affected),
        )
    return Group(_table([revocation]), steps, *_erasure(revocation.erasure))


def _receipt(receipt: v1.ErasureReceipt) -> Group:
    when = f"{receipt.completed_at:%Y-%m-%d %H:%M:%S}" if receipt.completed_at else "-"
    told = Text(f"holds: revocation {receipt.revocation_id}, nothing of it serves since {when}", style="green")
    taken = Text(f"  {len(receipt.invalidated)} artifacts invalidated, {receipt.signals} signals revoked")
    return Group(told, taken, *_erasure(receipt.erasure))


def _erasure(erasure: v1.Erasure | None) -> list[Text]:
    """What was erased, a line each; nothing for revocations from before anything was."""
    if erasure is None:
        return []
    told = ", ".join(f"{many} {name}" for name, many in _parts(erasure) if many) or "nothing was there"
    lines = [Text(f"erased: {erasure.keys} key{'' if erasure.keys == 1 else 's'} destroyed; {told}")]
    lines += [Text(f"  key {key_id}") for key_id in erasure.key_ids]
    if erasure.unsealed_signals:
        lines.append(Text(f"  {erasure.unsealed_signals} signals from before sealing stay readable", style="yellow"))
    return lines


def _parts(erasure: v1.Erasure) -> tuple[tuple[str, int], ...]:
    return (
        ("signals", erasure.signals),
        ("items", erasure.gold_items),
        ("labels", erasure.gold_labels),
        ("embeddings", erasure.voice_profiles),
        ("clips", erasure.voice_clips),
        ("fingerprints", erasure.voice_fingerprints),
    )
