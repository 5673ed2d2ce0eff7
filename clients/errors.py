"""Why a call failed, readable: `google.rpc.Status` in the trailers becomes a SeleneError that says what to do next."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from string import Formatter
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # ships no types

from clients.patterns import in_words

DOMAIN: Final = "selene"
_DETAILS_KEY: Final = "grpc-status-details-bin"

# What a person can do about each reason of the contract; `{key}` is a metadata key of that reason. Where there are
# several texts, the first whose keys the server told is shown.
NEXT_STEPS: Final[Mapping[str, str | tuple[str, ...]]] = MappingProxyType(
    {
        "FIELD_INVALID": "correct the fields named here",
        "INTERNAL_ERROR": (
            "report incident {incident_id}; the server's log has the rest",
            "look at the server's log",
        ),
        "OVERLOADED": (
            "try again in {retry_after_ms} ms, with fewer streams at once",
            "try again in a moment, with fewer streams at once",
        ),
        "NOT_SERVING": "try again in a moment; the server is starting or stopping",
        "DEADLINE_REQUIRED": (
            "set a timeout of at most {max_s} s",
            "set a timeout",
        ),
        "DEADLINE_PASSED": "allow more time, or look at the server's load",
        "CALL_CANCELLED": "call again if you still want the answer",
        "TOKEN_MISSING": "give a token: --token-file, SELENE_TOKEN or client.toml",
        "TOKEN_INVALID": (
            "get a new token: `selene token issue` on the server ({cause})",
            "get a new token: `selene token issue` on the server",
        ),
        "TOKEN_EXPIRED": "get a new token: `selene token issue` on the server; `selene token show` tells the dates",
        "TOKEN_WRONG_AUDIENCE": (
            "get a token for {expected}",
            "get a token for this owner: `selene token issue` on the server",
        ),
        "TENANT_MISMATCH": "use the token's own tenant (`selene token show`)",
        "DEVICE_MISMATCH": "use the token's own device (`selene token show`)",
        "SUBJECT_MISMATCH": "use a token of that user or owner, or one whose role may speak for others",
        "ROLE_REQUIRED": (
            "use a token with one of the roles {any_of}",
            "use a token with another role; `selene token show` tells yours",
        ),
        "IDEMPOTENCY_KEY_REUSED": "use a new idempotency key for new content",
        "RESOURCE_NOT_FOUND": (
            "check the {resource} `{id}` and the tenant",
            "check the id and the tenant",
        ),
        "PAGE_TOKEN_INVALID": "begin the list again from its first page",
        "STORE_UNAVAILABLE": (
            "nothing was changed; try again, or look at the server's store ({cause})",
            "nothing was changed; try again, or look at the server's store",
        ),
        "STREAM_CONFIG_EXPECTED": "send the config first, and only once",
        "STREAM_SEQUENCE_BROKEN": (
            "send frame {expected} next; frames count from 0 without gaps",
            "count frames from 0 without gaps",
        ),
        "AUDIO_UNDECODABLE": (
            "check that the audio is what its format says ({cause}, frame {sequence})",
            "check that the audio is what its format says ({cause})",
            "check that the audio is what its format says",
        ),
        "STREAM_TOO_LONG": (
            "cut the audio to {max_s} s or less",
            "cut the audio",
        ),
        "STREAM_IDLE": (
            "send audio at least every {max_idle_s} s, or half-close",
            "send audio without long pauses, or half-close",
        ),
        "SESSION_NOT_RESUMABLE": (
            "begin a new stream; a dropped one waits {window_s} s",
            "begin a new stream; a dropped one waits for a short time only",
        ),
        "CONTRACT_STAGE_REFUSED": (
            "use generation {serves}: the tenant is at stage {stage}",
            "use the generation that the tenant's stage serves",
        ),
        "CONSENT_REQUIRED": "say that the person consents: --consent REF to enrol, --consent with a signal",
        "ENROLLMENT_INCOMPLETE": (
            "add {clips_missing} more clips and {voiced_ms_missing} ms more speech",
            "add more speech",
        ),
        "ENROLLMENT_CLOSED": (
            "begin a new enrolment; this one is {state}",
            "begin a new enrolment",
        ),
        "MODEL_UNAVAILABLE": (
            "build the models on the server: `selene models build` ({cause})",
            "build the models on the server: `selene models build`",
        ),
        "STAGE_TRANSITION_INVALID": (
            "move one stage at a time, from {from}",
            "move one stage at a time",
        ),
        "SETTING_AMBIGUOUS": (
            "remove one of the two settings of equal precedence for {key}",
            "remove one of the two settings of equal precedence",
        ),
        "SESSION_NOT_CONFIRMABLE": "confirm a stream that was decided and not yet confirmed",
        "SECRET_NOT_SEALED_HERE": "ask for the sealing key again; it changes with the server's master key",
        "SECRET_BACKEND_UNAVAILABLE": (
            "look at the backend {backend}, then try again",
            "look at the secrets owner's backend, then try again",
        ),
        "SECRET_ACCESS_DENIED": (
            "{cause}: `selene secrets show {handle}` tells whom it is granted to",
            "`selene secrets list` tells whom each secret is granted to",
        ),
        "POLICY_REFUSED": (
            "{cause}: a rule of policy refuses it; ask who administers the tenant",
            "ask who administers the tenant: a rule of policy refuses it",
        ),
        "BUDGET_EXCEEDED": "wait for the next period, or have the budget raised",
        "QUOTA_EXHAUSTED": (
            "try again in {retry_after_ms} ms, or have the quota raised",
            "have the quota raised: it never fills again",
        ),
        "GATE_UNAVAILABLE": (
            "try again in a moment; the server cannot read its {gate} limits",
            "try again in a moment; the server cannot read its limits",
        ),
        "NO_PROVIDER_AVAILABLE": (
            "try again in {retry_after_ms} ms; `selene routes` shows who may be asked ({providers})",
            "`selene routes` shows why nobody may be asked; waiting alone does not help ({providers})",
            "`selene routes` shows why nobody may be asked",
        ),
        "PROVIDERS_FAILED": (
            "`selene routes` shows the circuits; try again in a moment ({providers})",
            "`selene routes` shows the circuits; try again in a moment",
        ),
        "INPUT_UNSERVABLE": (
            "change what is asked: {cause}",
            "change what is asked",
        ),
        "CALL_UNDER_WAY": "wait for the first call's answer, or end it; a new idempotency key makes another call",
        "CALL_ALREADY_SERVED": "it was charged once; to have it done again, ask under a new idempotency key",
        "PROFILE_INVALID": (
            "correct {where}: {cause}; `selene routes validate` lists everything",
            "`selene routes validate` lists everything that is wrong",
        ),
        "PROFILE_NOT_ACTIVE": "activate a routing profile: `selene routes activate`",
        "PROFILE_VERSION_CONFLICT": (
            "use version {expected}: `selene routes show --next` prints one that is numbered so",
            "`selene routes versions` lists the versions",
        ),
        "RECIPIENT_ADDRESS_INVALID": (
            "correct the address: {cause}",
            "correct the address",
        ),
        "INTENT_CONTENT_CHANGED": (
            "use another message id for other content; delivery {delivery_id} was first",
            "use another message id for other content",
        ),
        "DELIVERY_STATE_REFUSED": (
            "nothing to do: the delivery is {state}",
            "nothing to do: the delivery has gone on",
        ),
        "SIGNAL_TIME_REFUSED": (
            "send signals while they are fresh, by a clock that is right: {cause}, the limit is {limit_s} s",
            "send signals while they are fresh, by a clock that is right",
        ),
        "EVIDENCE_INVALID": (
            "correct item {item_id}: {cause}",
            "correct the item or the label: {cause}",
            "correct the item or the label",
        ),
        "EVIDENCE_CONTRADICTED": (
            "item {item_id} is there already and says something else: use another id for other content",
            "it is there already and says something else: use another id for other content",
        ),
        "GOLD_STATE_REFUSED": (
            "look where the gold set stands: it is {state} (frozen: {frozen})",
            "look where the gold set stands: it is {state}",
            "look where the gold set stands",
        ),
        "OWN_WORK_REFUSED": (
            "ask somebody else: you are the {cause}",
            "ask somebody else: nobody vouches for their own work",
        ),
        "GATE_BLOCKED": (
            "mend and close the open defects first, `selene defects list`: {open_defects}; missing: {missing}",
            "see what is missing with `selene gate show`: {missing}",
            "see what is missing with `selene gate show`",
        ),
        "ROLLOUT_STATE_REFUSED": (
            "`selene rollout show {rollout_id}`: it is {state}",
            "`selene rollout list` shows where each rollout stands",
        ),
        "ARTIFACT_FROZEN": (
            "wait until it is rebuilt without what revocation {revocation_id} revoked",
            "wait until it is rebuilt without what was revoked",
        ),
        "ROLLBACK_TARGET_MISSING": (
            "there is no version of {artifact_type} before this one: activate another one",
            "there is no version before this one: activate another one",
        ),
        "KPI_WINDOW_OVERLAPS": (
            "send windows that begin where the last one of {arm} ended",
            "send windows that begin where the last one ended",
        ),
        "DEFECT_STATE_REFUSED": (
            "defect {signal_id} is {state}: leave it out",
            "`selene defects list` shows where each defect stands",
        ),
        "DEFECT_FIX_UNPROVED": (
            "show that it is fixed first ({cause}): a regression test and verification that pass, a pack that learned "
            "from the defect, and serves once it is to be closed",
            "show first that it is fixed",
        ),
    }
)

# Errors of gRPC itself: no server of ours has spoken.
_TRANSPORT_STEPS: Final[Mapping[grpc.StatusCode, str]] = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: "check the target, whether the server runs (`selene up`) and whether it wants TLS",
        grpc.StatusCode.DEADLINE_EXCEEDED: "allow more time (--timeout), or look at the network",
        grpc.StatusCode.UNIMPLEMENTED: "check the target: each owner has its own port, this one has no such call",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "try again with fewer or smaller messages",
    }
)
_UNAVAILABLE_STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CERTIFICATE_VERIFY_FAILED": "the server's certificate is not trusted: give its CA with --ca",
        "WRONG_VERSION_NUMBER": "the server speaks without TLS: leave out --tls and --ca",
        "Misformatted domain name": "name the target as host or host:port, without http:// before it",
    }
)
_REFUSED: Final = re.compile(r"ipv[46]:(?P<address>\S+:\d+): .*Connection refused")


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken field rule: the field's path and the rule in words."""

    field: str
    description: str


