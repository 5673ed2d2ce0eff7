"""Refused calls on their way to the audit ledger, bounded so that a flood of them cannot fill the disk (ALL-3)."""

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import grpc
import structlog
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.error_reason_pb2 import ErrorReason

from servers.runtime.auth import Principal
from servers.runtime.clock import Clock
from servers.runtime.errors import CODES, reason_name

AUDITED: Final = frozenset(
    reason
    for reason, code in CODES.items()
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
) | {
    reasons.ERROR_REASON_CONSENT_REQUIRED,
    reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
    reasons.ERROR_REASON_SESSION_NOT_RESUMABLE,
}
"""Refusals that say something about the caller. Ordinary bad input and the server's own state are metrics, not rows."""

ROWS_PER_MINUTE: Final = 60
"""Rows that one (tenant, reason) may write in a minute before the rest of that minute becomes one counting row."""

_MAX_OPEN_WINDOWS = 1024
_MINUTE_S = 60.0
_SINK_TIMEOUT_S = 2.0

_log = structlog.get_logger("selene.audit")


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """One refused call, or ``count`` of them within a minute that no longer got a row each (then no actor, no ids)."""

    at: datetime
    owner: str
    method: str
    reason: ErrorReason
    tenant_id: str
    """Empty when the caller did not prove who it is."""
    actor_commitment: str
    correlation_id: str
    turn_id: str
    count: int = 1


class AuditSink(Protocol):
    """Where refused calls are kept; the store's adapter writes one ledger row each."""

    async def __call__(self, refused: RefusedCall) -> None: ...


async def discard(refused: RefusedCall) -> None:
    """The sink of a server without a store: refusals remain in its log and metrics."""


def actor_commitment(salt: bytes, principal: Principal) -> str:
    """SHA-256 over length-prefixed salt, tenant, subject and device: the same for the same caller, and names nobody."""
    digest = hashlib.sha256(b"selene.actor.v1")
    for field in (salt, principal.tenant_id.encode(), principal.subject.encode(), principal.device_id.encode()):
        digest.update(len(field).to_bytes(4))
        digest.update(field)
    return digest.hexdigest()


class RefusalAudit:
    """Writes audited refusals to the sink before the caller hears of them.

    Each tenant and reason has ``ROWS_PER_MINUTE``; what exceeds that is counted and written as one row when the minute
    is over. A sink that fails or hangs delays a refusal by two seconds at most and never turns it into a success.
    """

    def __init__(self, sink: AuditSink, clock: Clock, owner: str, salt: bytes) -> None:
        self._sink = sink
        self._clock = clock
        self._owner = owner
        self._salt = salt
        self._window_began = clock.monotonic()
        self._written: Counter[tuple[str, ErrorReason]] = Counter()
        self._suppressed: Counter[tuple[str, ErrorReason]] = Counter()

    async def refused(
        self,
        reason: ErrorReason,
        *,
        method: str,
        principal: Principal | None,
        correlation_id: str,
        turn_id: str,
    ) -> None:
        """Audits one refusal, if its reason is one that is audited."""
        if reason not in AUDITED:
            return
        if self._clock.monotonic() - self._window_began >= _MINUTE_S:
            await self.flush()
        tenant_id = principal.tenant_id if principal else ""
        window = (tenant_id, reason)
        if window not in self._written and len(self._written) >= _MAX_OPEN_WINDOWS:
            window = ("", reason)
        if self._written[window] >= ROWS_PER_MINUTE:
            self._suppressed[window] += 1
            return
        self._written[window] += 1
        actor = actor_commitment(self._salt, principal) if principal else ""
        await self._write(
            RefusedCall(self._clock.now(), self._owner, method, reason, tenant_id, actor, correlation_id, turn_id)
        )

    async def flush(self) -> None:
        """Ends the minute: writes what was only counted. Also called when the server stops."""
        suppressed, self._suppressed = self._suppressed, Counter()
        self._written = Counter()
        self._window_began = self._clock.monotonic()
        blank = RefusedCall(self._clock.now(), self._owner, "", reasons.ERROR_REASON_UNSPECIFIED, "", "", "", "")
        for (tenant_id, reason), count in suppressed.items():
            await self._write(replace(blank, reason=reason, tenant_id=tenant_id, count=count))

    async def _write(self, refused: RefusedCall) -> None:
        try:
            async with asyncio.timeout(_SINK_TIMEOUT_S):
                await self._sink(refused)
        except Exception as defect:  # the refusal stands whatever the ledger says
            _log.error(
                "refusal not audited",
                reason=reason_name(refused.reason),
                count=refused.count,
                defect=type(defect).__name__,
            )
