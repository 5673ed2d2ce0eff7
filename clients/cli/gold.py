"""`selene gold`: what is learned, on its way to gold: propose, label, ask for the next step, see what blocks it."""

import json
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import betterproto2
import typer
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text
from selene_messages.selene.common.v1 import Scope, ScopeType
from selene_messages.selene.gold import v1
from selene_messages.selene.governance import v1 as governed
from selene_messages.selene.learning.v1 import AdvanceGoldSetResponse, GetGoldSetResponse, LearningDomain

from clients.cli.gate import blocked_by
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, REFUSED, USAGE, Session, remote
from clients.errors import SeleneError
from clients.gold import Gold
from clients.governance import Governance
from clients.wire import to_document

M = TypeVar("M", bound=betterproto2.Message)
COPIES = 10
"""How many copies are named one by one."""

DomainName = Literal[
    "wake_endpoint",
    "stt_transcript",
    "vocabulary",
    "tts_pronunciation",
    "tts_route",
    "nlp_intent_slot",
    "llm_boundary",
    "context_rank",
    "pae_route",
    "persona_tone",
    "search_evidence",
    "multimodal_fusion",
    "voice_identity",
]
StateName = Literal[
    "candidate",
    "validating",
    "awaiting_review",
    "gold_approved",
    "gold_deferred",
    "gold_rejected",
    "packaged",
    "activated",
    "reverted",
]
TierName = Literal["hard-truth", "human-verified", "consensus", "proxy"]
ScopeName = Literal["tenant", "global", "locale", "channel", "user", "device"]

_TIERS: Final[dict[str, v1.GoldTier]] = {
    "hard-truth": v1.GoldTier._1_HARD_TRUTH,
    "human-verified": v1.GoldTier._2_HUMAN_VERIFIED,
    "consensus": v1.GoldTier._3_CONSENSUS,
    "proxy": v1.GoldTier.NON_GOLD_PROXY,
}
_State = v1.GoldState
_ACTS: Final[dict[v1.GoldState, tuple[str, str]]] = {
    _State.CANDIDATE: ("who proposed it", "add items, then: selene gold advance {id} validating"),
    _State.VALIDATING: ("who proposed it", "selene gold advance {id} awaiting_review"),
    _State.AWAITING_REVIEW: ("reviewers", "selene gold items {id}, then: selene gold label {id} labels.jsonl"),
    _State.GOLD_APPROVED: ("who proposed it", "selene gold advance {id} packaged"),
    _State.ACTIVATED: ("nobody", "the judge watches it"),
    _State.REVERTED: ("nobody", "it was taken back"),
    _State.GOLD_DEFERRED: ("who proposed it", "propose a set with more evidence"),
    _State.GOLD_REJECTED: ("nobody", "it is closed; propose another set"),
}
"""Who must act in each state, and how."""

_Id = Annotated[str, typer.Argument(help="The gold set")]
_Domain = Annotated[DomainName, typer.Option("--domain", "-d", help="What it teaches")]
_OfDomain = Annotated[DomainName | None, typer.Option("--domain", "-d", help="Only of this domain")]
_InState = Annotated[StateName | None, typer.Option("--state", "-s", help="Only in this state")]
_Tier = Annotated[TierName, typer.Option("--tier", help="How sure its evidence is meant to be")]
_Signals = Annotated[list[str], typer.Argument(help="Ids of the signals that it is built from")]
_ScopeType = Annotated[ScopeName, typer.Option("--scope", help="What it applies to")]
_ScopeId = Annotated[str, typer.Option("--scope-id", help="Which locale, channel, user or device", show_default=False)]
_ToState = Annotated[StateName, typer.Argument(help="Where it is to go")]
_Lines = Annotated[Path, typer.Argument(help="JSON lines, one an item or a label; - for stdin")]
_Add = Annotated[Path | None, typer.Option("--add", help="Add these items: JSON lines; - for stdin")]
_Incomplete = Annotated[bool, typer.Option("--incomplete", help="Only those that lack something")]


def register(commands: Commands) -> None:
    """Adds the commands of gold."""
    gold = commands.group(
        "gold", help_text="What was learned, on its way to gold: propose, add and label evidence, advance, show."
    )
    for name, command in (
        ("board", gold_board),
        ("list", gold_list),
        ("show", gold_show),
        ("propose", gold_propose),
        ("items", gold_items),
        ("label", gold_label),
        ("advance", gold_advance),
        ("domains", gold_domains),
    ):
        gold.command(name, epilog=EXIT_CODES)(remote(command, owner="learning"))


