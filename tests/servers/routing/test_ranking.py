"""Who comes first among providers, by what a routing pack says of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.artifacts.v1.packs_pb2 import RoutePreference
from selene.routing.v1.routing_pb2 import DOMAIN_STT, DOMAIN_TTS, RoutingSubject

from servers.pack_formats import PackUnusable
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.profile import Resolved, compile
from servers.routing.ranking import Ranking, consistent, ranked, ranking_of
from servers.routing.selection import Chosen, home_of, select
from tests.support.live_packs import preference, stt_ranking

A, B, C = "openai/stt", "google/stt", "selene-local/stt"


def profile() -> Resolved:
    """Two vendors of one region, then the provider beside the owner."""
    seeds = [ProviderSeed(provider_ref=ref, region="local" if ref == C else "us", timeout_s=5.0) for ref in (A, B, C)]
    made = default_profile(
        {DOMAIN_STT: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="j"
    )
    compiled = compile(made, RoutingSubject(tenant_id="t-1"))
    assert isinstance(compiled, Resolved)
    return compiled


PROFILE = profile()


def order(resolved: Resolved) -> list[str]:
    return [each.provider_ref for each in resolved.providers(DOMAIN_STT)]


@pytest.mark.parametrize(
    ("preferences", "after"),
    [
        ((), [A, B, C]),
        ((preference(B, A),), [B, A, C]),
        ((preference(C, A),), [C, A, B]),
        ((preference(C, B),), [A, C, B]),
        ((preference(A, C),), [A, B, C]),
        ((preference(C, A), preference(B, A)), [B, C, A]),
        ((preference(C, B), preference(B, A)), [C, B, A]),
        ((preference("unknown/stt", A), preference(B, "unknown/stt")), [A, B, C]),
        ((preference(B, B),), [A, B, C]),
    ],
)
def test_whoever_is_preferred_stands_right_before_whom_it_is_preferred_over(
    preferences: tuple[RoutePreference, ...], after: list[str]
) -> None:
    changed = ranked(PROFILE, DOMAIN_STT, ranking_of("STT_ROUTING_POLICY_PACK", stt_ranking(*preferences)))
    assert order(changed) == after
    assert changed.profile_hash == PROFILE.profile_hash
    assert order(ranked(changed, DOMAIN_TTS, Ranking(((C, A),)))) == after


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({"preferred_bp": 5_000}, False),
        ({"preferred_bp": 5_001}, True),
        ({"quality_delta_bp": -1}, False),
        ({"quality_delta_bp": 0}, True),
    ],
)
def test_a_preference_counts_where_most_preferred_it_and_quality_did_not_fall(
    changed: Mapping[str, int], counts: bool
) -> None:
    assert consistent([preference(B, A, **changed)]) == (((B, A),) if counts else ())


def test_of_preferences_that_contradict_each_other_the_stronger_hold() -> None:
    weak = preference(A, C, preferred_bp=6_000)
    for several in ([preference(C, B), preference(B, A), weak], [weak, preference(B, A), preference(C, B)]):
        assert set(consistent(several)) == {(C, B), (B, A)}
    fewer, more = preference(A, B, turns=10), preference(B, A, turns=11)
    assert consistent([fewer, more]) == ((B, A),)


_REFS = st.sampled_from([A, B, C, "unknown/stt"])


@given(
    st.lists(
        st.builds(preference, _REFS, _REFS, preferred_bp=st.integers(0, 10_000), quality_delta_bp=st.integers(-5, 5)),
        max_size=12,
    )
)
def test_no_pack_adds_loses_or_repeats_a_provider(preferences: list[RoutePreference]) -> None:
    pairs = consistent(preferences)
    made = order(ranked(PROFILE, DOMAIN_STT, Ranking(pairs)))
    assert sorted(made) == sorted((A, B, C))
    assert all(made.index(first) < made.index(over) for first, over in pairs if {first, over} <= {A, B, C})


def test_whoever_comes_first_the_call_stays_in_the_region_of_the_profiles_first() -> None:
    home = home_of(PROFILE, DOMAIN_STT, "", ())
    assert home == "us"
    changed = ranked(PROFILE, DOMAIN_STT, Ranking(((C, A),)))
    first = select(changed, {}, DOMAIN_STT, region=home)
    then = select(changed, {}, DOMAIN_STT, region=home, tried={C})
    assert isinstance(first, Chosen) and isinstance(then, Chosen)
    assert (first.provider.provider_ref, first.failover) == (C, False)
    assert (then.provider.provider_ref, then.failover) == (A, True)
    assert home_of(PROFILE, DOMAIN_STT, "", {A, B}) == "local"
    assert home_of(PROFILE, DOMAIN_STT, "", {A, B, C}) == ""


@pytest.mark.parametrize("payload", [b"garbage", b"", stt_ranking(preference("", A))])
def test_what_is_no_routing_pack_is_refused(payload: bytes) -> None:
    with pytest.raises(PackUnusable):
        ranking_of("STT_ROUTING_POLICY_PACK", payload)
