"""JSON lines on stderr: correlated with the call that they belong to, and without secrets or sound."""

import logging
import sys
from collections.abc import MutableMapping
from traceback import extract_tb
from typing import Any, TextIO

import structlog

from servers.runtime.auth import current_principal_or_none
from servers.runtime.context import current_correlation
from servers.runtime.redaction import cleaned_field


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Sends structlog and the standard library's loggers through one redacting JSON formatter."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_call,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(numeric)
    # Each step of a new database's schema; that it was upgraded is told in one line.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def add_call(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the ids of the call that is being served."""
    correlation = current_correlation()
    if correlation.correlation_id:
        event.setdefault("correlation_id", correlation.correlation_id)
    if correlation.turn_id:
        event.setdefault("turn_id", correlation.turn_id)
    principal = current_principal_or_none()
    if principal is not None:
        event.setdefault("tenant_id", principal.tenant_id)
    return event


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blanks values under secret-looking names, token-looking text anywhere, and all bytes."""
    for name, value in event.items():
        event[name] = cleaned_field(name, value)
    return event


def raised(error: Exception) -> dict[str, str]:
    """An unforeseen error for a log: its kind, and where it was raised. Its text may hold what was sent."""
    frame = extract_tb(error.__traceback__)[-1]
    return {"cause": type(error).__name__, "place": f"{frame.filename}:{frame.lineno}"}