class SeleneError(Exception):
    """A call that was refused or failed.

    ``reason`` is the name of an ErrorReason without its prefix, empty when gRPC itself failed; ``metadata`` holds the
    keys that the contract lists for that reason. ``str()`` is one line with what to do next:
    ``next_step`` where that is given, else what is generally done about the reason.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        violations: tuple[Violation, ...] = (),
        next_step: str = "",
    ) -> None:
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata)
        self.violations = violations
        self._next_step = next_step
        super().__init__(self.one_line())

    @property
    def unreachable(self) -> bool:
        """No server of ours answered."""
        return not self.reason and self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

    @property
    def retry_after(self) -> float:
        """Seconds that the server asks to wait; 0 when it does not say."""
        text = self.metadata.get("retry_after_ms", "")
        return int(text) / 1000 if text.isdecimal() else 0.0

    @property
    def next_step(self) -> str:
        """What the reader can do about it; empty when nothing is known."""
        if self._next_step:
            return self._next_step
        if self.reason:
            return _filled(NEXT_STEPS.get(self.reason, ""), self.metadata)
        return _transport_step(self.code, self.message)

    def with_next_step(self, next_step: str) -> "SeleneError":
        """The same error, with what to do about it in this case."""
        return SeleneError(
            self.code,
            self.message,
            reason=self.reason,
            metadata=self.metadata,
            violations=self.violations,
            next_step=next_step,
        )

    def one_line(self) -> str:
        """`REASON: message (field: rule; …). Next: …`, on one line."""
        text = f"{self.reason or self.code.name}: {' '.join(self.message.split()) or 'no message'}"
        if self.violations:
            text += " (" + "; ".join(f"{v.field}: {v.description}" for v in self.violations) + ")"
        return f"{text}. Next: {self.next_step}" if self.next_step else text

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "error": {
                "reason": self.reason,
                "code": self.code.name,
                "message": self.message,
                "metadata": self.metadata,
                "violations": [{"field": v.field, "description": v.description} for v in self.violations],
                "next_step": self.next_step,
            }
        }


def _filled(steps: str | tuple[str, ...], metadata: Mapping[str, str]) -> str:
    """The first text whose keys the metadata holds; empty where there is none."""
    told = {key: value for key, value in metadata.items() if value}
    for step in (steps,) if isinstance(steps, str) else steps:
        if all(key is None or key in told for _, key, _, _ in Formatter().parse(step)):
            return step.format_map(told)
    return ""


def _transport_step(code: grpc.StatusCode, message: str) -> str:
    """gRPC tells why a connection failed in its words only; words that are not known get the general advice."""
    if code is grpc.StatusCode.UNAVAILABLE:
        for words, step in _UNAVAILABLE_STEPS.items():
            if words in message:
                return step
        if refused := _REFUSED.search(message):
            address = unquote(refused["address"])
            return f"nothing listens at {address}: check the target, and whether `selene up` runs there"
    return _TRANSPORT_STEPS.get(code, "")


def from_rpc(error: grpc.aio.AioRpcError) -> SeleneError:
    """The SeleneError in an error of grpc.aio. Details that do not decode, or are not ours, leave ``reason`` empty."""
    status = _status_of(error)
    if status is None:
        return SeleneError(error.code(), error.details() or "")
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(violations.DESCRIPTOR):
            detail.Unpack(violations)
    ours = info.domain == DOMAIN
    return SeleneError(
        error.code(),
        status.message or error.details() or "",
        reason=info.reason if ours else "",
        metadata=info.metadata if ours else {},
        violations=tuple(Violation(v.field, in_words(v.description)) for v in violations.field_violations),
    )


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


@contextmanager
def naming_errors() -> Iterator[None]:
    """Turns errors of grpc.aio inside it into SeleneError.

    grpc.aio raises CancelledError when the *server* ends a call with CANCELLED; only a task that was itself cancelled
    may keep it, or a dropped call would silently stop its caller.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise SeleneError(grpc.StatusCode.CANCELLED, "the server cancelled the call") from None
