"""Refusals: how a call that cannot be served ends. Each carries a reason of the contract and nothing of the inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import grpc
from google.protobuf import any_pb2
from google.rpc import (  # type: ignore[import-untyped]  # the wheel ships no stubs
    code_pb2,
    error_details_pb2,
    status_pb2,
)
from grpc_status import rpc_status  # type: ignore[import-untyped]  # the wheel ships no stubs
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.error_reason_pb2 import ErrorReason

DOMAIN = "selene"
MAX_VIOLATIONS = 12
"""Trailers hold 8 KiB; ``metadata["violations"]`` counts all of them, the details name the first twelve."""

_MAX_TEXT = 160
_MAX_REASON = 63  # google.rpc: [A-Z][A-Z0-9_]+[A-Z0-9], at most 63
_PREFIX = "ERROR_REASON_"

CODES = MappingProxyType(
    {
        reasons.ERROR_REASON_UNSPECIFIED: grpc.StatusCode.INTERNAL,
        reasons.ERROR_REASON_FIELD_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_INTERNAL_ERROR: grpc.StatusCode.INTERNAL,
        reasons.ERROR_REASON_OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        reasons.ERROR_REASON_NOT_SERVING: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_DEADLINE_REQUIRED: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_DEADLINE_PASSED: grpc.StatusCode.DEADLINE_EXCEEDED,
        reasons.ERROR_REASON_CALL_CANCELLED: grpc.StatusCode.CANCELLED,
        reasons.ERROR_REASON_TOKEN_MISSING: grpc.StatusCode.UNAUTHENTICATED,
        reasons.ERROR_REASON_TOKEN_INVALID: grpc.StatusCode.UNAUTHENTICATED,
        reasons.ERROR_REASON_TOKEN_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
        reasons.ERROR_REASON_TOKEN_WRONG_AUDIENCE: grpc.StatusCode.UNAUTHENTICATED,
        reasons.ERROR_REASON_TENANT_MISMATCH: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_DEVICE_MISMATCH: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_SUBJECT_MISMATCH: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_ROLE_REQUIRED: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED: grpc.StatusCode.ALREADY_EXISTS,
        reasons.ERROR_REASON_RESOURCE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        reasons.ERROR_REASON_PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_STREAM_CONFIG_EXPECTED: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_STREAM_SEQUENCE_BROKEN: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_AUDIO_UNDECODABLE: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_STREAM_TOO_LONG: grpc.StatusCode.OUT_OF_RANGE,
        reasons.ERROR_REASON_STREAM_IDLE: grpc.StatusCode.DEADLINE_EXCEEDED,
        reasons.ERROR_REASON_SESSION_NOT_RESUMABLE: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_CONTRACT_STAGE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_CONSENT_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_ENROLLMENT_INCOMPLETE: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_ENROLLMENT_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_MODEL_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_STAGE_TRANSITION_INVALID: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_SETTING_AMBIGUOUS: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_SESSION_NOT_CONFIRMABLE: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_SECRET_NOT_SEALED_HERE: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_SECRET_BACKEND_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_SECRET_ACCESS_DENIED: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_POLICY_REFUSED: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_BUDGET_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        reasons.ERROR_REASON_QUOTA_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        reasons.ERROR_REASON_GATE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_NO_PROVIDER_AVAILABLE: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_PROVIDERS_FAILED: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_INPUT_UNSERVABLE: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_CALL_UNDER_WAY: grpc.StatusCode.ALREADY_EXISTS,
        reasons.ERROR_REASON_CALL_ALREADY_SERVED: grpc.StatusCode.ALREADY_EXISTS,
        reasons.ERROR_REASON_PROFILE_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_PROFILE_NOT_ACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_PROFILE_VERSION_CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_RECIPIENT_ADDRESS_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_INTENT_CONTENT_CHANGED: grpc.StatusCode.ALREADY_EXISTS,
        reasons.ERROR_REASON_DELIVERY_STATE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_SIGNAL_TIME_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_EVIDENCE_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_EVIDENCE_CONTRADICTED: grpc.StatusCode.ALREADY_EXISTS,
        reasons.ERROR_REASON_GOLD_STATE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_OWN_WORK_REFUSED: grpc.StatusCode.PERMISSION_DENIED,
        reasons.ERROR_REASON_GATE_BLOCKED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_ROLLOUT_STATE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_ARTIFACT_FROZEN: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_ROLLBACK_TARGET_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_KPI_WINDOW_OVERLAPS: grpc.StatusCode.ALREADY_EXISTS,
        reasons.ERROR_REASON_DEFECT_STATE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
        reasons.ERROR_REASON_DEFECT_FIX_UNPROVED: grpc.StatusCode.FAILED_PRECONDITION,
    }
)
"""The gRPC code that each reason travels with: the word that begins its comment in ``error_reason.proto``."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule. ``field`` is a path (``frame.audio``, ``clips[2].format``), empty for the whole message."""

    field: str
    rule: str
    description: str


class Refusal(Exception):
    """Ends the call with the reason's gRPC code and an ``ErrorInfo``.

    ``message`` is shown to the caller: no secrets, no internals. ``metadata``: the keys listed at the reason.
    """

    def __init__(self, reason: ErrorReason, message: str, /, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.violations: tuple[FieldViolation, ...] = ()

    @classmethod
    def of_fields(cls, violations: Sequence[FieldViolation]) -> "Refusal":
        """The request breaks rules of the contract."""
        named = ", ".join(dict.fromkeys(v.field or "(message)" for v in violations[:3]))
        refusal = cls(
            reasons.ERROR_REASON_FIELD_INVALID, f"invalid: {named[:_MAX_TEXT]}", violations=str(len(violations))
        )
        refusal.violations = tuple(violations)
        return refusal

    @property
    def code(self) -> grpc.StatusCode:
        return CODES[self.reason]

    @property
    def reason_name(self) -> str:
        """The reason as it travels, without its prefix."""
        return reason_name(self.reason)


def reason_name(reason: ErrorReason) -> str:
    """``TOKEN_EXPIRED`` for ``ERROR_REASON_TOKEN_EXPIRED``."""
    return ErrorReason.Name(reason).removeprefix(_PREFIX)


def to_status(refusal: Refusal) -> grpc.Status:
    """The refusal as a ``google.rpc.Status`` in trailers."""
    info = error_details_pb2.ErrorInfo(reason=refusal.reason_name, domain=DOMAIN, metadata=refusal.metadata)
    details = [_packed(info)]
    if refusal.violations:
        details.append(_packed(_bad_request(refusal.violations)))
    code: int = code_pb2.Code.Value(refusal.code.name)
    status: grpc.Status = rpc_status.to_status(status_pb2.Status(code=code, message=refusal.message, details=details))
    return status


def _bad_request(violations: Sequence[FieldViolation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=v.field[:_MAX_TEXT],
                description=v.description[:_MAX_TEXT],
                reason=v.rule.upper().replace(".", "_")[:_MAX_REASON],
            )
            for v in violations[:MAX_VIOLATIONS]
        ]
    )


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
