"""A provider account's rate holds for all processes together, whoever holds what of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.delivery.rates import HELD_S, SKEW_S, Account, Share, account_of, exchange, kept
from servers.delivery.schedule import account_bucket

BURST, PER_S = 5.0, 2.0


def exceeded(times: Sequence[float], per_s: float, burst: float) -> list[tuple[float, float, int]]:
    """The spans in which more was used than a bucket of this size and rate gives."""
    ordered = sorted(times)
    return [
        (first, last, count)
        for place, first in enumerate(ordered)
        for count, last in enumerate(ordered[place:], start=1)
        if count > burst + per_s * (last - first) + 1e-6
    ]


def full(now: float = 0.0) -> Account:
    return account_of({}, PER_S, BURST, now)


class Holder:
    """A process, with what it holds and what it has used since it last told of it; None where it no longer knows."""

    def __init__(self) -> None:
        self.share = Share(0, 0.0)
        self.used: list[float] | None = []


class World:
    """Three holders of one account."""

    def __init__(self) -> None:
        self.now = 0.0
        self.account = full()
        self.holders = {name: Holder() for name in "abc"}
        self.used: list[float] = []

    def draw(self, name: str, wanted: int) -> None:
        holder = self.holders[name]
        done = exchange(self.account, name, holder.used, wanted, self.now)
        self.account, holder.share, holder.used = done.account, done.share, []

    def use(self, name: str, _: int) -> None:
        holder = self.holders[name]
        if holder.used is not None and self.now < holder.share.until:
            tokens = [self.now] * (holder.share.tokens - len(holder.used))
            holder.used += tokens
            self.used += tokens

    def exhaust(self, name: str, wanted: int) -> None:
        """Use whatever there is, at once."""
        before = -1
        while len(self.used) > before:
            before = len(self.used)
            self.draw(name, wanted)
            self.use(name, wanted)

    def tell(self, name: str, _: int) -> None:
        self.draw(name, 0)

    def forget(self, name: str, _: int) -> None:
        """It came up again under its name, and knows nothing of what it used."""
        self.holders[name].share, self.holders[name].used = Share(0, 0.0), None


MOVES = st.lists(
    st.tuples(
        st.sampled_from((World.draw, World.use, World.exhaust, World.tell, World.forget)),
        st.sampled_from("abc"),
        st.integers(1, 6),
        st.sampled_from((0.0, 0.01, 0.4, HELD_S - 0.1, HELD_S + SKEW_S)),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(MOVES)
def test_holders_that_draw_use_tell_and_forget_in_any_order_never_exceed_the_rate(
    moves: list[tuple[Callable[[World, str, int], None], str, int, float]],
) -> None:
    world = World()
    for move, name, wanted, after_s in moves:
        world.now += after_s
        move(world, name, wanted)
    assert exceeded(world.used, PER_S, BURST) == []


def test_the_judge_sees_a_rate_that_is_exceeded() -> None:
    assert exceeded([0.0] * 5 + [0.5], PER_S, BURST) == []
    assert exceeded([0.0] * 6, PER_S, BURST) == [(0.0, 0.0, 6)]


def test_what_is_wanted_by_one_leaves_half_of_it_to_others() -> None:
    done = exchange(full(), "a", (), 4, 0.0)
    assert done.share == Share(2, HELD_S)
    assert exchange(done.account, "b", (), 4, 0.0).share.tokens == 1


def test_what_is_not_used_is_given_back_and_what_was_used_fills_again_from_then() -> None:
    account = exchange(full(), "a", (), 2, 0.0).account
    # Both were out until 10; one was used at 10, and a second of the rate gives it back.
    back = exchange(account, "a", (10.0,), 0, 10.25)
    assert back.share.tokens == 0
    assert back.account.shares == {}
    assert back.account.bucket.tokens == pytest.approx(4.5)


def test_a_holder_that_falls_silent_has_used_its_share_once_it_may_use_it_no_more() -> None:
    account = exchange(full(), "lost", (), 4, 0.0).account
    held = exchange(account, "b", (), 1, HELD_S + SKEW_S - 0.1).account
    assert held.shares["lost"].tokens == 2
    freed = exchange(held, "b", (), 0, HELD_S + SKEW_S)
    assert freed.account.shares == {}
    assert freed.account.bucket.tokens == pytest.approx(BURST - 2)


def test_it_is_known_when_there_will_be_a_token() -> None:
    empty = Account(account_bucket(PER_S, BURST, 0.0), {"b": Share(5, 60.0)})
    assert exchange(empty, "a", (), 1, 0.0).wait_s == pytest.approx(1 / PER_S)
    never = account_of({"tokens": 0.0, "at": 0.0, "shares": {}}, 0.0, 1.0, 0.0)
    assert exchange(never, "a", (), 1, 50.0).wait_s == float("inf")


def test_what_is_kept_is_what_was() -> None:
    account = exchange(full(), "a", (), 3, 1.5).account
    assert account_of(json.loads(json.dumps(kept(account))), PER_S, BURST, 9.0) == account
