"""What an adapter hands back (§23, RTE-1): accepted as it is, or replaced by a terminal failure that says why.

Whatever is not exactly the result that was asked for fails closed, and nothing of it is passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote, unquote

import protovalidate
from google.protobuf.duration_pb2 import Duration
from google.protobuf.unknown_fields import UnknownFieldSet
from selene.provider.v1.provider_pb2 import (
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    Capability,
    ProviderResultV1,
    ProviderStatus,
)

from servers.routing.secrets import has_secret_shape

PAYLOAD_SCHEME: Final = "payload://"
NO_SIMULATION: Final = "none"
# A provider's attempt takes 120 s at most (`Provider.timeout`); beyond twice that an adapter's clock is wrong.
MAX_LATENCY_S: Final = 240
# What needs no percent-encoding.
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")


class Refusal(StrEnum):
    """Why an adapter's output is not taken."""

    NOT_A_RESULT = "ADAPTER_NOT_A_RESULT"
    CONTRACT_VIOLATED = "ADAPTER_CONTRACT_VIOLATED"
    UNKNOWN_FIELD = "ADAPTER_UNKNOWN_FIELD"
    PROVIDER_MISMATCH = "ADAPTER_PROVIDER_MISMATCH"
    CAPABILITY_MISMATCH = "ADAPTER_CAPABILITY_MISMATCH"
    REQUEST_ID_MISMATCH = "ADAPTER_REQUEST_ID_MISMATCH"
    IDEMPOTENCY_KEY_MISMATCH = "ADAPTER_IDEMPOTENCY_KEY_MISMATCH"
    SIMULATION_MISMATCH = "ADAPTER_SIMULATION_MISMATCH"
    FOREIGN_PAYLOAD = "ADAPTER_FOREIGN_PAYLOAD"
    PAYLOAD_WITHOUT_SUCCESS = "ADAPTER_PAYLOAD_WITHOUT_SUCCESS"
    LATENCY_INVALID = "ADAPTER_LATENCY_INVALID"
    SECRET_EXPOSED = "ADAPTER_SECRET_EXPOSED"


class Identified(Protocol):
    """A request, by the ids that its result carries back."""

    @property
    def tenant_id(self) -> str: ...

    @property
    def request_id(self) -> str: ...

    @property
    def idempotency_key(self) -> str: ...

    @property
    def simulation_context_ref(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a provider was asked. `simulation_context_ref` is NO_SIMULATION where there is none."""

    tenant_id: str
    provider_ref: str
    capability: Capability
    request_id: str
    idempotency_key: str
    simulation_context_ref: str = NO_SIMULATION


def payload_ref(tenant_id: str, name: str) -> str:
    """The reference of a tenant's payload, `payload://<tenant>/<name>`, both percent-encoded."""
    return f"{_payloads_of(tenant_id)}{name if _PLAIN.fullmatch(name) else quote(name, safe='')}"


@lru_cache(maxsize=4096)
def _payloads_of(tenant_id: str) -> str:
    return f"{PAYLOAD_SCHEME}{quote(tenant_id, safe='')}/"


def check(result: object, asked: Asked) -> ProviderResultV1:
    """The result itself, or a TERMINAL_FAIL with the identity of what was asked and the reason of the refusal."""
    if not isinstance(result, ProviderResultV1):
        return failed(asked, Refusal.NOT_A_RESULT)
    refusal = refused(result, asked)
    return result if refusal is None else failed(asked, refusal)


def refused(result: ProviderResultV1, asked: Asked) -> Refusal | None:
    """Why a result is not taken; None where it is."""
    if len(UnknownFieldSet(result)) or len(UnknownFieldSet(result.latency)):
        return Refusal.UNKNOWN_FIELD
    if protovalidate.collect_violations(result):
        return Refusal.CONTRACT_VIOLATED
    same = (
        (result.provider_ref == asked.provider_ref, Refusal.PROVIDER_MISMATCH),
        (result.capability == asked.capability, Refusal.CAPABILITY_MISMATCH),
        (result.request_id == asked.request_id, Refusal.REQUEST_ID_MISMATCH),
        (result.idempotency_key == asked.idempotency_key, Refusal.IDEMPOTENCY_KEY_MISMATCH),
        (result.simulation_context_ref == asked.simulation_context_ref, Refusal.SIMULATION_MISMATCH),
    )
    if mismatch := next((refusal for matches, refusal in same if not matches), None):
        return mismatch
    raw_ref, payload, reason_code = result.raw_ref, result.normalized_payload_ref, result.reason_code
    if has_secret_shape(f"{raw_ref}\0{payload}\0{reason_code}"):
        return Refusal.SECRET_EXPOSED
    if (raw_ref and not _is_of(asked.tenant_id, raw_ref)) or (payload and not _is_of(asked.tenant_id, payload)):
        return Refusal.FOREIGN_PAYLOAD
    if result.normalized_payload_ref and result.status != PROVIDER_STATUS_OK:
        return Refusal.PAYLOAD_WITHOUT_SUCCESS
    if result.latency.seconds >= MAX_LATENCY_S:
        return Refusal.LATENCY_INVALID
    return None


def failed(asked: Asked, reason_code: str, *, latency_s: float = 0.0) -> ProviderResultV1:
    """A terminal failure of what was asked, with nothing in it that an adapter said."""
    return answered(
        asked,
        provider_ref=asked.provider_ref,
        capability=asked.capability,
        status=PROVIDER_STATUS_TERMINAL_FAIL,
        reason_code=reason_code,
        latency_s=latency_s,
    )


def answered(
    request: Identified,
    *,
    provider_ref: str,
    capability: Capability,
    status: ProviderStatus,
    reason_code: str,
    latency_s: float = 0.0,
    quality_score_bp: int = 0,
) -> ProviderResultV1:
    """What an adapter whose payload is the stream itself hands back; a latency below 0 s counts as 0."""
    done = status == PROVIDER_STATUS_OK
    latency = Duration()
    latency.FromNanoseconds(max(0, round(latency_s * 1e9)))
    return ProviderResultV1(
        provider_ref=provider_ref,
        capability=capability,
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        simulation_context_ref=request.simulation_context_ref,
        status=status,
        reason_code=str(reason_code),
        latency=latency,
        quality_score_bp=quality_score_bp,
        normalized_payload_ref=payload_ref(request.tenant_id, request.request_id) if done else "",
    )


def status_of(*, done: bool, caller_fault: bool) -> ProviderStatus:
    """What was not done is worth another attempt, unless the fault lies in what was sent."""
    if done:
        return PROVIDER_STATUS_OK
    return PROVIDER_STATUS_TERMINAL_FAIL if caller_fault else PROVIDER_STATUS_RETRYABLE_FAIL


def _is_of(tenant_id: str, reference: str) -> bool:
    """Whether it is what `payload_ref` makes for this tenant; `..` and further segments would lead elsewhere."""
    name = unquote(reference.removeprefix(_payloads_of(tenant_id)))
    return name not in ("", ".", "..") and reference == payload_ref(tenant_id, name)
