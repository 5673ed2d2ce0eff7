"""One routed call, from the gates to the answer (§22, RTE-3): no I/O but the provider's own.

The chain is POLICY, COST, QUOTA, profile, selection, adapter, normalisation, validation, and at the end the trail. A
provider that fails is tried again as often as the profile says, then the next one goes on, until nobody is left. This
is the one place where anything is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.scope_pb2 import TurnRef
from selene.provider.v1.provider_pb2 import (
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    Capability,
    ProviderResultV1,
    ProviderStatus,
)
from selene.routing.v1.route_pb2 import PassedOver, RouteAttempt, RouteTaken
from selene.routing.v1.routing_pb2 import CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_FORCED_CLOSED, Domain
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_random_exponential

from servers.routing import gates
from servers.routing.accounts import Ticket
from servers.routing.board import Board, Key
from servers.routing.circuit import Probe
from servers.routing.directory import Directory
from servers.routing.envelope import Asked, check, failed
from servers.routing.gatekeeper import Gatekeeper
from servers.routing.gates import Gate
from servers.routing.live_packs import NO_PACKS, LivePacks, ServedPacks
from servers.routing.pack_choice import Subject
from servers.routing.profile import ProfileProblem, Resolved, ResolvedProvider
from servers.routing.ranking import ranked
from servers.routing.reasons import ProviderReason, outcome_of
from servers.routing.recorder import MOST_WAITING, Charge, Recorder, Trail, gate_facts
from servers.routing.rejections import Rejections, asked_last
from servers.routing.repeats import Repeats
from servers.routing.selection import Chosen, NoProvider, Unconfigured, home_of, select
from servers.routing.selection import Refusal as NotSelected
from servers.routing.windows import Call, Outcome, caller_of
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.logging import raised
from store.routing import ServedCall

RETRY_FIRST_S: Final = 0.05
RETRY_MOST_S: Final = 1.0
LETTING_GO_S: Final = 1.0
"""How long an adapter may take to release what it holds."""
CANCELLED: Final = "CALL_CANCELLED"
PROBE_SLACK_S: Final = 5.0
"""How much longer than its attempt a probe's lease lasts."""

_log = structlog.get_logger("selene.routing")

A = TypeVar("A")
E = TypeVar("E")
A_contra = TypeVar("A_contra", contravariant=True)
E_co = TypeVar("E_co", covariant=True)


class Limit:
    """Until when the router waits for an attempt, in the clock's monotonic seconds. Whoever drives the attempt may move
    it while it is waited for; it never goes beyond the call's own end.
    """

    def __init__(self, clock: Clock, timeout_s: float, call_ends_at: float) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self.call_ends_at = call_ends_at
        self._waiting: asyncio.Timeout | None = None
        self._since: float | None = clock.monotonic()
        self.at = min(self._since + timeout_s, call_ends_at)

    @property
    def left_s(self) -> float:
        """Seconds until then, 0 at least."""
        return max(0.0, self.at - self._clock.monotonic())

    @property
    def waited_s(self) -> float:
        """Seconds that the provider was waited for since its time began."""
        return 0.0 if self._since is None else max(0.0, self._clock.monotonic() - self._since)

    @property
    def silent_s(self) -> float | None:
        """Seconds that the provider is waited for right now; None while somebody else is."""
        return None if self._waiting is None or self._since is None else self.waited_s

    @property
    def telling(self) -> bool:
        """Whether not having answered by now says something of the provider: it had its time, or half of it where the
        call's own end came first.
        """
        return self.at < self.call_ends_at or 2 * self.waited_s >= self._timeout_s

    def restart(self) -> None:
        """From now on, as long as one attempt may take."""
        self._since = self._clock.monotonic()
        self._move(self._since + self._timeout_s)

    def lift(self) -> None:
        """As long as the call itself may take: the provider is not what is waited for."""
        self._since = None
        self._move(self.call_ends_at)

    def extend(self, seconds: float) -> None:
        """So much longer."""
        if self._since is not None:
            self._since += seconds
        self._move(self.at + seconds)

    async def next(self, events: AsyncGenerator[E, None]) -> E:
        """The next event. TimeoutError, StopAsyncIteration."""
        async with asyncio.timeout(self.left_s) as self._waiting:
            try:
                return await anext(events)
            finally:
                self._waiting = None

    def _move(self, at: float) -> None:
        self.at = min(at, self.call_ends_at)
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time() + self.left_s)


