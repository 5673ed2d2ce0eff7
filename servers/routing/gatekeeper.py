"""Asks the gates of a call: POLICY, COST, QUOTA, in this order, each the one that ships or one that a deployment names.

    owners:
      routing:
        gates: {policy: "acme.gates:Policy", timeout_ms: 20}

A named gate stands in the place of the one that ships, which is then not asked: what it lets through is taken of no
budget, or of no quota, of the store. The order is nobody's to change, and what comes after a gate that refuses is not
asked. A gate that raises, says what is no decision, or takes longer than it may, has refused (GATE_UNAVAILABLE). One
that blocks the event loop holds up everybody: what takes long has to be awaited.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, runtime_checkable

import structlog
from pydantic import BaseModel, ConfigDict, Field

from servers.routing.accounts import Accounts, Ticket
from servers.routing.gates import Gate, Reason, Request, Verdict
from servers.runtime.clock import Clock
from servers.runtime.config import ConfigError
from servers.runtime.logging import raised

NAMED: Final = r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)?$"
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")

_log = structlog.get_logger("selene.routing")


@dataclass(frozen=True, slots=True)
class Decision:
    """What a named gate says: `reason` in UPPER_SNAKE_CASE, for the trail and the caller; `retry_after_s` where waiting
    helps.
    """

    allowed: bool
    reason: str
    retry_after_s: float | None = None


@runtime_checkable
class NamedGate(Protocol):
    """A gate that a deployment brings. Made once a process and domain, without arguments."""

    async def decide(self, request: Request) -> Decision:
        """Whether the call may be made. `request.cost_micros` is what it may come to."""

    def ended(self, request: Request, spent_micros: int) -> None:
        """A call that `decide` was asked for has ended, once: at this cost, 0 where it was not made or is charged to
        another. What it raises is logged.
        """


class GateSettings(BaseModel):
    """`owners.routing.gates`: gates in place of those that ship, each `module:attribute`, called without arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str = Field(default="", pattern=NAMED, description="in place of the rules of policy")
    cost: str = Field(default="", pattern=NAMED, description="in place of the budgets")
    quota: str = Field(default="", pattern=NAMED, description="in place of the quotas")
    timeout_ms: int = Field(default=20, ge=1, le=1000, description="how long a named gate may take")


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """The gates of one domain. Without named ones asking costs no more than `Accounts` does."""

    accounts: Accounts
    clock: Clock
    named: Mapping[Gate, NamedGate] = field(default_factory=dict)
    timeout_s: float = 0.02

    async def admit(self, request: Request) -> Ticket:
        """Ask, and reserve what was let through. Never raises for a gate."""
        await self.accounts.ready(request.tenant_id, cost_micros=request.cost_micros)
        if not self.named:
            return self.accounts.admit(request, self._now())
        decided: dict[Gate, Verdict] = {}
        asked: list[NamedGate] = []
        try:
            for place, gate in enumerate(Gate):
                named = self.named.get(gate)
                if named is None:
                    continue
                before = self.accounts.look(request, self._now(), decided).verdicts[:place]
                if len(before) < place or not all(verdict.allowed for verdict in before):
                    break
                asked.append(named)
                decided[gate] = await self._asked(gate, named, request)
            ticket = self.accounts.admit(request, self._now(), decided)
        except BaseException:
            _tell(asked, request, 0)
            raise
        if ticket.allowed:
            ticket.when_settled(partial(_tell, asked, request))
        else:
            _tell(asked, request, 0)
        return ticket

    async def _asked(self, gate: Gate, named: NamedGate, request: Request) -> Verdict:
        deciding = asyncio.ensure_future(_verdict(gate, named, request))
        try:
            await asyncio.wait((deciding,), timeout=self.timeout_s)
        finally:
            # Whoever does not let go of it is not waited for.
            deciding.cancel()
        if not deciding.done():
            _log.error("a gate took too long", gate=gate.value, tenant_id=request.tenant_id)
            return Verdict(gate, Reason.GATE_TIMED_OUT, allowed=False)
        return Verdict(gate, Reason.GATE_RAISED, allowed=False) if deciding.cancelled() else deciding.result()

    def _now(self) -> float:
        return self.clock.now().timestamp()


def named_gates(settings: GateSettings) -> dict[Gate, NamedGate]:
    """The gates that the settings name. ConfigError for what is not there, or is no gate."""
    names = {Gate.POLICY: settings.policy, Gate.COST: settings.cost, Gate.QUOTA: settings.quota}
    return {gate: _made(gate, name) for gate, name in names.items() if name}


def _made(gate: Gate, name: str) -> NamedGate:
    where = f"owners.routing.gates.{gate.value.lower()}"
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise ConfigError(f"{where}: {name} cannot be had: {type(error).__name__}: {error}") from error
    if not isinstance(made, NamedGate):
        raise ConfigError(f"{where}: {name} is no gate: it needs `decide` and `ended`")
    return made


async def _verdict(gate: Gate, named: NamedGate, request: Request) -> Verdict:
    try:
        decision = await named.decide(request)
    except Exception as error:
        _log.error("a gate raised", gate=gate.value, tenant_id=request.tenant_id, **raised(error))
        return Verdict(gate, Reason.GATE_RAISED, allowed=False)
    if not _is_sound(decision):
        _log.error("a gate said what is no decision", gate=gate.value, tenant_id=request.tenant_id)
        return Verdict(gate, Reason.GATE_MALFORMED, allowed=False)
    return Verdict(gate, decision.reason, allowed=decision.allowed, retry_after_s=decision.retry_after_s)


def _is_sound(decision: object) -> bool:
    if not isinstance(decision, Decision) or not isinstance(decision.reason, str):
        return False
    waits = decision.retry_after_s
    return (
        isinstance(decision.allowed, bool)
        and _REASON.fullmatch(decision.reason) is not None
        and (waits is None or (isinstance(waits, (int, float)) and 0 <= waits < float("inf")))
    )


def _tell(asked: Sequence[NamedGate], request: Request, spent_micros: int) -> None:
    for named in asked:
        try:
            named.ended(request, spent_micros)
        except Exception as error:
            _log.error("a gate raised when it was told of a call's end", **raised(error))
