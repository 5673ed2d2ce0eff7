"""Slices of budgets and buckets: what is charged, what stays reserved, what is taken ahead."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH, BUDGET_PERIOD_UNSPECIFIED

from servers.routing.gates import Bucket, Budget, settle_cost
from servers.routing.slices import (
    Exchange,
    Slice,
    charge,
    closed,
    draw,
    ended,
    exchange,
    exchanged,
    give_back,
    period_start,
    top_up,
)


def held(granted: int, *, prepaid: int = 0, spent: int = 0, reserved: int = 0) -> Slice:
    return Slice(Budget(limit_micros=granted + prepaid, spent_micros=spent, reserved_micros=reserved), granted)


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        (
            datetime(2026, 3, 9, 23, 59, 59, 999_999, UTC),
            datetime(2026, 3, 9, tzinfo=UTC),
            datetime(2026, 3, 1, tzinfo=UTC),
        ),
        (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        (
            datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 2, 28, tzinfo=UTC),
            datetime(2026, 2, 1, tzinfo=UTC),
        ),
    ],
)
def test_periods_begin_at_midnight_utc(now: datetime, day: datetime, month: datetime) -> None:
    assert period_start(BUDGET_PERIOD_DAY, now) == day
    assert period_start(BUDGET_PERIOD_MONTH, now) == month


def test_no_period_begins_nowhere() -> None:
    with pytest.raises(ValueError, match="day or of a month"):
        period_start(BUDGET_PERIOD_UNSPECIFIED, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("slice_", "settled", "keep", "expected"),
    [
        # A grant of 100, 30 spent, 20 under way: 70 stay reserved, or only the 20.
        (held(100, spent=30, reserved=20), True, True, Exchange(30, 30, 70, 0)),
        (held(100, spent=30, reserved=20), True, False, Exchange(30, 30, 20, 0)),
        # Calls came dearer than estimated: all is charged.
        (held(100, spent=130), True, True, Exchange(130, 130, 0, 0)),
        # The grant ran out and was charged in full: what is left of it was paid for.
        (held(100, spent=30, reserved=20), False, True, Exchange(30, 30, 0, 70)),
        # It ran out, and more than it was spent: the rest is a debt that the next grant covers.
        (held(100, spent=130, reserved=20), False, False, Exchange(130, 100, 50, 0)),
        # What was paid for is used first.
        (held(100, prepaid=40, spent=30), True, True, Exchange(0, 30, 100, 10)),
        (held(100, prepaid=40, spent=50, reserved=10), True, False, Exchange(10, 50, 10, 0)),
        (held(0), False, True, Exchange(0, 0, 0, 0)),
    ],
)
def test_one_grant_is_exchanged_for_the_next(slice_: Slice, settled: bool, keep: bool, expected: Exchange) -> None:
    assert exchange(slice_, settled=settled, keep=keep) == expected


def test_what_was_spent_during_an_exchange_is_left_for_the_next() -> None:
    before = held(100, spent=30, reserved=20)
    done = exchange(before, settled=True, keep=True)
    meanwhile = replace(before, budget=replace(before.budget, spent_micros=45, reserved_micros=25))
    after = exchanged(meanwhile, done)
    assert after == held(70, spent=15, reserved=25)
    assert charge(after) == 15


def test_a_closed_slice_takes_no_call_and_an_ended_one_has_none_under_way() -> None:
    assert closed(held(100, spent=30, reserved=20).budget).left_micros == 0
    assert closed(held(100, spent=130).budget).left_micros == -30
    assert ended(held(100, spent=30, reserved=20)) == held(100, spent=50)


@pytest.mark.parametrize(
    ("have", "target", "largest", "smallest", "there", "taken"),
    [
        (0, 40, 10, 10, 1000, 40),
        (0, 40, 10, 10, 60, 30),
        (0, 40, 10, 10, 12, 10),
        (0, 40, 10, 10, 9, 0),
        (9, 40, 10, 10, 1, 1),
        (10, 40, 10, 10, 15, 0),
        (40, 40, 10, 10, 1000, 0),
        (0, 40, 100, 10, 30, 15),
        (10, 400, 100, 10, 30, 0),
        (0, 40, 10, 10, -5, 0),
    ],
)
def test_a_slice_is_topped_up_with_half_of_what_is_there_and_what_helps_a_call(
    have: float, target: float, largest: float, smallest: float, there: float, taken: float
) -> None:
    assert top_up(held=have, target=target, largest=largest, smallest=smallest, there=there) == taken


def test_tokens_are_drawn_from_a_bucket_and_given_back_up_to_its_capacity() -> None:
    bucket = Bucket(capacity=10.0, refill_per_s=1.0, tokens=4.0, at=100.0)
    drawn, taken = draw(bucket, 102.0, held=0.0, target=3.0, largest=1.0, smallest=1.0)
    assert (drawn, taken) == (Bucket(capacity=10.0, refill_per_s=1.0, tokens=3.0, at=102.0), 3.0)
    assert give_back(drawn, 102.0, 3.0).tokens == 6.0
    assert give_back(drawn, 102.0, 30.0).tokens == 10.0
    assert give_back(drawn, 102.0, -1.0).tokens == 3.0


@dataclass
class Ledger:
    """A budget's row as the store keeps it, with one process's slice of it."""

    limit: int
    spent: int = 0
    reserved: int = 0
    slice: Slice = field(default_factory=lambda: held(0))
    open: bool = False

    def exchange(self, *, keep: bool, target: int) -> None:
        done = exchange(self.slice, settled=self.open, keep=keep)
        if self.open:
            self.spent += done.charge_micros
            self.reserved -= self.slice.granted_micros
        left = self.limit - self.spent - self.reserved - done.grant_micros
        done = replace(done, grant_micros=done.grant_micros + max(0, min(target, left)))
        self.reserved += done.grant_micros
        self.slice = exchanged(self.slice, done)
        self.open = done.grant_micros > 0

    def expire(self) -> None:
        if self.open:
            self.spent += self.slice.granted_micros
            self.reserved -= self.slice.granted_micros
            self.open = False


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("exchange"), st.integers(0, 60), st.booleans()),
        st.tuples(st.just("call"), st.integers(0, 40), st.integers(0, 60)),
        st.tuples(st.just("expire"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_no_less_than_was_spent_is_charged_and_nothing_twice(
    steps: list[tuple[str, int, int]],
) -> None:
    ledger, truth, expired = Ledger(limit=200), 0, 0
    for step, first, second in steps:
        if step == "exchange":
            ledger.exchange(keep=bool(second), target=first)
        elif step == "expire":
            expired += ledger.slice.granted_micros if ledger.open else 0
            ledger.expire()
        elif first <= ledger.slice.budget.left_micros:
            budget = replace(ledger.slice.budget, reserved_micros=ledger.slice.budget.reserved_micros + first)
            ledger.slice = replace(ledger.slice, budget=settle_cost(budget, first, second))
            truth += second
        covered = ledger.spent + (ledger.slice.granted_micros if ledger.open else 0)
        overdrawn = max(0, -ledger.slice.budget.left_micros)
        assert covered + overdrawn >= truth
    ledger.exchange(keep=False, target=0)
    ledger.exchange(keep=False, target=0)
    assert truth <= ledger.spent + ledger.reserved
    assert ledger.spent + ledger.reserved <= truth + expired