async def gold_propose(
    session: Session,
    signals: _Signals,
    domain: _Domain,
    tier: _Tier = "human-verified",
    scope: _ScopeType = "tenant",
    scope_id: _ScopeId = "",
) -> None:
    """Assemble a candidate of signals that were captured (role operator or service).

    \b
      selene gold propose signal-1 signal-2 --domain tts_pronunciation
    """
    gold = _gold(session)
    name = gold.tenant_id if scope == "tenant" else scope_id
    applies_to = Scope(scope_type=ScopeType[scope.upper()], scope_id=name)
    made = await gold.propose(v1.GoldDomain[domain.upper()], _TIERS[tier], signals, scope=applies_to)
    session.output.show(to_document(made), _table([made]))


async def gold_items(session: Session, gold_set_id: _Id, add: _Add = None) -> int | None:
    """List items with their labels, or add items; with --json one line an item, as --add takes it.

    \b
      selene gold items 01985-… --add items.jsonl
      selene gold items 01985-… --json | jq .item
    """
    gold = _gold(session)
    if add is not None:
        try:
            items = _read(add, v1.GoldItem)
        except ValueError as error:
            session.output.misuse(str(error))
            return USAGE
        count = await gold.add_items(gold_set_id, items)
        session.output.show({"item_count": count}, Text(f"{count} items"))
        return None
    async for one in gold.items(gold_set_id):
        session.output.line(to_document(one), _item(one))
    return None


async def gold_label(session: Session, gold_set_id: _Id, lines: _Lines) -> int | None:
    """Label items as the person that the token names (role reviewer). Nobody labels what they proposed.

    \b
      echo '{"item_id": "i1", "pronunciation": {"accepted": true, "confidence_bp": 9500}}' | selene gold label 01985-… -
    """
    try:
        labels = _read(lines, v1.GoldLabel)
    except ValueError as error:
        session.output.misuse(str(error))
        return USAGE
    count = await _gold(session).label(gold_set_id, labels)
    session.output.show({"label_count": count}, Text(f"{count} labels"))
    return None


async def gold_advance(session: Session, gold_set_id: _Id, to_state: _ToState) -> int | None:
    """Ask for the next step (§17); exits with 1 where its guard does not hold.

    \b
      selene gold advance 01985-… gold_approved
    """
    reply = await _gold(session).advance(gold_set_id, v1.GoldState[to_state.upper()])
    session.output.show(to_document(reply), _moved(reply))
    return None if reply.transition is not None and reply.transition.applied else REFUSED


async def gold_show(session: Session, gold_set_id: _Id) -> None:
    """Show a gold set as it stands: its figures against the policy, its history, what would help."""
    reply = await _gold(session).get(gold_set_id)
    session.output.show(to_document(reply), _shown(reply))


async def gold_list(session: Session, state: _InState = None, domain: _OfDomain = None) -> None:
    """List gold sets, latest first.

    \b
      selene gold list --state awaiting_review --json | jq -r '.candidates[].gold_set_id'
    """
    found = [one async for one in _sets(session, state, domain)]
    session.output.show({"candidates": [to_document(one) for one in found]}, _table(found))


async def gold_domains(session: Session, incomplete: _Incomplete = False) -> None:
    """List what can be learned (§3), and what each domain lacks (§15)."""
    found = await _gold(session).domains(only_incomplete=incomplete)
    session.output.show({"domains": [to_document(one) for one in found]}, _domains(found))


async def gold_board(session: Session, domain: _OfDomain = None) -> None:
    """Show where everything stands, what blocks it and who must act.

    Of what is packaged governance is asked (role operator, approver or service): its gates, and what holds its rollout.
    """
    async with session.settings.connect("governance") as connection:
        settings = session.settings
        governance = Governance(connection, tenant_id=settings.tenant, timeout=settings.timeout)
        rows = [await _row(session, governance, one) async for one in _sets(session, None, domain)]
    table = Table(
        Column("gold set", no_wrap=True), "domain", "stands", "blocked by", "who acts", "how", box=None, pad_edge=False
    )
    for row in rows:
        table.add_row(*(Text(row[name]) for name in ("gold_set_id", "domain", "state", "blocked_by", "actor", "how")))
    session.output.show({"gold_sets": rows}, table)


