"""KPIs per cohort."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.kpi import NO_DATA, Cohort, DecidedStream, kpis, percentile

ENGLISH, GERMAN = Cohort(language="en"), Cohort(language="de")


def stream(named: str, speaker: str | None, latency: float = 0.02, cohort: Cohort = ENGLISH) -> DecidedStream:
    return DecidedStream(cohort, named, speaker, latency)


def test_rates_cover_only_decisions_whose_speaker_is_known():
    decided = [stream("ann", "ann")] * 3 + [stream("", "ann"), stream("", ""), stream("ann", ""), stream("ann", None)]
    (row,) = kpis(decided)
    assert (row.decisions, row.named, row.genuine, row.impostor) == (7, 5, 4, 2)
    assert (row.tar_bp, row.frr_bp, row.far_bp) == (7500, 2500, 5000)


def test_a_mix_up_of_two_people_is_both_a_rejection_and_an_acceptance():
    (row,) = kpis([stream("bob", "ann"), stream("ann", "ann")])
    assert (row.genuine, row.impostor) == (2, 1)
    assert (row.tar_bp, row.frr_bp, row.far_bp) == (5000, 5000, 10_000)


def test_a_rate_without_data_says_so():
    (row,) = kpis([stream("ann", None, math.nan)])
    assert (row.tar_bp, row.frr_bp, row.far_bp) == (NO_DATA, NO_DATA, NO_DATA)
    assert all(map(math.isnan, (row.latency_p50, row.latency_p95, row.latency_p99)))
    assert kpis([]) == ()


def test_cohorts_do_not_hide_behind_each_other():
    german, english = kpis([stream("ann", "ann"), stream("", "jan", cohort=GERMAN)])
    assert (german.cohort, german.tar_bp) == (GERMAN, 0)
    assert (english.cohort, english.tar_bp) == (ENGLISH, 10_000)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0], 50, 3.0),
        ([3.0], 99, 3.0),
        ([1.0, 2.0], 50, 1.0),
        ([2.0, 1.0, 3.0], 50, 2.0),
        ([float(i) for i in range(1, 101)], 95, 95.0),
        ([float(i) for i in range(1, 101)], 99, 99.0),
        ([float(i) for i in range(1, 21)], 99, 20.0),
    ],
)
def test_percentiles_are_by_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


NAMES = st.sampled_from(["", "ann", "bob"])


@given(st.lists(st.builds(stream, NAMES, st.one_of(st.none(), NAMES)), min_size=1, max_size=30))
def test_accepted_and_rejected_make_the_whole(streams):
    (row,) = kpis(streams)
    assert row.genuine == 0 or abs(row.tar_bp + row.frr_bp - 10_000) <= 1
    assert -1 <= row.far_bp <= 10_000
    assert (row.far_bp == NO_DATA) == (row.impostor == 0)
