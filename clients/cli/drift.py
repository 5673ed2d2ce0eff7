"""`selene drift`: where voice identity drifts, what came of it, and who is taken for whom."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from selene_messages.selene.learning import v1

from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, Session, remote
from clients.drift import Drift
from clients.wire import to_document

_Subject = Annotated[str, typer.Argument(help="user:<id> or cohort:<dimension>:<value>", show_default=False)]
_Of = Annotated[str, typer.Option("--of", help="Only of this user:<id> or cohort:<dimension>:<value>")]
_Most = Annotated[int, typer.Option("--most", "-n", help="At most so many", min=1, max=200)]
_Idem = Annotated[str, typer.Option("--idempotency-key", help="The same again is done once", show_default=False)]

_STYLES = {v1.DriftOutcome.STARTED: "green", v1.DriftOutcome.FROZEN: "red"}


def register(commands: Commands) -> None:
    """Adds `selene drift` and its sub-commands."""
    drift = commands.group("drift", help_text="Where voice identity drifts, and who is taken for whom.")
    for name, command in (("list", drift_list), ("review", drift_review), ("pairs", drift_pairs)):
        drift.command(name, epilog=EXIT_CODES)(remote(command, owner="learning"))


async def drift_list(session: Session, of: _Of = "", most: _Most = 100) -> int:
    """List the figures that left their limits, latest first, and what came of each.

    \b
      selene drift list
      selene drift list --of cohort:noise:street --json
    """
    rows: list[v1.DriftBreach] = []
    async for breach in _drift(session).breaches(subject=of, page_size=most):
        rows.append(breach)
        if len(rows) == most:
            break
    session.output.show({"breaches": [to_document(row) for row in rows]}, _table(rows))
    return OK


async def drift_review(session: Session, subject: _Subject, idempotency_key: _Idem = "") -> int:
    """Let adaptation of a user or a cohort go on, once a person has looked at its breaches. Needs a reviewer's token.

    \b
      selene drift review cohort:noise:street
    """
    breaches = await _drift(session).review(subject, idempotency_key=idempotency_key)
    text = Text(f"{subject} is no longer frozen; {breaches} breaches count no more", style="green")
    session.output.show({"subject": subject, "breaches": breaches}, text)
    return OK


async def drift_pairs(session: Session, most: _Most = 20) -> int:
    """List the speakers who were taken for each other in the last 14 days, the most frequent pair first.

    \b
      selene drift pairs -n 5
    """
    pairs = await _drift(session).pairs(limit=most)
    table = Table("one", "other", "collisions", "close calls", "last", box=None, pad_edge=False)
    for pair in pairs:
        table.add_row(
            Text(pair.first_user_id),
            Text(pair.second_user_id),
            str(pair.collisions),
            str(pair.close_calls),
            f"{pair.last_at:%Y-%m-%d %H:%M}" if pair.last_at else "-",
        )
    session.output.show({"pairs": [to_document(pair) for pair in pairs]}, table)
    return OK


def _drift(session: Session) -> Drift:
    return Drift(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _table(rows: list[v1.DriftBreach]) -> Table:
    columns = ("until", "of", "what", "recent", "against", "samples", "recovery", "outcome", "gold candidate")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            f"{row.window_ends_at:%Y-%m-%d}" if row.window_ends_at else "-",
            Text(row.subject),
            _name(row.detector.name),
            f"{row.recent:.4g}",
            f"{row.reference:.4g}",
            str(row.samples),
            _name(row.recovery.name),
            Text(_name(row.outcome.name if row.outcome else "waits"), style=_STYLES.get(row.outcome, "yellow")),
            Text(row.gold_set_id or "-"),
        )
    return table


def _name(name: str | None) -> str:
    return (name or "?").lower().replace("_", " ")
