"""Gates as a deployment brings them: what they say is for a test to set, and what they were asked for it to read."""

from __future__ import annotations

import asyncio

from servers.routing.gatekeeper import Decision
from servers.routing.gates import Request


class Scripted:
    """A gate that says what it is told to say, and notes what it was asked and told."""

    def __init__(self, says: object = None) -> None:
        self.says = Decision(allowed=True, reason="HOUSE_RULE") if says is None else says
        self.asked: list[Request] = []
        self.told: list[tuple[str, int]] = []

    async def decide(self, request: Request) -> Decision:
        """What it says; an exception is raised, an event waited for."""
        self.asked.append(request)
        if isinstance(self.says, BaseException):
            raise self.says
        if isinstance(self.says, asyncio.Event):
            await self.says.wait()
        return self.says  # type: ignore[return-value]  # a gate may say anything

    def ended(self, request: Request, spent_micros: int) -> None:
        """Noted."""
        self.told.append((request.request_id, spent_micros))


class Stubborn(Scripted):
    """A gate that hangs, and that nobody can stop."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def decide(self, request: Request) -> Decision:
        self.asked.append(request)
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                continue
        return Decision(allowed=True, reason="TOO_LATE")


class NightRest(Scripted):
    """A house's own policy: nobody is served on the channel `bedroom`."""

    async def decide(self, request: Request) -> Decision:
        quiet = request.channel == "bedroom"
        return Decision(allowed=not quiet, reason="NIGHT_REST" if quiet else "HOUSE_AWAKE")


class NoGate:
    """Knows nothing of calls."""
