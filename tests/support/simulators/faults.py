"""What a simulator does wrong, call by call."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto


class FaultKind(Enum):
    """A way to fail. Which status says it is the vendor's: HTTP's number or gRPC's code."""

    LATENCY = auto()
    """Answers well, `seconds` late."""
    TRICKLE = auto()
    """Answers well, `seconds` before every piece."""
    BUSY = auto()
    """429, RESOURCE_EXHAUSTED."""
    INTERNAL = auto()
    """500, INTERNAL."""
    UNAVAILABLE = auto()
    """503, UNAVAILABLE."""
    UNAUTHENTICATED = auto()
    """401, UNAUTHENTICATED."""
    FORBIDDEN = auto()
    """403, PERMISSION_DENIED."""
    BAD_REQUEST = auto()
    """400, INVALID_ARGUMENT."""
    HANG = auto()
    """Says nothing more after `after` pieces, until the caller is gone."""
    HALF_STREAM = auto()
    """Ends as if it were well after `after` pieces, the rest missing."""
    RESET = auto()
    """Breaks the connection after `after` pieces."""
    EMPTY = auto()
    """Answers well, with nothing in it."""
    MALFORMED = auto()
    """Answers with bytes that are not of its format."""
    WRONG_SCHEMA = auto()
    """Answers in its format, with fields missing or of the wrong kind."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One call's fault. A piece is whatever the vendor streams: an event, a message, a chunk of the body."""

    kind: FaultKind
    seconds: float = 0.0
    after: int = 0


class FaultScript:
    """The faults of the calls to come, in order; None is a call that goes well, and so is every call after the last."""

    def __init__(self) -> None:
        self._waiting: deque[Fault | None] = deque()

    def plan(self, *faults: Fault | FaultKind | None) -> None:
        """Add the next calls'; a bare kind is that fault with its defaults."""
        self._waiting.extend(Fault(fault) if isinstance(fault, FaultKind) else fault for fault in faults)

    def take(self) -> Fault | None:
        """This call's."""
        return self._waiting.popleft() if self._waiting else None
