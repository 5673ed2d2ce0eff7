"""The gates before routing (§22, RTE-3): POLICY, then COST, then QUOTA, over facts that somebody else has fetched.

The first gate that refuses ends the chain: what comes after it is not asked and not charged. A gate that is not enabled
passes and says so; one whose facts could not be had refuses. Where a deployment has a gate of its own in the place of
one of these (`servers.routing.gatekeeper`), its verdict is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from selene.provider.v1.provider_pb2 import Capability
from selene.routing.v1.routing_pb2 import Domain

from servers.routing.circuit import CLOCK_SKEW_S


class Gate(StrEnum):
    """The gates, in their order."""

    POLICY = "POLICY"
    COST = "COST"
    QUOTA = "QUOTA"


class Reason(StrEnum):
    """What a gate says; a policy rule that decides gives its own reason."""

    POLICY_NO_RULE = "POLICY_NO_RULE"
    POLICY_UNKNOWN = "POLICY_UNKNOWN"
    COST_DISABLED = "COST_DISABLED"
    COST_UNKNOWN = "COST_UNKNOWN"
    COST_WITHIN_BUDGET = "COST_WITHIN_BUDGET"
    COST_BUDGET_EXCEEDED = "COST_BUDGET_EXCEEDED"
    COST_ESTIMATE_INVALID = "COST_ESTIMATE_INVALID"
    QUOTA_DISABLED = "QUOTA_DISABLED"
    QUOTA_UNKNOWN = "QUOTA_UNKNOWN"
    QUOTA_GRANTED = "QUOTA_GRANTED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    QUOTA_NEVER = "QUOTA_NEVER"
    GATE_RAISED = "GATE_RAISED"
    GATE_TIMED_OUT = "GATE_TIMED_OUT"
    GATE_MALFORMED = "GATE_MALFORMED"


UNKNOWN: Final = frozenset(
    {
        Reason.POLICY_UNKNOWN,
        Reason.COST_UNKNOWN,
        Reason.QUOTA_UNKNOWN,
        Reason.GATE_RAISED,
        Reason.GATE_TIMED_OUT,
        Reason.GATE_MALFORMED,
    }
)
"""The gate has nothing to go by, or does not work: it says nothing of the call."""


class Absent(StrEnum):
    """Why a gate has nothing to go by."""

    DISABLED = "DISABLED"
    UNKNOWN = "UNKNOWN"


class Effect(StrEnum):
    """What a policy rule does."""

    ALLOW = "ALLOW"
    DENY = "DENY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be done, for whom. `cost_micros` is the estimate, in millionths of the budget's currency; `tokens` is
    what it takes of the quota.
    """

    tenant_id: str
    domain: Domain
    capability: Capability
    channel: str = ""
    user_id: str = ""
    request_id: str = ""
    cost_micros: int = 0
    tokens: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """One rule of policy. An empty set means all; `reason` is a code in UPPER_SNAKE_CASE."""

    rule_id: str
    effect: Effect
    reason: str
    tenants: frozenset[str] = frozenset()
    domains: frozenset[Domain] = frozenset()
    capabilities: frozenset[Capability] = frozenset()
    channels: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules as a request finds them, whatever their number: by the user or the channel that they name. Each tuple is in
    the order in which its rules decide.
    """

    by_user: Mapping[str, tuple[PolicyRule, ...]]
    by_channel: Mapping[str, tuple[PolicyRule, ...]]
    others: tuple[PolicyRule, ...]

    @classmethod
    def of(cls, rules: Iterable[PolicyRule]) -> Policy:
        """Made once, where rules are loaded. Their order does not matter; each has an id of its own."""
        in_order = sorted(rules, key=_precedence)
        of_channels = [rule for rule in in_order if not rule.users]
        return cls(
            by_user=_index(in_order, lambda rule: rule.users),
            by_channel=_index(of_channels, lambda rule: rule.channels),
            others=tuple(rule for rule in of_channels if not rule.channels),
        )

    def decisive(self, request: Request) -> PolicyRule | None:
        """The rule that decides: the first of those that deny, else the first of those that allow."""
        found = (
            self.by_user.get(request.user_id, ()),
            self.by_channel.get(request.channel, ()),
            self.others,
        )
        firsts = [next((rule for rule in rules if applies(rule, request)), None) for rules in found]
        return min((rule for rule in firsts if rule is not None), key=_precedence, default=None)


def _precedence(rule: PolicyRule) -> tuple[bool, str]:
    return rule.effect is Effect.ALLOW, rule.rule_id


def _index(
    rules: Iterable[PolicyRule], names: Callable[[PolicyRule], frozenset[str]]
) -> dict[str, tuple[PolicyRule, ...]]:
    index: dict[str, list[PolicyRule]] = {}
    for rule in rules:
        for name in names(rule):
            index.setdefault(name, []).append(rule)
    return {name: tuple(found) for name, found in index.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A tenant's budget of one period, in millionths of its currency. `reserved_micros` is of calls under way."""

    limit_micros: int
    spent_micros: int = 0
    reserved_micros: int = 0

    @property
    def left_micros(self) -> int:
        """What may still be reserved; negative where calls came dearer than estimated."""
        return self.limit_micros - self.spent_micros - self.reserved_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A token bucket: `refill_per_s` tokens a second, at most `capacity` of them; `at` is seconds since the epoch."""

    capacity: float
    refill_per_s: float
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate says. `rule_id` is of the policy rule that decided; `retry_after_s` when quota will suffice."""

    gate: Gate
    reason: str
    _: KW_ONLY
    allowed: bool
    rule_id: str = ""
    retry_after_s: float | None = None


