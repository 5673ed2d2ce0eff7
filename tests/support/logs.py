"""How servers in this process log: as before once a test ends, and out of the way of commands that share its stdout."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """No test, and no command that one runs in this process, changes how the next one logs."""
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)


@pytest.fixture
def quiet_log(logging_as_before: None) -> None:
    """The server's log goes elsewhere: commands run in this process and share its stdout."""
    structlog.reset_defaults()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()), cache_logger_on_first_use=False)