async def _row(session: Session, governance: Governance, candidate: v1.GoldCandidate) -> dict[str, str]:
    actor, how = _ACTS.get(candidate.state, ("?", ""))
    blocked = ""
    if candidate.frozen:
        actor, how, blocked = "governance", "rebuild it without what was revoked", "CONSENT_REVOKED"
    elif candidate.state is _State.CANDIDATE and not candidate.item_count:
        blocked = "no items"
    elif candidate.state is _State.AWAITING_REVIEW:
        assessment = (await _gold(session).get(candidate.gold_set_id)).assessment or v1.Assessment()
        blocked = ", ".join(_lack(figure) for figure in assessment.figures if not figure.met)
        if assessment.verdict is _State.GOLD_APPROVED:
            actor, how = "who proposed it", "selene gold advance {id} gold_approved"
        elif assessment.verdict is _State.GOLD_REJECTED:
            actor, how = "who proposed it", "selene gold advance {id} gold_rejected"
    elif candidate.state is _State.PACKAGED:
        blocked, actor, how = await _of_packs(session, governance, candidate.gold_set_id)
    return {
        "gold_set_id": candidate.gold_set_id,
        "domain": candidate.domain.name or "?",
        "state": f"{candidate.state.name}{', frozen' if candidate.frozen else ''}",
        "blocked_by": blocked,
        "actor": candidate.proposed_by if actor == "who proposed it" else actor,
        "how": how.format(id=candidate.gold_set_id),
    }


async def _of_packs(session: Session, governance: Governance, gold_set_id: str) -> tuple[str, str, str]:
    """What blocks the packs of a set, who acts first, and how."""
    try:
        rows = [await governance.board_row(pack) for pack in await _gold(session).packs(gold_set_id)]
    except SeleneError as error:
        return f"not known: {error.reason or error.code.name} by governance", "governance", "selene gate board"
    told = []
    for row in rows:
        subject, why = row.subject or governed.ArtifactRef(), blocked_by(row)
        if row.rollout_id:
            why.insert(0, f"in {(row.stage.name or '?').lower()}" if row.stage else "its rollout ended")
        told.append(f"{subject.artifact_type}@{subject.artifact_version}: {', '.join(why) or 'nothing'}")
    waiting = [row for row in rows if row.next_actor and row.next_actor is not governed.BoardActor.CONTROLLER]
    return "; ".join(told), *_acts((waiting or rows or [governed.BoardRow()])[0])


def _acts(row: governed.BoardRow) -> tuple[str, str]:
    """Who acts on a pack, and how."""
    pack = (row.subject or governed.ArtifactRef()).artifact_id
    kind = "launch" if row.missing and row.missing[0] is governed.Gate.LAUNCH_APPROVAL else "code"
    rollout = row.rollout_id
    acts: dict[governed.BoardActor, tuple[str, str]] = {
        governed.BoardActor.PROPOSER: ("who proposed it", f"selene gate decide {pack} evidence.json"),
        governed.BoardActor.BUILDER: ("the Builder", f"selene gate report {pack} report.json"),
        governed.BoardActor.APPROVER: ("an approver", f"selene gate approve {pack} {kind}"),
        governed.BoardActor.CONSUMER: (
            "the consumer",
            f"selene rollout record {rollout} windows.json" if rollout else "selene gate prove proof.json",
        ),
        governed.BoardActor.OPERATOR: (
            "an operator",
            f"selene rollout rollback {rollout}" if rollout else f"selene rollout start {pack}",
        ),
        governed.BoardActor.CONTROLLER: ("nobody", f"the control loops move it: selene rollout show {rollout}"),
    }
    return acts.get(row.next_actor, ("who proposed it", f"it was taken back; to try again: selene gate decide {pack}"))


def _lack(figure: v1.Figure) -> str:
    sign = "≤" if figure.at_most else "≥"
    return f"{figure.name} {figure.value:g} (wants {sign} {figure.threshold:g})"