NOTHING: Final[Mapping[Gate, Verdict]] = MappingProxyType({})
Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class Passage:
    """What the gates that were asked said, in their order, and budget and bucket afterwards. A refused call leaves the
    budget as it was.
    """

    verdicts: tuple[Verdict, ...]
    budget: Budget | Absent
    bucket: Bucket | Absent

    @property
    def allowed(self) -> bool:
        """Whether all three gates were asked and none refused."""
        return len(self.verdicts) == len(Gate) and all(verdict.allowed for verdict in self.verdicts)


def pass_gates(
    request: Request,
    policy: Policy | None,
    budget: Budget | Absent,
    bucket: Bucket | Absent,
    now: float,
    decided: Mapping[Gate, Verdict] = NOTHING,
) -> Passage:
    """Ask the gates. `policy` is None where it could not be had; POLICY is always on. `decided` are verdicts of gates
    that stand in the place of these; they take nothing of budget and bucket.
    """
    verdicts = [decided.get(Gate.POLICY) or decide_policy(policy, request)]
    if not verdicts[-1].allowed:
        return Passage(tuple(verdicts), budget, bucket)
    reserved, verdict = given(decided, Gate.COST, budget) or decide_cost(budget, request.cost_micros)
    verdicts.append(verdict)
    if not verdict.allowed:
        return Passage(tuple(verdicts), budget, bucket)
    taken, verdict = given(decided, Gate.QUOTA, bucket) or decide_quota(bucket, now, request.tokens)
    verdicts.append(verdict)
    return Passage(tuple(verdicts), reserved if verdict.allowed else budget, taken)


def given(decided: Mapping[Gate, Verdict], gate: Gate, there: Held) -> tuple[Held, Verdict] | None:
    """A verdict that is there already, and what it leaves as it is."""
    verdict = decided.get(gate)
    return None if verdict is None else (there, verdict)


def decide_policy(policy: Policy | None, request: Request) -> Verdict:
    """A rule that denies wins over all that allow; where none allows, nothing is allowed."""
    if policy is None:
        return Verdict(Gate.POLICY, Reason.POLICY_UNKNOWN, allowed=False)
    decisive = policy.decisive(request)
    if decisive is None:
        return Verdict(Gate.POLICY, Reason.POLICY_NO_RULE, allowed=False)
    return Verdict(Gate.POLICY, decisive.reason, allowed=decisive.effect is Effect.ALLOW, rule_id=decisive.rule_id)


