"""`selene judge`: what the judge says of a rollout now."""

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from selene_messages.selene.governance import v1

from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, Session, remote
from clients.governance import Governance
from clients.wire import to_document

_Rollout = Annotated[str, typer.Argument(help="Id of the rollout", show_default=False)]

_STYLES = {v1.JudgeVerdict.PROMOTE: "green", v1.JudgeVerdict.ROLLBACK: "red"}
_PPM = 1_000_000


def register(commands: Commands) -> None:
    """Adds `selene judge`."""
    commands.app.command("judge", epilog=EXIT_CODES)(remote(judge, owner="governance"))


async def judge(session: Session, rollout: _Rollout) -> int:
    """Ask the judge about a rollout. Nothing moves: the control loops act by themselves.

    \b
      selene judge 0198c1…
    """
    governance = Governance(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)
    judgement = await governance.judge(rollout)
    session.output.show({"judgement": to_document(judgement)}, judged(judgement))
    return OK


def judged(judgement: v1.Judgement) -> Group:
    """The verdict, and the figures that it rests on."""
    reasons = ", ".join((reason.name or "?").lower() for reason in judgement.reasons)
    verdict = Text(f"{judgement.verdict.name}: {reasons or '-'}", style=_STYLES.get(judgement.verdict, "yellow"))
    verdict.append(f"  ({judgement.candidate_turns} turns against {judgement.baseline_turns})", style="dim")
    return Group(verdict, _figures(judgement.findings)) if judgement.findings else Group(verdict)


def _figures(findings: list[v1.JudgeFinding]) -> Table:
    table = Table("what", "cohort", "before", "candidate", "difference", "by chance", box=None, pad_edge=False)
    for finding in findings:
        is_rate = bool(finding.metric)
        table.add_row(
            (finding.metric.name or "?").lower() if is_rate else "latency p95",
            Text(finding.cohort or "everyone"),
            _figure(finding.baseline_ppm, is_rate=is_rate),
            _figure(finding.candidate_ppm, is_rate=is_rate),
            f"{finding.delta_ppm / _PPM:+.2%}",
            f"{finding.p_value_ppm / _PPM:.2%}",
        )
    return table


def _figure(value: int, *, is_rate: bool) -> str:
    return f"{value / _PPM:.2%}" if is_rate else f"{value / 1000:.1f} ms"