class Work(Protocol[A_contra, E_co]):
    """What an owner wants of a provider."""

    def begin(self, adapter: A_contra, asked: Asked, limit: Limit) -> AsyncGenerator[E_co | ProviderResultV1, None]:
        """One attempt, from its beginning: normalised events, then the result as the last.

        What the provider said and the contract does not allow is a result that says so, never an event.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedCall:
    """What is to be done, for whom. `units` is what a price counts; `ends_at` the deadline, monotonic seconds;
    `content` the hash of what is asked. `packs` is what the call goes by, whatever is activated meanwhile.
    """

    tenant_id: str
    subject: str
    user_id: str
    channel: str
    region: str
    locale: str
    request_id: str
    idempotency_key: str
    units: float
    ends_at: float
    turn: TurnRef
    content: bytes = b""
    packs: ServedPacks = NO_PACKS

    @property
    def caller(self) -> str:
        """Who is told apart where a provider is measured: the user, or who asks where no user is named."""
        return caller_of(self.tenant_id, self.user_id or self.subject)


@dataclass(frozen=True, slots=True)
class Switched:
    """Another attempt begins; what was said of the one before is void."""

    from_provider_ref: str
    to_provider_ref: str
    reason_code: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a call: the result of the provider that answered, or that found what is wrong with the request."""

    result: ProviderResultV1
    route: RouteTaken
    key: Key

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return self.result.status == PROVIDER_STATUS_OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Domestic(Generic[A]):
    """What an owner brings. `rpc` is what idempotency keys are of. `caller_faults` are reasons that lie in the request;
    of these `elsewhere` are worth asking another provider. `keyed` are providers that are asked with a secret. `prices`
    are micros a unit, by provider. `listening_s` is how long an attempt may last before the provider is waited for.
    `ranking` is the type of the packs that say who comes first among providers (`servers.routing.ranking`), empty where
    there are none.
    """

    domain: Domain
    capability: Capability
    rpc: str
    adapters: Mapping[str, A]
    caller_faults: Collection[str]
    elsewhere: Collection[str] = ()
    keyed: Collection[str] = ()
    prices: Mapping[str, int] = field(default_factory=dict)
    listening_s: float = 0.0
    ranking: str = ""


