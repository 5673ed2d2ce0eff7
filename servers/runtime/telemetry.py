"""What a server tells about itself: Prometheus metrics and OpenTelemetry traces. Label values are bounded."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from servers.runtime.context import Call
from servers.runtime.tls import ListenError

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

OpenSpan = Callable[[Call], AbstractContextManager["SpanHandle | None"]]


@dataclass(frozen=True, slots=True)
class SpanHandle:
    """The open span of an RPC; ``end(code, reason)`` sets what is known only when the call is over."""

    end: Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class RpcMetrics:
    """The metrics of RPCs, of all owners in a process."""

    handled: Counter
    seconds: Histogram
    in_flight: Gauge
    messages: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "RpcMetrics":
        return cls(
            handled=Counter(
                "selene_rpc_handled",
                "Calls that ended, by gRPC code and error reason.",
                ("owner", "method", "code", "reason"),
                registry=registry,
            ),
            seconds=Histogram(
                "selene_rpc_seconds",
                "Time from a call's arrival to its end; for a stream, the whole stream.",
                ("owner", "method"),
                buckets=_SECONDS,
                registry=registry,
            ),
            in_flight=Gauge("selene_rpc_in_flight", "Calls being served.", ("owner",), registry=registry),
            messages=Counter(
                "selene_rpc_messages",
                "Stream messages, counted when their stream ends.",
                ("owner", "method", "direction"),
                registry=registry,
            ),
        )


class Registered(Protocol):
    """Metrics that are made in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None: ...


Shared = TypeVar("Shared", bound=Registered)


class Telemetry:
    """The registry that owners add their own metrics to, and the tracer, if traces are wanted."""

    def __init__(self, open_span: OpenSpan | None = None, close: Callable[[], None] | None = None) -> None:
        self.registry = CollectorRegistry()
        self.rpc = RpcMetrics.register(self.registry)
        self._shared: dict[type[Any], Any] = {}
        self._open_span = open_span
        self._close = close
        self._exposition: Any = None

    def shared(self, metrics: type[Shared]) -> Shared:
        """The metrics of this kind, registered once however many owners of the process want them."""
        if metrics not in self._shared:
            self._shared[metrics] = metrics(self.registry)
        made: Shared = self._shared[metrics]
        return made

    def span(self, call: Call) -> AbstractContextManager[SpanHandle | None]:
        """A span around the call, a child of the caller's ``traceparent``; nothing where traces are off."""
        return self._open_span(call) if self._open_span is not None else nullcontext()

    def expose(self, host: str, port: int) -> int:
        """Serves ``/metrics`` over HTTP; returns the port, which the system chooses for 0. ListenError."""
        try:
            self._exposition, _ = start_http_server(port, addr=host, registry=self.registry)
        except OSError as defect:
            raise ListenError(f"cannot show metrics on {host}:{port}: {defect.strerror}") from None
        return int(self._exposition.server_port)

    def close(self) -> None:
        """Stops the exposition and flushes spans."""
        if self._exposition is not None:
            self._exposition.shutdown()
            self._exposition.server_close()
            self._exposition = None
        if self._close is not None:
            self._close()


def tracing(span_exporter: Any, *, batch: bool = True) -> Telemetry:
    """Telemetry whose spans go to an OpenTelemetry exporter; the SDK is imported only for servers that want traces."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "selene"}), shutdown_on_exit=False)
    provider.add_span_processor((BatchSpanProcessor if batch else SimpleSpanProcessor)(span_exporter))
    return Telemetry(_span_opener(provider), provider.shutdown)


def make_telemetry(traces: str, otlp_endpoint: str) -> Telemetry:
    """Telemetry as configured: ``traces`` is ``none``, ``console`` or ``otlp`` (the ``otlp`` extra)."""
    if traces == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return tracing(ConsoleSpanExporter(out=sys.stdout))  # its own default is the stdout of the first import
    if traces == "otlp":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter  # type: ignore[import-not-found]  # an extra

        return tracing(trace_exporter.OTLPSpanExporter(endpoint=otlp_endpoint or None))
    return Telemetry()


def _span_opener(provider: Any) -> OpenSpan:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = provider.get_tracer("selene.rpc")
    propagator = TraceContextTextMapPropagator()

    @contextmanager
    def open_span(call: Call) -> Any:
        attributes: Mapping[str, str] = {
            "rpc.system": "grpc",
            "rpc.service": call.method.service,
            "rpc.method": call.method.path.rpartition("/")[2],
            "selene.correlation_id": call.correlation.correlation_id,
        }
        with tracer.start_as_current_span(
            call.method.path.lstrip("/"),
            context=propagator.extract(call.metadata),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def end(code: str, reason: str) -> None:
                span.set_attribute("rpc.grpc.status", code)
                if code != "OK":
                    span.set_attribute("selene.reason", reason)
                    span.set_status(trace.StatusCode.ERROR, reason)

            yield SpanHandle(end)

    return open_span
