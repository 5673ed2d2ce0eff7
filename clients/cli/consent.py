"""`selene consent`: who may be learned from, until when, and what becomes of what was learned once that is over."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from selene_messages.selene.governance import v1

from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, Session, remote
from clients.governance import Consents
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
    """End a consent. What was learned under it is frozen at once, taken back, and rebuilt without it.

    \b
      selene consent revoke mira
      selene consent revoke --policy
    """
    kind = v1.RevocationTrigger.TENANT_POLICY if policy else v1.RevocationTrigger.USER_REQUEST
    revocation = await _consents(session).revoke(user, trigger=kind, idempotency_key=idempotency_key)
    session.output.show({"revocation": to_document(revocation)}, _revocation(revocation))
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
    return Group(_table([revocation]), steps)
