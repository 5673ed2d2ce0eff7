"""Which version serves a call: the closest scope's, or for the subjects of a cohort a rollout's candidate."""

from __future__ import annotations

from itertools import permutations

import pytest
from selene.common.v1.scope_pb2 import (
    SCOPE_TYPE_CHANNEL,
    SCOPE_TYPE_DEVICE,
    SCOPE_TYPE_GLOBAL,
    SCOPE_TYPE_LOCALE,
    SCOPE_TYPE_TENANT,
    SCOPE_TYPE_USER,
    ScopeType,
)

from servers.routing.pack_choice import (
    Active,
    Arm,
    Canary,
    Fault,
    Line,
    Served,
    Subject,
    Version,
    choose,
    sticky_key,
)
from tests.support.live_packs import somebody

EARLY, LATE = somebody(0, 500), somebody(2_500, 10_000)
MIRA = Subject("t-1", "en-GB", "phone", "mira", EARLY)


def line(scope_type: ScopeType, scope_id: str = "", tenant: str = "t-1") -> Line:
    return Line("PACK", tenant, scope_type, scope_id)


DEPLOYED = line(SCOPE_TYPE_GLOBAL, tenant="")
TENANT = line(SCOPE_TYPE_TENANT, "t-1")
CLOSER = (
    DEPLOYED,
    line(SCOPE_TYPE_GLOBAL),
    TENANT,
    line(SCOPE_TYPE_LOCALE, "EN-gb"),
    line(SCOPE_TYPE_CHANNEL, "phone"),
    line(SCOPE_TYPE_USER, "mira"),
)
"""Lines that are about Mira, each closer than the one before."""


def active(of: Line, version: int = 1, fault: Fault | None = None) -> Active:
    return Active(of, version, Version(of, version, f"{of.scope_id}@{version}"), fault)


def canary(of: Line = TENANT, *, baseline: int = 1, share_bp: int = 500, fault: Fault | None = None) -> Canary:
    return Canary(of, "rollout-1", share_bp, baseline, Version(of, 2, "candidate") if fault is None else None, fault)


@pytest.mark.parametrize("many", range(1, len(CLOSER) + 1))
def test_the_closest_line_serves_whatever_the_order_of_the_rows(many: int) -> None:
    rows = [active(each) for each in CLOSER[:many]]
    for ordered in (rows, rows[::-1]):
        assert choose(ordered, (), MIRA) == Served(rows[-1].version)


@pytest.mark.parametrize(
    "other",
    [
        line(SCOPE_TYPE_TENANT, "t-2", "t-2"),
        line(SCOPE_TYPE_GLOBAL, tenant="t-2"),
        line(SCOPE_TYPE_LOCALE, "en"),
        line(SCOPE_TYPE_CHANNEL, "car"),
        line(SCOPE_TYPE_USER, "otto"),
        line(SCOPE_TYPE_USER, ""),
        line(SCOPE_TYPE_DEVICE, EARLY),
    ],
)
def test_a_line_of_somebody_else_serves_nobody_here(other: Line) -> None:
    assert choose([active(other)], [canary(other, share_bp=10_000)], MIRA) == Served(None)
    assert choose([active(DEPLOYED), active(other)], (), MIRA).version == active(DEPLOYED).version


def test_two_lines_of_the_same_rank_serve_nobody() -> None:
    rows = [active(line(SCOPE_TYPE_LOCALE, "en-gb")), active(line(SCOPE_TYPE_LOCALE, "en-GB")), active(TENANT)]
    for ordered in permutations(rows):
        assert choose(ordered, (), MIRA) == Served(None, fault=Fault.AMBIGUOUS)