class CallMetrics:
    """Registered once per server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "selene_routing_attempts",
            "Calls of providers, by how they ended",
            ("owner", "provider", "status", "reason"),
            registry=registry,
        )
        self.refused = Counter(
            "selene_routing_refused", "Calls that no provider was asked for", ("owner", "reason"), registry=registry
        )


@dataclass(slots=True)
class _Running:
    """A call under way."""

    call: RoutedCall
    resolved: Resolved
    trail: Trail
    behind: Collection[str] = ()
    attempts: list[RouteAttempt] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    passed_over: dict[str, str] = field(default_factory=dict)
    failover: bool = False
    fault: ProviderResultV1 | None = None
    result: ProviderResultV1 | None = None
    outcome: Outcome | None = None

    def route(self) -> RouteTaken:
        return RouteTaken(
            request_id=self.call.request_id,
            profile_id=self.resolved.profile_id,
            profile_version=self.resolved.profile_version,
            profile_hash=self.resolved.profile_hash,
            attempts=self.attempts,
            passed_over=[
                PassedOver(provider_ref=provider_ref, reason_code=reason)
                for provider_ref, reason in self.passed_over.items()
            ],
            failover=self.failover,
        )


class Router(Generic[A]):
    """Routes the calls of one owner."""

    def __init__(
        self,
        domestic: Domestic[A],
        *,
        directory: Directory,
        board: Board,
        gatekeeper: Gatekeeper,
        recorder: Recorder,
        repeats: Repeats,
        clock: Clock,
        metrics: CallMetrics,
        unconfigured: Callable[[], Mapping[str, Unconfigured]],
        packs: LivePacks | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.domestic = domestic
        self._packs = packs
        self._directory = directory
        self._board = board
        self._gatekeeper = gatekeeper
        self._recorder = recorder
        self._repeats = repeats
        self._clock = clock
        self._metrics = metrics
        self._unconfigured = unconfigured
        self._sleep = sleep
        self._rejections = Rejections()

    def unconfigured(self, resolved: Resolved) -> dict[str, Unconfigured]:
        """Providers of the domain that nobody can ask here, and why: no adapter, or no secret."""
        providers = {each.provider_ref for each in resolved.providers(self.domestic.domain)}
        absent = providers - self.domestic.adapters.keys()
        return {**self._unconfigured(), **dict.fromkeys(absent, Unconfigured.NO_ADAPTER)}

    def resolve(self, tenant_id: str, locale: str, channel: str, user_id: str) -> Resolved:
        """The profile for a subject. Refusal: PROFILE_NOT_ACTIVE, SETTING_AMBIGUOUS."""
        resolved = self._directory.resolve(tenant_id, locale, channel, user_id)
        if resolved is None:
            raise Refusal(reasons.ERROR_REASON_PROFILE_NOT_ACTIVE, "no routing profile is active")
        if isinstance(resolved, ProfileProblem):
            raise Refusal(
                reasons.ERROR_REASON_SETTING_AMBIGUOUS,
                "two rows of the routing profile of equal precedence apply, so neither does",
                key=f"{resolved.where} {resolved.code.value}",
            )
        return resolved

    def packs(self, subject: Subject) -> ServedPacks:
        """What a call that begins now goes by."""
        return NO_PACKS if self._packs is None else self._packs.choose(subject)

    def judge_transcript(self, call: RoutedCall, key: Key, *, accepted: bool) -> None:
        """The owner's gate has accepted or refused what a provider heard: that measures the provider, and whom it does
        not understand asks it last for a while (§30).
        """
        self._board.judge_transcript(key, call.caller, accepted=accepted)
        if call.user_id:
            person = (call.tenant_id, call.user_id)
            self._rejections.note(person, key[1], self._clock.monotonic(), accepted=accepted)

    async def run(
        self, call: RoutedCall, work: Work[A, E], units: Callable[[], float] | None = None
    ) -> AsyncGenerator[E | Switched | Finished, None]:
        """The events of whoever answers, a `Switched` before each further attempt, `Finished` at the end. `units` tells
        what it came to, where that is known at the end only; else `call.units` holds.

        Refusal: of a gate, of `Repeats`, PROFILE_NOT_ACTIVE, SETTING_AMBIGUOUS, NO_PROVIDER_AVAILABLE,
        PROVIDERS_FAILED, INPUT_UNSERVABLE, DEADLINE_PASSED, OVERLOADED where no further call can be told of.
        """
        if self._recorder.full:
            raise Refusal(
                reasons.ERROR_REASON_OVERLOADED,
                "the audit trail takes nothing; calls wait until it does",
                limit=str(MOST_WAITING),
                retry_after_ms="1000",
            )
        who = (call.tenant_id, call.subject, call.request_id, call.idempotency_key, call.turn)
        trail = Trail(*who, call.locale, call.packs.sides)
        as_served = self._begun(call, trail)
        ticket: Ticket | None = None
        running: _Running | None = None
        reason, served = CANCELLED, False
        try:
            resolved = self.resolve(call.tenant_id, call.locale, call.channel, call.user_id)
            ticket = await self._admitted(call, resolved, trail)
            behind = self._rejections.last((call.tenant_id, call.user_id), self._clock.monotonic())
            running = _Running(call, resolved, trail, behind)
            async with aclosing(self._answers(running, work)) as answers:
                async for answer in answers:
                    if isinstance(answer, Finished):
                        reason, served = answer.result.reason_code, answer.done
                    yield answer
        except Refusal as refusal:
            reason = reasons.ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_")
            self._metrics.refused.labels(self._board.owner, reason).inc()
            raise
        except Exception:
            reason = "INTERNAL"
            raise
        finally:
            self._repeats.end(as_served, served=served)
            if reason == CANCELLED and self._clock.monotonic() >= call.ends_at:
                reason = "DEADLINE_PASSED"
            if ticket is not None:
                trail.cost_micros = self._spent(running, call.units if units is None else units())
                if served:
                    trail.charge = Charge(as_served, partial(_charge, ticket, trail.cost_micros))
                else:
                    ticket.settle(trail.cost_micros)
            attempts = running.attempts if running is not None else []
            last = attempts[-1].provider_ref if attempts else ""
            facts = {
                "attempts": str(len(attempts)),
                "provider_ref": last,
                "cost_micros": str(trail.cost_micros),
                **call.packs.facts,
            }
            trail.add("call.finished", reason, self._clock.now(), facts)
            self._recorder.note(trail)

    def _begun(self, call: RoutedCall, trail: Trail) -> ServedCall:
        """The call, as its key will stand for it. Refusal, told of: its key stands for another one."""
        as_served = self._repeats.call(
            tenant_id=call.tenant_id,
            subject=call.subject,
            key=call.idempotency_key,
            content=call.content,
            request_id=call.request_id,
        )
        try:
            self._repeats.begin(as_served, call.idempotency_key)
        except Refusal as refusal:
            reason = reason_name(refusal.reason)
            self._metrics.refused.labels(self._board.owner, reason).inc()
            known = refusal.metadata.get("request_id")
            trail.add("call.repeated", reason, self._clock.now(), {"repeats": known} if known else {})
            self._recorder.note(trail)
            raise
        return as_served

    async def _admitted(self, call: RoutedCall, resolved: Resolved, trail: Trail) -> Ticket:
        request = gates.Request(
            tenant_id=call.tenant_id,
            domain=self.domestic.domain,
            capability=self.domestic.capability,
            channel=call.channel,
            user_id=call.user_id,
            request_id=call.request_id,
            cost_micros=self._estimate(call, resolved),
        )
        ticket = await self._gatekeeper.admit(request)
        last = ticket.passage.verdicts[-1]
        trail.add("call.gated", last.reason, self._clock.now(), gate_facts(ticket.passage))
        if not ticket.allowed:
            raise gate_refusal(last)
        return ticket

    def _estimate(self, call: RoutedCall, resolved: Resolved) -> int:
        prices = self.domestic.prices
        dearest = max(
            (prices.get(each.provider_ref, 0) for each in resolved.providers(self.domestic.domain) if each.enabled),
            default=0,
        )
        return round(dearest * call.units)

    def _spent(self, running: _Running | None, units: float) -> int:
        """Who answered is paid, and whoever was still at it when the caller went away."""
        if running is None or not running.attempts:
            return 0
        paid = [each for each in running.attempts if each.status in (PROVIDER_STATUS_OK, 0)]
        prices = self.domestic.prices
        return sum(round(prices.get(each.provider_ref, 0) * units) for each in paid)

    async def _answers(self, running: _Running, work: Work[A, E]) -> AsyncGenerator[E | Switched | Finished, None]:
        while True:
            chosen = self._select(running)
            provider = chosen.provider
            key = (running.resolved.profile_hash, provider.provider_ref)
            running.tried.add(provider.provider_ref)
            lease_id: str | None = None
            if chosen.probe:
                lease_id = await self._board.lease(key, self.domestic.listening_s + provider.timeout_s + PROBE_SLACK_S)
                if lease_id is None:
                    running.passed_over[provider.provider_ref] = NotSelected.NO_PROBE_FREE.value
                    continue
            running.failover = chosen.failover
            running.outcome = None
            try:
                async with aclosing(self._attempts(running, provider, key, lease_id, work)) as events:
                    async for event in events:
                        yield event
            finally:
                if lease_id is not None:
                    await self._board.settle(key, lease_id, _probe(running.outcome))
            result = running.result
            if result is not None and (result.status == PROVIDER_STATUS_OK or self._final_fault(running, result)):
                yield Finished(result, running.route(), key)
                return

    def _select(self, running: _Running) -> Chosen:
        call, resolved = running.call, running.resolved
        chosen = self._chosen(running, running.tried)
        refusals = chosen.refusals if isinstance(chosen, NoProvider) else chosen.passed_over
        for provider_ref, refusal in refusals:
            if provider_ref not in running.tried:
                running.passed_over[provider_ref] = refusal.value
        facts = {
            f"passed_over_{place}": f"{ref} {why}" for place, (ref, why) in enumerate(running.passed_over.items(), 1)
        }
        facts |= {"profile": f"{resolved.profile_id}@{resolved.profile_version}"}
        hashes = {"profile": resolved.profile_hash}
        if self._clock.monotonic() >= call.ends_at:
            running.trail.add("call.unrouted", "DEADLINE_PASSED", self._clock.now(), facts, hashes)
            raise Refusal(reasons.ERROR_REASON_DEADLINE_PASSED, "no time is left to ask another provider")
        if isinstance(chosen, NoProvider):
            running.trail.add("call.unrouted", "NO_PROVIDER_AVAILABLE", self._clock.now(), facts, hashes)
            raise self._nobody(running)
        facts["provider_ref"] = chosen.provider.provider_ref
        reason = "PROBE" if chosen.probe else "FAILOVER" if chosen.failover else "PRIMARY"
        if running.behind:
            facts["asked_last"] = ",".join(sorted(running.behind))
        running.trail.add("call.routed", reason, self._clock.now(), facts, hashes)
        return chosen

    def _nobody(self, running: _Running) -> Refusal:
        if running.fault is not None:
            return Refusal(
                reasons.ERROR_REASON_INPUT_UNSERVABLE,
                "no provider can do what is asked",
                cause=running.fault.reason_code,
                provider=running.fault.provider_ref,
            )
        if running.attempts:
            asked = ",".join(f"{each.provider_ref}={each.reason_code}" for each in running.attempts)
            return Refusal(
                reasons.ERROR_REASON_PROVIDERS_FAILED, "every provider that may be asked has failed", providers=asked
            )
        why = ",".join(f"{ref}={reason}" for ref, reason in running.passed_over.items())
        metadata = {"providers": why}
        # A probe that was not to be had is no reason not to come back.
        nobody = self._chosen(running, ())
        if isinstance(nobody, NoProvider) and nobody.earliest_retry is not None:
            wait_s = max(0.0, nobody.earliest_retry - self._clock.now().timestamp())
            metadata["earliest_retry"] = _instant(nobody.earliest_retry)
            metadata["retry_after_ms"] = str(round(wait_s * 1000))
        return Refusal(reasons.ERROR_REASON_NO_PROVIDER_AVAILABLE, "no provider may be asked now", **metadata)

    def _chosen(self, running: _Running, tried: Collection[str]) -> Chosen | NoProvider:
        call, resolved, domain = running.call, running.resolved, self.domestic.domain
        unconfigured, region = self.unconfigured(resolved), call.region
        ranking = call.packs.get(self.domestic.ranking) if self.domestic.ranking else None
        if ranking is not None:
            # Whoever comes first, the call belongs to the region of whom the profile puts first.
            region = region or home_of(resolved, domain, call.locale, unconfigured)
            resolved = ranked(resolved, domain, ranking)
        if running.behind:
            region = region or home_of(resolved, domain, call.locale, unconfigured)
            resolved = asked_last(resolved, domain, running.behind)
        return select(
            resolved,
            self._board.view(resolved.profile_hash),
            domain,
            region=region,
            locale=call.locale,
            tried=tried,
            unconfigured=unconfigured,
        )

    async def _attempts(
        self, running: _Running, provider: ResolvedProvider, key: Key, lease_id: str | None, work: Work[A, E]
    ) -> AsyncGenerator[E | Switched, None]:
        """Attempts at one provider; `running` holds how the last of them ended."""
        if running.attempts:
            yield _switched(running, provider)
        async with aclosing(self._attempt(running, provider, key, lease_id, work)) as events:
            async for event in events:
                yield event
        if lease_id is not None or provider.max_retries == 0 or not _retryable(running.result):
            return

        def over(state: RetryCallState) -> bool:
            too_late = state.upcoming_sleep >= running.call.ends_at - self._clock.monotonic()
            return state.attempt_number > provider.max_retries or too_late or not self._closed(key)

        retrying = AsyncRetrying(
            stop=over,
            wait=wait_random_exponential(multiplier=RETRY_FIRST_S, max=RETRY_MOST_S),
            retry=retry_if_result(_retryable),
            retry_error_callback=_used_up,
            sleep=self._sleep,
        )
        async for attempt in retrying:
            # The first attempt has been made already: calls that need no other never come here.
            if attempt.retry_state.attempt_number > 1:
                yield _switched(running, provider)
                async with aclosing(self._attempt(running, provider, key, lease_id, work)) as events:
                    async for event in events:
                        yield event
            attempt.retry_state.set_result(running.result)

    async def _attempt(
        self, running: _Running, provider: ResolvedProvider, key: Key, lease_id: str | None, work: Work[A, E]
    ) -> AsyncGenerator[E, None]:
        """One attempt: its events; `running` holds its checked result. It is told of however it ends."""
        call = running.call
        asked = Asked(
            tenant_id=call.tenant_id,
            provider_ref=provider.provider_ref,
            capability=self.domestic.capability,
            request_id=call.request_id,
            idempotency_key=call.idempotency_key,
        )
        limit = Limit(self._clock, provider.timeout_s, call.ends_at)
        began_at = self._clock.monotonic()
        read_s = 0.0
        made = RouteAttempt(provider_ref=provider.provider_ref, reason_code=CANCELLED, probe=lease_id is not None)
        running.attempts.append(made)
        running.result = result = None
        over = self._board.under_way(key, call.caller, limit)
        events = work.begin(self.domestic.adapters[provider.provider_ref], asked, limit)
        try:
            while result is None:
                event = await self._next(events, asked, limit)
                if isinstance(event, ProviderResultV1):
                    result = event
                else:
                    given_at = self._clock.monotonic()
                    yield event
                    # What a slow reader takes is not the provider's time.
                    passed_s = self._clock.monotonic() - given_at
                    read_s += passed_s
                    limit.extend(passed_s)
            self._judge(running, key, made, result, limit, began_at=began_at, read_s=read_s)
        except asyncio.CancelledError:
            if self._clock.monotonic() >= call.ends_at:
                late = failed(asked, ProviderReason.DEADLINE_EXCEEDED, latency_s=limit.waited_s)
                self._judge(running, key, made, late, limit, began_at=began_at, read_s=read_s)
            raise
        except Refusal as refusal:
            made.reason_code = reasons.ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_")
            raise
        finally:
            over()
            await _let_go(events, provider.provider_ref)
            self._told(running, made, self._clock.monotonic() - began_at)

    async def _next(self, events: AsyncGenerator[E | ProviderResultV1, None], asked: Asked, limit: Limit) -> Any:
        """The next event, or a checked result that tells what came in its place. Refusal of the work's own."""
        try:
            event = await limit.next(events)
        except StopAsyncIteration:
            return check(None, asked)
        except Refusal:
            raise
        except TimeoutError:
            return failed(asked, ProviderReason.DEADLINE_EXCEEDED, latency_s=limit.waited_s)
        except asyncio.CancelledError:
            if _cancelled():
                raise
            _log.error("an adapter cancelled itself", provider=asked.provider_ref)
            return failed(asked, ProviderReason.PROVIDER_CRASHED)
        except Exception as error:
            _log.error("an adapter raised", provider=asked.provider_ref, **raised(error))
            return failed(asked, ProviderReason.PROVIDER_CRASHED)
        return check(event, asked) if isinstance(event, ProviderResultV1) else event

    def _judge(
        self,
        running: _Running,
        key: Key,
        made: RouteAttempt,
        result: ProviderResultV1,
        limit: Limit,
        *,
        began_at: float,
        read_s: float,
    ) -> None:
        """Keep how an attempt ended, and measure the provider by it where that says something of its health."""
        running.result = result
        made.status, made.reason_code = result.status, result.reason_code
        made.latency.CopyFrom(result.latency)
        outcome = outcome_of(result, self.domestic.caller_faults)
        if outcome is None or (outcome is Outcome.TIMEOUT and not limit.telling):
            return
        running.outcome = outcome
        # An adapter's own clock runs on while its events are read.
        waited_ms = 1000 * (self._clock.monotonic() - began_at - read_s)
        latency_ms = min(result.latency.ToNanoseconds() / 1e6, waited_ms)
        ended = Call(running.call.caller, outcome, latency_ms)
        self._board.record(key, ended, began_at=began_at, probe=made.probe)

    def _told(self, running: _Running, made: RouteAttempt, took_s: float) -> None:
        status = ProviderStatus.Name(made.status).removeprefix("PROVIDER_STATUS_") if made.status else "CANCELLED"
        facts = {
            "provider_ref": made.provider_ref,
            "status": status,
            "latency_ms": f"{made.latency.ToNanoseconds() / 1e6:.1f}",
            "took_ms": f"{took_s * 1000:.1f}",
        }
        running.trail.add("call.attempted", made.reason_code, self._clock.now(), facts)
        self._metrics.attempts.labels(self._board.owner, made.provider_ref, status, made.reason_code).inc()

    def _final_fault(self, running: _Running, result: ProviderResultV1) -> bool:
        """Whether the request is at fault for every provider; what this one alone cannot serve is remembered."""
        if result.reason_code not in self.domestic.caller_faults:
            return False
        if result.reason_code in self.domestic.elsewhere:
            running.fault = running.fault or result
            return False
        return True

    def _closed(self, key: Key) -> bool:
        circuit = self._board.view(key[0]).get(key[1])
        return circuit is None or circuit.state in (CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_FORCED_CLOSED)


