"""Frozen evaluation sets as bytes: canonical, whole, and refused by name where they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from servers.frozen_sets import FrozenSetFault, FrozenSetUnusable, parse, scorer_sha256
from tests.support.frozen import NAMES, Sample, frozen_set, pack

SMALL = Sample(genuine=3, impostors=5)


def content(**changes: Any) -> bytes:
    return rfc8785.dumps({**json.loads(frozen_set(SMALL, signals=["sig-1"]).canonical()), **changes})


def trials(**changes: Any) -> dict[str, Any]:
    columns: dict[str, Any] = json.loads(content())["trials"]
    return {**columns, **changes}


def test_a_set_is_read_as_it_was_written() -> None:
    written = frozen_set(SMALL, Sample(genuine=2, impostors=1, cohort=("de", "", "", "street")), signals=["s-1"])
    read = parse(written.canonical())
    assert read.canonical() == written.canonical()
    assert (len(read), int(read.genuine.sum()), read.signals) == (11, 5, ("s-1",))


def test_a_cohort_holds_the_trials_of_its_label_and_an_empty_label_is_none() -> None:
    chosen = frozen_set(SMALL, Sample(genuine=2, impostors=1, cohort=("de", "", "", "street"))).in_cohorts()
    assert {name: int(flags.sum()) for name, flags in chosen.items()} == {
        **dict.fromkeys(NAMES, 8),
        "language:de": 3,
        "noise:street": 3,
    }


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"\xff", FrozenSetFault.NOT_JSON),
        (b"[]", FrozenSetFault.NOT_JSON),
        (b"[" * 100_000, FrozenSetFault.NOT_JSON),
        (content(artifact_type="VOICEID_THRESHOLD_PACK_V1"), FrozenSetFault.OF_ANOTHER_TYPE),
        (content(format=2), FrozenSetFault.OF_ANOTHER_TYPE),
        (content(more=1), FrozenSetFault.FIELD_INVALID),
        (content(name=""), FrozenSetFault.FIELD_INVALID),
        (content(name=7), FrozenSetFault.FIELD_INVALID),
        (content(scorer_sha256="ab"), FrozenSetFault.FIELD_INVALID),
        (content(speakers=["b", "a", "c"]), FrozenSetFault.FIELD_INVALID),
        (content(speakers=["a", "a", "b"]), FrozenSetFault.FIELD_INVALID),
        (content(signals=[1]), FrozenSetFault.FIELD_INVALID),
        (content(cohorts=[["en", "mixed", "kitchen"]]), FrozenSetFault.FIELD_INVALID),
        (content(cohorts=[["en", "a b", "kitchen", "home"]]), FrozenSetFault.FIELD_INVALID),
        (content(cohorts="en"), FrozenSetFault.FIELD_INVALID),
        (content(trials=[]), FrozenSetFault.FIELD_INVALID),
        (content(trials=trials(llr=[1.0])), FrozenSetFault.FIELD_INVALID),
        (content(trials=trials(llr="12345678")), FrozenSetFault.FIELD_INVALID),
        (content(trials=trials(llr=[True] * 8)), FrozenSetFault.FIELD_INVALID),
        (content(trials=trials(tested=[3] * 8)), FrozenSetFault.FIELD_INVALID),
        (content(trials=trials(tested=[-1] * 8)), FrozenSetFault.FIELD_INVALID),
        (content(trials=trials(cohort=[1] * 8)), FrozenSetFault.FIELD_INVALID),
        (content(trials={name: [] for name in trials()}), FrozenSetFault.FIELD_INVALID),
        (json.dumps(json.loads(content()), indent=1).encode(), FrozenSetFault.NOT_CANONICAL),
    ],
)
def test_what_is_no_set_is_refused_by_name(payload: bytes, fault: FrozenSetFault) -> None:
    with pytest.raises(FrozenSetUnusable) as refused:
        parse(payload)
    assert refused.value.fault is fault


def test_a_number_that_is_none_is_refused() -> None:
    broken = content().replace(b'"llr":[', b'"llr":[1e999,').replace(b'"enrolled":[', b'"enrolled":[0,')
    broken = broken.replace(b'"tested":[', b'"tested":[0,').replace(b'"cohort":[', b'"cohort":[0,')
    with pytest.raises(FrozenSetUnusable, match="llr"):
        parse(broken)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with pytest.raises(FrozenSetUnusable):
        parse(payload)


def test_a_scorer_is_named_by_its_models_and_its_map_and_by_no_limit() -> None:
    assert scorer_sha256(pack(9_000)) == scorer_sha256(pack(9_900))
    assert scorer_sha256(pack(9_000)) != scorer_sha256(pack(9_000, models="b" * 64))
    assert scorer_sha256(pack(9_000)) != scorer_sha256(pack(9_000, prior=0.1))
    with pytest.raises(ValueError, match="no models"):
        scorer_sha256({"policy": {}})
