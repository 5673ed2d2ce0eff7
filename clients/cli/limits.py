"""`selene limits`: what a tenant may do and spend: rules of policy, budgets, quotas."""

from enum import StrEnum
from typing import Annotated, Final, Literal

import typer
from rich.table import Table
from rich.text import Text
from selene_messages.selene.routing import v1

from clients.cli.reasons import reason_code
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, USAGE, Session, remote
from clients.routing import Limits
from clients.wire import to_document

PeriodName = Literal["day", "month"]

_MICROS: Final = 1_000_000


class DomainName(StrEnum):
    """A domain as an option names it; an option that repeats takes no Literal."""

    STT = "stt"
    TTS = "tts"
    LLM = "llm"
    SMS = "sms"
    EMAIL = "email"
    WHATSAPP = "whatsapp"
    WECHAT = "wechat"


_RuleId = Annotated[str, typer.Argument(help="The rule's id; one of the same id is replaced", show_default=False)]
_Reason = Annotated[
    str, typer.Option("--reason", help="Why, in UPPER_SNAKE_CASE: the cause of a refusal", callback=reason_code)
]
_Domains = Annotated[list[DomainName] | None, typer.Option("--domain", "-d", help="Only this; repeatable")]
_Channels = Annotated[list[str] | None, typer.Option("--channel", help="Only this channel; repeatable")]
_Users = Annotated[list[str] | None, typer.Option("--user", help="Only this user; repeatable")]
_Deployment = Annotated[bool, typer.Option("--deployment", help="For every tenant (role deployment-operator)")]
_Amount = Annotated[float | None, typer.Argument(help="What a period may cost; unset: list", min=0)]
_Currency = Annotated[str, typer.Option("--currency", help="ISO 4217")]
_Domain = Annotated[DomainName | None, typer.Option("--domain", "-d", help="Of this domain; unset: all together")]
_Period = Annotated[PeriodName, typer.Option("--period", help="Periods begin at 00:00 UTC")]
_Capacity = Annotated[float | None, typer.Argument(help="The most calls at once; unset: list", min=0)]
_Refill = Annotated[float, typer.Option("--per-second", help="Calls that come back a second", min=0)]
_Remove = Annotated[bool, typer.Option("--remove", help="Delete it: nothing is limited by it any more")]
_QuotaDomain = Annotated[DomainName | None, typer.Option("--domain", "-d", help="Of this domain")]


def register(commands: Commands) -> None:
    """Adds `selene limits` and its sub-commands."""
    limits = commands.group("limits", help_text="What a tenant may do and spend (role operator).")
    for name, command in (
        ("rules", limits_rules),
        ("allow", limits_allow),
        ("deny", limits_deny),
        ("remove", limits_remove),
        ("budget", limits_budget),
        ("quota", limits_quota),
    ):
        # A negative number is an argument out of range, not an option that nobody knows.
        settings = {"ignore_unknown_options": name in ("budget", "quota")}
        limits.command(name, epilog=EXIT_CODES, context_settings=settings)(remote(command, owner="llm"))


async def limits_rules(session: Session) -> None:
    """List the rules that hold for the tenant. A rule that denies wins; where none allows, nothing is allowed."""
    found = [each async for each in _limits(session).rules()]
    rows = Table("rule", "of", "effect", "why", "domains", "channels", "users", box=None, pad_edge=False)
    for each in found:
        rule = each.rule or v1.PolicyRule()
        rows.add_row(
            Text(rule.rule_id),
            Text(each.tenant_id or "the deployment"),
            Text(rule.effect.name or "?", style="red" if rule.effect is v1.PolicyEffect.DENY else "green"),
            rule.reason_code,
            ", ".join((domain.name or "?").lower() for domain in rule.domains) or "all",
            Text(", ".join(rule.channels) or "all"),
            Text(", ".join(rule.users) or "all"),
        )
    session.output.show({"rules": [to_document(each) for each in found]}, rows)


async def limits_allow(
    session: Session,
    rule: _RuleId,
    reason: _Reason,
    domain: _Domains = None,
    channel: _Channels = None,
    user: _Users = None,
    deployment: _Deployment = False,
) -> None:
    """Put a rule that allows; what it does not name, it does not limit.

    \b
      selene limits allow pilot --reason PILOT --domain llm --user mira
    """
    await _put(session, v1.PolicyEffect.ALLOW, rule, reason, domain, channel, user, deployment=deployment)


async def limits_deny(
    session: Session,
    rule: _RuleId,
    reason: _Reason,
    domain: _Domains = None,
    channel: _Channels = None,
    user: _Users = None,
    deployment: _Deployment = False,
) -> None:
    """Put a rule that denies; it wins over all that allow.

    \b
      selene limits deny no-cars --reason CAR_APP_PAUSED --channel car
    """
    await _put(session, v1.PolicyEffect.DENY, rule, reason, domain, channel, user, deployment=deployment)


