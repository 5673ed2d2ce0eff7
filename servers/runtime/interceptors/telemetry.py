"""Second: ids for the call, its span, its metrics and its line in the log; and a limit on how many run at once."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import grpc
import structlog
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.context import (
    CORRELATION_HEADER,
    MODE_HEADER,
    TURN_HEADER,
    Behaviour,
    Call,
    Correlation,
    Method,
    is_acceptable_id,
    set_correlation,
)
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.ids import Ids
from servers.runtime.interceptors.authentication import OPEN_SERVICES
from servers.runtime.telemetry import Telemetry

MAX_PROBES: Final = 32
"""Health calls at once. They carry no token, so they are counted apart: whoever floods them displaces no real call."""

DEADLINE_SLACK_S: Final = 0.1
"""A caller whose deadline has passed cancels; its way here took time: by this watch it is not over."""

_RETRY_AFTER_MS = "1000"

_log = structlog.get_logger("selene.rpc")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended, as metrics, span and log show it; ``reason`` is empty for OK and for codes without a reason."""

    code: grpc.StatusCode
    reason: str = ""


class TelemetryLayer:
    """Observes every call of one owner and refuses what exceeds ``max_in_flight`` with OVERLOADED.

    ``mode`` is shown to callers as ``selene-mode``, in a stream's headers and a unary reply's trailers; empty shows
    nothing.
    """

    def __init__(self, telemetry: Telemetry, owner: str, ids: Ids, *, max_in_flight: int, mode: str = "") -> None:
        self._telemetry = telemetry
        self._owner = owner
        self._ids = ids
        self._max_in_flight = max_in_flight
        self._mode = mode
        self._in_flight = 0
        self._probes = 0
        telemetry.rpc.in_flight.labels(owner).set_function(lambda: float(self._in_flight))

    def wrap(self, method: Method, handler: Any, proceed: Behaviour) -> Behaviour:
        if method.service in OPEN_SERVICES:
            return self._probing(proceed)
        observe = self._observer(method)
        span = self._telemetry.span

        async def observed(call: Call) -> bytes | None:
            began = perf_counter()
            self._correlate(call)
            self._in_flight += 1
            ending = Ending(grpc.StatusCode.OK)
            try:
                with span(call) as handle:
                    try:
                        if self._in_flight > self._max_in_flight:
                            raise _overloaded(self._max_in_flight)
                        return await proceed(call)
                    except BaseException as failure:
                        ending = _ending_of(failure, call)
                        raise
                    finally:
                        if handle is not None:
                            handle.end(ending.code.name, ending.reason)
            finally:
                self._in_flight -= 1
                observe(call, ending, perf_counter() - began)

        return observed

    def _correlate(self, call: Call) -> None:
        correlation_id = call.metadata.get(CORRELATION_HEADER)
        turn_id = call.metadata.get(TURN_HEADER)
        call.correlation = Correlation(
            str(correlation_id) if is_acceptable_id(correlation_id) else self._ids.new(),
            str(turn_id) if is_acceptable_id(turn_id) else "",
        )
        set_correlation(call.correlation)
        call.add_trailer(CORRELATION_HEADER, call.correlation.correlation_id)
        if call.method.server_streaming:
            call.add_header(CORRELATION_HEADER, call.correlation.correlation_id)
            if self._mode:
                call.add_header(MODE_HEADER, self._mode)
        elif self._mode:
            # Headers would take a unary reply an operation of its own.
            call.add_trailer(MODE_HEADER, self._mode)

    def _probing(self, proceed: Behaviour) -> Behaviour:
        async def probe(call: Call) -> bytes | None:
            self._correlate(call)
            if self._probes >= MAX_PROBES:
                raise _overloaded(MAX_PROBES)
            self._probes += 1
            try:
                return await proceed(call)
            finally:
                self._probes -= 1

        return probe

    def _observer(self, method: Method) -> Any:
        metrics, owner = self._telemetry.rpc, self._owner
        seconds = metrics.seconds.labels(owner, method.path)
        received = metrics.messages.labels(owner, method.path, "received")
        sent = metrics.messages.labels(owner, method.path, "sent")
        handled: dict[Ending, Any] = {}

        def observe(call: Call, ending: Ending, elapsed: float) -> None:
            counter = handled.get(ending)
            if counter is None:
                counter = metrics.handled.labels(owner, method.path, ending.code.name, ending.reason)
                handled[ending] = counter
            counter.inc()
            seconds.observe(elapsed)
            if call.received:
                received.inc(call.received)
            if call.sent:
                sent.inc(call.sent)
            if ending.code is not grpc.StatusCode.OK:
                _log_ending(call, ending, elapsed)

        return observe


def _overloaded(limit: int) -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_OVERLOADED,
        "too many calls at once; try again later",
        limit=str(limit),
        retry_after_ms=_RETRY_AFTER_MS,
    )


def _ending_of(failure: BaseException, call: Call) -> Ending:
    match failure:
        case Refusal():
            return Ending(failure.code, failure.reason_name)
        case grpc.aio.AbortError():
            return Ending(call.status_code or grpc.StatusCode.UNKNOWN)
        case asyncio.CancelledError() if call.time_remaining() <= DEADLINE_SLACK_S:
            return Ending(grpc.StatusCode.DEADLINE_EXCEEDED, reason_name(reasons.ERROR_REASON_DEADLINE_PASSED))
        case asyncio.CancelledError():
            return Ending(grpc.StatusCode.CANCELLED, reason_name(reasons.ERROR_REASON_CALL_CANCELLED))
        case NotImplementedError() if call.status_code is grpc.StatusCode.UNIMPLEMENTED:
            return Ending(grpc.StatusCode.UNIMPLEMENTED)
    return Ending(grpc.StatusCode.INTERNAL, reason_name(reasons.ERROR_REASON_INTERNAL_ERROR))


def _log_ending(call: Call, ending: Ending, elapsed: float) -> None:
    principal = call.principal
    _log.info(
        "call ended",
        method=call.method.path,
        code=ending.code.name,
        reason=ending.reason,
        elapsed_ms=round(elapsed * 1000, 3),
        received=call.received,
        sent=call.sent,
        tenant_id=principal.tenant_id if principal else "",
    )
