"""Which providers a delivery has now: by the routing profile, their circuits, their secrets and their accounts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_CHANNEL_PUSH,
    DELIVERY_CHANNEL_SMS,
    DELIVERY_CHANNEL_WECHAT,
    DELIVERY_CHANNEL_WHATSAPP,
    DeliveryChannel,
    Intent,
)
from selene.routing.v1.routing_pb2 import (
    DOMAIN_EMAIL,
    DOMAIN_PUSH,
    DOMAIN_SMS,
    DOMAIN_WECHAT,
    DOMAIN_WHATSAPP,
    Domain,
)

from servers.delivery.adapter import CALLER_FAULTS, DeliveryAdapter, DeliveryReason, Sent
from servers.delivery.machine import Delivery, Option
from servers.delivery.parties import reaches
from servers.delivery.shares import Shares
from servers.routing.board import Board, Key
from servers.routing.circuit import Probe
from servers.routing.directory import Directory
from servers.routing.profile import Resolved
from servers.routing.reasons import outcome_of
from servers.routing.selection import Chosen, Refusal, select
from servers.routing.windows import Call, Outcome, caller_of
from servers.runtime.clock import Clock

DOMAIN_OF: Final[Mapping[DeliveryChannel, Domain]] = MappingProxyType(
    {
        DELIVERY_CHANNEL_SMS: DOMAIN_SMS,
        DELIVERY_CHANNEL_EMAIL: DOMAIN_EMAIL,
        DELIVERY_CHANNEL_WHATSAPP: DOMAIN_WHATSAPP,
        DELIVERY_CHANNEL_WECHAT: DOMAIN_WECHAT,
        DELIVERY_CHANNEL_PUSH: DOMAIN_PUSH,
    }
)
LOOK_AGAIN_S: Final = 1.0
"""After this a circuit may be otherwise: its time is over, a probe is free."""
FORCED_OPEN_S: Final = 30.0
"""How often is looked whether an operator still holds a circuit open."""
PROBE_SLACK_S: Final = 10.0
_HARD_BLOCKS: Final = frozenset({DeliveryReason.REGION_BLOCKED, DeliveryReason.SENDER_REFUSED})
_CIRCUITS: Final = frozenset({Refusal.CIRCUIT_OPEN, Refusal.CIRCUIT_FORCED_OPEN, Refusal.NO_PROBE_FREE})


@dataclass(frozen=True, slots=True)
class Ways:
    """The providers of one delivery now, the preferred first. `timeouts` are of one call in seconds; a provider of
    `probing` is called under a lease of its circuit only. `fallback`: the profile lets another provider be tried after
    a reconciliation that told nothing.
    """

    options: tuple[Option, ...]
    profile_hash: bytes = b""
    timeouts: Mapping[str, float] = field(default_factory=dict)
    probing: frozenset[str] = frozenset()
    fallback: bool = False


class Routes:
    """Without I/O but for the leases of probes and the shares of rates. `missing`: whose secret is not to be had."""

    def __init__(
        self,
        *,
        directory: Directory,
        board: Board,
        adapters: Mapping[str, DeliveryAdapter],
        shares: Shares,
        missing: Callable[[], Collection[str]],
        clock: Clock,
    ) -> None:
        self.adapters = adapters
        self._directory = directory
        self._board = board
        self._missing = missing
        self._clock = clock
        self._shares = shares

    def ways(self, delivery: Delivery, intent: Intent | None, now: float, passed_over: Collection[str] = ()) -> Ways:
        """For a delivery, now. Without an intent, for its recipient was erased, nothing can be sent any more, but
        providers can still be asked. Those `passed_over` have had no probe to give.
        """
        domain = DOMAIN_OF[delivery.channel]
        resolved = self._resolved(delivery, intent)
        if resolved is None:
            return Ways(self._askable(delivery, ()))
        options: list[Option] = []
        probing: set[str] = set()
        missing = self._missing()
        retries = {each.provider_ref: each.max_retries for each in resolved.providers(domain)}
        for ref, probe, open_until in self._ranked(resolved, domain, intent, now):
            adapter = self.adapters.get(ref)
            if adapter is None:
                continue
            reached = intent is not None and reaches(ref, intent.recipient.address)
            closed_at = now + LOOK_AGAIN_S if ref in passed_over else (open_until or 0.0)
            option = self._option(
                adapter, delivery, now, serves=open_until is not None and reached, open_until=closed_at
            )
            options.append(
                replace(
                    option,
                    lacks_secret=ref in missing and reached,
                    reaches=reached or intent is None,
                    tries=retries[ref] + 1 if retries[ref] else 0,
                )
            )
            if probe:
                probing.add(ref)
        return Ways(
            (*options, *self._askable(delivery, [option.provider_ref for option in options])),
            resolved.profile_hash,
            {each.provider_ref: each.timeout_s for each in resolved.providers(domain)},
            frozenset(probing),
            resolved.allow_inconclusive_fallback,
        )

    async def admit(self, provider_ref: str) -> bool:
        """Take a message of an account's rate; False where it is used up."""
        return await self._shares.admit(provider_ref)

    async def probe(self, ways: Ways, provider_ref: str, timeout_s: float) -> str | None:
        """The lease of a probe; None where there is none to be had."""
        return await self._board.lease((ways.profile_hash, provider_ref), timeout_s + PROBE_SLACK_S)

    async def settle(self, ways: Ways, provider_ref: str, lease_id: str, sent: Sent | None) -> None:
        """A leased probe has ended; None for one that was not made."""
        outcome = None if sent is None else _outcome(sent)
        told = Probe.UNTOLD if outcome is None else Probe.OK if outcome is Outcome.OK else Probe.FAILED
        await self._board.settle((ways.profile_hash, provider_ref), lease_id, told)

    def record(self, ways: Ways, delivery: Delivery, sent: Sent, *, began_at: float, probe: bool) -> None:
        """Measure a provider by a call that began then, monotonic seconds; what lies in the message says nothing, and
        no tenant and no recipient alone takes a provider from the others.
        """
        outcome = _outcome(sent)
        key: Key = (ways.profile_hash, sent.result.provider_ref)
        if outcome is None or key not in self._board.circuits():
            return
        latency_ms = 1000 * max(0.0, self._clock.monotonic() - began_at)
        ended = Call(caller_of(delivery.tenant_id, delivery.recipient_id), outcome, latency_ms)
        self._board.record(key, ended, began_at=began_at, probe=probe)

    def _resolved(self, delivery: Delivery, intent: Intent | None) -> Resolved | None:
        channel = "" if intent is None else intent.routing_channel
        locale = "" if intent is None else locale_of(intent)
        found = self._directory.resolve(delivery.tenant_id, locale, channel, delivery.recipient_id)
        return found if isinstance(found, Resolved) else None

    def _ranked(
        self, resolved: Resolved, domain: Domain, intent: Intent | None, now: float
    ) -> list[tuple[str, bool, float | None]]:
        """Each provider of the domain: whether it would be probed, and until when its circuit lets nothing through;
        None for one that may not be used at all.
        """
        circuits = self._board.view(resolved.profile_hash)
        absent = {each.provider_ref for each in resolved.providers(domain)} - self.adapters.keys()
        unconfigured = absent.union(self._missing())
        locale = "" if intent is None else locale_of(intent)
        found: dict[str, tuple[bool, float | None]] = {}
        while True:
            chosen = select(resolved, circuits, domain, locale=locale, tried=found.keys(), unconfigured=unconfigured)
            if not isinstance(chosen, Chosen):
                break
            found[chosen.provider.provider_ref] = (chosen.probe, 0.0)
        for ref, refusal in chosen.refusals:
            if refusal in _CIRCUITS:
                circuit = circuits[ref]
                until = now + LOOK_AGAIN_S
                if refusal is Refusal.CIRCUIT_FORCED_OPEN:
                    until = now + FORCED_OPEN_S
                elif refusal is Refusal.CIRCUIT_OPEN and circuit.retry_at is not None:
                    until = max(until, circuit.retry_at)
                found[ref] = (False, until)
            elif refusal is not Refusal.ALREADY_TRIED:
                found[ref] = (False, None)
        return [(each.provider_ref, *found[each.provider_ref]) for each in resolved.providers(domain)]

    def _option(
        self, adapter: DeliveryAdapter, delivery: Delivery, now: float, *, serves: bool, open_until: float
    ) -> Option:
        return Option(
            provider_ref=adapter.provider_ref,
            declares=adapter.declares,
            token=adapter.token(delivery.delivery_id),
            serves=serves,
            open_until=open_until,
            full_until=self._shares.free_at(adapter.provider_ref, now),
        )

    def _askable(self, delivery: Delivery, known: Collection[str]) -> tuple[Option, ...]:
        """Those that were called, and that no profile names for this delivery any more: they can still be asked."""
        called = dict.fromkeys(attempt.provider_ref for attempt in delivery.attempts)
        left = [self.adapters[ref] for ref in called if ref not in known and ref in self.adapters]
        return tuple(self._option(each, delivery, delivery.since, serves=False, open_until=0.0) for each in left)


def locale_of(intent: Intent) -> str:
    """In which language it is said, where that is known."""
    return intent.content.template.locale if intent.content.HasField("template") else ""


def _outcome(sent: Sent) -> Outcome | None:
    if sent.result.reason_code in _HARD_BLOCKS:
        return Outcome.HARD_BLOCK
    return outcome_of(sent.result, CALLER_FAULTS)
