"""Which cohorts pass, at and beside the numbers of §38.1."""

from __future__ import annotations

import pytest
from selene.governance.v1.decision_pb2 import CohortResult

from servers import consumers, pack_formats
from servers.governance.cohort_gates import OTHERS, VOICE, limits_of, passes, passing
from servers.governance.consumers import CONSUMERS, ORPHANS, consumes, domain_of
from servers.llm import assembly as llm
from servers.stt import assembly as stt
from servers.tts import assembly as tts
from servers.voiceid import active_packs as voiceid
from servers.voiceid.consumption import read


def result(genuine: int, rejects: int, impostors: int, accepts: int, cohort: str = "language:en") -> CohortResult:
    return CohortResult(
        cohort=cohort,
        genuine_trials=genuine,
        false_rejects=rejects,
        impostor_trials=impostors,
        false_accepts=accepts,
    )


@pytest.mark.parametrize(
    ("counted", "held"),
    [
        (result(1_500, 7, 15_000, 7), True),
        (result(1_499, 7, 15_000, 7), False),
        (result(1_500, 7, 14_999, 7), False),
        (result(1_500, 8, 15_000, 7), False),  # the upper bound is 1.05 %
        (result(1_500, 7, 15_000, 8), False),  # the upper bound is 0.105 %
        (result(0, 0, 0, 0), False),
    ],
)
def test_a_voice_cohort_passes_by_its_trials_and_its_bounds(counted: CohortResult, held: bool) -> None:
    assert passes(counted, VOICE) is held


def test_a_cohort_that_is_reported_twice_passes_only_if_both_do() -> None:
    good, bad = result(1_500, 0, 15_000, 0), result(1_500, 100, 15_000, 0)
    assert passing([good, good], VOICE) == {"language:en"}
    assert passing([good, bad], VOICE) == passing([bad, good], VOICE) == frozenset()


def test_other_kinds_have_limits_of_their_own() -> None:
    assert limits_of(domain_of("STT_VOCAB_PACK")) is OTHERS
    assert limits_of(domain_of("VOICEID_THRESHOLD_PACK_V1")) is VOICE
    assert passes(result(100, 4, 0, 0), OTHERS)
    assert not passes(result(99, 0, 0, 0), OTHERS)
    assert not passes(result(100, 5, 0, 0), OTHERS)  # the upper bound is 11.3 %


def test_an_artifact_of_no_row_has_no_consumer() -> None:
    assert not any(consumes(engine, "LEFTOVER_PACK") for row in CONSUMERS.values() for engine in row.engines)
    assert not CONSUMERS.keys() & ORPHANS.keys()
    assert CONSUMERS.keys() | ORPHANS.keys() == pack_formats.FORMATS.keys(), "every row of §11, and threshold packs"
    assert consumes("PH1.C", "STT_VOCAB_PACK") and not consumes("PH1.TTS", "STT_VOCAB_PACK")


def test_whom_an_artifact_is_consumed_by_is_the_engine_whose_server_loads_it() -> None:
    assert {name: row.engines for name, row in CONSUMERS.items()} == {
        name: (one.engine_id,) for name, one in consumers.CONSUMERS.items()
    }
    loaded = {**stt.PARSERS, **tts.PARSERS, **llm.PARSERS, voiceid.ARTIFACT_TYPE: read}
    assert {name: one.read for name, one in consumers.CONSUMERS.items()} == loaded
