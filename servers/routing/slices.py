"""Slices of budgets and buckets (§22): what one process may use of them without asking anybody.

A process holds of a period of a budget one grant, which is reserved in the budget until it is settled. Its slice is a
`Budget` of its own: the limit is what the grant covers, spent and reserved are its own calls. `exchange` is what
happens to it from time to time: the old grant is settled with what was spent, a new one covers what is under way and
what comes next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH, BudgetPeriod

from servers.routing.gates import Bucket, Budget, take

# A slice lasts about as long at the present use; an idle one is this part of what it is cut from.
HORIZON_S = 5.0
IDLE_SHARE = 1000
CALLS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Slice:
    """What a process holds of a period. `granted_micros` is of its open grant; the rest of the limit was charged
    already, to a grant that ran out.
    """

    budget: Budget
    granted_micros: int = 0

    @property
    def prepaid_micros(self) -> int:
        """What was charged and not used yet."""
        return self.budget.limit_micros - self.granted_micros


@dataclass(frozen=True, slots=True)
class Exchange:
    """One grant for the next. `charge_micros` is what the old one is settled with; `counted_micros` of what the slice
    spent are then accounted for; the new grant has `grant_micros`, `prepaid_micros` come on top.
    """

    charge_micros: int
    counted_micros: int
    grant_micros: int
    prepaid_micros: int


def period_start(period: BudgetPeriod, now: datetime) -> datetime:
    """When the day or the month of an instant began, UTC. ValueError for any other period."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == BUDGET_PERIOD_DAY:
        return midnight
    if period == BUDGET_PERIOD_MONTH:
        return midnight.replace(day=1)
    raise ValueError("a budget is of a day or of a month")


def wanted(call: float, use_per_s: float, whole: float) -> float:
    """How large a slice should be: for some calls like the last ones, for the present use, and some of the whole."""
    return max(CALLS_AHEAD * call, HORIZON_S * use_per_s, whole / IDLE_SHARE)


def top_up(*, held: float, target: float, largest: float, smallest: float, there: float) -> float:
    """What to take of what is there, to hold a target: enough for calls like the largest lately, or else, where not
    even the smallest can be made, for that one; 0 where neither would be helped.
    """
    return _share(held, target, largest, there) or (_share(held, target, smallest, there) if held < smallest else 0)


def _share(held: float, target: float, call: float, there: float) -> float:
    """Half of what is there at most, so that others find some, and a call's worth at least."""
    want, needed = target - held, max(0, call - held)
    if want <= 0 or there <= 0 or needed > there:
        return 0
    amount = min(want, there / 2)
    if needed == 0 and amount < min(call, want):
        return 0
    return min(max(amount, needed), there)


def charge(held: Slice) -> int:
    """What the open grant is to be settled with."""
    return max(0, held.budget.spent_micros - held.prepaid_micros)


def exchange(held: Slice, *, settled: bool, keep: bool) -> Exchange:
    """The least that a new grant must cover: calls under way, and with `keep` what was held for the next ones.

    Not `settled`: there was no open grant, or it ran out and was charged in full. What is spent beyond that stays
    spent, for the new grant to be settled with.
    """
    budget = held.budget
    paid = max(held.prepaid_micros, budget.spent_micros) if settled else budget.limit_micros
    counted = min(paid, budget.spent_micros)
    prepaid = paid - counted
    debt = budget.spent_micros - counted
    ahead = max(0, budget.left_micros) if keep else 0
    grant = max(0, budget.reserved_micros + debt + ahead - prepaid)
    return Exchange(charge(held), counted, grant, prepaid)


def exchanged(held: Slice, done: Exchange) -> Slice:
    """The slice after an exchange; it may have been used meanwhile."""
    budget = replace(
        held.budget,
        limit_micros=done.grant_micros + done.prepaid_micros,
        spent_micros=held.budget.spent_micros - done.counted_micros,
    )
    return Slice(budget, done.grant_micros)


def closed(budget: Budget) -> Budget:
    """A slice's budget without anything for further calls; what is under way may go on."""
    return replace(budget, limit_micros=min(budget.limit_micros, budget.spent_micros + budget.reserved_micros))


def ended(held: Slice) -> Slice:
    """The slice where nobody will tell what calls under way cost: they cost their estimates."""
    budget = held.budget
    spent = budget.spent_micros + budget.reserved_micros
    return replace(held, budget=replace(budget, spent_micros=spent, reserved_micros=0))


def draw(
    bucket: Bucket, now: float, *, held: float, target: float, largest: float, smallest: float
) -> tuple[Bucket, float]:
    """Take tokens ahead, up to a target; the bucket afterwards and how many."""
    filled, _ = take(bucket, now, 0.0)
    amount = top_up(held=held, target=target, largest=largest, smallest=smallest, there=filled.tokens)
    return take(filled, now, amount)[0], amount


def give_back(bucket: Bucket, now: float, tokens: float) -> Bucket:
    """Put tokens back that nobody used; what the bucket cannot hold is gone."""
    filled, _ = take(bucket, now, 0.0)
    return replace(filled, tokens=min(filled.capacity, filled.tokens + max(0.0, tokens)))