def applies(rule: PolicyRule, request: Request) -> bool:
    """Whether a rule is about a request."""
    return (
        (not rule.users or request.user_id in rule.users)
        and (not rule.channels or request.channel in rule.channels)
        and (not rule.capabilities or request.capability in rule.capabilities)
        and (not rule.domains or request.domain in rule.domains)
        and (not rule.tenants or request.tenant_id in rule.tenants)
    )


def decide_cost(budget: Budget | Absent, cost_micros: int) -> tuple[Budget | Absent, Verdict]:
    """Reserve an estimate, where all of it is left."""
    if budget is Absent.DISABLED:
        return budget, Verdict(Gate.COST, Reason.COST_DISABLED, allowed=True)
    if not isinstance(budget, Budget):
        return budget, Verdict(Gate.COST, Reason.COST_UNKNOWN, allowed=False)
    if cost_micros < 0:
        return budget, Verdict(Gate.COST, Reason.COST_ESTIMATE_INVALID, allowed=False)
    if cost_micros > budget.left_micros:
        return budget, Verdict(Gate.COST, Reason.COST_BUDGET_EXCEEDED, allowed=False)
    reserved = replace(budget, reserved_micros=budget.reserved_micros + cost_micros)
    return reserved, Verdict(Gate.COST, Reason.COST_WITHIN_BUDGET, allowed=True)


def settle_cost(budget: Budget, reserved_micros: int, spent_micros: int) -> Budget:
    """A call has ended: its reservation becomes what it really cost, 0 where it was not made."""
    return replace(
        budget,
        reserved_micros=max(0, budget.reserved_micros - reserved_micros),
        spent_micros=budget.spent_micros + max(0, spent_micros),
    )


def decide_quota(bucket: Bucket | Absent, now: float, tokens: float) -> tuple[Bucket | Absent, Verdict]:
    """Take tokens, where there are enough."""
    if bucket is Absent.DISABLED:
        return bucket, Verdict(Gate.QUOTA, Reason.QUOTA_DISABLED, allowed=True)
    if not isinstance(bucket, Bucket):
        return bucket, Verdict(Gate.QUOTA, Reason.QUOTA_UNKNOWN, allowed=False)
    bucket, retry_after_s = take(bucket, now, tokens)
    if retry_after_s == 0:
        return bucket, Verdict(Gate.QUOTA, Reason.QUOTA_GRANTED, allowed=True)
    if retry_after_s is None:
        return bucket, Verdict(Gate.QUOTA, Reason.QUOTA_NEVER, allowed=False)
    return bucket, Verdict(Gate.QUOTA, Reason.QUOTA_EXHAUSTED, allowed=False, retry_after_s=retry_after_s)


def take(bucket: Bucket, now: float, tokens: float) -> tuple[Bucket, float | None]:
    """Take tokens: 0 where they were granted, else the seconds until there will be enough; None where there never will
    be. No instant fills a bucket twice, although clocks of processes that share it differ a little; one that was set
    back adds nothing, and from there the bucket fills again.
    """
    there = min(bucket.capacity, bucket.tokens + max(0.0, now - bucket.at) * max(0.0, bucket.refill_per_s))
    set_back = now < bucket.at - CLOCK_SKEW_S
    at = now if set_back else max(now, bucket.at)
    if 0 <= tokens <= min(there, bucket.capacity):
        return replace(bucket, tokens=there - tokens, at=at), 0.0
    filled = replace(bucket, tokens=there, at=at)
    if not 0 <= tokens <= bucket.capacity:
        return filled, None
    return filled, (tokens - there) / bucket.refill_per_s if bucket.refill_per_s > 0 else None