async def _sets(
    session: Session, state: StateName | None, domain: DomainName | None
) -> AsyncIterator[v1.GoldCandidate]:
    of_state = v1.GoldState[state.upper()] if state else v1.GoldState.UNSPECIFIED
    of_domain = v1.GoldDomain[domain.upper()] if domain else v1.GoldDomain.UNSPECIFIED
    async for one in _gold(session).list(state=of_state, domain=of_domain):
        yield one


def _gold(session: Session) -> Gold:
    return Gold(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _read(lines: Path, kind: type[M]) -> list[M]:
    """A message a line. ValueError names the line; OSError."""
    text = sys.stdin.read() if str(lines) == "-" else lines.read_text(encoding="utf-8")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document: Any = json.loads(line)
            if not isinstance(document, dict):
                raise ValueError("not a JSON object")
            found.append(kind.from_dict(document))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"line {number} is no {kind.__name__}: {error}") from None
    return found


def _table(found: Sequence[v1.GoldCandidate]) -> Table:
    table = Table(
        Column("gold set", no_wrap=True),
        "domain",
        "tier",
        "state",
        Column("signals", justify="right"),
        Column("items", justify="right"),
        Column("labels", justify="right"),
        "proposed by",
        box=None,
        pad_edge=False,
    )
    for one in found:
        table.add_row(
            Text(one.gold_set_id),
            one.domain.name or "?",
            (one.tier.name or "?").lstrip("_"),
            f"{one.state.name}{', frozen' if one.frozen else ''}",
            str(one.signal_count),
            str(one.item_count),
            str(one.label_count),
            Text(one.proposed_by),
        )
    return table


def _item(one: v1.LabelledItem) -> Text:
    item = one.item or v1.GoldItem()
    if one.erased:
        return Text(f"{item.item_id}  erased: the consent of its user ended", style="yellow")
    content = {name: value for name, value in to_document(item).items() if isinstance(value, dict)}
    who = ", ".join(label.labeller for label in one.labels) or "nobody"
    return Text(f"{item.item_id}  {json.dumps(content, ensure_ascii=False)}  labelled by {who}")


def _moved(reply: AdvanceGoldSetResponse) -> Text:
    transition = reply.transition or v1.GoldTransition()
    packs = "".join(f"\n  {pack.artifact_type}@{pack.artifact_version} by {pack.created_by}" for pack in reply.packs)
    if transition.applied:
        return Text(f"{transition.from_state.name} → {transition.to_state.name}{packs}", style="green")
    why = f"GOLD_{transition.reason_code.name}"
    return Text(f"{transition.from_state.name} stays: no {transition.to_state.name}, {why}", style="red")


def _shown(reply: GetGoldSetResponse) -> Group:
    candidate = reply.candidate or v1.GoldCandidate()
    parts: list[Table | Text] = [_table([candidate])]
    if reply.gold_set is not None:
        parts.append(Text(f"\n{reply.gold_set.artifact_type}@{reply.gold_set.version}"))
        parts.append(Text(f"sha256 {reply.gold_set.package_hash.hex()}"))
    assessment = reply.assessment or v1.Assessment()
    figures = Table("figure", "value", "wants", "met", box=None, pad_edge=False)
    for figure in assessment.figures:
        wants = f"{'≤' if figure.at_most else '≥'} {figure.threshold:g}"
        figures.add_row(Text(figure.name), f"{figure.value:g}", wants, "yes" if figure.met else "NO")
    parts += [Text(""), figures, Text(f"\n{assessment.verdict.name}: {assessment.advice}")]
    parts += [Text(f"{copy.item_id} is {copy.of_item_id} again and counts once") for copy in assessment.copies[:COPIES]]
    if len(assessment.copies) > COPIES:
        parts.append(Text(f"and {len(assessment.copies) - COPIES} further copies"))
    for step in reply.history:
        when = step.occurred_at.isoformat(timespec="seconds") if step.occurred_at else "-"
        parts.append(Text(f"{when}  {step.from_state.name} → {step.to_state.name}"))
    return Group(*parts)


def _domains(found: Iterable[LearningDomain]) -> Table:
    table = Table("domain", "gold unit", "packs", "lacks", box=None, pad_edge=False)
    for one in found:
        packs, lacks = ", ".join(one.pack_types), ", ".join(one.lacking)
        table.add_row(one.domain.name or "?", Text(one.gold_unit), Text(packs or "-"), Text(lacks or "-"))
    return table