@pytest.mark.parametrize(
    ("key", "share_bp", "served"),
    [
        (EARLY, 0, Served(active(TENANT).version, "rollout-1", Arm.BASELINE)),
        (EARLY, 500, Served(canary().version, "rollout-1", Arm.CANDIDATE)),
        (LATE, 500, Served(active(TENANT).version, "rollout-1", Arm.BASELINE)),
        (LATE, 10_000, Served(canary().version, "rollout-1", Arm.CANDIDATE)),
        ("", 10_000, Served(active(TENANT).version)),
    ],
)
def test_the_cohort_is_served_by_the_candidate_and_both_arms_are_known(key: str, share_bp: int, served: Served) -> None:
    subject = Subject("t-1", user_id="mira", key=key)
    assert choose([active(TENANT)], [canary(share_bp=share_bp)], subject) == served


@pytest.mark.parametrize("place", range(len(CLOSER)))
def test_a_candidate_displaces_only_what_is_no_closer_than_itself(place: int) -> None:
    rows = [active(each) for each in CLOSER[1:]]
    of = CLOSER[place]
    served = choose(rows, [canary(of, baseline=1 if place else 0, share_bp=10_000)], MIRA)
    is_closest = place == len(CLOSER) - 1
    assert (served.arm, served.version) == (
        (Arm.CANDIDATE, canary(of).version) if is_closest else (None, rows[-1].version)
    )


@pytest.mark.parametrize("fault", [Fault.REVOKED, Fault.UNREADABLE])
def test_a_candidate_that_cannot_serve_leaves_the_active_version_and_is_counted_in_no_arm(fault: Fault) -> None:
    served = choose([active(TENANT)], [canary(fault=fault)], MIRA)
    assert served == Served(active(TENANT).version, "rollout-1", None, fault)
    others = choose([active(TENANT)], [canary(fault=fault)], Subject("t-1", key=LATE))
    assert others.arm is Arm.BASELINE


@pytest.mark.parametrize("key", [EARLY, LATE])
@pytest.mark.parametrize(("pointed", "baseline"), [(3, 1), (1, 0), (1, 2)])
def test_where_another_version_was_activated_nobody_is_in_an_arm(key: str, pointed: int, baseline: int) -> None:
    served = choose([active(TENANT, pointed)], [canary(baseline=baseline)], Subject("t-1", key=key))
    assert served == Served(active(TENANT, pointed).version, "rollout-1", None, Fault.BASELINE_REPLACED)


def test_a_first_version_serves_its_cohort_and_what_is_wider_serves_the_others() -> None:
    rows = [active(DEPLOYED)]
    assert choose(rows, [canary(baseline=0)], MIRA).version == canary().version
    others = choose(rows, [canary(baseline=0)], Subject("t-1", key=LATE))
    assert (others.version, others.arm) == (active(DEPLOYED).version, Arm.BASELINE)


def test_what_stands_in_for_an_unreadable_version_says_so() -> None:
    kept = active(TENANT, fault=Fault.UNREADABLE)
    assert choose([kept], (), MIRA) == Served(kept.version, fault=Fault.UNREADABLE)
    others = choose([kept], [canary()], Subject("t-1", key=LATE))
    assert others == Served(kept.version, "rollout-1", None, Fault.UNREADABLE)


def test_a_line_of_the_deployment_takes_tenants_as_a_whole() -> None:
    early, late = (somebody(*places, prefix="tenant") for places in ((0, 500), (2_500, 10_000)))
    for key in (EARLY, LATE, ""):
        rows, canaries = [active(DEPLOYED)], [canary(DEPLOYED)]
        assert choose(rows, canaries, Subject(early, key=key)).arm is Arm.CANDIDATE
        assert choose(rows, canaries, Subject(late, key=key)).arm is Arm.BASELINE


@pytest.mark.parametrize(
    ("device", "user", "is_service", "key"),
    [
        ("d-1", "mira", True, "d-1"),
        ("", "mira", True, "mira"),
        ("", "", True, ""),
        ("", "", False, "caller"),
        ("", "mira", False, "mira"),
        ("d-1", "", False, "d-1"),
    ],
)
def test_the_key_is_of_whoever_stays_the_same(device: str, user: str, is_service: bool, key: str) -> None:
    assert sticky_key(device_id=device, user_id=user, caller="caller", is_service=is_service) == key
