"""A circuit as the store keeps it and as the contract shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from selene.routing.v1.routing_pb2 import CIRCUIT_STATE_HALF_OPEN, CircuitState
from selene.routing.v1.routing_pb2 import Circuit as CircuitMessage

from servers.routing.circuit import Circuit, Lease

_COUNTS: Final = ("trips", "told", "issued", "healthy_windows")
_TIMES: Final = ("since", "window_from", "decayed_at", "told_at", "leased_at")


def kept(circuit: Circuit) -> dict[str, Any]:
    """As JSON; `circuit_of` gives the same circuit back."""
    return asdict(circuit)


def circuit_of(body: Mapping[str, Any]) -> Circuit:
    """The circuit that was kept. KeyError, TypeError and ValueError for what none was made of."""
    retry_at = body["retry_at"]
    return Circuit(
        state=int(body["state"]),  # type: ignore[arg-type]  # protobuf enums are ints; the stub says otherwise
        reason=str(body["reason"]),
        retry_at=None if retry_at is None else float(retry_at),
        streaks=tuple(int(streak) for streak in body["streaks"]),
        leases=tuple(Lease(str(each["lease_id"]), float(each["expires_at"])) for each in body["leases"]),
        window_proven=bool(body["window_proven"]),
        # Rows of before there was such a thing do not say.
        silent=bool(body.get("silent", False)),
        **_read(body, _COUNTS, int),
        **_read(body, _TIMES, float),
    )


def _read(body: Mapping[str, Any], names: tuple[str, ...], number: type[int] | type[float]) -> dict[str, Any]:
    return {name: number(body[name]) for name in names}


def circuit_message(owner: str, provider_ref: str, profile_hash: bytes, circuit: Circuit) -> CircuitMessage:
    """As the contract shows it."""
    message = CircuitMessage(
        owner=owner,
        provider_ref=provider_ref,
        profile_hash=profile_hash,
        state=circuit.state,
        reason_code=circuit.reason,
        since=timestamp(circuit.since),
        trips=circuit.trips,
    )
    if circuit.retry_at is not None and circuit.state != CIRCUIT_STATE_HALF_OPEN:
        message.retry_at.CopyFrom(timestamp(circuit.retry_at))
    return message


def state_name(state: CircuitState) -> str:
    """As rows of the trail name it."""
    return CircuitState.Name(state).removeprefix("CIRCUIT_STATE_")


def timestamp(at: float) -> Timestamp:
    """Seconds since the epoch, to the microsecond."""
    seconds, micros = divmod(round(at * 1_000_000), 1_000_000)
    return Timestamp(seconds=seconds, nanos=1000 * micros)