def _charge(ticket: Ticket, cost_micros: int, is_first: bool) -> None:
    """What `Charge.settle` does."""
    if is_first:
        ticket.settle(cost_micros)
    else:
        ticket.waive()


def _retryable(result: ProviderResultV1 | None) -> bool:
    return result is not None and result.status == PROVIDER_STATUS_RETRYABLE_FAIL


def _used_up(state: RetryCallState) -> None:
    """The next provider goes on."""


def _switched(running: _Running, provider: ResolvedProvider) -> Switched:
    last = running.attempts[-1]
    return Switched(last.provider_ref, provider.provider_ref, last.reason_code)


def _cancelled() -> bool:
    """Whether somebody cancelled the task itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _let_go(events: AsyncGenerator[Any, None], provider_ref: str) -> None:
    """What goes wrong when an adapter lets go is its own affair: the call has its result."""
    try:
        async with asyncio.timeout(LETTING_GO_S):
            await events.aclose()
    except Exception as error:
        _log.error("an adapter did not let go", provider=provider_ref, **raised(error))


def _probe(outcome: Outcome | None) -> Probe:
    if outcome is None:
        return Probe.UNTOLD
    return Probe.OK if outcome is Outcome.OK else Probe.FAILED


def gate_refusal(verdict: gates.Verdict) -> Refusal:
    """The refusal of the gate that refused."""
    if verdict.reason in gates.UNKNOWN:
        return Refusal(
            reasons.ERROR_REASON_GATE_UNAVAILABLE,
            "what the gate goes by cannot be had, so it refuses",
            gate=verdict.gate.value,
            cause=verdict.reason,
        )
    if verdict.gate is Gate.POLICY:
        return Refusal(
            reasons.ERROR_REASON_POLICY_REFUSED,
            "a rule of policy refuses the call",
            cause=verdict.reason,
            rule_id=verdict.rule_id,
        )
    if verdict.gate is Gate.COST:
        return Refusal(reasons.ERROR_REASON_BUDGET_EXCEEDED, "the budget does not cover the call", cause=verdict.reason)
    metadata = {"cause": str(verdict.reason)}
    if verdict.retry_after_s is not None:
        metadata["retry_after_ms"] = str(round(verdict.retry_after_s * 1000))
    return Refusal(reasons.ERROR_REASON_QUOTA_EXHAUSTED, "the quota is used up", **metadata)


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
