"""The same world, led by hypothesis: it looks for the order of events in which the promise breaks."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from servers.delivery import machine
from servers.delivery.adapter import Declares
from servers.delivery.machine import AttemptKind
from tests.servers.delivery.simulation import DECLARED, Scenario, Violation, World, problem_of

DISPATCHERS = 2
dispatchers = st.integers(0, DISPATCHERS - 1)


class Deliveries(RuleBasedStateMachine):
    """Two dispatchers and a few deliveries; crashes, stops, persons and the passing of time as it pleases."""

    world: World

    @initialize(
        seed=st.integers(0, 2**32),
        providers=st.lists(st.sampled_from(DECLARED), min_size=1, max_size=2),
        cas=st.booleans(),
    )
    def begin(self, seed: int, providers: list[Declares], cas: bool) -> None:
        self.world = World(
            seed,
            Scenario(
                deliveries=3,
                dispatchers=DISPATCHERS,
                providers=tuple(providers),
                compare_and_set=cas,
                storm_s=1_500.0,
            ),
        )
        self.world.run_for(400.0)

    @rule(steps=st.integers(1, 40))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step()

    @rule(seconds=st.sampled_from((1.0, 30.0, 61.0, 300.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.world.run_for(seconds)

    @precondition(lambda self: not self.world.calm)
    @rule(me=dispatchers)
    def crash(self, me: int) -> None:
        self.world.crash(me)

    @precondition(lambda self: not self.world.calm)
    @rule(me=dispatchers, seconds=st.sampled_from((10.0, 29.0, 46.0, 200.0)))
    def stop(self, me: int, seconds: float) -> None:
        self.world.stop(me, seconds)

    @precondition(lambda self: not self.world.calm and self.world.rows)
    @rule(
        which=st.integers(0, 2),
        event=st.sampled_from((machine.Cancel("X"), machine.Expire(), machine.Reconcile(), machine.LeaseLost())),
    )
    def meddle(self, which: int, event: machine.Event) -> None:
        keys = list(self.world.rows)
        self.world.change(keys[which % len(keys)], event, self.world.now)

    @precondition(lambda self: self.world.rows)
    @rule(which=st.integers(0, 2))
    def ask_a_person(self, which: int) -> None:
        keys = list(self.world.rows)
        self.world.person(keys[which % len(keys)])

    @invariant()
    def at_most_one_provider_has_it(self) -> None:
        for key, row in self.world.rows.items():
            assert self.world.acceptances(key) <= 1
            assert problem_of(row.value) == ""

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.run()


LED = settings(max_examples=200, stateful_step_count=30, deadline=None)
# Enough to see that it fails: nobody reads the smallest example.
UNTIL_IT_FAILS = settings(LED, database=None, phases=(Phase.generate,), report_multiple_bugs=False)


def test_no_order_of_events_breaks_the_promise() -> None:
    run_state_machine_as_test(Deliveries, settings=LED)


def test_an_order_of_events_is_found_where_the_promise_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "may_send", lambda *arguments: AttemptKind.FRESH)
    with pytest.raises(Violation):
        run_state_machine_as_test(Deliveries, settings=UNTIL_IT_FAILS)