async def limits_remove(session: Session, rule: _RuleId, deployment: _Deployment = False) -> None:
    """Delete a rule."""
    await _limits(session).delete_rule(rule, deployment=deployment)
    session.output.show({"removed": rule}, Text(f"{rule} is removed"))


async def limits_budget(
    session: Session,
    amount: _Amount = None,
    currency: _Currency = "EUR",
    domain: _Domain = None,
    period: _Period = "month",
    remove: _Remove = False,
) -> int:
    """List budgets, set one, or remove one; what was spent in the period stays spent.

    Calls cost what the server's prices say. A provider without a price costs nothing: a budget does not limit it.

    \b
      selene limits budget
      selene limits budget 250 --currency EUR --period month --domain llm
      selene limits budget --remove --period month --domain llm
    """
    limits = _limits(session)
    if remove:
        if amount is not None:
            session.output.misuse("--remove takes no amount")
            return USAGE
        await limits.delete_budget(_domain(domain), v1.BudgetPeriod[period.upper()])
        removed = {"domain": _domain_name(_domain(domain)), "period": period}
        session.output.show({"removed": removed}, Text(f"the budget is removed: {removed['domain']}, {period}"))
        return OK
    if amount is None:
        found = await limits.budgets()
        session.output.show({"budgets": [to_document(each) for each in found]}, _budgets(found))
        return OK
    budget = v1.Budget(
        domain=_domain(domain),
        period=v1.BudgetPeriod[period.upper()],
        limit_micros=round(amount * _MICROS),
        currency=currency.upper(),
    )
    made = await limits.set_budget(budget)
    session.output.show(to_document(made), _budgets([made]))
    return OK


async def limits_quota(
    session: Session,
    capacity: _Capacity = None,
    per_second: _Refill = 1.0,
    domain: _QuotaDomain = None,
    remove: _Remove = False,
) -> int:
    """List quotas, set that of a domain, or remove it: so many calls at once, so many more a second.

    \b
      selene limits quota
      selene limits quota 20 --per-second 2 --domain stt
      selene limits quota --remove --domain stt
    """
    limits = _limits(session)
    if remove and capacity is not None:
        session.output.misuse("--remove takes no number")
        return USAGE
    if capacity is None and not remove:
        found = await limits.quotas()
        session.output.show({"quotas": [to_document(each) for each in found]}, _quotas(found))
        return OK
    if domain is None:
        session.output.misuse("a quota is of one domain: --domain")
        return USAGE
    if capacity is None:
        await limits.delete_quota(_domain(domain))
        session.output.show({"removed": {"domain": domain.value}}, Text(f"the quota is removed: {domain.value}"))
        return OK
    made = await limits.set_quota(v1.Quota(domain=_domain(domain), capacity=capacity, refill_per_s=per_second))
    session.output.show(to_document(made), _quotas([made]))
    return OK


async def _put(
    session: Session,
    effect: v1.PolicyEffect,
    rule_id: str,
    reason: str,
    domains: list[DomainName] | None,
    channels: list[str] | None,
    users: list[str] | None,
    *,
    deployment: bool,
) -> None:
    rule = v1.PolicyRule(
        rule_id=rule_id,
        effect=effect,
        reason_code=reason,
        domains=[_domain(each) for each in domains or ()],
        channels=channels or [],
        users=users or [],
    )
    replaced = await _limits(session).put_rule(rule, deployment=deployment)
    told = f"{rule_id} {'is replaced' if replaced else 'is put'}: {effect.name}"
    session.output.show({"rule": to_document(rule), "replaced": replaced}, Text(told))


def _limits(session: Session) -> Limits:
    return Limits(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)


def _domain(name: DomainName | None) -> v1.Domain:
    return v1.Domain[name.name] if name else v1.Domain.UNSPECIFIED


def _budgets(found: list[v1.BudgetStanding]) -> Table:
    rows = Table("domain", "period", "since", "limit", "spent", "reserved", box=None, pad_edge=False)
    for each in found:
        budget = each.budget or v1.Budget()
        rows.add_row(
            _domain_name(budget.domain),
            (budget.period.name or "?").lower(),
            each.period_start.date().isoformat() if each.period_start else "-",
            *(
                f"{micros / _MICROS:.2f} {budget.currency}"
                for micros in (budget.limit_micros, each.spent_micros, each.reserved_micros)
            ),
        )
    return rows


def _quotas(found: list[v1.QuotaStanding]) -> Table:
    rows = Table("domain", "at once", "a second", "left", box=None, pad_edge=False)
    for each in found:
        quota = each.quota or v1.Quota()
        rows.add_row(_domain_name(quota.domain), f"{quota.capacity:g}", f"{quota.refill_per_s:g}", f"{each.tokens:.1f}")
    return rows


def _domain_name(domain: v1.Domain) -> str:
    return (domain.name or "?").lower() if domain else "all"
