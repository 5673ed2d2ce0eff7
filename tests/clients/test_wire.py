"""Both serialisers say the same bytes, so a dataclass and a stub are one message."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2
from selene.voiceid.v2 import service_pb2 as wire2
from selene_messages.selene.voiceid import v1, v2

from clients.wire import to_document, to_message, to_wire

candidates = st.builds(
    v1.Candidate,
    user_id=st.text(max_size=20),
    score_bp=st.integers(0, 10_000),
    llr=st.floats(allow_nan=False),
    cosines=st.lists(st.floats(-1, 1), max_size=3),
    profile_version=st.integers(-(2**63), 2**63 - 1),
)
decisions = st.builds(
    v1.VoiceIdDecision,
    decision=st.sampled_from(list(v1.Decision)),
    score_bp=st.integers(0, 10_000),
    reason_code=st.sampled_from(list(v1.VoiceIdReason)),
    margin_to_next_bp=st.integers(-10_000, 10_000),
    candidate_set=st.lists(candidates, max_size=5),
    telemetry=st.none()
    | st.builds(
        v1.Telemetry,
        voiced=st.none() | st.timedeltas(timedelta(0), timedelta(minutes=10)),
        snr_db=st.floats(allow_nan=False),
        stage2_skipped=st.booleans(),
    ),
)


@given(decisions)
def test_a_decision_is_the_same_bytes_from_both_serialisers(decision):
    wire = to_wire(decision, voiceid_pb2.VoiceIdDecision)
    assert wire.SerializeToString(deterministic=True) == bytes(decision)
    assert to_message(wire, v1.VoiceIdDecision) == decision


@given(st.timedeltas(timedelta(0), timedelta(days=1)))
def test_durations_survive_to_the_microsecond(voiced):
    wire = voiceid_pb2.InterimConfidence()
    wire.voiced.FromTimedelta(voiced)
    assert to_message(wire, v1.InterimConfidence).voiced == voiced


def test_nested_oneofs_agree():
    message = v2.IdentifyResponse(final=v2.FinalDecision(v2=v2.VoiceIdDecision(identity_tier=v2.IdentityTier.PROBABLE)))
    wire = to_wire(message, wire2.IdentifyResponse)
    assert wire.WhichOneof("event") == "final"
    assert to_message(wire, v2.IdentifyResponse) == message


def test_fields_of_a_later_contract_are_kept():
    later = bytes(v1.Profile(user_id="mira")) + b"\xf8\x07\x05"
    assert bytes(to_message(voiceid_pb2.Profile.FromString(later), v1.Profile)) == later


def test_a_document_holds_every_field_in_the_contracts_names():
    document = to_document(v1.Profile(user_id="mira", created_at=datetime(2026, 1, 31, tzinfo=UTC)))
    fields = {field.name for field in voiceid_pb2.Profile.DESCRIPTOR.fields}
    assert set(document) == fields
    assert document["created_at"] == "2026-01-31T00:00:00Z"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_does_not_know_become_words(value):
    assert isinstance(to_document(v1.Candidate(llr=value))["llr"], str)
