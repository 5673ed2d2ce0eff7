"""Who a provider does not understand asks it last for a while (§30)."""

from __future__ import annotations

import pytest
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT, ProviderRoutingProfileV1, RoutingSubject

from servers.routing import rejections
from servers.routing.profile import Resolved, compile
from servers.routing.rejections import HOLDS_S, Rejections, asked_last

MIRA, OTTO = ("t-1", "mira"), ("t-1", "otto")
FIRST = "openai/stt"


def refused(*times: float) -> Rejections:
    made = Rejections()
    for at in times:
        made.note(MIRA, FIRST, at, accepted=False)
    return made


@pytest.mark.parametrize(
    ("times", "now", "last"),
    [
        ((), 0.0, set()),
        ((0.0,), 1.0, set()),
        ((0.0, 10.0), 11.0, {FIRST}),
        ((0.0, 10.0), 10.0 + HOLDS_S - 1, {FIRST}),
        ((0.0, 10.0), 10.0 + HOLDS_S, set()),
        ((0.0, HOLDS_S), HOLDS_S + 1, set()),
        ((0.0, 200.0, 400.0), 401.0, {FIRST}),
    ],
)
def test_two_in_a_row_within_five_minutes_and_it_comes_last(
    times: tuple[float, ...], now: float, last: set[str]
) -> None:
    assert refused(*times).last(MIRA, now) == last


def test_nobody_elses_calls_change() -> None:
    assert refused(0.0, 1.0).last(OTTO, 2.0) == frozenset()
    assert refused(0.0, 1.0).last(("t-2", "mira"), 2.0) == frozenset()


def test_one_that_is_accepted_ends_it() -> None:
    made = refused(0.0, 1.0)
    made.note(MIRA, "google/stt", 2.0, accepted=True)
    assert made.last(MIRA, 3.0) == {FIRST}
    made.note(MIRA, FIRST, 3.0, accepted=True)
    assert made.last(MIRA, 4.0) == frozenset()
    made.note(MIRA, FIRST, 5.0, accepted=False)
    assert made.last(MIRA, 6.0) == frozenset()


def test_who_was_judged_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "PERSONS", 1)
    made = refused(0.0, 1.0)
    made.note(OTTO, FIRST, 2.0, accepted=False)
    assert made.last(MIRA, 3.0) == frozenset()


def test_providers_that_come_last_stay_in_their_order(profile: ProviderRoutingProfileV1) -> None:
    resolved = compile(profile, RoutingSubject(tenant_id="t-1"))
    assert isinstance(resolved, Resolved)
    before = [each.provider_ref for each in resolved.providers(DOMAIN_STT)]
    after = asked_last(resolved, DOMAIN_STT, before[:2])
    assert [each.provider_ref for each in after.providers(DOMAIN_STT)] == [before[2], *before[:2]]
    assert after.providers(DOMAIN_LLM) == resolved.providers(DOMAIN_LLM)
    assert after.profile_hash == resolved.profile_hash
