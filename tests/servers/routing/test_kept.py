"""A circuit as it is kept: every field comes back, through JSON, whatever it was."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
)

from servers.routing.circuit import Circuit, Lease, new_circuit
from servers.routing.kept import circuit_message, circuit_of, kept

STATES = (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_FORCED_CLOSED,
)
instants = st.floats(0, 4e9)
counts = st.integers(0, 10_000)
circuits = st.builds(
    Circuit,
    state=st.sampled_from(STATES),
    reason=st.from_regex(r"[A-Z][A-Z0-9_]{1,63}", fullmatch=True),
    since=instants,
    retry_at=st.none() | instants,
    trips=counts,
    window_from=instants,
    streaks=st.lists(counts, max_size=4).map(tuple),
    decayed_at=instants,
    leases=st.lists(st.builds(Lease, st.text(max_size=8), instants), max_size=5).map(tuple),
    leased_at=instants,
    told=counts,
    told_at=instants,
    issued=counts,
    healthy_windows=counts,
    window_proven=st.booleans(),
    silent=st.booleans(),
)


@given(circuit=circuits)
def test_what_was_kept_comes_back_the_same(circuit: Circuit) -> None:
    assert circuit_of(json.loads(json.dumps(kept(circuit)))) == circuit


def test_a_circuit_that_was_kept_before_silence_was_told_apart_was_not_silent() -> None:
    body = kept(new_circuit(1.0))
    del body["silent"]
    assert circuit_of(body) == new_circuit(1.0)


@pytest.mark.parametrize("name", [field.name for field in fields(Circuit) if field.name != "silent"])
def test_a_circuit_without_one_of_its_fields_is_none(name: str) -> None:
    body = kept(new_circuit(1.0))
    del body[name]
    with pytest.raises(KeyError):
        circuit_of(body)


@pytest.mark.parametrize(
    ("state", "shown"),
    [(CIRCUIT_STATE_OPEN, True), (CIRCUIT_STATE_FORCED_OPEN, True), (CIRCUIT_STATE_HALF_OPEN, False)],
)
def test_a_retry_is_shown_where_it_is_waited_for(state: int, *, shown: bool) -> None:
    circuit = Circuit(
        state=state,  # type: ignore[arg-type]  # protobuf enums are ints; the stub says otherwise
        reason="PROBE_FAILED",
        since=1.25,
        retry_at=181.25,
        trips=2,
        window_from=1.25,
        decayed_at=1.25,
    )
    message = circuit_message("PH1.D", "openai/llm", b"p" * 32, circuit)
    assert message.HasField("retry_at") is shown
    assert (message.since.seconds, message.since.nanos, message.trips) == (1, 250_000_000, 2)
    assert (message.owner, message.provider_ref, message.reason_code) == ("PH1.D", "openai/llm", "PROBE_FAILED")
